"""A server whose requests need one of a number of slots for 50 ms, behind a limiter or none.

The slots are what a limiter protects: a database with so many connections, and a line before them that nobody
bounds. One line of a request is its number; the answer is the number, `ok` or `full`, and the limit at that
moment. It tells its port on standard output, and ends when standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

import tonnage

SLOTS = 20
SERVICE_S = 0.05
WAYS: dict[str, Callable[[], tonnage.AdaptiveLimiter | None]] = {
    "no limit": lambda: None,
    "Gradient": tonnage.AdaptiveLimiter,
    "AIMD": lambda: tonnage.AdaptiveLimiter(tonnage.AIMD(2 * SERVICE_S)),
}


class Server:
    """Answers requests, as many at once as the limiter lets."""

    def __init__(self, limiter: tonnage.AdaptiveLimiter | None) -> None:
        self.limiter = limiter
        self.slots = tonnage.Semaphore(SLOTS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, each in a task."""
        with contextlib.suppress(ConnectionError):
            async with contextlib.aclosing(_lines(reader)) as lines, tonnage.TaskGroup() as group:
                async for line in lines:
                    group.create_task(self.answer(line.strip(), writer))
        writer.close()

    async def answer(self, number: bytes, writer: asyncio.StreamWriter) -> None:
        """Do the work of one request, or refuse it."""
        limiter: Any = self.limiter or contextlib.nullcontext()
        try:
            async with limiter, self.slots:
                await tonnage.sleep(SERVICE_S)
            answer = b"ok"
        except tonnage.Overloaded:
            answer = b"full"
        limit = self.limiter.limit if self.limiter else 0
        writer.write(b"%s %s %d\n" % (number, answer, limit))


async def _lines(reader: asyncio.StreamReader) -> Any:
    while line := await reader.readline():
        yield line


async def main(way: str) -> None:
    """Serve until standard input ends."""
    server = Server(WAYS[way]())
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--way", choices=WAYS, default="Gradient")
    tonnage.run(main(parser.parse_args().way))
