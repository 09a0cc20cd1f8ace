"""What the tests of transports share: the other end of a connection, and a protocol of datagrams."""

from __future__ import annotations

import asyncio


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


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what happens to one datagram endpoint, in order."""

    def __init__(self):
        self.events = []
        self.received = []
        self.errors = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.append((data, addr))

    def error_received(self, exc):
        self.errors.append(exc)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)

    def payloads(self):
        return [data for data, _ in self.received]
