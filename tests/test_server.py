"""`create_server`, `create_unix_server`, and the `Server` that they return."""

from __future__ import annotations

import asyncio
import contextvars
import os
import resource
import socket
import sys
import tempfile
from asyncio import constants
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest


class Recorder(asyncio.Protocol):
    """Keeps what happens to one connection."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self) -> None:
        self.made.append(self)
        self.data = b""
        self.transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(exc)


@pytest.fixture(autouse=True)
def end_connections(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a test leaves connected, while its loop is still open."""
    loop = request.getfixturevalue("loop") if "loop" in request.fixturenames else None
    yield

    async def end() -> None:
        await asyncio.sleep(0.005)
        for recorder in Recorder.made:
            if recorder.transport is not None:
                recorder.transport.abort()
        await asyncio.sleep(0.005)

    if loop is not None:
        loop.run_until_complete(end())
    Recorder.made.clear()


async def serve(factory, **options):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()


async def connect(address):
    loop = asyncio.get_running_loop()
    if isinstance(address, str):
        connection = await loop.create_unix_connection(Recorder, address)
    else:
        connection = await loop.create_connection(Recorder, *address)
    # asyncio's server may be closed only when it has set up what it accepted.
    await asyncio.sleep(0.005)
    return connection


async def until(condition):
    async def poll():
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), 5)


@pytest.fixture
def socket_path() -> Iterator[str]:
    # pytest's own directories are too long for the address of a Unix socket on some systems.
    with tempfile.TemporaryDirectory() as folder:
        yield str(Path(folder) / "socket")


def test_server_tells_its_sockets_and_state(loop, run):
    async def main():
        server, address = await serve(Recorder)
        assert server.get_loop() is loop
        assert isinstance(server, asyncio.AbstractServer)
        assert isinstance(server, asyncio.Server)
        assert server.is_serving()
        assert address[0] == "127.0.0.1"
        assert type(server.sockets[0]) is asyncio.trsock.TransportSocket
        assert repr(server) == f"<Server sockets={server.sockets!r}>"
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        server.close()

    run(main())


def test_server_waits_for_start_serving(run):
    async def main():
        server, address = await serve(Recorder, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connect(address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        transport, _ = await connect(address)
        transport.close()
        server.close()

    run(main())


def test_async_with_closes_the_server(run):
    async def main():
        server, _ = await serve(Recorder)
        async with server as entered:
            assert entered is server
        assert not server.is_serving()

    run(main())


def test_close_leaves_connections_open_and_wait_closed_waits_for_them(run, asyncio_since):
    asyncio_since(3, 12, 1)

    async def main():
        accepted = []

        def factory():
            accepted.append(Recorder())
            return accepted[-1]

        server, address = await serve(factory)
        client, _ = await connect(address)
        await until(lambda: accepted and accepted[0].transport)
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0)
        server.close()
        client.write(b"still here")
        await until(lambda: accepted[0].data == b"still here")
        assert not closed.done()
        client.close()
        await asyncio.wait_for(closed, 5)
        await server.wait_closed()

    run(main())


def test_wait_closed_waits_for_close(run, asyncio_since):
    asyncio_since(3, 12, 1)

    async def main():
        server, _ = await serve(Recorder)
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not closed.done()
        server.close()
        await asyncio.wait_for(closed, 5)

    run(main())


def test_cancelled_wait_closed_leaves_no_waiter(run, asyncio_since):
    asyncio_since()

    async def main():
        server, _ = await serve(Recorder)
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0)
        closed.cancel()
        await asyncio.wait([closed])
        assert server._waiters == []
        server.close()

    run(main())


@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_server_ends_its_connections(run, method, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        server, address = await serve(Recorder)
        _, client = await connect(address)
        await until(lambda: len(server._clients) == 1)
        server.close()
        getattr(server, method)()
        await asyncio.wait_for(client.lost, 5)
        await asyncio.wait_for(server.wait_closed(), 5)
        client.transport.close()

    run(main())


def test_cancelled_serve_forever_closes_the_server_and_its_connections(run, asyncio_since):
    asyncio_since(3, 14)

    async def main():
        server, address = await serve(Recorder, start_serving=False)
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"is already being awaited on serve_forever\(\)$"):
            await server.serve_forever()
        _, client = await connect(address)
        forever.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forever
        await asyncio.wait_for(client.lost, 5)
        with pytest.raises(RuntimeError, match="is closed$"):
            await server.serve_forever()

    run(main())


def test_close_ends_serve_forever(run):
    async def main():
        server, _ = await serve(Recorder)
        forever = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await forever

    run(main())


def test_closed_server_cannot_start(run, asyncio_since):
    asyncio_since()

    async def main():
        server, _ = await serve(Recorder, start_serving=False)
        server.close()
        with pytest.raises(RuntimeError, match="is closed$"):
            await server.start_serving()

    run(main())


