"""A server on one event loop, in a process of its own: `server.py LOOP CASE FOLDER`.

It prints its address as a line of JSON, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from http_servers import OneWrite, TwoWrites, serve_aiohttp, serve_uvicorn
from listening import announce, folder, listen, receive_datagrams, tls_context
from loops import LOOPS
from processes import spawn_true, talk_to_cat

READ_BYTES = 256 * 1024
FILE_BYTES = 1024 * 1024
PATTERN_BYTES = 251
"""What `load_client` expects of a file: all bytes below this, again and again."""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.buffer = bytearray(READ_BYTES)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.view[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


class FileSender(asyncio.Protocol):
    """Answers each request with the file."""

    def __init__(self, path: Path, failure: asyncio.Future[None]) -> None:
        self.file = path.open("rb")
        self.failure = failure

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.sending = asyncio.get_running_loop().create_task(self.send())

    async def send(self) -> None:
        try:
            await asyncio.get_running_loop().sendfile(self.transport, self.file)
        except Exception as error:
            if not self.failure.done():
                self.failure.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.file.close()


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_socket(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with connection:
        while data := await loop.sock_recv(connection, READ_BYTES):
            await loop.sock_sendall(connection, data)


async def serve_protocol(protocol: Callable[[], asyncio.BaseProtocol], kind: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "unix":
        server = await loop.create_unix_server(protocol, unix_path())
        announce(f"unix:{unix_path()}")
    else:
        listener, address = listen()
        server = await loop.create_server(protocol, sock=listener, ssl=tls_of(kind))
        announce(address)
    await forever(server)


async def serve_streams(kind: str) -> None:
    if kind == "unix":
        server = await asyncio.start_unix_server(echo_stream, unix_path())
        announce(f"unix:{unix_path()}")
    else:
        listener, address = listen()
        server = await asyncio.start_server(echo_stream, sock=listener, ssl=tls_of(kind))
        announce(address)
    await forever(server)


async def serve_echo(kind: str) -> None:
    if kind == "udp":
        receiver, address = receive_datagrams()
        await asyncio.get_running_loop().create_datagram_endpoint(DatagramEcho, sock=receiver)
        announce(address)
        await forever(receiver)
    else:
        await serve_protocol(Echo, kind)


async def serve_sockets(kind: str) -> None:
    loop = asyncio.get_running_loop()
    listener, address = listen()
    announce(address)
    tasks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tasks.add(loop.create_task(echo_socket(connection)))


async def serve_file(kind: str) -> None:
    path = folder() / "file"
    path.write_bytes((bytes(range(PATTERN_BYTES)) * (FILE_BYTES // PATTERN_BYTES + 1))[:FILE_BYTES])
    failure = asyncio.get_running_loop().create_future()
    listener, address = listen()
    server = await asyncio.get_running_loop().create_server(lambda: FileSender(path, failure), sock=listener)
    announce(address)
    await failure
    server.close()


async def forever(kept: object) -> None:
    """Serve until the process is killed. Not every loop's server is a context manager."""
    await asyncio.Event().wait()
    del kept


def unix_path() -> str:
    return str(folder() / "socket")


def tls_of(kind: str) -> ssl.SSLContext | None:
    return tls_context() if kind == "tls" else None


SERVERS: dict[str, Callable[[str], Awaitable[None]]] = {
    "proto": serve_echo,
    "connect": serve_echo,
    "buffered": lambda kind: serve_protocol(BufferedEcho, kind),
    "streams": serve_streams,
    "sockets": serve_sockets,
    "sendfile": serve_file,
    "httptools": lambda kind: serve_protocol(OneWrite, kind),
    "two-writes": lambda kind: serve_protocol(TwoWrites, kind),
    "uvicorn": lambda kind: serve_uvicorn(),
    "aiohttp": lambda kind: serve_aiohttp(),
    "cat": lambda kind: talk_to_cat(),
    "spawn": lambda kind: spawn_true(),
}


async def serve(case: str) -> None:
    kind, _, rest = case.partition("-")
    name = next(name for name in SERVERS if rest.startswith(name))
    await SERVERS[name](kind)


def grow_heap() -> None:
    """Free one large block, as every program that has run for a while did.

    glibc then keeps that much memory at hand. In a fresh process each 256 KiB read
    buffer, which asyncio and rloop allocate, would go back to the kernel at once: the
    same echo costs 4 µs or 15 µs, depending on what was imported before.
    """
    bytes(8 * 1024 * 1024)


def main() -> None:
    grow_heap()
    loop = LOOPS[sys.argv[1]].new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(serve(sys.argv[2]))
    except NotImplementedError:
        print(json.dumps({"skipped": "not implemented"}), flush=True)


if __name__ == "__main__":
    main()
