"""Where OpenSSL cannot be reached, and where several threads reach it at once."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import tonnage
import trustme
from recorders import Recorder


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def test_loops_of_many_threads_encrypt_at_once():
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

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
