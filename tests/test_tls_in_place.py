"""Where OpenSSL cannot be reached, where several threads reach it at once, and where the network fails it."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tonnage
import trustme
from recorders import Recorder


class Accepted(Recorder):
    def __init__(self, accepted):
        super().__init__()
        self.accepted = accepted

    def connection_made(self, transport):
        super().connection_made(transport)
        self.accepted.set_result(self)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@pytest.fixture
def contexts():
    """A context of a server, and of a client that trusts it."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    return server_context, client_context


@pytest.mark.parametrize("size", [100, 50_000, 200_000])
def test_write_after_a_reset_is_told_of_the_reset(contexts, size):
    server_context, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        server = await loop.create_server(
            lambda: Accepted(accepted), "127.0.0.1", 0, ssl=server_context, start_serving=True
        )
        peer = socket.create_connection(server.sockets[0].getsockname())
        handshake = loop.run_in_executor(
            None, functools.partial(client_context.wrap_socket, peer, server_hostname="localhost")
        )
        protocol = await accepted
        wrapped = await handshake
        await asyncio.sleep(0)
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wrapped.close()
        protocol.transport.write(bytes(size))
        assert isinstance(await asyncio.wait_for(protocol.lost, 5), ConnectionResetError)
        server.close()
        await server.wait_closed()

    tonnage.run(main())


def test_loops_of_many_threads_encrypt_at_once(contexts):
    server_context, client_context = contexts

    async def exchange(number):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(
            Recorder, "127.0.0.1", port, ssl=client_context, server_hostname="localhost"
        )
        sent = bytes([number]) * 300_000
        for _ in range(10):
            protocol.chunks.clear()
            transport.write(sent)
            await protocol.received(len(sent))
            assert protocol.data == sent
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()
        done.append(number)

    done: list[int] = []
    threads = [threading.Thread(target=tonnage.run, args=(exchange(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


def test_methods_of_ssl_do_the_same():
    tests = Path(__file__).with_name("tls")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "tonnage", tests],
        env=os.environ | {"TONNAGE_TLS_IN_PLACE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
