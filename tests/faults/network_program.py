"""A program whose system calls fail: clients and a server in one loop. Prints what became of each client.

python network_program.py '{"clients": 20, "echoes": 5, "patience": 3, "loop": "tonnage"}'
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import json
import os
import sys
from typing import Any

import tonnage

DATA = bytes(range(100))


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def talk(port: int, echoes: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(echoes):
            writer.write(DATA)
            await writer.drain()
            assert await reader.readexactly(len(DATA)) == DATA
        writer.close()
        await writer.wait_closed()
    finally:
        writer.transport.abort()
        # How the connection ended is no news by then, but has to be asked for.
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def fate(port: int, arguments: dict[str, Any]) -> str:
    """Tell how one client ended: "ok", the name of an errno, "end of stream", or "hung"."""
    try:
        await asyncio.wait_for(talk(port, arguments["echoes"]), arguments["patience"])
    except asyncio.IncompleteReadError:
        return "end of stream"
    except (OSError, asyncio.TimeoutError) as error:
        # The kernel's timeouts have a number.
        number = getattr(error, "errno", None)
        return "hung" if number is None else os.strerror(number)
    return "ok"


async def main(arguments: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    # Under strace, on a busy machine, any callback is slow.
    loop.slow_callback_duration = arguments["patience"]
    reports: list[str] = []
    is_old = sys.version_info < (3, 11)

    def report(_: object, context: dict[str, Any]) -> None:
        # A stream of 3.10 reports the error of a connection once more if nobody waits for its end.
        if not (is_old and context["message"] == "Future exception was never retrieved"):
            reports.append(f"{context['message']}: {context.get('exception')}")

    loop.set_exception_handler(report)
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fates = await asyncio.gather(*(fate(port, arguments) for _ in range(arguments["clients"])))
    server.close()
    if hasattr(server, "abort_clients"):
        server.abort_clients()
    # Also for the turn in which the transports learn that a write came too late.
    for _ in range(5):
        await asyncio.sleep(0)
    tasks = len(asyncio.all_tasks()) - 1
    return {"fates": collections.Counter(fates), "reports": reports, "tasks": tasks}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    factory = {"asyncio": asyncio.SelectorEventLoop, "tonnage": tonnage.new_event_loop}[arguments["loop"]]
    before = len(os.listdir("/proc/self/fd"))
    # Not with asyncio.run(): the coroutine is to be made when the loop is there.
    try:
        loop = factory()
    except OSError as error:
        print(json.dumps({"loop": os.strerror(error.errno), "descriptors": 0}))
        sys.exit()
    try:
        told = loop.run_until_complete(main(arguments))
    except OSError as error:
        told = {"raised": os.strerror(error.errno)}
    loop.close()
    del loop
    gc.collect()
    print(json.dumps({**told, "descriptors": len(os.listdir("/proc/self/fd")) - before}))
