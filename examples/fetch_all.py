#!/usr/bin/env python3
"""Fetch thousands of files over HTTP: all at once, then bounded, and see what each way costs.

This is an ordinary asyncio program with aiohttp's client. It does not know tonnage, and runs on it
unchanged:

    python examples/fetch_all.py                        # on the standard loop
    python -m tonnage run examples/fetch_all.py         # the same program on tonnage
    python examples/fetch_all.py --compare              # both, one after the other

Without `--way` it starts the server, then itself once for each way (see comparison.py), because the
peak memory of a way can only be told in a process that did nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import aiohttp
from cost import Cost
from descriptors import make_room
from file_tree import CHUNK_BYTES, ExpectedFile, list_paths, read_expected, standard_library
from peak_memory import peak_memory_bytes
from progress import Progress

Fetch = Callable[[ExpectedFile], Awaitable[None]]

REQUEST_TIMEOUT_S = 30
QUICK_FILES = 300


# The three ways.


async def all_at_once(fetch: Fetch, files: list[ExpectedFile], at_once: int) -> None:
    """One task for each file, and nothing that holds them back."""
    await asyncio.gather(*(fetch(file) for file in files))


async def semaphore(fetch: Fetch, files: list[ExpectedFile], at_once: int) -> None:
    """One task for each file, most of them waiting for their turn."""
    turns = asyncio.Semaphore(at_once)

    async def wait_and_fetch(file: ExpectedFile) -> None:
        async with turns:
            await fetch(file)

    await asyncio.gather(*(wait_and_fetch(file) for file in files))


async def workers(fetch: Fetch, files: list[ExpectedFile], at_once: int) -> None:
    """A few tasks that take the next file from one list until it is empty."""
    remaining = iter(files)

    async def work() -> None:
        for file in remaining:
            await fetch(file)

    await asyncio.gather(*(work() for _ in range(at_once)))


WAYS = {"all-at-once": all_at_once, "semaphore": semaphore, "workers": workers}


# One run of one way.


class WrongAnswerError(Exception):
    """The server's answer is not the file that we asked for."""


async def fetch_and_verify(session: aiohttp.ClientSession, url: str, file: ExpectedFile) -> None:
    """Fetch one file, and compare what arrived with what is on disk."""
    async with session.get(f"{url}/{quote(file.path)}") as response:
        if response.status != 200:
            raise WrongAnswerError(f"{response.status} {response.reason}")
        digest = hashlib.sha256()
        size = 0
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    if size != file.size or digest.digest() != file.sha256:
        raise WrongAnswerError("content differs from the file on disk")


async def run_way(way: str, url: str, files: list[ExpectedFile], at_once: int) -> Cost:
    """Fetch all `files` in this way, and return what it has cost."""
    loop_name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    progress = Progress(f"{loop_name}  {way}", len(files))
    errors: Counter[str] = Counter()
    fetched = received = 0

    async def fetch(file: ExpectedFile) -> None:
        nonlocal fetched, received
        try:
            await fetch_and_verify(session, url, file)
        except Exception as error:  # Each failure is counted and shown; none stops the others.
            errors[_describe(error)] += 1
            progress.errors += 1
        else:
            fetched += 1
            received += file.size
        progress.done += 1

    # No limit of the client's own (aiohttp's default is 100): how many run at once is the way's choice.
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        watcher = asyncio.create_task(progress.watch())
        started, cpu_started = time.perf_counter(), time.process_time()
        await WAYS[way](fetch, files, at_once)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        watcher.cancel()
        await asyncio.wait([watcher])
    return Cost(
        loop=loop_name,
        way=way,
        files=len(files),
        fetched=fetched,
        bytes=received,
        errors=dict(errors.most_common()),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_memory_bytes=peak_memory_bytes(),
        worst_lag_s=progress.worst_lag_s,
    )


def _describe(error: Exception) -> str:
    if isinstance(error, WrongAnswerError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.strerror or error.os_error}"
    return type(error).__name__


# The command line.


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options, with `files` as a number of files, or None for all."""
    parser = argparse.ArgumentParser(
        description="Fetch thousands of files over HTTP: all at once, then bounded.",
        epilog="To run it on tonnage: python -m tonnage run examples/fetch_all.py",
    )
    parser.add_argument("--compare", action="store_true", help="run on the standard loop, then on tonnage")
    parser.add_argument("--files", type=_positive, metavar="N", help="only N files, spread over the tree")
    parser.add_argument("--quick", action="store_true", help=f"the same as --files {QUICK_FILES}")
    parser.add_argument("--at-once", type=_positive, default=40, metavar="N", help="the bound (default: 40)")
    parser.add_argument(
        "--capacity",
        type=_positive,
        default=64,
        metavar="N",
        help="what the server takes at once (default: 64)",
    )
    parser.add_argument("--root", type=Path, default=standard_library(), help="tree to fetch (default: Lib)")
    parser.add_argument("--way", choices=WAYS, help="only this way, from --url, with its cost as JSON")
    parser.add_argument("--url", help="the running server, for --way")
    options = parser.parse_args(arguments)
    if (options.way is None) != (options.url is None):
        parser.error("--way and --url go together")
    if options.quick and options.files is None:
        options.files = QUICK_FILES
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {number}")
    return number


def main() -> int:
    """Run one way, or start the comparison, and return the exit code."""
    options = parse_arguments(sys.argv[1:])
    if options.way is None:
        from comparison import compare

        return compare(options, tuple(WAYS))
    files = read_expected(options.root, list_paths(options.root, options.files))
    make_room(len(files))
    cost = asyncio.run(run_way(options.way, options.url, files, options.at_once))
    print(json.dumps(asdict(cost)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
