"""Sends by reading: the file is read on a thread, block by block, and each block is written.

`sendfile.py` does so with what the kernel cannot copy: with what is no file, and over TLS. Invariants:
whatever ends a send, the file's position is behind what was sent, and the protocol has its transport back.
"""

from __future__ import annotations

import asyncio
from asyncio import constants
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import IO

__all__ = ("FileReads", "FileWriting")

READ_MAX = constants.SENDFILE_FALLBACK_READBUFFER_SIZE
"""So much is read at once. Each read costs a way to a thread and back."""


class FileReads:
    """Read a file in blocks, each on a thread, and keep the account of what was sent of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes], offset: int, count: int | None):
        self._loop = loop
        self._file = file
        self._offset = offset
        self._count = count
        self._given_up = False
        self.sent = 0
        self._has_position = hasattr(file, "seek") and getattr(file, "seekable", lambda: True)()
        if self._has_position or offset:
            file.seek(offset)
        self._memory = memoryview(bytearray(READ_MAX if count is None else min(count, READ_MAX)))

    async def read(self) -> memoryview:
        """Return the next block, which is good until the next call; it is empty at the end."""
        length = len(self._memory)
        if self._count is not None:
            length = min(length, self._count - self.sent)
        if length == 0:
            return self._memory[:0]
        count = await self._loop.run_in_executor(None, self._read_into, self._memory[:length])
        return self._memory[: count or 0]

    def finish(self) -> int:
        """Leave the file behind what was sent, and return how much that is."""
        if self._has_position:
            self._file.seek(self._offset + self.sent)
        return self.sent

    def give_up(self) -> None:
        """Leave the file behind what was sent; the error that is on its way says more than one of ours."""
        self._given_up = True
        with suppress(OSError, ValueError):
            self.finish()

    def _read_into(self, memory: memoryview) -> int | None:
        count: int | None = None
        try:
            count = self._file.readinto(memory)  # type: ignore[attr-defined]
        except Exception:
            # Who has given up may have closed the file, and nobody waits for what comes of it.
            if not self._given_up:
                raise
        finally:
            # A read that nobody waits for any more has moved the file, perhaps after give_up() has.
            if self._given_up:
                self.give_up()
        return count


class FileWriting(asyncio.Protocol):
    """Stand in for a transport's protocol while a file is written, so that the file is what pauses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any) -> None:
        is_paused = getattr(transport, "_protocol_paused", None)
        if is_paused is None:
            raise TypeError("transport should be _FlowControlMixin instance")
        self._loop = loop
        self._transport = transport
        self._protocol = transport.get_protocol()
        if isinstance(self._protocol, FileWriting):
            raise RuntimeError("sendfile is in progress")  # noqa: TRY004
        self._was_paused = self._is_paused = bool(is_paused)
        self._was_reading = transport.is_reading()
        # What `drain()` waits for; its result is the error that ended the connection.
        self._room: asyncio.Future[BaseException | None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    def check_open(self) -> None:
        """Raise ConnectionError if what is written would be lost."""
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        self.check_open()
        if self._is_paused:
            self._room = self._loop.create_future()
            error = await self._room
            if error is not None:
                raise error

    def restore(self) -> None:
        """Give the transport back to its protocol, and tell that if it has to pause, or not."""
        if self._transport.get_protocol() is not self:
            return
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()
        if self._is_paused == self._was_paused:
            return
        name = "pause_writing" if self._is_paused else "resume_writing"
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{name}() failed",
                    "exception": error,
                    "transport": self._transport,
                    "protocol": self._protocol,
                }
            )

    def pause_writing(self) -> None:
        """Called by the transport: it has enough."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Called by the transport: it takes more."""
        self._is_paused = False
        self._wake(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the transport: the connection is gone."""
        # Even a clean end is an error for who has not sent the whole file.
        self._wake(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        """Never called, as reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> None:
        """Never called, as reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def _wake(self, error: BaseException | None) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(error)
