"""What the tests of faults share: protocols, and peers that misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Recorder(asyncio.Protocol):
    """Keep what happens to one connection."""

    def __init__(self, *, keep_open=False):
        loop = asyncio.get_running_loop()
        self.keep_open = keep_open
        self.data = bytearray()
        self.made, self.ended, self.lost = (loop.create_future() for _ in range(3))
        self.paused = False

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.ended.set_result(None)
        return self.keep_open

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False

    def connection_lost(self, exc):
        self.lost.set_result(exc)


def reset(peer):
    """Close a TCP socket so that the other side gets a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def tcp_pair(receive_buffer=None):
    """Return two connected TCP sockets; the second one takes few bytes, if told so."""
    with socket.socket() as listener:
        if receive_buffer is not None:
            # Before it listens, or the window is larger already.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    return ours, theirs


async def until(condition, timeout_s=10):
    """Let the loop run until `condition()` holds."""
    # Not with wait_for(), which older versions give a task of its own.
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came true"
        await asyncio.sleep(0.001)
