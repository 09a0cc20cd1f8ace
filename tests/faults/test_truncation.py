"""TLS whose peer goes away without a word, stalls, or sends what is no TLS.

Everything that arrived whole is delivered, everyone who waits is told, and nothing is left.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys

import pytest
import tonnage
from descriptors import open_descriptors

from .peers import Recorder, reset, tcp_pair, until

SECRET = b"the whole of what was sent;" * 100


@pytest.fixture(autouse=True)
def oracle_closes(loop) -> None:
    """That of 3.10 leaves its transports unclosed."""
    if sys.version_info < (3, 11) and not isinstance(loop, tonnage.EventLoop):
        pytest.skip("asyncio's TLS of 3.10 leaves its transports unclosed")


@pytest.fixture(autouse=True)
def nothing_left(loop, contexts):
    """No descriptor is left; what the oracle leaves behind is not judged."""
    if sys.platform != "linux" or not isinstance(loop, tonnage.EventLoop):
        yield
        return
    # The threads of the executor open what they need once.
    loop.run_until_complete(loop.run_in_executor(None, int))
    gc.collect()
    before = len(open_descriptors())
    yield
    gc.collect()
    assert len(open_descriptors()) == before


class Peer:
    """The other end of a TLS connection, on a blocking socket in a thread."""

    def __init__(self, context, sock, *, server_side):
        options = {} if server_side else {"server_hostname": "localhost"}
        self.tls = context.wrap_socket(sock, server_side=server_side, **options)

    def cut(self):
        """End the TCP connection, and say nothing in TLS."""
        with socket.socket(fileno=self.tls.detach()):
            pass

    def reset(self):
        reset(socket.socket(fileno=self.tls.detach()))


async def client(loop, contexts, factory=Recorder, **options):
    """Return the protocol of a TLS client of ours, and its peer."""
    ours, theirs = tcp_pair()
    peer = loop.run_in_executor(None, lambda: Peer(contexts[0], theirs, server_side=True))
    _, protocol = await loop.create_connection(
        factory, sock=ours, ssl=contexts[1], server_hostname="localhost", **options
    )
    return protocol, await peer


async def streams(loop, contexts):
    ours, theirs = tcp_pair()
    peer = loop.run_in_executor(None, lambda: Peer(contexts[0], theirs, server_side=True))
    reader, writer = await asyncio.open_connection(sock=ours, ssl=contexts[1], server_hostname="localhost")
    return reader, writer, await peer


def test_what_came_before_a_truncation_is_delivered(run, loop, contexts):
    async def main():
        protocol, peer = await client(loop, contexts)
        peer.tls.sendall(SECRET)
        peer.cut()
        # Whether it is told to be no proper end, or hidden as asyncio does, it is an end.
        await protocol.lost
        assert protocol.data == SECRET

    run(main())


def test_stream_that_is_truncated_ends(run, loop, contexts):
    async def main():
        reader, writer, peer = await streams(loop, contexts)
        peer.tls.sendall(SECRET)
        peer.cut()
        with pytest.raises((asyncio.IncompleteReadError, ssl.SSLError)) as caught:
            await reader.readexactly(len(SECRET) + 1)
        if isinstance(caught.value, asyncio.IncompleteReadError):
            assert caught.value.partial == SECRET
        writer.transport.abort()
        await asyncio.sleep(0.005)

    run(main())


def test_record_that_is_cut_in_the_middle_is_not_delivered(run, loop, contexts):
    """Half a record proves nothing about its bytes."""

    def work(sock):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts[0].wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        tls.write(SECRET)
        tls.write(b"never" * 1000)
        sock.sendall(outgoing.read()[:-100])
        sock.close()

    async def main():
        ours, theirs = tcp_pair()
        working = loop.run_in_executor(None, work, theirs)
        _, protocol = await loop.create_connection(
            Recorder, sock=ours, ssl=contexts[1], server_hostname="localhost"
        )
        await protocol.lost
        assert protocol.data == SECRET
        await working

    run(main())


def test_reset_of_a_tls_connection_is_told(run, loop, contexts):
    async def main():
        protocol, peer = await client(loop, contexts)
        peer.reset()
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    run(main())


def test_reset_of_a_tls_connection_with_a_full_buffer_is_told(run, loop, contexts):
    async def main():
        protocol, peer = await client(loop, contexts)
        protocol.transport.write(bytes(8 * 1024 * 1024))
        await asyncio.sleep(0.01)
        peer.reset()
        assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))

    run(main())


@pytest.mark.parametrize("last_word", [b"", b"\x16\x03\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_peer_that_leaves_during_the_handshake_fails_the_connection(run, loop, contexts, last_word):
    async def main():
        ours, theirs = tcp_pair()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, sock=ours, ssl=contexts[1], server_hostname="localhost")
        )
        await asyncio.sleep(0.005)
        theirs.sendall(last_word)
        # What it did not read makes a reset of its end, and otherwise it is a plain end.
        theirs.recv(65536)
        theirs.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await connecting
        await asyncio.sleep(0.005)

    run(main())


def test_server_survives_all_kinds_of_handshakes_that_fail(run, loop, contexts, reports):
    """And serves the next one who does it well."""

    async def main():
        protocols = []

        def factory():
            protocols.append(Recorder())
            return protocols[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=contexts[0], ssl_handshake_timeout=1)
        address = server.sockets[0].getsockname()
        for first_words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(10_000)):
            with socket.create_connection(address) as stranger:
                stranger.sendall(first_words)
            reset(socket.create_connection(address))
        silent = socket.create_connection(address)
        transport, client = await loop.create_connection(
            Recorder, *address, ssl=contexts[1], server_hostname="localhost"
        )
        transport.write(b"hello")
        await until(lambda: any(protocol.data == b"hello" for protocol in protocols))
        transport.close()
        await client.lost
        # The one that says nothing has its time.
        silent.setblocking(False)
        assert await asyncio.wait_for(loop.sock_recv(silent, 100), 10) == b""
        silent.close()
        server.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    run(main())


def test_peer_that_never_answers_a_handshake_is_given_up(run, loop, contexts):
    async def main():
        ours, theirs = tcp_pair()
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 0.05"):
            await loop.create_connection(
                Recorder, sock=ours, ssl=contexts[1], server_hostname="localhost", ssl_handshake_timeout=0.05
            )
        theirs.close()
        await asyncio.sleep(0.005)

    run(main())


def test_peer_that_never_answers_a_close_is_given_up(run, loop, contexts, asyncio_since):
    asyncio_since(3, 11)

    async def main():
        protocol, peer = await client(loop, contexts, ssl_shutdown_timeout=0.05)
        protocol.transport.close()
        await asyncio.wait_for(protocol.lost, 10)
        peer.cut()

    run(main())


def test_peer_that_closes_properly_ends_the_stream_without_an_error(run, loop, contexts):
    async def main():
        protocol, peer = await client(loop, contexts)
        peer.tls.sendall(SECRET)
        shutting = loop.run_in_executor(None, peer.tls.unwrap)
        await protocol.lost
        assert protocol.data == SECRET
        await asyncio.wait([shutting])
        peer.tls.close()
        shutting.exception()

    run(main())


def test_cancelled_handshake_leaves_nothing(run, loop, contexts):
    async def main():
        ours, theirs = tcp_pair()
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, sock=ours, ssl=contexts[1], server_hostname="localhost")
        )
        await asyncio.sleep(0.005)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        theirs.close()
        await asyncio.sleep(0.005)
        assert len(asyncio.all_tasks()) == 1

    run(main())


@pytest.mark.parametrize("size", [1, 16 * 1024, 16 * 1024 + 1, 300_000])
def test_records_of_any_size_arrive_before_the_end(run, loop, contexts, size):
    async def main():
        protocol, peer = await client(loop, contexts)

        def send():
            data = bytes(range(256)) * (size // 256 + 1)
            if size == 1:
                for byte in data[:50]:
                    peer.tls.sendall(bytes([byte]))
            else:
                peer.tls.sendall(data)
            return data[: 50 if size == 1 else None]

        sent = await loop.run_in_executor(None, send)
        peer.cut()
        await protocol.lost
        assert protocol.data == sent

    run(main())
