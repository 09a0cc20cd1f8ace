"""Talking to another process through pipes, and starting processes, so many times as is asked.

No client is needed: whoever measures writes a number, and gets the times of so many rounds.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from itertools import pairwise
from time import perf_counter_ns

from listening import announce

MESSAGE = b"x" * 1024


async def answer_numbers(once: Callable[[], Awaitable[None]]) -> None:
    """Await `once()` as often as each line says; the loop stands still while there is no line."""
    announce("")
    for line in sys.stdin:
        times_ns = [perf_counter_ns()]
        for _ in range(int(line)):
            await once()
            times_ns.append(perf_counter_ns())
        each_ns = sorted(after - before for before, after in pairwise(times_ns))
        answer = {
            "requests": len(each_ns),
            "elapsed_ns": times_ns[-1] - times_ns[0],
            "p50_ns": each_ns[len(each_ns) // 2],
            "p99_ns": each_ns[len(each_ns) * 99 // 100],
        }
        print(json.dumps(answer), flush=True)


def program(name: str) -> str:
    """Return the path of a program: each loop looks for names in its own way."""
    path = shutil.which(name)
    if path is None:
        raise NotImplementedError(f"no {name} on PATH")
    return path


async def talk_to_cat() -> None:
    cat: asyncio.subprocess.Process | None = None

    async def once() -> None:
        nonlocal cat
        if cat is None:
            # In the first round, and not before: it then runs on the CPU that is measured.
            cat = await asyncio.create_subprocess_exec(program("cat"), stdin=PIPE, stdout=PIPE)
        assert cat.stdin is not None
        assert cat.stdout is not None
        cat.stdin.write(MESSAGE)
        await cat.stdin.drain()
        if await cat.stdout.readexactly(len(MESSAGE)) != MESSAGE:
            raise ValueError("cat said something else")

    await answer_numbers(once)


async def spawn_true() -> None:
    path = program("true")

    async def once() -> None:
        process = await asyncio.create_subprocess_exec(path, stdin=DEVNULL, stdout=DEVNULL)
        if await process.wait() != 0:
            raise ValueError("true failed")

    await answer_numbers(once)
