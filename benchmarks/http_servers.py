"""HTTP servers: real ones, and the least that a server over httptools does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from listening import announce, listen

BODY = b"x" * 1024
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(BODY)


class OneWrite(asyncio.Protocol):
    """Parses each request, and answers head and body in one write."""

    def __init__(self) -> None:
        import httptools

        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(HEAD + BODY)


class TwoWrites(OneWrite):
    """Writes the head, then the body, as uvicorn and aiohttp do."""

    def on_message_complete(self) -> None:
        self.transport.write(HEAD)
        self.transport.write(BODY)


async def serve_uvicorn() -> None:
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


async def serve_aiohttp() -> None:
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
