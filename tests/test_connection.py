"""`create_connection`, `create_unix_connection`, `connect_accepted_socket`, `start_tls` and `ssl=`."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
import pickle
import socket
import ssl
import sys
from typing import Any

import pytest
import tonnage
from certificates import make_contexts

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Lines(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.data = b""
        self.made = loop.create_future()
        self.received = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data):
        self.data += data
        if not self.received.done():
            self.received.set_result(None)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def listening_socket(family=socket.AF_INET, address=("127.0.0.1", 0)):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen()
    return listener


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


async def end(*transports):
    """Close transports, and wait until their sockets are."""
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def refused_addresses(count):
    """Addresses on which nobody listens."""
    return [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number + 2}", 1)) for number in range(count)
    ]


def answer_with(loop, infos):
    async def getaddrinfo(*args, **kwargs):
        return infos

    loop.getaddrinfo = getaddrinfo


REFUSED_BY_CREATE_CONNECTION: list[Any] = [
    ({}, None),
    ({"server_hostname": "x"}, None),
    ({"ssl": True}, None),
    ({"ssl_handshake_timeout": 1}, None),
    ({"ssl_shutdown_timeout": 1}, None),
    ({"host": "127.0.0.1", "port": 1}, socket.socket),
    ({}, lambda: socket.socket(type=socket.SOCK_DGRAM)),
    ({"ssl": True}, socket.socket),
]
REFUSED_BY_CREATE_UNIX_CONNECTION: list[Any] = [
    ({}, None),
    ({"ssl": True}, None),
    ({"server_hostname": "x"}, None),
    ({"ssl_handshake_timeout": 1}, None),
    ({"ssl_shutdown_timeout": 1}, None),
    ({"path": "/x"}, socket.socket),
    ({}, socket.socket),
]
REFUSED_BY_CONNECT_ACCEPTED_SOCKET: list[Any] = [
    ({}, lambda: socket.socket(type=socket.SOCK_DGRAM)),
    ({"ssl_handshake_timeout": 1}, socket.socket),
    ({"ssl_shutdown_timeout": 1}, socket.socket),
]


@pytest.mark.parametrize(
    ("method", "options", "make_socket"),
    [("create_connection", *case) for case in REFUSED_BY_CREATE_CONNECTION]
    + [("create_unix_connection", *case) for case in REFUSED_BY_CREATE_UNIX_CONNECTION]
    + [("connect_accepted_socket", *case) for case in REFUSED_BY_CONNECT_ACCEPTED_SOCKET],
)
def test_bad_arguments_are_refused_as_by_asyncio(method, options, make_socket):
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


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("127.0.0.1", "x"), ("no.such.host.invalid", 1)])
def test_failure_to_connect_is_asyncios(address):
    outcomes = []
    for make_loop in (asyncio.SelectorEventLoop, tonnage.new_event_loop):
        loop = make_loop()
        with pytest.raises(OSError, match=".") as caught:
            loop.run_until_complete(loop.create_connection(asyncio.Protocol, *address))
        outcomes.append((caught.type, str(caught.value), caught.value.errno))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    assert outcomes[0] == outcomes[1]


def test_connection_carries_data_both_ways_and_knows_its_addresses(loop, run):
    async def main():
        with listening_socket() as listener:
            transport, protocol = await loop.create_connection(Lines, *listener.getsockname())
            peer, peer_name = listener.accept()
        with peer:
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is protocol
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer_name
            assert transport.get_extra_info("socket").family == socket.AF_INET
            peer.sendall(b"in")
            await asyncio.wait_for(protocol.received, 5)
            assert protocol.data == b"in"
            transport.write(b"out")
            await asyncio.sleep(0)
            assert peer.recv(10) == b"out"
        await asyncio.wait_for(protocol.lost, 5)
        await end(transport)

    run(main())


def test_connection_takes_over_a_connected_socket(loop, run):
    async def main():
        ours, peer = socket.socketpair()
        transport, _ = await loop.create_connection(Lines, sock=ours)
        transport.write(b"x")
        await asyncio.sleep(0)
        assert peer.recv(1) == b"x"
        peer.close()
        await end(transport)

    run(main())


def test_socket_of_a_transport_cannot_be_taken_over(loop, run, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        ours, peer = socket.socketpair()
        transport, _ = await loop.create_connection(Lines, sock=ours)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop._make_socket_transport(ours, Lines())
        peer.close()
        await end(transport)

    run(main())


def test_local_address_is_bound(loop, run):
    async def main():
        with listening_socket() as listener:
            transport, _ = await loop.create_connection(
                Lines, *listener.getsockname(), local_addr=("127.0.0.5", 0)
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.5"
            await end(transport)

    run(main())


def test_unbindable_local_address_is_named(loop, run):
    async def main():
        with listening_socket() as listener:
            with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
                await loop.create_connection(Lines, *listener.getsockname(), local_addr=("203.0.113.7", 0))
            assert "203.0.113.7" in str(caught.value)

    run(main())


def test_local_address_of_another_family_does_not_match(loop, run, asyncio_since):
    asyncio_since(3, 12)

    async def main():
        local = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))]
        answer_with(loop, local)
        with pytest.raises(OSError, match="no matching local address with family=.*AF_INET.* found"):
            await loop.create_connection(Lines, "127.0.0.1", 1, local_addr=("local", 0))

    run(main())


def test_different_failures_are_combined(loop, run):
    async def main():
        answer_with(loop, refused_addresses(2))
        with pytest.raises(OSError, match=r"^Multiple exceptions: \[Errno 111\].*127.0.0.2.*127.0.0.3"):
            await loop.create_connection(Lines, "name", 1)

    run(main())


@pytest.mark.parametrize("delay", [None, 0.001])
def test_all_errors_raises_a_group(loop, run, delay, asyncio_since):
    asyncio_since(3, 12)

    async def main():
        answer_with(loop, refused_addresses(2))
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Lines, "name", 1, all_errors=True, happy_eyeballs_delay=delay)
        assert caught.value.message == "create_connection failed"
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2
        for group in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
            assert [type(error) for error in group.exceptions] == [ConnectionRefusedError] * 2
        assert "ConnectionRefusedError" in repr(caught.value)

    run(main())


def test_next_address_is_tried_after_a_failure(loop, run):
    async def main():
        with listening_socket() as listener:
            good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())
            answer_with(loop, [*refused_addresses(2), good])
            transport, _ = await loop.create_connection(Lines, "name", 1)
            assert transport.get_extra_info("peername") == listener.getsockname()
            await end(transport)

    run(main())


def test_happy_eyeballs_starts_the_next_attempt_while_one_hangs(loop, run):
    cancelled = []

    async def main():
        real_connect = loop.sock_connect

        async def sock_connect(sock, address):
            if address[0] == "127.0.0.2":
                try:
                    await asyncio.sleep(60)
                finally:
                    cancelled.append(sock)
            await real_connect(sock, address)

        loop.sock_connect = sock_connect
        before = open_descriptors()
        with listening_socket() as listener:
            good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())
            answer_with(loop, [*refused_addresses(1), good])
            transport, _ = await loop.create_connection(Lines, "name", 1, happy_eyeballs_delay=0.01)
            assert transport.get_extra_info("peername") == listener.getsockname()
            await end(transport)
        assert len(cancelled) == 1
        assert cancelled[0].fileno() == -1
        assert open_descriptors() == before
        assert asyncio.all_tasks() == {asyncio.current_task()}
        del loop.sock_connect

    run(main())


@pytest.mark.parametrize("delay", [None, 0.001])
def test_cancelled_connection_leaves_no_socket_and_no_task(loop, run, delay):
    async def main():
        async def sock_connect(sock, address):
            await asyncio.sleep(60)

        loop.sock_connect = sock_connect
        before = open_descriptors()
        answer_with(loop, refused_addresses(3))
        connecting = asyncio.ensure_future(
            loop.create_connection(Lines, "name", 1, happy_eyeballs_delay=delay)
        )
        await asyncio.sleep(0.02)
        assert open_descriptors() > before
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert open_descriptors() == before
        assert asyncio.all_tasks() == {asyncio.current_task()}
        del loop.sock_connect

    run(main())


def test_bug_in_a_happy_eyeballs_attempt_is_raised(loop, run, asyncio_since):
    asyncio_since()

    async def main():
        async def sock_connect(sock, address):
            raise ZeroDivisionError

        loop.sock_connect = sock_connect
        answer_with(loop, refused_addresses(2))
        with pytest.raises(ZeroDivisionError):
            await loop.create_connection(Lines, "name", 1, happy_eyeballs_delay=0.001)
        del loop.sock_connect

    run(main())


@pytest.mark.parametrize(
    ("interleave", "order"),
    [(None, "AABB"), (0, "AABB"), (1, "ABAB"), (2, "AABB"), (-1, "ABAB"), (9, "AABB")],
)
def test_interleave_lets_families_take_turns(loop, run, interleave, order):
    seen = []

    async def main():
        async def sock_connect(sock, address):
            seen.append("A" if sock.family == socket.AF_INET6 else "B")
            raise OSError("no")

        loop.sock_connect = sock_connect
        sixes = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", n, 0, 0)) for n in (1, 2)]
        answer_with(loop, sixes + refused_addresses(2))
        with pytest.raises(OSError, match="^no$"):
            await loop.create_connection(Lines, "name", 1, interleave=interleave)
        del loop.sock_connect

    run(main())
    assert "".join(seen) == order


def test_factory_that_raises_closes_the_socket(loop, run, asyncio_since):
    asyncio_since(3, 15)

    def factory():
        raise ValueError("no protocol today")

    async def main():
        before = open_descriptors()
        with listening_socket() as listener, pytest.raises(ValueError, match="no protocol today"):
            await loop.create_connection(factory, *listener.getsockname())
        assert open_descriptors() == before

    run(main())


def test_connection_runs_in_a_copy_of_its_creators_context(loop, run, asyncio_since):
    asyncio_since(3, 15)
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Protocol(Lines):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get())
            variable.set("connection")

        def data_received(self, data):
            super().data_received(data)
            seen.append(variable.get())

    async def main():
        variable.set("creator")
        ours, peer = socket.socketpair()
        transport, protocol = await loop.create_connection(Protocol, sock=ours)
        variable.set("later")
        peer.sendall(b"x")
        await asyncio.wait_for(protocol.received, 5)
        peer.close()
        await end(transport)
        assert variable.get() == "later"

    run(main())
    assert seen == ["creator", "connection"]


def test_accepted_socket_is_taken_over(loop, run):
    async def main():
        with listening_socket() as listener, socket.create_connection(listener.getsockname()) as client:
            accepted, name = listener.accept()
            transport, protocol = await loop.connect_accepted_socket(Lines, accepted)
            assert transport.get_extra_info("peername") == name
            client.sendall(b"x")
            await asyncio.wait_for(protocol.received, 5)
            await end(transport)

    run(main())


def test_unix_connection_by_path_and_by_socket(loop, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def main():
        with listening_socket(socket.AF_UNIX, "listener") as listener:
            transport, _ = await loop.create_unix_connection(Lines, "listener")
            assert transport.get_extra_info("peername") == "listener"
            await end(transport)
            ours = socket.socket(socket.AF_UNIX)
            ours.connect("listener")
            transport, _ = await loop.create_unix_connection(Lines, sock=ours)
            await end(transport)
            listener.close()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Lines, "listener")

    run(main())


@pytest.fixture(scope="module")
def contexts(tmp_path_factory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's TLS context, for localhost."""
    return make_contexts(tmp_path_factory.mktemp("certificate"))


