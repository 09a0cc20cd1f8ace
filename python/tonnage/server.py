"""The object that `create_server` returns.

One `Server` owns its listening sockets until `close()`. Its native base knows its open connections, through
weak references only, so that an abandoned transport can still be collected and warn. The semantics are those
of CPython 3.13 and later on every version: `close()` never touches connections, `wait_closed()` waits
for them, `close_clients()` and `abort_clients()` end them. With `max_connections`, it has its acceptors
pause while so many are open, and the others wait in the kernel's backlog.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import base_events, trsock
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import _tonnage
from .policy import checked_count

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from socket import socket

    from .accept import Accepting, Acceptor

__all__ = ("PauseReason", "Server", "ServerStats", "check_max_connections")

PauseReason = Literal["full", "resources", "error"]


@dataclass(frozen=True, kw_only=True)
class ServerStats:
    """What `Server.stats()` returns.

    It is one moment of a server, and does not change when the server does. The counters only grow.

    Attributes:
        connections: The number of open connections, with those whose TLS handshake is under way.
        max_connections: The most that may be open; None is no bound.
        peak: The most that were open at once.
        accepting: Does the server accept connections at this moment? If not, it is closed, or it pauses.
        accepted: The number of connections that were accepted.
        aborted: The number of connections whose peer was gone before they were accepted.
        failed: The number of accepted connections that came to nothing: the protocol factory raised, the TLS
            handshake failed, or the loop's Policy refused one more task.
        paused: How often accepting paused, by reason: `"full"` is `max_connections`, `"resources"` is
            that the process or the system was out of descriptors or memory, `"error"` is all else.

    Example:
        server = await asyncio.start_server(serve, port=8000, max_connections=1000)
        print(server.stats().connections, server.stats().paused["full"])
    """

    connections: int
    max_connections: int | None
    peak: int
    accepting: bool
    accepted: int
    aborted: int
    failed: int
    paused: Mapping[PauseReason, int]


def check_max_connections(max_connections: int | None) -> None:
    """Raise TypeError or ValueError unless it is a number of connections, or None for no bound."""
    if max_connections is not None:
        checked_count("max_connections", max_connections)


class Server(_tonnage.Connections, base_events.Server):
    """Accept connections on a number of listening sockets."""

    def __init__(  # noqa: PLR0917
        self,
        loop: Accepting,
        sockets: list[socket],
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        ssl_context: ssl.SSLContext | None,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None = None,
        *,
        max_connections: int | None = None,
    ) -> None:
        _tonnage.Connections.__init__(self, max_connections)
        self._loop = loop
        self._pauses: dict[PauseReason, int] = {"full": 0, "resources": 0, "error": 0}
        # The acceptors that wait for the end of a connection, or of a time.
        self._paused: set[Acceptor] = set()
        # None once `close()` was called.
        self._sockets: list[socket] | None = sockets
        # None once the server is closed and its last connection is gone.
        self._waiters: list[asyncio.Future[None]] | None = []
        self._protocol_factory = protocol_factory
        self._ssl_context = ssl_context
        self._backlog = backlog
        self._ssl_handshake_timeout = ssl_handshake_timeout
        self._ssl_shutdown_timeout = ssl_shutdown_timeout
        self._serving = False
        self._serving_forever_fut: asyncio.Future[None] | None = None
        # Each connection runs in a copy of the context that made the server, as in CPython 3.15.
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} sockets={self.sockets!r}>"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that the server belongs to."""
        return self._loop

    def is_serving(self) -> bool:
        """Tell whether the server accepts connections."""
        return self._serving

    @property
    def sockets(self) -> tuple[trsock.TransportSocket, ...]:  # type: ignore[override]
        """The listening sockets; empty once the server is closed."""
        if self._sockets is None:
            return ()
        return tuple(trsock.TransportSocket(sock) for sock in self._sockets)

    def stats(self) -> ServerStats:
        """Return how many connections are open, and what became of those that came."""
        return ServerStats(
            connections=self._open,
            max_connections=self._max_connections,
            peak=self._peak,
            accepting=self._serving and not self._paused,
            accepted=self._accepted,
            aborted=self._aborted,
            failed=self._failed,
            paused=dict(self._pauses),
        )

    async def start_serving(self) -> None:
        """Start to accept connections; do nothing if the server does so already."""
        self._start_serving()
        # The caller gets its turn back only when the listening sockets are being watched.
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        """Accept connections until the waiting task is cancelled, then close everything."""
        if self._serving_forever_fut is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._start_serving()
        self._serving_forever_fut = self._loop.create_future()
        try:
            await self._serving_forever_fut
        except asyncio.CancelledError:
            try:
                self.close()
                self.close_clients()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever_fut = None

    def close(self) -> None:
        """Stop accepting, and close the listening sockets; open connections go on."""
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        self._tells = True
        for sock in sockets:
            self._loop._stop_serving(sock)
        self._serving = False
        forever = self._serving_forever_fut
        if forever is not None and not forever.done():
            forever.cancel()
            self._serving_forever_fut = None
        if self._is_idle():
            self._wakeup()

    def close_clients(self) -> None:
        """Close every open connection, once its buffered data has been sent."""
        for transport in self._clients:
            transport.close()

    def abort_clients(self) -> None:
        """Drop every open connection at once."""
        for transport in self._clients:
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and all of its connections are gone, in either order."""
        if self._waiters is None:
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if self._waiters is not None:
                self._waiters.remove(waiter)

    def _start_serving(self) -> None:
        if self._serving:
            return
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._serving = True
        for sock in self._sockets:
            sock.listen(self._backlog)
            self._loop._start_serving(
                self._protocol_factory,
                sock,
                self._ssl_context,
                self,
                self._backlog,
                self._ssl_handshake_timeout,
                self._ssl_shutdown_timeout,
                context=self._context,
            )

    def _connection_ended(self) -> None:
        """Called at the end of a connection, while `_tells`."""
        if self._paused and not self._is_full() and not self._loop.is_closed():
            # There is room, and a descriptor is free.
            for acceptor in list(self._paused):
                acceptor.resume()
        if self._sockets is None and self._is_idle():
            self._wakeup()

    def _pause(self, acceptor: Acceptor, reason: PauseReason) -> None:
        """Called by an acceptor that stops accepting until it is resumed."""
        self._pauses[reason] += 1
        self._paused.add(acceptor)
        self._tells = True

    def _unpause(self, acceptor: Acceptor) -> None:
        """Called by an acceptor that is resumed or stopped."""
        self._paused.discard(acceptor)
        self._tells = bool(self._paused) or self._sockets is None

    def _wakeup(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
