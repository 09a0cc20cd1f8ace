"""Ten thousand connections echo at once, and nothing of them is left afterwards.

The server runs in the test's process, half of it on streams and half on protocols; the clients run in a
process of their own, on tonnage as well. Each side checks itself for what is left.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tonnage
from descriptors import open_descriptors

SHARED = Path(__file__).parent / "shared"
CONNECTIONS = 10_000
ROUNDS = 3
ECHOES = 2
# What a side needs besides its connections: the interpreter's, pytest's and the listening sockets.
DESCRIPTORS_BESIDES = 500
# A leak of one object a connection is at least this many blocks of memory.
BLOCKS_GROWTH_MAX = CONNECTIONS // 10
# Less than the smallest buffer of each connection would be. Rounds differ by up to 1 MB by the allocator.
MEMORY_GROWTH_MAX = CONNECTIONS * 400
# AddressSanitizer keeps what was freed for a while, so that its use is found.
FREED_IS_KEPT = "asan" in os.environ.get("LD_PRELOAD", "")
WATCHED_MODULES = ("asyncio", "_asyncio", "tonnage", "socket", "_socket")


def payload(number: int, echo: int) -> bytes:
    """What connection `number` sends: unlike all others, and of another length than its neighbours."""
    return f"{number}:{echo};".encode() * (1 + (number + echo) % 97)


# The census: what a process has.


def census() -> dict[str, Any]:
    """Count what connections are made of."""
    for _ in range(3):
        gc.collect()
    kinds = collections.Counter(
        f"{type(thing).__module__}.{type(thing).__qualname__}"
        for thing in gc.get_objects()
        if str(type(thing).__module__).partition(".")[0] in WATCHED_MODULES
    )
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * resource.getpagesize()
    return {
        "descriptors": len(open_descriptors()),
        "kinds": dict(kinds),
        "native": tonnage._tonnage._live_objects(),
        "blocks": sys.getallocatedblocks(),
        "resident": resident,
    }


def leftovers(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """Return what is more in `after` than in `before`."""
    found = collections.Counter(after["kinds"])
    found.subtract(before["kinds"])
    native = collections.Counter(after["native"])
    native.subtract(before["native"])
    found.update({f"native {name}": count for name, count in native.items()})
    found["descriptors"] = after["descriptors"] - before["descriptors"]
    return {name: count for name, count in found.items() if count > 0}


def judge(side: str, rounds: list[dict[str, Any]]) -> None:
    """Check the censuses before the first round and after each."""
    for number, after in enumerate(rounds[1:], 1):
        assert leftovers(rounds[0], after) == {}, f"{side}, after round {number}"
    # The first rounds fill the pools and free lists that all later ones use.
    *_, previous, last = rounds
    blocks = last["blocks"] - previous["blocks"]
    assert blocks < BLOCKS_GROWTH_MAX, f"{side}: the last round left {blocks} more blocks of memory"
    grown = last["resident"] - previous["resident"]
    assert grown < MEMORY_GROWTH_MAX or FREED_IS_KEPT, (
        f"{side}: the last round left {grown:,} more bytes of memory"
    )


# The server's side.


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.gauge.opened()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gauge.closed()


class Gauge:
    """How many connections the server has."""

    def __init__(self) -> None:
        self.open = self.most = 0
        self.empty = asyncio.Event()

    def opened(self) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        self.empty.clear()

    def closed(self) -> None:
        self.open -= 1
        if not self.open:
            self.empty.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened()
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.closed()


async def serve_round(clients: asyncio.subprocess.Process) -> None:
    gauge = Gauge()
    servers = [
        await asyncio.start_server(gauge.serve, "127.0.0.1", 0, backlog=1024),
        await asyncio.get_running_loop().create_server(lambda: Echo(gauge), "127.0.0.1", 0, backlog=1024),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write(json.dumps(ports).encode() + b"\n")
    answer = await clients.stdout.readline()
    assert answer == b"echoed\n", answer
    assert gauge.open == gauge.most == CONNECTIONS
    assert len(asyncio.all_tasks()) > CONNECTIONS // 2
    clients.stdin.write(b"close\n")
    await gauge.empty.wait()
    for server in servers:
        server.close()
        await server.wait_closed()
    assert await clients.stdout.readline() == b"closed\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_connections_echo_at_once_and_leave_nothing(descriptors: None) -> None:
    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            __file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SHARED), *sys.path])},
        )

    async def end(clients: asyncio.subprocess.Process) -> list[dict[str, Any]]:
        out, _ = await clients.communicate(b"end\n")
        assert clients.returncode == 0
        return json.loads(out)

    reports: list[dict[str, Any]] = []
    with tonnage.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: reports.append(context))
        clients = runner.run(start())
        ours = [census()]
        for _ in range(ROUNDS):
            runner.run(serve_round(clients))
            ours.append(census())
        theirs = runner.run(end(clients))
    assert not reports
    judge("server", ours)
    judge("clients", theirs)


@pytest.fixture
def descriptors(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Allow each side its descriptors, or say loudly that it cannot be had."""
    needed = CONNECTIONS + DESCRIPTORS_BESIDES
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    missing = None
    if sys.platform != "linux":
        missing = "no /proc to count descriptors in"
    elif most != resource.RLIM_INFINITY and most < needed:
        missing = f"the hard limit of open files is {most}, and {needed} are needed (ulimit -Hn)"
    if missing is not None:
        with capsys.disabled():
            print(f"\nSKIPPED: 10,000 connections at once were not tried: {missing}", file=sys.stderr)
        pytest.skip(missing)
    if before != resource.RLIM_INFINITY and before < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


# The clients' side: this file, run as a program.


class Client(asyncio.Protocol):
    """Send what is unlike anything else, and compare what comes back, byte by byte."""

    def __init__(self, number: int, done: Callable[[], None]) -> None:
        self.number = number
        self.done = done
        self.awaited = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def send(self, echo: int) -> None:
        self.awaited = payload(self.number, echo)
        self.transport.write(self.awaited)

    def data_received(self, data: bytes) -> None:
        assert self.awaited.startswith(data), (self.number, data[:40], self.awaited[:40])
        self.awaited = self.awaited[len(data) :]
        if not self.awaited:
            self.done()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None, exc
        self.lost.set_result(None)


class Countdown:
    """An event that comes when it was counted down."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.over = asyncio.Event()

    def __call__(self) -> None:
        self.count -= 1
        if not self.count:
            self.over.set()


async def client_round(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    waiting = iter(range(CONNECTIONS))

    async def connect() -> None:
        for number in waiting:
            client = Client(number, lambda: countdown())
            await loop.create_connection(lambda: client, "127.0.0.1", ports[number % len(ports)])  # noqa: B023
            clients.append(client)

    await asyncio.gather(*(connect() for _ in range(100)))
    for echo in range(ECHOES):
        countdown = Countdown(CONNECTIONS)
        for client in clients:
            client.send(echo)
        await countdown.over.wait()
    print("echoed", flush=True)
    # Nobody else needs this loop until the parent has looked at its own side.
    assert sys.stdin.readline() == "close\n"
    for client in clients:
        client.transport.close()
    await asyncio.gather(*(client.lost for client in clients))


def run_clients() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    reports: list[Any] = []
    with tonnage.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: reports.append(repr(context)))
        rounds = [census()]
        while (line := sys.stdin.readline()) != "end\n":
            runner.run(client_round(json.loads(line)))
            rounds.append(census())
            assert not reports, reports
            print("closed", flush=True)
    print(json.dumps(rounds))


if __name__ == "__main__":
    run_clients()