async def tls_server(loop, context, **options):
    accepted = []

    def factory():
        accepted.append(Lines())
        return accepted[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context, **options)
    return server, server.sockets[0].getsockname(), accepted


def test_tls_carries_data_both_ways(loop, run, contexts):
    async def main():
        server, address, accepted = await tls_server(loop, contexts[0])
        transport, client = await loop.create_connection(
            Lines, *address, ssl=contexts[1], server_hostname="localhost", ssl_handshake_timeout=5
        )
        assert transport.get_extra_info("ssl_object").version()
        assert transport.get_extra_info("sslcontext") is contexts[1]
        assert transport.get_extra_info("peername") == address
        transport.write(b"x" * 300_000)
        await asyncio.wait_for(accepted[0].made, 5)
        while len(accepted[0].data) < 300_000:
            await asyncio.sleep(0.001)
        accepted[0].transport.write(b"answer")
        await asyncio.wait_for(client.received, 5)
        assert client.data == b"answer"
        transport.close()
        assert await asyncio.wait_for(client.lost, 5) is None
        await asyncio.wait_for(accepted[0].lost, 5)
        accepted[0].transport.close()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_tls_over_a_unix_socket(loop, run, contexts, tmp_path):
    async def handle(reader, writer):
        assert writer.get_extra_info("ssl_object") is not None
        writer.write((await reader.readline())[::-1])
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_unix_server(handle, tmp_path / "tls", ssl=contexts[0])
        reader, writer = await asyncio.open_unix_connection(
            tmp_path / "tls", ssl=contexts[1], server_hostname="localhost"
        )
        writer.write(b"abc\n")
        assert await asyncio.wait_for(reader.read(), 5) == b"\ncba"
        writer.close()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.slow
