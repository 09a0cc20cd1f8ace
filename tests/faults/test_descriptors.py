"""No descriptor is left: who asks is told, what is there goes on, and what waits is served later."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import sys
from asyncio import constants
from concurrent.futures import ThreadPoolExecutor

import pytest
import tonnage
from children import children

from .peers import Echo, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def no_descriptor_left(spare=0):
    """Within the block, only `spare` more files can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
    fillers = []
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(spare):
            os.close(fillers.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


async def echo(client):
    """Send a byte by a blocking socket, and wait for it to come back."""
    loop = asyncio.get_running_loop()
    client.setblocking(False)
    await loop.sock_sendall(client, b"x")
    assert await asyncio.wait_for(loop.sock_recv(client, 1), 10) == b"x"


def test_server_serves_who_is_there_and_the_others_when_connections_end(
    run, reports, monkeypatch, asyncio_since
):
    asyncio_since()  # asyncio waits for its retry, and reports each attempt.
    # Whoever waits for that, waits in vain.
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 1000)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.socket() for _ in range(9)]
        with no_descriptor_left(spare=3):
            for client in clients:
                client.setblocking(False)
                client.connect_ex(address)
            await until(lambda: reports)
            assert server.stats().connections == 3
            assert not server.stats().accepting
            for _ in range(3):
                for client in clients[:3]:
                    await echo(client)
                for client in clients[:3]:
                    client.close()
                del clients[:3]
                served = 9 - len(clients)
                await until(lambda: server.stats().accepted >= min(served + 3, 9))  # noqa: B023
        await until(lambda: not server.stats().connections)
        assert (server.stats().accepted, server.stats().aborted, server.stats().failed) == (9, 0, 0)
        assert server.stats().paused["resources"] >= 2
        server.close()
        await server.wait_closed()

    run(main())
    assert [report["message"] for report in reports] == ["socket.accept() out of system resource"]


def test_paused_server_does_not_spin(run, reports, monkeypatch, asyncio_since):
    asyncio_since()
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.02)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        client = socket.socket()
        client.setblocking(False)
        with no_descriptor_left():
            client.connect_ex(server.sockets[0].getsockname())
            await asyncio.sleep(0.1)
            tries = server.stats().paused["resources"]
        assert 1 <= tries <= 6
        await until(lambda: server.stats().connections == 1)
        client.close()
        server.close()
        await server.wait_closed()

    run(main())
    assert len(reports) == 1


def test_connecting_says_so_and_leaves_nothing(loop, run):
    async def main():
        with no_descriptor_left(), pytest.raises(OSError, match="Too many open files") as caught:
            await loop.create_connection(Echo, "127.0.0.1", 1)
        assert caught.value.errno == errno.EMFILE
        assert len(asyncio.all_tasks()) == 1

    before = descriptors()
    run(main())
    assert descriptors() == before


def test_child_process_says_so_and_leaves_nothing(loop, run, asyncio_since):
    asyncio_since(3, 12)  # Before, it has a child watcher.
    if sys.version_info < (3, 11, 4):
        pytest.skip("Popen itself leaves pipes open (gh-87474)")

    async def start():
        return await asyncio.create_subprocess_exec("true", stdin=-1, stdout=-1, stderr=-1)

    async def main():
        for spare in range(0, 8, 2):
            before = descriptors()
            with no_descriptor_left(spare), pytest.raises(OSError, match="Too many open files"):
                await start()
            await asyncio.sleep(0)
            assert descriptors() == before
        child = await start()
        await child.communicate()
        assert child.returncode == 0

    before, others = descriptors(), children()
    run(main())
    assert (descriptors(), children()) == (before, others)


def test_what_needs_no_descriptor_goes_on(loop, run):
    async def main():
        # The first calls open what they need for all.
        await asyncio.to_thread(int)
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        with no_descriptor_left():
            assert await asyncio.to_thread(int, "7") == 7
            await asyncio.sleep(0.001)
            woken = loop.create_future()
            await loop.run_in_executor(None, loop.call_soon_threadsafe, woken.set_result, 1)
            assert await woken == 1
            assert await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    run(main())


def test_handler_of_a_signal_says_so(loop, asyncio_since):
    asyncio_since()
    # One that is made in the main thread has the descriptors that it takes.
    with ThreadPoolExecutor(1) as pool:
        loop = pool.submit(tonnage.new_event_loop).result()
    with no_descriptor_left(), pytest.raises(RuntimeError, match="Too many open files"):
        loop.add_signal_handler(12, int)
    loop.add_signal_handler(12, int)
    assert loop.remove_signal_handler(12)
    loop.close()


@pytest.mark.parametrize("spare", [0, 1])
def test_loop_that_cannot_be_made_leaves_nothing(spare):
    before = descriptors()
    with no_descriptor_left(spare), pytest.raises(OSError, match="Too many open files"):
        tonnage.new_event_loop()
    assert descriptors() == before


def test_accepted_connection_is_never_dropped_for_want_of_descriptors(run, reports, asyncio_since):
    """The protocol factory opens files; when it cannot, that connection ends, and no other."""
    asyncio_since()

    class NeedsFile(Echo):
        def __init__(self):
            self.file = open(os.devnull, "rb")  # noqa: SIM115

        def connection_lost(self, exc):
            self.file.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(NeedsFile, "127.0.0.1", 0)
        clients = [socket.socket() for _ in range(3)]
        with no_descriptor_left(spare=3):
            for client in clients:
                client.setblocking(False)
                client.connect_ex(server.sockets[0].getsockname())
            await until(lambda: server.stats().failed)
            assert server.stats().connections == 1
            await echo(clients[0])
        for client in clients:
            client.close()
        await until(lambda: not server.stats().connections)
        server.close()
        await server.wait_closed()

    run(main())
    assert "Error on transport creation for incoming connection" in {report["message"] for report in reports}
