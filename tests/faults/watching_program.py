"""A program whose kernel does not watch what it is asked to: one connection, and what became of it.

python watching_program.py '{"case": "reading"}'

The first epoll_ctl of a loop is for its waker, the second for reading, the third for writing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
import weakref
from typing import Any

import tonnage

MORE_THAN_FITS = bytes(4 * 1024 * 1024)


class Seen(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self.lost = asyncio.get_running_loop().create_future()
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self.received.set()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: OSError | None) -> None:
        self.lost.set_result(exc and exc.strerror)


async def reading(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    peer.sendall(b"x")
    while not (seen.received.is_set() or seen.lost.done()):
        await asyncio.sleep(0.001)


async def writing(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    transport.write(MORE_THAN_FITS)
    assert seen.paused
    left = len(MORE_THAN_FITS)
    while left:
        try:
            left -= len(peer.recv(left))
        except BlockingIOError:
            await asyncio.sleep(0.001)
    assert not seen.paused


async def blocked(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    transport.write(MORE_THAN_FITS)
    await seen.lost


async def closing(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    await asyncio.sleep(0)
    transport.close()
    assert await seen.lost is None


async def aborting(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    transport.write(MORE_THAN_FITS)
    transport.abort()
    assert await seen.lost is None


async def pausing(transport: asyncio.Transport, seen: Seen, peer: socket.socket) -> None:
    peer.sendall(b"x")
    await asyncio.sleep(0)
    transport.pause_reading()
    await asyncio.sleep(0.05)
    assert not seen.received.is_set()
    transport.resume_reading()
    await seen.received.wait()


CASES = {case.__name__: case for case in (reading, writing, blocked, closing, aborting, pausing)}


async def main(case: str, kind: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
    own, peer = socket.socketpair(socket.AF_UNIX, kind)
    own.setblocking(False)
    peer.setblocking(False)
    if kind == socket.SOCK_DGRAM:
        transport, seen = await loop.create_datagram_endpoint(Seen, sock=own)
    else:
        transport, seen = await loop.create_connection(Seen, sock=own)
    try:
        await CASES[case](transport, seen, peer)
    finally:
        transport.abort()
        exception = await seen.lost
        peer.close()
    gone = weakref.ref(transport)
    del transport
    # A try that is under way has the transport.
    await asyncio.sleep(0.03)
    gc.collect()
    return {
        "received": seen.received.is_set(),
        "lost": exception,
        "reports": reports,
        "gone": gone() is None,
        "tasks": len(asyncio.all_tasks()) - 1,
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    before = len(os.listdir("/proc/self/fd"))
    loop = tonnage.new_event_loop()
    kind = socket.SOCK_DGRAM if arguments.get("datagrams") else socket.SOCK_STREAM
    told = loop.run_until_complete(main(arguments["case"], kind))
    loop.close()
    del loop
    gc.collect()
    print(json.dumps({**told, "descriptors": len(os.listdir("/proc/self/fd")) - before}))
