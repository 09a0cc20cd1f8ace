"""Protocols of transports of any kind that keep what happens to them."""

from __future__ import annotations

import asyncio

BIG = b"0123456789abcdef" * (1024 * 1024 // 16)


class Life(asyncio.BaseProtocol):
    """Keeps what happens to one transport, in order."""

    def __init__(self):
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


class Recorder(Life, asyncio.Protocol):
    """Keeps what happens to one connection, in order."""

    def __init__(self, keep_open=False):
        super().__init__()
        self.chunks = []
        self.keep_open = keep_open
        self.ended = asyncio.get_running_loop().create_future()
        self._received = asyncio.Event()

    @property
    def data(self):
        return b"".join(self.chunks)

    def data_received(self, data):
        assert type(data) is bytes
        self.chunks.append(data)
        self._received.set()

    def eof_received(self):
        self.events.append("eof")
        self.ended.set_result(None)
        return self.keep_open

    async def received(self, count):
        """Wait for so many bytes, and return all."""
        while sum(map(len, self.chunks)) < count:
            self._received.clear()
            await asyncio.wait_for(self._received.wait(), 5)
        return self.data


class Lending(asyncio.BufferedProtocol):
    """Lends a small buffer, and keeps what was put there."""

    def __init__(self, size=16):
        self.memory = bytearray(size)
        self.data = b""
        self.events = []
        self.hints = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return memoryview(self.memory)

    def buffer_updated(self, nbytes):
        assert nbytes > 0
        self.data += self.memory[:nbytes]

    def eof_received(self):
        self.events.append("eof")

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    async def received(self, count):
        """Wait for so many bytes, and return all."""
        while len(self.data) < count:
            await asyncio.sleep(0)
        return self.data
