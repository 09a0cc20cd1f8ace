"""`max_connections=` of servers, and what `Server.stats()` tells."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import tonnage
from tonnage.policy import Policy


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def serve(factory=Echo, **options):
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()


async def until(condition, timeout_s=10):
    # Not with wait_for(), which older versions give a task of its own.
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.001)


async def end(server, *clients):
    for client in clients:
        client.close()
    server.close()
    await asyncio.wait_for(server.wait_closed(), 10)


@pytest.fixture
def loop(loop):
    if not isinstance(loop, tonnage.EventLoop):
        pytest.skip("asyncio's servers have no bound")
    return loop


def test_full_server_lets_others_wait_until_a_connection_ends(run):
    async def main():
        server, address = await serve(max_connections=2)
        clients = [socket.create_connection(address) for _ in range(4)]
        await until(lambda: server.stats().connections == 2)
        await asyncio.sleep(0.02)
        stats = server.stats()
        assert (stats.connections, stats.max_connections, stats.peak) == (2, 2, 2)
        assert (stats.accepted, stats.accepting) == (2, False)
        assert stats.paused == {"full": 1, "resources": 0, "error": 0}
        for number, client in enumerate(clients, 1):
            client.sendall(b"x")
            assert await asyncio.get_running_loop().run_in_executor(None, client.recv, 1) == b"x"
            client.close()
            await until(lambda: server.stats().accepted == min(number + 2, 4))  # noqa: B023
        await until(lambda: not server.stats().connections)
        assert server.stats().accepting
        assert server.stats().peak == 2
        await end(server)
        assert not server.stats().accepting

    run(main())


def test_bound_is_for_all_sockets_of_a_server(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0, max_connections=1)
        first, second = (sock.getsockname() for sock in server.sockets)
        one = socket.create_connection(first)
        await until(lambda: server.stats().connections == 1)
        other = socket.create_connection(second)
        await asyncio.sleep(0.02)
        assert server.stats().accepted == 1
        one.close()
        await until(lambda: server.stats().accepted == 2)
        await end(server, other)

    run(main())


def test_full_server_can_be_closed_and_leaves_nothing(loop, run):
    async def main():
        server, address = await serve(max_connections=1)
        clients = [socket.create_connection(address) for _ in range(2)]
        await until(lambda: server.stats().paused["full"] == 1)
        server.close()
        assert loop._acceptors == {}
        for client in clients:
            client.close()
        await asyncio.wait_for(server.wait_closed(), 10)
        assert server.stats().accepted == 1

    run(main())


@pytest.mark.parametrize("bound", [None, 1, 2])
def test_server_that_its_protocol_factory_closes_waits_for_the_connection(run, reports, bound):
    async def main():
        def factory():
            server.close()
            return Echo()

        server, address = await serve(factory, max_connections=bound)
        client = socket.create_connection(address)
        await until(lambda: server.stats().accepted == 1)
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        assert server.stats().connections == 1
        assert not closed.done()
        client.close()
        await asyncio.wait_for(closed, 10)
        assert server.stats().connections == 0

    run(main())
    assert reports == []


def test_server_that_its_protocol_factory_closes_and_fails_is_closed(run, reports):
    async def main():
        def factory():
            server.close()
            raise LookupError("from the factory")

        server, address = await serve(factory)
        client = socket.create_connection(address)
        await until(lambda: server.stats().failed == 1)
        await asyncio.wait_for(server.wait_closed(), 10)
        client.close()

    run(main())
    assert [type(report["exception"]) for report in reports] == [LookupError]


def test_connection_counts_until_it_has_ended_and_not_until_it_is_asked_to(run):
    """A peer that does not read keeps its connection, and its place."""

    async def main():
        made = []

        def factory():
            made.append(Echo())
            return made[-1]

        server, address = await serve(factory, max_connections=1)
        client = socket.create_connection(address)
        await until(lambda: server.stats().connections == 1)
        made[0].transport.write(bytes(16 * 1024 * 1024))
        made[0].transport.close()
        other = socket.create_connection(address)
        await asyncio.sleep(0.02)
        assert server.stats().accepted == 1
        made[0].transport.abort()
        await until(lambda: server.stats().accepted == 2)
        await end(server, client, other)

    run(main())


def test_connection_that_cannot_be_set_up_takes_no_place(run, reports):
    async def main():
        def factory():
            if len(reports) < 3:
                raise ValueError("not today")
            return Echo()

        server, address = await serve(factory, max_connections=1)
        clients = [socket.create_connection(address) for _ in range(4)]
        await until(lambda: server.stats().connections == 1)
        stats = server.stats()
        assert (stats.accepted, stats.failed, stats.peak) == (4, 3, 1)
        await end(server, *clients)

    run(main())
    assert len(reports) == 3


def test_burst_of_ends_resumes_accepting_once_and_loses_nobody(run):
    async def main():
        server, address = await serve(max_connections=10, backlog=200)
        clients = [socket.create_connection(address) for _ in range(100)]
        for start in range(0, 100, 10):
            await until(lambda: server.stats().accepted == start + 10)  # noqa: B023
            for client in clients[start : start + 10]:
                client.close()
        stats = server.stats()
        assert (stats.accepted, stats.peak) == (100, 10)
        await end(server)

    run(main())


def test_handshakes_count_and_a_failed_one_frees_its_place(run):
    async def main():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server, address = await serve(ssl=context, max_connections=1, ssl_handshake_timeout=60)
        # A peer that says nothing, which is a handshake that does not end.
        silent = socket.create_connection(address)
        other = socket.create_connection(address)
        await until(lambda: server.stats().paused["full"] == 1)
        assert server.stats().connections == 1
        silent.close()
        await until(lambda: server.stats().accepted == 2)
        assert server.stats().failed == 1
        await end(server, other)
        await until(lambda: len(asyncio.all_tasks()) == 1)
        assert server.stats().failed == 2

    run(main())


def test_handshake_that_the_policy_refuses_is_counted_and_closed():
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
        # Resolving a name takes a task.
        sock = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        client = socket.create_connection(sock.getsockname())
        while not reports:
            await asyncio.sleep(0)
        assert (server.stats().accepted, server.stats().failed) == (1, 1)
        client.close()
        server.close()
        while server.stats().connections:
            await asyncio.sleep(0)

    tonnage.run(main(), policy=Policy(max_tasks=1))
    assert [type(error) for error in reports] == [tonnage.Overloaded]


def test_streams_and_unix_servers_take_the_bound(run, tmp_path):
    async def main():
        async def talk(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_unix_server(talk, str(tmp_path / "socket"), max_connections=1)
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            writer.write(b"line\n")
            assert await reader.readline() == b"line\n"
            writer.close()
            await writer.wait_closed()
        await until(lambda: not server.stats().connections)
        assert server.stats().accepted == 2
        assert isinstance(server.stats(), tonnage.ServerStats)
        await end(server)

    run(main())


@pytest.mark.parametrize(
    ("bound", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError), ("many", TypeError)],
)
def test_bound_that_is_none_is_refused(run, bound, error):
    async def main():
        with pytest.raises(error, match=r"^max_connections must be "):
            await serve(max_connections=bound)

    run(main())


def test_stats_do_not_change_and_without_a_bound_nothing_is_full(run):
    async def main():
        server, address = await serve()
        before = server.stats()
        client = socket.create_connection(address)
        await until(lambda: server.stats().connections == 1)
        assert (before.connections, before.max_connections) == (0, None)
        assert server.stats().paused == {"full": 0, "resources": 0, "error": 0}
        await end(server, client)

    run(main())