def test_tls_within_tls(loop, run, contexts, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        answered = loop.create_future()

        async def handle(reader, writer):
            protocol = writer.transport.get_protocol()
            inner = await loop.start_tls(writer.transport, protocol, contexts[0], server_side=True)
            reader._transport = writer._transport = inner
            writer.write((await reader.readline())[::-1])
            await answered
            inner.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=contexts[0])
        outer, client = await loop.create_connection(
            Lines, *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
        )
        inner = await loop.start_tls(outer, client, contexts[1], server_hostname="localhost")
        inner.write(b"abc\n")
        await asyncio.wait_for(client.received, 5)
        assert client.data == b"\ncba"
        answered.set_result(None)
        await asyncio.wait_for(client.lost, 5)
        inner.close()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_file_is_sent_over_tls_by_reading_it(loop, run, contexts, tmp_path):
    server_context, client_context = contexts
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)

    async def main():
        server, address, accepted = await tls_server(loop, server_context)
        transport, client = await loop.create_connection(
            Lines, *address, ssl=client_context, server_hostname="localhost"
        )
        with path.open("rb") as file:
            with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not supp"):
                await loop.sendfile(transport, file, fallback=False)
            transport.write(b"head")
            assert await loop.sendfile(transport, file, 5, 900_000) == 900_000
            assert file.tell() == 900_005
        transport.write(b"tail")
        while len(accepted[0].data) < 900_008:
            await asyncio.sleep(0.001)
        assert accepted[0].data == b"head" + path.read_bytes()[5:900_005] + b"tail"
        accepted[0].transport.write(b"answer")
        while client.data != b"answer":
            await asyncio.sleep(0.001)
        assert transport.get_protocol() is client
        await end(transport)
        accepted[0].transport.close()
        server.close()

    run(main())


