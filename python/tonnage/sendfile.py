"""Sends files: `loop.sendfile` over a transport, `loop.sock_sendfile` over a socket.

The kernel copies the file to the socket, without a copy in this process. What it cannot copy (an object
that is no file, a connection with TLS) is read on a thread and written. Checks, their order and their texts
are those of CPython 3.15 on every version. Invariants: whatever ends a send, its socket is not watched for
it any more, the protocol has its transport back, and the file's position is behind what was sent.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from asyncio import constants
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .connection import check_not_ssl_socket
from .file_reads import FileReads, FileWriting
from .inherited import InheritedLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import IO

__all__ = ("FileSending",)

SENT_MAX = 4 * 1024 * 1024
"""So much leaves in one call. A peer that reads as fast as we send would keep the loop for the whole file."""

_NOT_READY = (BlockingIOError, InterruptedError)


class FileSending(InheritedLoop):
    """The part of the event loop that sends files."""

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file through a transport, and return the number of bytes sent.

        Meanwhile nothing else can be written to the transport, and nothing is read from it. If the wait is
        cancelled, a part of the file was sent, and the transport goes on with what is written next.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        unsupported = constants._SendfileMode.UNSUPPORTED
        mode = getattr(transport, "_sendfile_compatible", unsupported)
        if mode is unsupported:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        _check_binary(file)
        _check_numbers(offset, count)
        if mode is constants._SendfileMode.TRY_NATIVE:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(
                f"fallback is disabled and native sendfile is not supported for transport {transport!r}"
            )
        return await self._sendfile_fallback(transport, file, offset, count)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send a file over a socket, and return the number of bytes sent.

        If the wait is cancelled, a part of the file was sent; the file's position tells which.
        """
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        check_not_ssl_socket(sock)
        self._check_sendfile_params(sock, file, offset, count)
        try:
            return await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._sock_sendfile_fallback(sock, file, offset, count)

    async def _sendfile_native(self, transp: Any, file: IO[bytes], offset: int, count: int | None) -> int:
        part = _Part(file, offset, count)
        claim = _Claim(transp)
        try:
            part.is_fresh = claim.written.done()
            await claim.until(claim.written)
            return await part.send(transp._sock, claim.until_writable)
        finally:
            claim.end()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        part = _Part(file, offset, count)
        room = _Room(self, sock)
        try:
            return await part.send(sock, room.wait)
        finally:
            room.close()

    async def _sendfile_fallback(self, transp: Any, file: IO[bytes], offset: int, count: int | None) -> int:
        source = FileReads(self, file, offset, count)
        writers = FileWriting(self, transp)
        try:
            while block := await source.read():
                writers.check_open()
                # A copy: a transport may keep what it cannot send yet.
                transp.write(bytes(block))
                source.sent += len(block)
                await writers.drain()
        except BaseException:
            source.give_up()
            raise
        finally:
            writers.restore()
        return source.finish()

    async def _sock_sendfile_fallback(
        self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        source = FileReads(self, file, offset, count)
        room = _Room(self, sock)
        try:
            while block := await source.read():
                end = source.sent + len(block)
                while source.sent < end:
                    sent = _send(sock, block[source.sent - end :])
                    if sent is None:
                        await room.wait()
                    else:
                        source.sent += sent
        except BaseException:
            source.give_up()
            raise
        finally:
            room.close()
        return source.finish()

    def _check_sendfile_params(
        self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> None:
        _check_binary(file)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check_numbers(offset, count)


def _check_binary(file: IO[bytes]) -> None:
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")


def _check_numbers(offset: int, count: int | None) -> None:
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")


def _check_open(transport: asyncio.BaseTransport) -> None:
    if transport.is_closing():
        raise ConnectionError("Connection is closed")


class _Part:
    """The part of a regular file that is to be sent, and how far that is."""

    def __init__(self, file: IO[bytes], offset: int, count: int | None) -> None:
        self.file = file
        self.offset = self.position = offset
        # Where to stop at the latest, and where the file ended when it was looked at.
        self.end = None if count is None else offset + count
        self.known_end = _size(file) if self.end is None else min(_size(file), self.end)
        # Has nobody run since?
        self.is_fresh = True

    async def send(self, sock: socket.socket, until_writable: Callable[[], Awaitable[None]]) -> int:
        try:
            while self.end is None or self.position < self.end:
                sent = self._send_some(sock)
                if sent == 0:
                    break
                self.position += sent or 0
                if sent is None or self.position < self.known_end:
                    self.is_fresh = False
                    await until_writable()
                elif self.is_fresh and self.position == self.known_end:
                    break
                # Else the end of the file comes next, as a rule, which takes no room in the socket.
        except BaseException:
            # The error that is on its way says more.
            with suppress(OSError, ValueError):
                self._move_file()
            raise
        self._move_file()
        return self.position - self.offset

    def _send_some(self, sock: socket.socket) -> int | None:
        """Return how much was sent: None without room in the socket, 0 at the end of the file."""
        count = SENT_MAX if self.end is None else min(self.end - self.position, SENT_MAX)
        try:
            # Both are asked for their descriptors each time: whoever closes one frees its number.
            return os.sendfile(sock.fileno(), self.file.fileno(), self.position, count)
        except _NOT_READY:
            return None
        except OSError as error:
            if self.position == self.offset:
                raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from error
            if not self.is_fresh and error.errno == errno.ENOTCONN:
                raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
            raise

    def _move_file(self) -> None:
        if hasattr(self.file, "seek"):
            self.file.seek(self.position)
        else:
            os.lseek(self.file.fileno(), self.position, os.SEEK_SET)


def _size(file: IO[bytes]) -> int:
    """Return the size of a regular file; nothing else has one, or can be copied by the kernel."""
    if not hasattr(os, "sendfile"):
        raise asyncio.SendfileNotAvailableError("os.sendfile() is not available")
    try:
        status = os.fstat(file.fileno())
    except (AttributeError, OSError) as error:
        raise asyncio.SendfileNotAvailableError("not a regular file") from error
    if not stat.S_ISREG(status.st_mode):
        raise asyncio.SendfileNotAvailableError("not a regular file")
    return status.st_size


def _send(sock: socket.socket, data: memoryview) -> int | None:
    try:
        return sock.send(data)
    except _NOT_READY:
        return None


class _Claim:
    """A claim of a file to a transport: meanwhile other writes are refused, and nothing is read."""

    __slots__ = ("_transp", "_was_reading", "written")

    def __init__(self, transp: Any) -> None:
        self._transp = transp
        # Done when what was written before has left.
        self.written: asyncio.Future[None] = transp._make_empty_waiter()
        # Not asked: a file that leaves at once lets nobody read meanwhile.
        self._was_reading: bool | None = None

    async def until_writable(self) -> None:
        await self.until(self._transp._make_writable_waiter())

    async def until(self, waiter: asyncio.Future[None]) -> None:
        if self._was_reading is None and not waiter.done():
            self._was_reading = self._transp.is_reading()
            self._transp.pause_reading()
        await waiter
        _check_open(self._transp)

    def end(self) -> None:
        self._transp._reset_empty_waiter()
        if self._was_reading:
            self._transp.resume_reading()


class _Room:
    """Wait until a socket takes more, with one watch for all waits of an operation."""

    def __init__(self, loop: InheritedLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = -1
        self._watch: asyncio.Handle | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        if self._watch is None or self._watch.cancelled():
            self._fd = self._sock.fileno()
            self._loop._ensure_fd_no_transport(self._fd)
            self._watch = self._loop._add_writer(self._fd, self._wake)
        self._waiter = self._loop.create_future()
        await self._waiter

    def close(self) -> None:
        # Another watcher of the same socket has cancelled ours, and keeps its own.
        if self._watch is not None and not self._watch.cancelled():
            self._loop._remove_writer(self._fd)
        self._watch = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
