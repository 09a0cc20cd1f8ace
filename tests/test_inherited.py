"""What asyncio's own code does on our loop: UDP and pipes."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.received = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.received.put_nowait((data, addr))

    def error_received(self, exc):
        self.errors.put_nowait(exc)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def close(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await asyncio.wait_for(protocol.lost, 5)


def test_datagrams_go_both_ways(loop, run):
    async def main():
        server_transport, server = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = server_transport.get_extra_info("sockname")
        client_transport, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        client_transport.sendto(b"ping")
        data, sender = await asyncio.wait_for(server.received.get(), 5)
        assert (data, sender) == (b"ping", client_transport.get_extra_info("sockname"))
        server_transport.sendto(b"pong", sender)
        assert await asyncio.wait_for(client.received.get(), 5) == (b"pong", address)
        assert "DatagramTransport" in repr(client_transport)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(client_transport.get_extra_info("socket").fileno(), int)
        await close(server, client)

    run(main())


def test_refused_datagram_is_an_error_of_the_protocol(loop, run):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, client = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        transport.sendto(b"ping")
        assert isinstance(await asyncio.wait_for(client.errors.get(), 5), ConnectionRefusedError)
        await close(client)

    run(main())


def test_unix_datagrams(loop, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def main():
        _, server = await loop.create_datagram_endpoint(Datagrams, "server", family=socket.AF_UNIX)
        transport, client = await loop.create_datagram_endpoint(
            Datagrams, "client", "server", family=socket.AF_UNIX
        )
        transport.sendto(b"ping")
        assert await asyncio.wait_for(server.received.get(), 5) == (b"ping", "client")
        await close(server, client)

    run(main())


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
