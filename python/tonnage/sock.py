"""The loop's rarer `sock_*` methods: single operations on the user's own non-blocking sockets.

`sock_recv`, `sock_recv_into` and `sock_sendall` are in Rust, and do the same.

Each operation is tried at once. If the socket is not ready, the coroutine waits for readiness only, and
tries again when it runs, so that a cancelled wait has taken nothing from the socket. Checks, their order
and their texts are those of CPython 3.15, Lib/asyncio/selector_events.py, on every version.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from ssl import SSLSocket
from typing import TYPE_CHECKING, Any

from .inherited import InheritedLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Buffer

__all__ = ("SocketOperations",)

_NOT_READY = (BlockingIOError, InterruptedError)
# The kernel has no memory to watch one more descriptor, or watches all that the user may: it is asked for a
# second, as by a transport.
_STARVED = frozenset({errno.ENOMEM, errno.ENOSPC})
_AGAIN_S = 0.02
_CONNECT_TRIES = 50
_INTERNET_FAMILIES = frozenset(
    getattr(socket, name) for name in ("AF_INET", "AF_INET6") if hasattr(socket, name)
)


class SocketOperations(InheritedLoop):
    """The part of the event loop that works on the user's sockets."""

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram, and return it with the address of its sender."""
        self._check_socket(sock)
        try:
            return sock.recvfrom(bufsize)
        except _NOT_READY:
            datagram: tuple[bytes, Any] = await _when_ready(self._until_readable, sock, "recvfrom", bufsize)
            return datagram

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Buffer, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into `buf`, and return its length with the address of its sender."""
        self._check_socket(sock)
        if not nbytes:
            nbytes = len(buf)  # type: ignore[arg-type]
        try:
            return sock.recvfrom_into(buf, nbytes)
        except _NOT_READY:
            datagram: tuple[int, Any] = await _when_ready(
                self._until_readable, sock, "recvfrom_into", buf, nbytes
            )
            return datagram

    async def sock_sendto(self, sock: socket.socket, data: Buffer, address: Any) -> int:
        """Send a datagram to `address`, and return the number of bytes sent."""
        self._check_socket(sock)
        try:
            return sock.sendto(data, address)
        except _NOT_READY:
            count: int = await _when_ready(self._until_writable, sock, "sendto", data, address)
            return count

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to `address`, of which a host name is resolved first."""
        self._check_socket(sock)
        if sock.family in _INTERNET_FAMILIES:
            infos = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = infos[0][4]
        try:
            sock.connect(address)
        except _NOT_READY as refused:
            if refused.errno == errno.EAGAIN:
                # The backlog of a Unix server is full, and nothing goes on: asyncio takes it for connected.
                raise
            # An interrupted connect goes on in the background, too.
            await self._until_connected(sock)
        else:
            return
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error != 0:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection, and return its non-blocking socket with the address of the peer."""
        self._check_socket(sock)
        try:
            connection, address = sock.accept()
        except _NOT_READY:
            connection, address = await _when_ready(self._until_readable, sock, "accept")
        connection.setblocking(False)
        return connection, address

    def _check_socket(self, sock: socket.socket) -> None:
        if isinstance(sock, SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def _until_readable(self, sock: socket.socket) -> None:
        await self._until_ready(sock, self._add_reader, self._remove_reader)

    async def _until_writable(self, sock: socket.socket) -> None:
        await self._until_ready(sock, self._add_writer, self._remove_writer)

    async def _until_connected(self, sock: socket.socket) -> None:
        # Whose connect is under way cannot ask for it once more, as for what only failed to be watched.
        for tries_left in reversed(range(_CONNECT_TRIES)):
            try:
                await self._until_writable(sock)
            except OSError as error:
                if error.errno not in _STARVED or not tries_left:
                    raise
            else:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _until_ready(
        self,
        sock: socket.socket,
        watch: Callable[..., asyncio.Handle],
        unwatch: Callable[[int], bool],
    ) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        ready: asyncio.Future[None] = self.create_future()
        handle = watch(fd, _wake, ready)
        try:
            await ready
        finally:
            # Another watcher of the same socket has cancelled ours, and keeps its own.
            if not handle.cancelled():
                unwatch(fd)


async def _when_ready(
    until_ready: Callable[[socket.socket], Awaitable[None]], sock: socket.socket, operation: str, *args: Any
) -> Any:
    while True:
        await until_ready(sock)
        try:
            return getattr(sock, operation)(*args)
        except _NOT_READY:
            continue


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
