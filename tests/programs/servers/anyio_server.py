"""A line server written for anyio: TCP and a Unix socket at once, one task for each connection."""

import asyncio
import hashlib
import signal
import sys

import anyio
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream


async def handle(stream: SocketStream) -> None:
    async with stream:
        lines = BufferedByteReceiveStream(stream)
        while True:
            try:
                command, _, argument = (await lines.receive_until(b"\n", 65536)).partition(b" ")
            except anyio.IncompleteRead:
                return
            if command == b"echo":
                await stream.send(argument + b"\n")
            elif command == b"digest":
                body = await lines.receive_exactly(int(argument))
                digest = await to_thread.run_sync(lambda data: hashlib.sha256(data).hexdigest(), body)
                await stream.send(digest.encode() + b"\n")
            elif command == b"quit":
                return


async def stop_on_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


async def main() -> None:
    async with anyio.create_task_group() as group:
        await group.start(stop_on_signal, group.cancel_scope)
        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
        unix = await anyio.create_unix_listener(sys.argv[1])
        group.start_soon(tcp.serve, handle)
        group.start_soon(unix.serve, handle)
        port = tcp.extra(SocketAttribute.local_port)
        print(f"listening on {port} with {type(asyncio.get_running_loop()).__module__}", flush=True)
    print("all connections are closed", flush=True)


anyio.run(main)