def test_factory_that_raises_is_reported_and_the_server_goes_on(loop, run, reports):
    loop.set_debug(True)  # Without it, asyncio drops the exception.
    failure = ValueError("no protocol today")
    failures = [failure]

    def factory():
        if failures:
            raise failures.pop()
        return Recorder()

    async def main():
        server, address = await serve(factory)
        _, first = await connect(address)
        second_transport, second = await connect(address)
        second_transport.write(b"x")
        await until(lambda: len(server._clients) == 1 if hasattr(server, "_clients") else True)
        assert not second.lost.done()
        second_transport.close()
        first.transport.close()
        server.close()

    run(main())
    assert [(report["message"], report["exception"]) for report in reports] == [
        ("Error on transport creation for incoming connection", failure)
    ]


def test_factory_that_raises_is_reported_without_debug_and_its_connection_closed(run, reports, asyncio_since):
    asyncio_since()

    def factory():
        raise ValueError("no protocol today")

    async def main():
        server, address = await serve(factory)
        transport, client = await connect(address)
        await asyncio.wait_for(client.lost, 5)
        transport.close()
        server.close()

    run(main())
    assert len(reports) == 1


def test_system_exit_in_a_factory_leaves_the_loop(loop, run):
    def factory():
        raise SystemExit(3)

    server, address = run(serve(factory))
    client = socket.create_connection(address)
    with pytest.raises(SystemExit):
        loop.run_forever()
    client.close()
    server.close()
    run(asyncio.sleep(0))


class CountingSocket(socket.socket):
    """Counts the attempts to accept a connection."""

    attempts = 0

    def _accept(self):
        self.attempts += 1
        return super()._accept()


@pytest.mark.parametrize(("connections", "attempts"), [(1, 1), (3, 4)])
def test_a_connection_that_comes_alone_is_accepted_in_one_attempt(
    loop, run, asyncio_since, connections, attempts
):
    asyncio_since()  # asyncio tries until nobody is left.
    listener = CountingSocket()
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()

    async def main():
        server = await loop.create_server(Recorder, sock=listener)
        clients = [socket.create_connection(address) for _ in range(connections)]
        await until(lambda: len(server._clients) == connections)
        for client in clients:
            client.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)

    run(main())
    assert listener.attempts == attempts


def test_turn_accepts_a_bounded_number_of_connections(loop, run, asyncio_since):
    asyncio_since()
    accepted = []
    seen_by_turn = []

    def factory():
        accepted.append(Recorder())
        return accepted[-1]

    async def main():
        server, address = await serve(factory, backlog=200)
        clients = [socket.create_connection(address) for _ in range(150)]
        while len(accepted) < 150:
            seen_by_turn.append(len(accepted))
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)

    run(main())
    assert len({count for count in seen_by_turn if count}) >= 2


def test_server_out_of_descriptors_pauses_and_comes_back(loop, run, reports, monkeypatch, asyncio_since):
    asyncio_since()  # asyncio reports every attempt, and may accept on a closed socket.
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.02)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        server, address = await serve(Recorder)
        client = socket.socket()
        client.setblocking(False)
        highest = os.open(os.devnull, os.O_RDONLY)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            client.connect_ex(address)
            await until(lambda: reports)
            await asyncio.sleep(0.07)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: len(server._clients) == 1)
        client.close()
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)

    run(main())
    assert [report["message"] for report in reports] == ["socket.accept() out of system resource"]


