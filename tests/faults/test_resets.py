"""Peers that reset a connection, or end half of it: what came before is there, and who waits is told."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys

import pytest

from .peers import Recorder, reset, tcp_pair, until

MEBIBYTE = 1024 * 1024
RESET = (ConnectionResetError, BrokenPipeError)


@pytest.fixture(autouse=True)
def nothing_left(request):
    """No descriptor is left."""
    if sys.platform != "linux":
        yield
        return
    request.getfixturevalue("loop")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


async def connected(factory=Recorder, receive_buffer=None):
    ours, peer = tcp_pair(receive_buffer)
    _, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    await protocol.made
    return protocol, peer


async def streams(receive_buffer=None):
    ours, peer = tcp_pair(receive_buffer)
    reader, writer = await asyncio.open_connection(sock=ours)
    return reader, writer, peer


async def gone(writer):
    """Wait for the end of a connection that was reset."""
    writer.close()
    with pytest.raises(RESET):
        await writer.wait_closed()


def test_reset_of_an_idle_connection_is_told_to_the_protocol(run):
    async def main():
        protocol, peer = await connected()
        reset(peer)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert not protocol.ended.done()

    run(main())


def test_bytes_before_the_reset_arrive(run):
    async def main():
        protocol, peer = await connected()
        peer.sendall(bytes(5000))
        reset(peer)
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert len(protocol.data) == 5000

    run(main())


def test_reset_of_a_paused_connection_shows_when_it_is_read_again(run):
    async def main():
        protocol, peer = await connected()
        protocol.transport.pause_reading()
        peer.sendall(bytes(5000))
        reset(peer)
        await asyncio.sleep(0.01)
        assert not protocol.lost.done()
        protocol.transport.resume_reading()
        assert isinstance(await protocol.lost, ConnectionResetError)
        assert len(protocol.data) == 5000

    run(main())


def test_reader_in_the_middle_is_told(run):
    async def main():
        reader, writer, peer = await streams()
        reading = asyncio.ensure_future(reader.readexactly(100))
        peer.sendall(b"x" * 40)
        await asyncio.sleep(0.005)
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await reading
        await gone(writer)

    run(main())


def test_writer_in_the_middle_is_told_and_its_buffer_dropped(run):
    async def main():
        reader, writer, peer = await streams(receive_buffer=4096)
        writer.write(bytes(8 * MEBIBYTE))
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0.005)
        assert not draining.done()
        reset(peer)
        with pytest.raises(RESET):
            await draining
        assert writer.transport.get_write_buffer_size() == 0
        with pytest.raises(RESET):
            await reader.read()
        await gone(writer)

    run(main())


def test_reset_ends_a_close_that_waits_for_its_buffer(run):
    async def main():
        protocol, peer = await connected(receive_buffer=4096)
        protocol.transport.write(bytes(8 * MEBIBYTE))
        protocol.transport.close()
        await asyncio.sleep(0.005)
        assert not protocol.lost.done()
        reset(peer)
        assert isinstance(await protocol.lost, RESET)

    run(main())


def test_reset_after_the_end_was_written_is_told(run):
    async def main():
        protocol, peer = await connected()
        protocol.transport.write_eof()
        reset(peer)
        assert isinstance(await protocol.lost, ConnectionResetError)

    run(main())


def test_writes_after_a_reset_raise_nothing_and_the_end_comes_once(run):
    async def main():
        protocol, peer = await connected()
        reset(peer)
        protocol.transport.write(b"x")
        await asyncio.sleep(0)
        protocol.transport.write(b"y")
        assert isinstance(await protocol.lost, RESET)
        protocol.transport.write(b"z")
        protocol.transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_reset_ends_a_sendfile(run, loop, tmp_path):
    file_path = tmp_path / "file"
    file_path.write_bytes(bytes(8 * MEBIBYTE))

    async def main():
        protocol, peer = await connected(receive_buffer=4096)
        with file_path.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
            await asyncio.sleep(0.01)
            assert not sending.done()
            reset(peer)
            with pytest.raises(OSError):  # noqa: PT011
                await sending
        protocol.transport.abort()
        await protocol.lost

    run(main())


def test_reset_ends_socket_operations(run, loop):
    async def main():
        for operation in ("recv", "sendall"):
            ours, peer = tcp_pair(receive_buffer=4096)
            ours.setblocking(False)
            if operation == "recv":
                waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
            else:
                waiting = asyncio.ensure_future(loop.sock_sendall(ours, bytes(8 * MEBIBYTE)))
            await asyncio.sleep(0.005)
            reset(peer)
            with pytest.raises(RESET):
                await waiting
            ours.close()

    run(main())


def test_peer_that_resets_before_it_is_accepted_is_a_short_connection_or_none(run, loop):
    protocols = []

    def factory():
        protocols.append(Recorder())
        return protocols[-1]

    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        for _ in range(20):
            reset(socket.create_connection(server.sockets[0].getsockname()))
        survivor = socket.create_connection(server.sockets[0].getsockname())
        survivor.sendall(b"alive")
        await until(lambda: any(protocol.data == b"alive" for protocol in protocols))
        survivor.close()
        await asyncio.gather(*(protocol.lost for protocol in protocols))
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("closes_first", ["we", "the peer"])
def test_half_closed_connection_delivers_all_that_is_under_way(run, loop, closes_first):
    """10 MiB each way; one side ends its half early, and nothing of the other half is lost."""
    size = 10 * MEBIBYTE

    def peer_works(peer):
        received = 0
        with peer:
            if closes_first == "the peer":
                peer.sendall(bytes(size))
                peer.shutdown(socket.SHUT_WR)
            while chunk := peer.recv(MEBIBYTE):
                received += len(chunk)
            if closes_first == "we":
                peer.sendall(bytes(size))
        return received

    async def main():
        protocol, peer = await connected(lambda: Recorder(keep_open=True))
        peer_work = loop.run_in_executor(None, peer_works, peer)
        if closes_first == "we":
            protocol.transport.write(bytes(size))
            protocol.transport.write_eof()
            await protocol.ended
        else:
            await protocol.ended
            protocol.transport.write(bytes(size))
            protocol.transport.write_eof()
        assert await peer_work == size
        assert len(protocol.data) == size
        protocol.transport.close()
        assert await protocol.lost is None

    run(main())


def test_peer_that_sends_and_closes_at_once_is_heard(run, loop):
    """Its last bytes and its end are there before the first read."""
    answers = []

    class Server(Recorder):
        def eof_received(self):
            answers.append(bytes(self.data))

    async def main():
        server = await loop.create_server(Server, "127.0.0.1", 0)
        for number in range(20):
            with socket.create_connection(server.sockets[0].getsockname()) as peer:
                peer.sendall(b"%d" % number)
        await until(lambda: len(answers) == 20)
        server.close()
        await asyncio.sleep(0.005)

    run(main())
    assert sorted(answers, key=int) == [b"%d" % number for number in range(20)]
