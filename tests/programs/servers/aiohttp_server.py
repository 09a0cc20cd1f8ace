"""An aiohttp server as one would write it; it knows nothing of the loop that it runs on."""

import asyncio
import hashlib
import socket
import ssl
import sys

from aiohttp import WSMsgType, web


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"hello": request.query.get("name", "world")})


async def digest(request: web.Request) -> web.Response:
    """Answer with the SHA-256 of a body that is read as it comes."""
    sha256 = hashlib.sha256()
    async for chunk in request.content.iter_any():
        sha256.update(chunk)
    return web.Response(text=sha256.hexdigest())


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer with as many bytes as asked for, in chunks of unknown total length."""
    response = web.StreamResponse()
    await response.prepare(request)
    left = int(request.query["bytes"])
    while left:
        size = min(left, 50_000)
        await response.write(b"x" * size)
        left -= size
    await response.write_eof()
    return response


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


class Slow:
    """A request that takes for ever; it counts who waits, and whose client left."""

    waiting = 0
    abandoned = 0

    async def wait(self, request: web.Request) -> web.Response:
        self.waiting += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.waiting -= 1
        return web.Response()

    async def count(self, request: web.Request) -> web.Response:
        return web.json_response([self.waiting, self.abandoned])


async def name_loop(request: web.Request) -> web.Response:
    return web.json_response(type(asyncio.get_running_loop()).__module__)


async def farewell(app: web.Application) -> None:
    print("cleaned up", flush=True)


def main() -> None:
    slow = Slow()
    app = web.Application()
    app.add_routes(
        [
            web.get("/hello", hello),
            web.post("/digest", digest),
            web.get("/stream", stream),
            web.get("/echo", echo),
            web.get("/loop", name_loop),
            web.get("/slow", slow.wait),
            web.get("/slow/count", slow.count),
        ]
    )
    app.on_cleanup.append(farewell)
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    web.run_app(app, sock=listener, ssl_context=tls, access_log=None, handler_cancellation=True, print=None)


if __name__ == "__main__":
    main()
