"""Peers that read slowly, or not at all: memory stays bounded, and the connection can be ended."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from .peers import Recorder, tcp_pair, until

KIBIBYTE = 1024
HIGH_WATER = 64 * KIBIBYTE
CHUNK = 48 * KIBIBYTE


async def streams(limit=HIGH_WATER):
    ours, peer = tcp_pair(receive_buffer=4096)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reader, writer = await asyncio.open_connection(sock=ours, limit=limit)
    return reader, writer, peer


async def end(writer, peer):
    writer.transport.abort()
    peer.close()
    await asyncio.sleep(0.005)


@pytest.mark.parametrize("method", ["write", "writelines"])
def test_drain_bounds_the_memory_for_a_peer_that_does_not_read(run, method, asyncio_since):
    if method == "writelines":
        asyncio_since()  # gh-127655: many versions never pause.

    async def main():
        _, writer, peer = await streams()
        most = written = 0

        async def produce():
            nonlocal most, written
            while True:
                if method == "write":
                    writer.write(bytes(CHUNK))
                else:
                    writer.writelines([bytes(CHUNK // 4)] * 4)
                written += CHUNK
                most = max(most, writer.transport.get_write_buffer_size())
                await writer.drain()

        producing = asyncio.ensure_future(produce())
        await asyncio.sleep(0.02)
        assert not producing.done()
        assert most <= HIGH_WATER + CHUNK
        assert written <= HIGH_WATER + 40 * CHUNK
        producing.cancel()
        await asyncio.wait([producing])
        await end(writer, peer)

    run(main())


def test_peer_that_reads_little_by_little_gets_all_of_it(run, loop):
    size = 2048 * KIBIBYTE
    data = bytes(range(256)) * (size // 256)

    async def main():
        _, writer, peer = await streams()
        peer.setblocking(False)
        most = 0

        async def produce():
            nonlocal most
            for start in range(0, size, CHUNK):
                writer.write(data[start : start + CHUNK])
                most = max(most, writer.transport.get_write_buffer_size())
                await writer.drain()
            writer.write_eof()

        producing = asyncio.ensure_future(produce())
        received = bytearray()
        while chunk := await loop.sock_recv(peer, 10_007):
            received += chunk
        await producing
        assert received == data
        assert most <= HIGH_WATER + CHUNK
        await end(writer, peer)

    run(main())


def test_peer_that_sends_more_than_is_read_is_held_back(run):
    async def main():
        limit = 16 * KIBIBYTE
        reader, writer, peer = await streams(limit)
        peer.setblocking(False)
        sent = 0
        for _ in range(40):
            try:
                while True:
                    sent += peer.send(bytes(CHUNK))
            except BlockingIOError:
                await asyncio.sleep(0.001)
        # Twice the limit, and what one read brings.
        assert len(reader._buffer) <= 2 * limit + 256 * KIBIBYTE
        assert sent < 8192 * KIBIBYTE
        await end(writer, peer)

    run(main())


@pytest.mark.parametrize("is_closed_first", [False, True])
def test_connection_to_a_peer_that_does_not_read_can_be_aborted(run, is_closed_first):
    async def main():
        _, writer, peer = await streams()
        writer.write(bytes(4096 * KIBIBYTE))
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        if is_closed_first:
            writer.close()
            await asyncio.sleep(0.005)
            assert not draining.done()
        writer.transport.abort()
        await draining
        assert writer.transport.get_write_buffer_size() == 0
        await writer.wait_closed()
        peer.close()

    run(main())


def test_server_can_end_peers_that_do_not_read(run, loop, asyncio_since):
    asyncio_since(3, 13)

    async def main():
        made = []

        class Flooding(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(bytes(16 * 1024 * KIBIBYTE))
                made.append(self)

        server = await loop.create_server(Flooding, "127.0.0.1", 0)
        peers = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(5)]
        await until(lambda: len(made) == 5)
        server.close()
        server.close_clients()
        closed = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        # They are still there: what was written is theirs.
        assert not closed.done()
        server.abort_clients()
        await asyncio.wait_for(closed, 10)
        assert [await protocol.lost for protocol in made] == [None] * 5
        for peer in peers:
            peer.close()

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
@pytest.mark.parametrize("is_closed", [False, True])
def test_kernel_can_end_peers_that_do_not_read(run, loop, is_closed):
    """The recipe of docs/bounded.md, whose option each accepted connection inherits."""

    async def main():
        made = loop.create_future()

        class Flooding(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(bytes(16 * 1024 * KIBIBYTE))
                if is_closed:
                    transport.close()
                made.set_result(self)

        sock = socket.create_server(("127.0.0.1", 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
        server = await loop.create_server(Flooding, sock=sock)
        peer = socket.create_connection(sock.getsockname())
        lost = await asyncio.wait_for((await made).lost, 20)
        assert type(lost) is TimeoutError
        peer.close()
        server.close()
        await server.wait_closed()

    run(main())


def test_closed_connection_does_not_keep_what_it_could_not_send(run, loop):
    """The memory of the buffers goes with the connection, and not with the transport object."""

    class Big(bytes):
        dropped = 0

        def __del__(self):
            Big.dropped += 1

    async def main():
        ours, peer = tcp_pair(receive_buffer=4096)
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        await until(lambda: loop_is_full(transport))
        for _ in range(10):
            transport.write(Big(100 * KIBIBYTE))
        transport.abort()
        await protocol.lost
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 0
        peer.close()

    def loop_is_full(transport):
        transport.write(bytes(1024 * KIBIBYTE))
        return transport.get_write_buffer_size() > HIGH_WATER

    run(main())
    assert Big.dropped == 10
