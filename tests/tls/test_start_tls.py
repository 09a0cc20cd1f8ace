"""`start_tls`: what was received before it, what is cancelled in it, and TLS within TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys

import pytest
from recorders import Recorder

from .peer import Peer


async def end(protocol):
    return await asyncio.wait_for(protocol.lost, 5)


@pytest.fixture
def plain(loop):
    """A connection without TLS, and the socket at its other end."""
    socks = []
    transports = []

    async def make(factory=Recorder):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        socks.append(theirs)
        transport, protocol = await loop.create_connection(factory, sock=ours)
        transports.append(transport)
        return transport, protocol, theirs

    yield make
    for sock in socks:
        sock.close()
    for transport in transports:
        transport.abort()
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    transports.clear()


def test_protocol_goes_on_over_tls(loop, run, plain, contexts):
    async def main():
        transport, protocol, sock = await plain()
        await loop.sock_sendall(sock, b"plain ")
        await protocol.received(6)
        peer = Peer(loop, sock, contexts.server)
        handshake = asyncio.ensure_future(peer.handshake())
        secure = await loop.start_tls(transport, protocol, contexts.client, server_hostname="localhost")
        await handshake
        assert transport.get_protocol() is secure._ssl_protocol
        await peer.write(b"secret")
        assert await protocol.received(12) == b"plain secret"
        assert protocol.events == ["made"]
        secure.write(b"answer")
        assert await peer.read(6) == b"answer"
        secure.abort()
        assert await end(protocol) is None

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is of 3.11")
@pytest.mark.parametrize("early", [False, True])
def test_streams_upgrade(loop, run, contexts, early, asyncio_since):
    # gh-142352
    asyncio_since(3, 14, 3)
    done = []

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        while early and not reader._buffer:
            await asyncio.sleep(0)
        await writer.start_tls(contexts.server)
        writer.write((await reader.readline())[::-1])
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        done.append(True)

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, server.sockets[0].getsockname())
            peer = Peer(loop, sock, contexts.client, hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            hello = peer.outgoing.read()
            await peer.send(b"STARTTLS\n" + (hello if early else b""))
            if not early:
                await asyncio.sleep(0.01)
                await peer.send(hello)
            await peer.handshake()
            await peer.write(b"abc\n")
            assert await peer.read(4) == b"\ncba"
            await peer.unwrap()
        server.close()
        while not done:
            await asyncio.sleep(0.001)

    run(main())


def test_plain_bytes_in_place_of_a_hello_are_refused(loop, run, contexts, asyncio_since):
    asyncio_since()
    failed = []

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        while not reader._buffer:
            await asyncio.sleep(0)
        try:
            await loop.start_tls(
                writer.transport, writer.transport.get_protocol(), contexts.server, server_side=True
            )
        except ssl.SSLError as error:
            failed.append(error)
        assert not reader._buffer
        writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as sock:
            sock.sendall(b"STARTTLS\nDELETE ALL\n")
            sock.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(sock, 100) == b""
        server.close()
        while not failed:
            await asyncio.sleep(0)

    run(main())


def test_plain_bytes_of_a_server_do_not_pass_for_secured_ones(loop, run, contexts, caplog, asyncio_since):
    # asyncio hands them on.
    asyncio_since()

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.sendall(b"220 go ahead\n250 trust me\n")
            assert await reader.readline() == b"220 go ahead\n"
            peer = Peer(loop, theirs, contexts.server)
            handshake = asyncio.ensure_future(peer.handshake())
            protocol = writer.transport.get_protocol()
            secure = await loop.start_tls(
                writer.transport, protocol, contexts.client, server_hostname="localhost"
            )
            reader._transport = writer._transport = secure
            await handshake
            await peer.write(b"250 secured\n")
            assert await reader.readline() == b"250 secured\n"
            assert "start_tls() dropped 13 bytes that were received before it" in caplog.text
            await peer.send(peer.close_notify())
            assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(main())


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
def test_cancelled_upgrade_closes_the_connection(loop, run, plain, contexts, turns):
    async def main():
        transport, protocol, sock = await plain()
        upgrade = loop.create_task(
            loop.start_tls(transport, protocol, contexts.client, server_hostname="localhost")
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        upgrade.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrade
        assert transport.is_closing()
        while await asyncio.wait_for(loop.sock_recv(sock, 65536), 5):
            pass
        for _ in range(3):
            await asyncio.sleep(0)

    run(main())


def test_failed_upgrade_closes_the_connection(loop, run, plain, contexts):
    async def main():
        transport, protocol, sock = await plain()
        peer = Peer(loop, sock, contexts.server)
        handshake = asyncio.ensure_future(peer.handshake())
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.start_tls(transport, protocol, contexts.client, server_hostname="other")
        assert transport.is_closing()
        assert isinstance(await end(protocol), ssl.SSLCertVerificationError)
        with contextlib.suppress(ssl.SSLError, OSError):
            await handshake

    run(main())


def test_tls_within_tls(loop, run, connect, contexts, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        outer, protocol, peer = await connect()
        inside = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner_tls = contexts.server.wrap_bio(*inside, server_side=True)

        async def answer(step):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    if inside[1].pending:
                        await peer.write(inside[1].read())
                    inside[0].write(await peer._do(lambda: peer.tls.read(65536)))
                else:
                    if inside[1].pending:
                        await peer.write(inside[1].read())
                    return result

        handshake = asyncio.ensure_future(answer(inner_tls.do_handshake))
        inner = await loop.start_tls(outer, protocol, contexts.client, server_hostname="localhost")
        await handshake
        assert inner.get_extra_info("ssl_object") is not outer.get_extra_info("ssl_object")
        assert inner.get_extra_info("socket") is outer.get_extra_info("socket")
        inner.write(b"question")
        assert await answer(lambda: inner_tls.read(100)) == b"question"
        inner_tls.write(b"answer")
        await peer.write(inside[1].read())
        assert await protocol.received(6) == b"answer"
        inner.abort()
        assert await end(protocol) is None

    run(main())


def test_what_cannot_be_upgraded_is_refused(loop, run, contexts):
    async def main():
        with pytest.raises(
            TypeError, match=r"^sslcontext is expected to be an instance of ssl.SSLContext, got None"
        ):
            await loop.start_tls(None, None, None)
        with pytest.raises(TypeError, match=r"^transport None is not supported by start_tls\(\)$"):
            await loop.start_tls(None, None, contexts.client)

    run(main())


@pytest.mark.parametrize("is_lost", [False, True])
def test_connection_that_has_ended_is_not_upgraded(loop, run, plain, contexts, is_lost, asyncio_since):
    asyncio_since()  # asyncio's waits for ever, or returns None.

    async def main():
        transport, protocol, _ = await plain()
        transport.close()
        if is_lost:
            await end(protocol)
        with pytest.raises(ConnectionResetError, match="^Connection lost$"):
            await loop.start_tls(transport, protocol, contexts.client, server_hostname="localhost")

    run(main())


def test_connection_that_ends_in_the_handshake_returns_a_closed_transport(
    loop, run, plain, contexts, asyncio_since
):
    asyncio_since()  # asyncio's returns None.

    async def main():
        transport, protocol, _ = await plain()
        loop.call_soon(transport.close)
        secure = await loop.start_tls(transport, protocol, contexts.client, server_hostname="localhost")
        assert isinstance(secure, asyncio.Transport)
        assert secure.is_closing()

    run(main())
