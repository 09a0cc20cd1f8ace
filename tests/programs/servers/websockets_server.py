"""A websockets server as one would write it: echo, and a chat that sends each message to everyone."""

import asyncio
import signal
import ssl
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

chatting: set[ServerConnection] = set()


async def handle(socket: ServerConnection) -> None:
    assert socket.request is not None
    if socket.request.path == "/chat":
        chatting.add(socket)
        try:
            async for message in socket:
                broadcast(chatting, message)
        finally:
            chatting.remove(socket)
    elif socket.request.path == "/close":
        await socket.close(code=4001, reason="as asked")
    elif socket.request.path == "/bug":
        raise ZeroDivisionError("a bug of the handler")
    else:
        async for message in socket:
            await socket.send(message)


async def main() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[1])
    async with serve(handle, "127.0.0.1", 0, max_size=None, ssl=tls) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening on {port} with {type(loop).__module__}", flush=True)
        await stopped.wait()
    print("all connections are closed", flush=True)


asyncio.run(main())
