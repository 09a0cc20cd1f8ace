"""What asyncio's own code does on our loop: pipes and sendfile."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest


def test_pipes_carry_data_with_flow_control(loop, run):
    async def main():
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        read_transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader),
            open(reading, "rb", 0),  # noqa: SIM115
        )
        write_transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin,
            open(writing, "wb", 0),  # noqa: SIM115
        )
        writer = asyncio.StreamWriter(write_transport, protocol, None, loop)
        payload = os.urandom(500_000)
        writer.write(payload)
        assert "WritePipe" in repr(write_transport)
        assert "ReadPipe" in repr(read_transport)
        assert await asyncio.wait_for(reader.readexactly(len(payload)), 5) == payload
        await writer.drain()
        write_transport.close()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await asyncio.sleep(0.005)

    run(main())


def test_file_is_sent_through_a_transport_and_through_a_socket(loop, run, tmp_path):
    payload = os.urandom(700_000)
    path = tmp_path / "file"
    path.write_bytes(payload)

    async def read(peer, count):
        received = bytearray()
        while len(received) < count:
            received += await loop.sock_recv(peer, 65536)
        return received

    async def main():
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        ours.setblocking(False)
        with path.open("rb") as file:
            receiving = asyncio.ensure_future(read(peer, len(payload)))
            assert await asyncio.wait_for(loop.sock_sendfile(ours, file), 5) == len(payload)
            assert await asyncio.wait_for(receiving, 5) == payload
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with path.open("rb") as file:
            receiving = asyncio.ensure_future(read(peer, len(payload) + 10))
            transport.write(b"start")
            assert await asyncio.wait_for(loop.sendfile(transport, file), 5) == len(payload)
            transport.write(b" stop")
            assert await asyncio.wait_for(receiving, 5) == b"start" + payload + b" stop"
        peer.close()
        transport.abort()
        await asyncio.sleep(0.005)

    run(main())


def test_file_is_sent_over_what_cannot_take_it_by_reading_it(loop, run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    class Fallback(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

    async def main():
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        transport, _ = await loop.create_connection(Fallback, sock=ours)

        async def unavailable(*args):
            raise asyncio.SendfileNotAvailableError

        loop._sendfile_native = unavailable
        with path.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            received = 0
            while received < 100_000:
                received += len(await asyncio.wait_for(loop.sock_recv(peer, 65536), 5))
            assert await asyncio.wait_for(sending, 5) == 100_000
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, file, fallback=False)
        del loop._sendfile_native
        peer.close()
        transport.abort()
        await asyncio.sleep(0.005)

    run(main())
