"""What a server's transport tells of its socket, which is an object only once somebody asks for it."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
import weakref

import pytest
import tonnage
from tonnage.accept import Listener

ADDRESSES = {
    "IPv4": (socket.AF_INET, ("127.0.0.1", 0)),
    "IPv6": (socket.AF_INET6, ("::1", 0)),
    "path": (socket.AF_UNIX, "listener"),
    "abstract": (socket.AF_UNIX, b"\0tonnage-accepted-%d" % os.getpid()),
}


@pytest.fixture(params=ADDRESSES)
def listener(request, tmp_path, monkeypatch):
    """A listening socket of each kind of address."""
    monkeypatch.chdir(tmp_path)
    family, address = ADDRESSES[request.param]
    sock = socket.socket(family)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        pytest.skip(f"no {request.param} here")
    yield sock
    sock.close()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


class Served:
    """A server with one connection, whose client is a blocking socket."""

    def __init__(self, listener):
        self._listener = listener
        self.lost = False
        self.transport = None

    async def __aenter__(self):
        outer = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                outer.transport = transport

            def data_received(self, data):
                outer.transport.write(data)

            def connection_lost(self, exc):
                outer.lost = True

        loop = asyncio.get_running_loop()
        if self._listener.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(Protocol, sock=self._listener)
        else:
            self._server = await loop.create_server(Protocol, sock=self._listener)
        self.client = socket.socket(self._listener.family)
        self.client.settimeout(5)
        self.client.connect(self._listener.getsockname())
        await until(lambda: self.transport is not None)
        return self

    async def __aexit__(self, *_):
        self.client.close()
        if self.transport is not None:
            self.transport.abort()
            await until(lambda: self.lost)
        self._server.close()
        await self._server.wait_closed()


def test_both_ends_have_the_names_that_sockets_give(run, listener):
    async def main():
        async with Served(listener) as served:
            transport = served.transport
            expected = served.client.getpeername(), served.client.getsockname()
            known = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            assert known == expected
            transport.abort()
            await until(lambda: served.lost)
            assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == expected

    run(main())


def test_the_socket_is_one_object_that_never_waits(run, listener):
    async def main():
        async with Served(listener) as served:
            sock = served.transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert served.transport.get_extra_info("socket") is sock
            assert (sock.family, sock.type) == (listener.family, socket.SOCK_STREAM)
            assert sock.gettimeout() == 0
            assert not os.get_blocking(sock.fileno())
            assert not os.get_inheritable(sock.fileno())
            assert sock.getpeername() == served.client.getsockname()
            served.client.sendall(b"echo")
            reply = await asyncio.get_running_loop().run_in_executor(None, served.client.recv, 100)
            assert reply == b"echo"
            served.transport.abort()
            await until(lambda: served.lost)
            assert sock.fileno() == -1

    run(main())


def test_a_socket_that_nobody_asked_for_in_time_is_closed(run, listener):
    async def main():
        async with Served(listener) as served:
            served.transport.abort()
            await until(lambda: served.lost)
            assert served.client.recv(1) == b""
            sock = served.transport.get_extra_info("socket")
            assert (sock.fileno(), sock.family) == (-1, listener.family)

    run(main())


def test_what_nobody_knows_of_a_connection_is_the_default(run, listener):
    class Name(str):
        __slots__ = ()

    async def main():
        async with Served(listener) as served:
            ask = served.transport.get_extra_info
            assert ask("sslcontext") is None
            assert ask("cipher", "none") == "none"
            assert ask(b"peername") is None
            with pytest.raises(TypeError):
                ask([])
            assert ask(Name("sockname")) == listener.getsockname()
            assert ask("sockname") is ask("sockname")
            assert ask("sslcontext") is None

    run(main())


def test_small_writes_of_a_server_do_not_wait(loop, run):
    async def main():
        made = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)

        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            transport = await made
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()
        server.close()
        await server.wait_closed()

    run(main())


def test_who_overrides_call_soon_sees_the_callbacks_of_transports(loop, run, listener):
    seen = []
    call_soon = loop.call_soon

    def noting(callback, *args, context=None):
        seen.append(getattr(callback, "__name__", ""))
        return call_soon(callback, *args, context=context)

    loop.call_soon = noting

    async def main():
        async with Served(listener):
            pass

    run(main())
    assert "connection_made" in seen
    assert "_call_connection_lost" in seen


def test_transport_of_an_accepted_connection_that_is_dropped_warns_and_closes():
    class Forgetful(asyncio.Protocol):
        paused = False

        def connection_made(self, transport):
            transport.pause_reading()
            Forgetful.paused = True

    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(Forgetful, sock=listener)
        with socket.create_connection(listener.getsockname()) as client:
            client.settimeout(5)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await until(lambda: Forgetful.paused)
                await asyncio.sleep(0)
                gc.collect()
            assert [warning.category for warning in caught] == [ResourceWarning]
            assert client.recv(1) == b""
        server.close()
        await server.wait_closed()

    with tonnage.Runner() as runner:
        runner.run(main())


class Taker:
    """An acceptor that sets nothing up, and keeps what it is given."""

    def __init__(self, loop, sock):
        listener = Listener(asyncio.Protocol, sock, None, None, 100, None, None, None)
        self._intake = tonnage._tonnage.Intake(loop, listener, None, {}, 100, False)
        self._taken = []

    def take(self):
        assert self._intake.accept_some(self) is False
        return self._taken.pop() if self._taken else None

    def _set_up(self, connection, peer):
        assert peer is None
        self._taken.append(connection)


def test_accepted_socket_has_one_owner_at_a_time():
    loop = tonnage.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        taker = Taker(loop, listener)
        assert taker.take() is None
        with socket.create_connection(listener.getsockname()) as client:
            accepted = taker.take()
            assert accepted.peername == client.getsockname()
            fd = accepted.fileno()
            sock = accepted.as_socket()
            assert accepted.as_socket() is sock
            assert (accepted.fileno(), sock.fileno()) == (fd, fd)
            accepted.close()
            accepted.close()
            assert (accepted.fileno(), sock.fileno()) == (-1, -1)
            assert client.recv(1) == b""
        with socket.create_connection(listener.getsockname()) as client:
            client.settimeout(5)
            accepted = taker.take()
            del accepted
            assert client.recv(1) == b""
    loop.close()


class Unmade(asyncio.Protocol):
    """A protocol that the first thing it is told is too much for."""

    error = ZeroDivisionError("connection_made")
    received = ended = 0

    def connection_made(self, transport):
        self.transport = transport
        raise self.error

    def data_received(self, data):
        Unmade.received += len(data)
        self.transport.close()

    def connection_lost(self, exc):
        Unmade.ended += 1
        raise ZeroDivisionError("connection_lost")


def test_errors_of_a_protocol_at_begin_and_end_are_those_of_callbacks(loop, run, monkeypatch):
    monkeypatch.setattr(Unmade, "received", 0)
    monkeypatch.setattr(Unmade, "ended", 0)
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def main():
        server = await loop.create_server(Unmade, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.sendall(b"x")
            await until(lambda: Unmade.ended)
        server.close()
        await server.wait_closed()

    run(main())
    assert (Unmade.received, Unmade.ended) == (1, 1)
    assert [str(context["exception"]) for context in reports] == ["connection_made", "connection_lost"]
    made, lost = (context["message"] for context in reports)
    assert made.startswith("Exception in callback Unmade.connection_made(")
    assert "_call_connection_lost(" in lost
    assert all(isinstance(context["handle"], asyncio.Handle) for context in reports)


def test_exit_in_connection_made_leaves_the_loop_and_the_connection_is_read_later(loop, run, monkeypatch):
    monkeypatch.setattr(Unmade, "error", SystemExit(3))
    monkeypatch.setattr(Unmade, "received", 0)
    monkeypatch.setattr(Unmade, "ended", 0)
    loop.set_exception_handler(lambda _, context: None)

    async def serve():
        server = await loop.create_server(Unmade, "127.0.0.1", 0)
        return server, socket.create_connection(server.sockets[0].getsockname())

    async def end(server):
        await until(lambda: Unmade.ended)
        server.close()
        await server.wait_closed()

    server, client = run(serve())
    with client:
        client.sendall(b"x")
        ended = loop.create_task(end(server))
        with pytest.raises(SystemExit):
            run(ended)
        run(ended)
    assert (Unmade.received, Unmade.ended) == (1, 1)


def test_class_without_connection_made_is_told_and_its_connection_closed():
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        server = await loop.create_server(object, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.setblocking(False)
            assert await loop.sock_recv(client, 1) == b""
        server.close()
        await server.wait_closed()

    with tonnage.Runner() as runner:
        runner.run(main())
    assert [context["message"] for context in reports] == [
        "Error on transport creation for incoming connection"
    ]
    assert isinstance(reports[0]["exception"], AttributeError)


def test_loop_that_makes_transports_itself_is_asked_for_those_of_a_server(listener):
    class Loop(tonnage.EventLoop):
        made = 0

        def _make_socket_transport(self, *args, **options):
            self.made += 1
            return super()._make_socket_transport(*args, **options)

    async def main():
        async with Served(listener):
            assert asyncio.get_running_loop().made == 1

    with tonnage.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_clients_of_a_server_are_closed_in_the_order_in_which_they_came():
    closed = []

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc):
            closed.append(self)

    made = []

    def factory():
        made.append(Protocol())
        return made[-1]

    async def main():
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(20)]
        await until(lambda: len(made) == len(clients))
        server.close()
        server.close_clients()
        await server.wait_closed()
        for client in clients:
            client.close()

    with tonnage.Runner() as runner:
        runner.run(main())
    assert closed == made


def test_server_finds_connections_that_it_does_not_watch():
    lost = []

    class Idle(asyncio.Protocol):
        def connection_made(self, transport):
            # Only this keeps it.
            self.transport = transport
            transport.pause_reading()
            made.append(self)

        def connection_lost(self, exc):
            lost.append(self)

    made = []

    async def main():
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Idle, "127.0.0.1", 0)
        second = await loop.create_server(Idle, "127.0.0.1", 0)
        clients = []
        for server in (first, second):
            clients.append(socket.create_connection(server.sockets[0].getsockname()))
            await until(lambda: len(made) == len(clients))
        first.close()
        first.abort_clients()
        await first.wait_closed()
        assert lost == made[:1]
        second.close()
        second.close_clients()
        await second.wait_closed()
        assert lost == made
        for client in clients:
            client.close()

    with tonnage.Runner() as runner:
        runner.run(main())


def test_server_finds_transports_of_other_classes():
    closed = []

    class Transport:
        def close(self):
            closed.append(self)

    async def main():
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        transports = [Transport(), Transport()]
        for transport in transports:
            server._attach(transport)
        server.close_clients()
        assert closed == transports
        for transport in transports:
            server._detach(transport)
        server.close_clients()
        assert closed == transports
        server.close()
        await server.wait_closed()

    with tonnage.Runner() as runner:
        runner.run(main())


def test_cycles_through_what_accepts_and_counts_connections_die():
    class Factory:
        pass

    class Counting(tonnage._tonnage.Connections):
        pass

    loop = tonnage.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        factory, counting = Factory(), Counting()
        listener = Listener(factory, sock, None, counting, 100, None, None, None)
        factory.intake = tonnage._tonnage.Intake(loop, listener, None, {}, 100, True)
        counting.itself = counting
        gone = [weakref.ref(factory), weakref.ref(counting)]
        del factory, counting, listener
        gc.collect()
        assert [reference() for reference in gone] == [None, None]
    loop.close()