def test_paused_server_can_be_closed(loop, run, reports, monkeypatch, asyncio_since):
    asyncio_since()
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main():
        server, address = await serve(Recorder)
        client = socket.socket()
        client.setblocking(False)
        highest = os.open(os.devnull, os.O_RDONLY)
        os.close(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        try:
            client.connect_ex(address)
            await until(lambda: reports)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        server.close()
        client.close()
        await asyncio.sleep(0.03)

    run(main())
    assert len(reports) == 1


def test_connections_run_in_copies_of_the_context_that_made_the_server(run, asyncio_since):
    asyncio_since(3, 15)
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Protocol(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get())
            variable.set("connection")

        def data_received(self, data):
            seen.append(variable.get())
            self.transport.close()

    async def main():
        variable.set("server")
        server, address = await serve(Protocol)
        variable.set("later")
        for _ in range(2):
            transport, client = await connect(address)
            transport.write(b"x")
            await asyncio.wait_for(client.lost, 5)
        server.close()

    run(main())
    assert seen == ["server", "connection"] * 2


def test_reuse_port_lets_two_servers_share_a_port(loop, run):
    async def main():
        server, address = await serve(Recorder, reuse_port=True)
        other = await loop.create_server(Recorder, *address, reuse_port=True)
        other.close()
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await loop.create_server(Recorder, *address)
        server.close()

    run(main())


def test_keep_alive_is_set_on_the_listening_socket(loop, run, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        server, _ = await serve(Recorder, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()

    run(main())


def test_hosts_that_name_one_address_are_bound_once(loop, run):
    async def main():
        server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.1", "127.0.0.2"], 0)
        names = sorted(sock.getsockname()[0] for sock in server.sockets)
        assert names == ["127.0.0.1", "127.0.0.2"]
        server.close()

    run(main())


def test_address_that_this_machine_does_not_have_is_named(loop, run, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        with pytest.raises(OSError, match="could not bind on any address out of"):
            await loop.create_server(Recorder, "203.0.113.7", 0)

    run(main())


def test_server_takes_over_a_socket(loop, run):
    async def main():
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = await loop.create_server(Recorder, sock=listening)
        assert not listening.getblocking()
        transport, _ = await connect(listening.getsockname())
        transport.close()
        server.close()
        assert listening.fileno() == -1

    run(main())


def test_failed_listen_closes_the_sockets_that_it_made(loop, run, monkeypatch, asyncio_since):
    asyncio_since()
    made = []
    real = socket.socket.listen

    def listen(self, *args):
        made.append(self)
        if len(made) == 2:
            raise OSError("no")
        real(self, *args)

    monkeypatch.setattr(socket.socket, "listen", listen)

    async def main():
        with pytest.raises(OSError, match="^no$"):
            await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)

    run(main())
    assert [sock.fileno() for sock in made] == [-1, -1]


@pytest.mark.parametrize(
    ("options", "make_socket"),
    [
        (dict(ssl=True), None),
        (dict(ssl_handshake_timeout=1), None),
        (dict(ssl_shutdown_timeout=1), None),
        (dict(), None),
        (dict(host="127.0.0.1"), socket.socket),
        (dict(), lambda: socket.socket(type=socket.SOCK_DGRAM)),
    ],
)
def test_bad_arguments_of_create_server_are_refused_as_by_asyncio(options, make_socket):
    check_refusal("create_server", options, make_socket)


@pytest.mark.parametrize(
    ("options", "make_socket"),
    [
        (dict(ssl=True), None),
        (dict(ssl_handshake_timeout=1), None),
        (dict(ssl_shutdown_timeout=1), None),
        (dict(), None),
        (dict(path="/x"), socket.socket),
        (dict(), socket.socket),
    ],
)
def test_bad_arguments_of_create_unix_server_are_refused_as_by_asyncio(options, make_socket):
    check_refusal("create_unix_server", options, make_socket)


def check_refusal(method, options, make_socket):
    import tonnage

    if sys.version_info < (3, 11) and "ssl_shutdown_timeout" in options:
        pytest.skip("asyncio has no ssl_shutdown_timeout")
    outcomes = []
    for make_loop in (asyncio.SelectorEventLoop, tonnage.new_event_loop):
        loop = make_loop()
        given = dict(options)
        if make_socket is not None:
            given["sock"] = make_socket()
        with pytest.raises((TypeError, ValueError)) as caught:
            loop.run_until_complete(getattr(loop, method)(asyncio.Protocol, **given))
        text = str(caught.value)
        if make_socket is not None:
            text = text.replace(repr(given["sock"]), "SOCKET")
            given["sock"].close()
        outcomes.append((caught.type, text))
        loop.close()
    assert outcomes[0] == outcomes[1]


def test_closing_a_unix_server_removes_its_path(loop, run, socket_path, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        server = await loop.create_unix_server(Recorder, socket_path)
        assert Path(socket_path).is_socket()
        server.close()
        assert not Path(socket_path).exists()

    run(main())


def test_closing_a_unix_server_spares_the_path_of_its_successor(loop, run, socket_path, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        first = await loop.create_unix_server(Recorder, socket_path)
        second = await loop.create_unix_server(Recorder, socket_path)
        first.close()
        transport, _ = await connect(socket_path)
        transport.close()
        second.close()

    run(main())


def test_cleanup_socket_false_leaves_the_path(loop, run, socket_path, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        server = await loop.create_unix_server(Recorder, socket_path, cleanup_socket=False)
        server.close()
        assert Path(socket_path).is_socket()

    run(main())


def test_unix_server_replaces_a_stale_socket_and_no_file(loop, run, socket_path):
    async def main():
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(socket_path)
        server = await loop.create_unix_server(Recorder, socket_path)
        server.close()
        Path(socket_path).unlink(missing_ok=True)
        Path(socket_path).write_bytes(b"")
        with pytest.raises(OSError, match="Address '.*' is already in use"):
            await loop.create_unix_server(Recorder, socket_path)

    run(main())


def test_unix_server_takes_abstract_addresses(loop, run):
    async def main():
        name = f"\0tonnage-{os.getpid()}"
        server = await loop.create_unix_server(Recorder, name)
        transport, _ = await connect(name)
        transport.close()
        server.close()

    run(main())
