"""A server on one event loop, in a process of its own: `server.py LOOP CASE UNIX_PATH`.

It prints its address as a line of JSON, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import cast

from loops import LOOPS

READ_BYTES = 256 * 1024
BODY = b"x" * 1024


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


def announce(address: str) -> None:
    print(json.dumps({"address": address}), flush=True)


def listen() -> tuple[socket.socket, str]:
    """Return a listening socket and its address: a loop may take the socket over when it serves.

    asyncio turns Nagle's algorithm off only where a socket knows its protocol; with
    protocol 0 each answer in two writes would wait 40 ms for a delayed acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    host, port = listener.getsockname()
    return listener, f"{host}:{port}"


async def serve_protocol(protocol: type[asyncio.BaseProtocol], kind: str) -> None:
    loop = asyncio.get_running_loop()
    if kind == "unix":
        path = sys.argv[3]
        server = await loop.create_unix_server(protocol, path)
        announce(f"unix:{path}")
    else:
        listener, address = listen()
        server = await loop.create_server(protocol, sock=listener)
        announce(address)
    async with server:
        await asyncio.Event().wait()


async def serve_streams(kind: str) -> None:
    if kind == "unix":
        path = sys.argv[3]
        server = await asyncio.start_unix_server(echo_stream, path)
        announce(f"unix:{path}")
    else:
        listener, address = listen()
        server = await asyncio.start_server(echo_stream, sock=listener)
        announce(address)
    async with server:
        await asyncio.Event().wait()


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


async def serve_uvicorn(kind: str) -> None:
    import uvicorn

    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]

    async def application(scope: object, receive: object, send: Callable[[object], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    config = uvicorn.Config(
        application,
        http="httptools",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_keep_alive=3600,
    )
    listener, address = listen()
    announce(address)
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_aiohttp(kind: str) -> None:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="text/plain")

    logging.disable()
    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    listener, address = listen()
    await web.SockSite(runner, listener).start()
    announce(address)
    await asyncio.Event().wait()


SERVERS: dict[str, Callable[[str], Awaitable[None]]] = {
    "proto": lambda kind: serve_protocol(Echo, kind),
    "buffered": lambda kind: serve_protocol(BufferedEcho, kind),
    "streams": serve_streams,
    "sockets": serve_sockets,
    "uvicorn": serve_uvicorn,
    "aiohttp": serve_aiohttp,
}


async def serve(case: str) -> None:
    kind, server = case.split("-")[:2]
    await SERVERS[server](kind)


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