def test_failed_tls_handshake_raises_and_the_server_goes_on(loop, run, contexts, reports):
    async def main():
        server, address, _ = await tls_server(loop, contexts[0])
        stranger = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(Lines, *address, ssl=stranger, server_hostname="localhost")
        transport, client = await loop.create_connection(
            Lines, *address, ssl=contexts[1], server_hostname="localhost"
        )
        transport.close()
        await asyncio.wait_for(client.lost, 5)
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_tls_handshake_that_takes_too_long_is_aborted(loop, run, contexts, reports):
    async def main():
        with listening_socket() as silent:
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 0.02"):
                await loop.create_connection(
                    Lines,
                    *silent.getsockname(),
                    ssl=contexts[1],
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.02,
                )
            await asyncio.sleep(0.01)

    run(main())


def test_ssl_shutdown_timeout_is_accepted_on_every_version(loop, run, contexts, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        server, address, _ = await tls_server(loop, contexts[0], ssl_shutdown_timeout=5)
        transport, client = await loop.create_connection(
            Lines, *address, ssl=contexts[1], server_hostname="localhost", ssl_shutdown_timeout=5
        )
        transport.close()
        await asyncio.wait_for(client.lost, 5)
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_start_tls_upgrades_both_sides(loop, run, contexts, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        upgraded = loop.create_future()

        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go")
            transport = await loop.start_tls(
                writer.transport, writer.transport.get_protocol(), contexts[0], server_side=True
            )
            reader._transport = writer._transport = transport
            writer.write(await reader.readline())
            upgraded.set_result(None)
            transport.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        plain, client = await loop.create_connection(Lines, *server.sockets[0].getsockname())
        plain.write(b"STARTTLS\n")
        await asyncio.wait_for(client.received, 5)
        client.received = loop.create_future()
        transport = await loop.start_tls(
            plain, client, contexts[1], server_hostname="localhost", ssl_shutdown_timeout=5
        )
        transport.write(b"hello\n")
        await asyncio.wait_for(upgraded, 5)
        await asyncio.wait_for(client.received, 5)
        assert client.data == b"gohello\n"
        await asyncio.wait_for(client.lost, 5)
        transport.close()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_start_tls_refuses_what_it_cannot_upgrade(loop, run, contexts):
    async def main():
        with pytest.raises(TypeError, match=r"^sslcontext is expected to be an instance of ssl.SSLContext"):
            await loop.start_tls(None, None, None)
        with pytest.raises(TypeError, match=r"^transport None is not supported by start_tls\(\)$"):
            await loop.start_tls(None, None, contexts[0])

    run(main())


def test_start_tls_takes_bytes_that_the_stream_has_read_already(loop, run, contexts, asyncio_since):
    asyncio_since(3, 14, 3)

    async def main():
        done = loop.create_future()

        async def handle(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            while not reader._buffer:
                await asyncio.sleep(0.001)
            transport = await loop.start_tls(
                writer.transport, writer.transport.get_protocol(), contexts[0], server_side=True
            )
            reader._transport = writer._transport = transport
            writer.close()
            done.set_result(None)

        server = await asyncio.start_server(handle, "127.0.0.1", 0)

        def eager_client():
            # The first TLS record leaves together with the last plain line.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = contexts[1].wrap_bio(incoming, outgoing, server_hostname="localhost")
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                greeting = b"STARTTLS\n"
                while True:
                    try:
                        tls.do_handshake()
                    except ssl.SSLWantReadError:
                        client.sendall(greeting + outgoing.read())
                        greeting = b""
                        incoming.write(client.recv(65536))
                    else:
                        client.sendall(outgoing.read())
                        return

        await asyncio.wait_for(loop.run_in_executor(None, eager_client), 5)
        await asyncio.wait_for(done, 5)
        server.close()
        await asyncio.sleep(0.01)

    run(main())
