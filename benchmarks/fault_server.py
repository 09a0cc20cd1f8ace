"""The echo server that is made to suffer: one loop, one listening socket; asked and answering in lines.

    fault_server.py '{"loop": "tonnage", "kind": "protocol", "room": 10}'

`room` is how many descriptors it may open beside those that it has. Says "ready", then answers each empty
line on stdin with what it has seen so far. At "hold" it stops its loop, and says "held"; at "go" it lets it
go on. The end of stdin is its end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import threading
from time import process_time, thread_time
from typing import Any

from loops import LOOPS

LAG_EVERY_S = 0.001


class Seen:
    """What the server has seen."""

    def __init__(self) -> None:
        self.accepted = 0
        self.reports = 0
        self.lag_ms = 0.0
        # Opened while there are descriptors.
        self.status = os.open("/proc/self/status", os.O_RDONLY)

    def answer(self) -> dict[str, float]:
        # The next answer tells of what comes after this one.
        lag_ms, self.lag_ms = self.lag_ms, 0.0
        status = os.pread(self.status, 8192, 0).decode()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return {
            "accepted": self.accepted,
            "reports": self.reports,
            "lag_ms": lag_ms,
            "cpu_s": process_time(),
            "resident": resident * 1024,
        }


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.seen.accepted += 1

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve(arguments: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    seen = Seen()

    def report(_: object, __: object) -> None:
        seen.reports += 1

    loop.set_exception_handler(report)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.accepted += 1
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    if arguments["kind"] == "protocol":
        await loop.create_server(lambda: Echo(seen), "127.0.0.1", arguments["port"], backlog=8192)
    else:
        await asyncio.start_server(echo, "127.0.0.1", arguments["port"], backlog=8192)
    if arguments.get("room"):
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + arguments["room"], hard))

    last = [thread_time()]

    def measure_lag() -> None:
        # Of the loop's own CPU time: when other programs run in between, the loop cannot help it.
        seen.lag_ms = max(seen.lag_ms, (thread_time() - last[0] - LAG_EVERY_S) * 1000)
        last[0] = thread_time()
        loop.call_later(LAG_EVERY_S, measure_lag)

    if arguments.get("lag"):
        measure_lag()
    ended = loop.create_future()
    may_go_on = threading.Event()

    def hold() -> None:
        print("held", flush=True)
        may_go_on.wait()
        may_go_on.clear()

    def obey() -> None:
        for line in sys.stdin:
            if line == "hold\n":
                loop.call_soon_threadsafe(hold)
            elif line == "go\n":
                may_go_on.set()
            else:
                print(json.dumps(seen.answer()), flush=True)
        loop.call_soon_threadsafe(ended.set_result, None)

    gc.collect()
    print("ready", flush=True)
    threading.Thread(target=obey, daemon=True).start()
    await ended


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    arguments = json.loads(sys.argv[1])
    loop = LOOPS[arguments["loop"]].new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve(arguments))
    # What is still open ends with the process.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
