"""What the tests of transports share: the other end of a connection, and a protocol of datagrams."""

from __future__ import annotations

import asyncio

from recorders import Life


async def receive(loop, peer, count):
    """Read exactly `count` bytes from the peer's socket, without stopping the loop."""

    def work():
        received = bytearray()
        while len(received) < count:
            chunk = peer.recv(count - len(received))
            if not chunk:
                break
            received += chunk
        return bytes(received)

    return await loop.run_in_executor(None, work)


async def until(condition):
    """Let the loop run until `condition()` holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came true")


class Datagrams(Life, asyncio.DatagramProtocol):
    """Keeps what happens to one datagram endpoint, in order."""

    def __init__(self):
        super().__init__()
        self.received = []
        self.errors = []

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.append((data, addr))

    def error_received(self, exc):
        self.errors.append(exc)

    def payloads(self):
        return [data for data, _ in self.received]
