"""Many connections at once, of which half never read: the other half is served, and memory is bounded.

400 by default, and 10,000 with TONNAGE_LONG=1. Who does not read is in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import resource
import socket
import subprocess
import sys
import time

import pytest
import tonnage

from .peers import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc"),
    pytest.mark.timeout(300),
]

CONNECTIONS = 10_000 if "TONNAGE_LONG" in os.environ else 400
HALF = CONNECTIONS // 2
CHUNK = 16 * 1024
CHUNKS = 40
HIGH_WATER = 64 * 1024

SILENT_PEERS = """
import resource, socket, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
port, count = map(int, sys.argv[1:])
peers = []
for _ in range(count):
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    peers.append(peer)
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def descriptors(capsys):
    """Allow as many descriptors as are needed, or say loudly that they cannot be had."""
    needed = CONNECTIONS + HALF + 500
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        with capsys.disabled():
            print(
                f"\nSKIPPED: the hard limit of open files is {most}, and {needed} are needed", file=sys.stderr
            )
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, needed), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def count_descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Flood:
    """A server that sends each peer more than a socket takes, as fast as it is read."""

    def __init__(self):
        self.writers = set()
        self.ended = 0
        self.most = 0

    async def serve(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.writers.add(writer)
        try:
            for number in range(CHUNKS):
                writer.write(bytes([number]) * CHUNK)
                self.most = max(self.most, writer.transport.get_write_buffer_size())
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass
        finally:
            self.writers.discard(writer)
            self.ended += 1

    def buffered(self):
        return sum(writer.transport.get_write_buffer_size() for writer in self.writers)


async def read_all(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(CHUNKS):
        assert await reader.readexactly(CHUNK) == bytes([number]) * CHUNK
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def measure_lag(worst):
    """Keep the longest time that the loop took to come back, less what other programs took meanwhile."""
    while True:
        began = time.thread_time()
        await asyncio.sleep(0.001)
        worst[0] = max(worst[0], time.thread_time() - began)


def test_those_who_read_are_served_beside_those_who_do_not():
    worst = [0.0]

    async def main():
        loop = asyncio.get_running_loop()
        flood = Flood()
        server = await asyncio.start_server(flood.serve, "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        command = [sys.executable, "-c", SILENT_PEERS, str(port), str(HALF)]
        silent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        await loop.run_in_executor(None, silent.stdout.readline)
        await until(lambda: len(flood.writers) == HALF, 60)

        lag = asyncio.ensure_future(measure_lag(worst))
        limit = asyncio.Semaphore(200)

        async def read():
            async with limit:
                await read_all(port)

        await asyncio.gather(*(read() for _ in range(HALF)))
        lag.cancel()
        await until(lambda: flood.ended == HALF, 60)
        # Those that do not read are still there, and hold no more than they may.
        assert server.stats().connections == HALF
        assert flood.most <= HIGH_WATER + CHUNK
        assert flood.buffered() <= HALF * (HIGH_WATER + CHUNK)

        # They leave, with all that was sent to them unread: a reset for each.
        silent.communicate()
        await until(lambda: flood.ended == CONNECTIONS, 60)
        assert flood.writers == set()
        server.close()
        await server.wait_closed()
        stats = server.stats()
        assert (stats.accepted, stats.failed, stats.connections) == (CONNECTIONS, 0, 0)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    reports = []
    before = count_descriptors()
    with tonnage.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: reports.append(context))
        runner.run(main())
    assert reports == []
    assert count_descriptors() == before
    # A loop that does all that is there before it comes back would need seconds.
    assert worst[0] < 1


def test_burst_of_connections_leaves_time_for_those_who_are_there():
    """A connection that talks gets its answers while hundreds of others come at once."""
    waits = []

    async def main():
        loop = asyncio.get_running_loop()

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data)

        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=2048)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        peers = []
        # All of them are in the backlog before the loop comes to accept the first one.
        for _ in range(min(HALF, 1000)):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(address)
            peers.append(peer)
        accepted = []
        while server.stats().accepted <= len(peers):
            accepted.append(server.stats().accepted)
            began = time.perf_counter()
            writer.write(b"x")
            await reader.readexactly(1)
            waits.append(time.perf_counter() - began)
        # In no round trip was more than a few turns' worth accepted.
        steps = [later - earlier for earlier, later in itertools.pairwise(accepted)]
        assert max(steps) <= 4 * 64
        for peer in peers:
            peer.close()
        writer.close()
        await writer.wait_closed()
        await until(lambda: not server.stats().connections)
        server.close()
        await server.wait_closed()

    tonnage.run(main())
    assert len(waits) >= 2
