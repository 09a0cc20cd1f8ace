"""TLS over each stream transport, by each way to make one: the same bytes, and the same end."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from certificates import make_contexts

PAYLOAD = bytes(range(256)) * 2000


@pytest.fixture(scope="module")
def contexts(tmp_path_factory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's TLS context, for localhost."""
    return make_contexts(tmp_path_factory.mktemp("certificate"))


class Server(asyncio.BaseProtocol):
    """Closes with its peer."""

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        # asyncio's in CPython 3.10 does not know that the connection is gone.
        self.transport.close()


class Echo(Server, asyncio.Protocol):
    """Sends back what it receives."""

    def data_received(self, data):
        self.transport.write(data)


class Lending(Server, asyncio.BufferedProtocol):
    """Sends back what it receives into its own memory."""

    def __init__(self):
        self.memory = bytearray(10_000)

    def get_buffer(self, sizehint):
        return memoryview(self.memory)

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.memory[:nbytes]))


class Client(asyncio.Protocol):
    def __init__(self):
        self.data = bytearray()
        self.enough = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.data += data
        if len(self.data) >= len(PAYLOAD) and not self.enough.done():
            self.enough.set_result(None)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def talk(transport, client):
    assert transport.get_extra_info("ssl_object").version()
    transport.write(PAYLOAD)
    await asyncio.wait_for(client.enough, 10)
    assert client.data == PAYLOAD
    transport.close()
    assert await asyncio.wait_for(client.lost, 10) is None


SERVERS = {
    "tcp": lambda loop, factory, context, _: loop.create_server(factory, "127.0.0.1", 0, ssl=context),
    "unix": lambda loop, factory, context, path: loop.create_unix_server(factory, path, ssl=context),
}


def connect(loop, server, path, factory=Client, **options):
    if path.exists():
        return loop.create_unix_connection(factory, path, **options)
    return loop.create_connection(factory, *server.sockets[0].getsockname(), **options)


@pytest.mark.parametrize("family", SERVERS)
@pytest.mark.parametrize("protocol", [Echo, Lending])
def test_server_and_client_talk_tls(loop, run, contexts, tmp_path, family, protocol):
    async def main():
        path = tmp_path / "socket"
        server = await SERVERS[family](loop, protocol, contexts[0], path)
        made = await connect(loop, server, path, ssl=contexts[1], server_hostname="localhost")
        await talk(*made)
        server.close()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("family", SERVERS)
def test_plain_connection_is_upgraded(loop, run, contexts, tmp_path, family):
    upgrading = []

    class Upgrading(Echo):
        early = b""

        def data_received(self, data):
            if data == b"STARTTLS":
                self.transport.write(b"go")
                upgrading.append(loop.create_task(self.upgrade()))
            elif upgrading[-1].done():
                super().data_received(data)
            else:
                self.early += data

        async def upgrade(self):
            self.transport = await loop.start_tls(self.transport, self, contexts[0], server_side=True)
            self.transport.write(self.early)

    class Asking(Client):
        def data_received(self, data):
            if data == b"go":
                self.asked.set_result(None)
            else:
                super().data_received(data)

    async def main():
        path = tmp_path / "socket"
        server = await SERVERS[family](loop, Upgrading, None, path)
        plain, client = await connect(loop, server, path, Asking)
        client.asked = loop.create_future()
        plain.write(b"STARTTLS")
        await asyncio.wait_for(client.asked, 5)
        transport = await loop.start_tls(plain, client, contexts[1], server_hostname="localhost")
        await talk(transport, client)
        await asyncio.wait(upgrading)
        server.close()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("way", ["connect_accepted_socket", "create_server(sock=)"])
def test_socket_of_the_user_is_taken_over(loop, run, contexts, way):
    async def main():
        if way == "create_server(sock=)":
            listener = socket.create_server(("127.0.0.1", 0))
            server = await loop.create_server(Echo, sock=listener, ssl=contexts[0])
            ours = socket.socket()
            ours.setblocking(False)
            await loop.sock_connect(ours, listener.getsockname())
        else:
            ours, theirs = socket.socketpair()
            accepting = loop.create_task(loop.connect_accepted_socket(Echo, theirs, ssl=contexts[0]))
        made = await loop.create_connection(Client, sock=ours, ssl=contexts[1], server_hostname="localhost")
        if way == "create_server(sock=)":
            server.close()
        else:
            accepted, _ = await accepting
            assert accepted.get_extra_info("ssl_object").server_side
        await talk(*made)
        await asyncio.sleep(0.01)

    run(main())
