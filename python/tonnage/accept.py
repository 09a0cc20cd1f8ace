"""Accepts connections on listening sockets.

One `Acceptor` per listening socket. Its native `Intake` accepts, and sets up what is plain; all else is
here. Together they keep four promises: a turn of the loop accepts a bounded number of connections; a
connection that cannot be set up is reported, closed, and never stops the others; when the process is out
of descriptors or memory, accepting pauses, with one report for the whole episode; and it pauses while its
server has `max_connections`. A pause ends by itself, at the latest when a connection of the server does.
`Server` starts and stops acceptors through the loop's `_start_serving` and `_stop_serving`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from asyncio import constants, trsock
from asyncio.log import logger
from dataclasses import dataclass
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextvars import Context

    from .server import PauseReason, Server

from . import _tonnage
from .connection import Connecting
from .inherited import InheritedLoop

__all__ = ("Accepting", "Acceptor")

ACCEPTS_PER_TURN_MAX = 16
"""A storm of connections must not hold the loop: the listening socket stays readable, so the rest
is accepted in the next turns. 16 set-ups take some 0.1 ms; that more turns are needed than with 64
costs 1 % of an accepted connection."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC})

EPISODE_RETRIES = 10
"""An episode is over when accepting has not failed for so many retry delays."""


@dataclass(frozen=True)
class Listener:
    """What a listening socket needs to turn a connection into a protocol."""

    protocol_factory: Callable[[], asyncio.BaseProtocol]
    sock: socket
    ssl_context: ssl.SSLContext | None
    server: Server | None
    backlog: int
    ssl_handshake_timeout: float | None
    ssl_shutdown_timeout: float | None
    context: Context | None


class Acceptor:
    """Accepts the connections of one listening socket until `stop()`."""

    def __init__(self, loop: Accepting, listener: Listener) -> None:
        self._loop = loop
        self._listener = listener
        sock = listener.sock
        # All connections of a Unix socket have its name: the kernel hands it on to each.
        is_named = sock.family == AF_UNIX and type(sock) is socket
        make = getattr(loop._make_socket_transport, "__func__", None)
        self._intake = _tonnage.Intake(
            loop,
            listener,
            sock.getsockname() if is_named else None,
            cast("Any", loop._transports).data,  # typeshed has no `data`
            # asyncio's limit, which also lets a backlog of 0 accept one connection.
            min(listener.backlog + 1, ACCEPTS_PER_TURN_MAX),
            # Whoever overrides how a transport is made is asked.
            listener.ssl_context is None and make is Connecting._make_socket_transport,
        )
        self._retry: asyncio.TimerHandle | None = None
        # The loop's time until which a failure is no news.
        self._reported_until = 0.0

    def start(self) -> None:
        """Watch the listening socket."""
        self._loop._add_reader(self._listener.sock.fileno(), self._accept_ready)

    def resume(self) -> None:
        """Go on after a pause, because time has passed or a connection has ended."""
        self._end_pause()
        try:
            self.start()
        except OSError as error:
            self._pause_for(error)

    def stop(self) -> None:
        """Stop watching; the socket itself stays open."""
        self._end_pause()
        fd = self._listener.sock.fileno()
        if fd != -1:
            self._loop._remove_reader(fd)

    def _accept_ready(self) -> None:
        try:
            if self._intake.accept_some(self):
                # A connection that ends resumes this.
                self._pause("full")
        except OSError as error:
            self._pause_for(error)

    def _accept(self) -> tuple[socket, object]:
        # As socket.accept(), which finds out family and type for each connection again.
        listener = self._listener.sock
        fd, peer = listener._accept()  # type: ignore[attr-defined]
        connection = socket(listener.family, listener.type, listener.proto, fileno=fd)
        connection.setblocking(False)
        return connection, peer

    def _pause(self, reason: PauseReason) -> None:
        # The kernel would report the socket as readable in every turn, so it is not watched for a while.
        self._loop._remove_reader(self._listener.sock.fileno())
        if self._listener.server is not None:
            self._listener.server._pause(self, reason)

    def _pause_for(self, error: OSError) -> None:
        is_starved = error.errno in OUT_OF_RESOURCES
        delay = constants.ACCEPT_RETRY_DELAY
        if self._listener.sock.fileno() != -1:
            self._pause("resources" if is_starved else "error")
            self._retry = self._loop.call_later(delay, self.resume)
        # asyncio reports each attempt; this reports an episode once.
        now = self._loop.time()
        is_news = now >= self._reported_until
        self._reported_until = now + EPISODE_RETRIES * delay
        if is_news:
            self._loop.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource" if is_starved else "accept() failed",
                    "exception": error,
                    "socket": trsock.TransportSocket(self._listener.sock),
                }
            )

    def _end_pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener.server is not None:
            self._listener.server._unpause(self)

    def _set_up(self, connection: Any, peer: object) -> None:
        if self._loop._debug:
            shown = connection
            if isinstance(connection, _tonnage.AcceptedSocket):
                shown, peer = connection.as_socket(), connection.peername
            logger.debug("%r got a new connection from %r: %r", self._listener.server, peer, shown)
        is_plain = self._listener.ssl_context is None
        make = self._make_transport if is_plain else self._make_tls_transport
        context = self._listener.context
        if context is None:
            make(connection, peer, None)
        else:
            context = context.copy()
            context.run(make, connection, peer, context)

    def _make_transport(self, connection: Any, peer: object, context: Context | None) -> None:
        listener = self._listener
        protocol = None
        try:
            protocol = listener.protocol_factory()
            self._loop._make_socket_transport(
                connection,
                protocol,
                extra=extra_of(connection, peer),
                server=listener.server,
                context=context,
            )
        except BaseException as error:
            connection.close()
            if is_exit(error):
                raise
            self._failed(error, protocol)

    def _make_tls_transport(self, connection: Any, peer: object, context: Context | None) -> None:
        listener = self._listener
        protocol = None
        try:
            protocol = listener.protocol_factory()
            waiter = self._loop.create_future()
            transport = self._loop._make_ssl_transport(
                connection,
                protocol,
                listener.ssl_context,
                waiter,
                server_side=True,
                extra=extra_of(connection, peer),
                server=listener.server,
                ssl_handshake_timeout=listener.ssl_handshake_timeout,
                ssl_shutdown_timeout=listener.ssl_shutdown_timeout,
                context=context,
            )
        except BaseException as error:
            connection.close()
            if is_exit(error):
                raise
            self._failed(error, protocol)
            return
        handshake = self._wait_for_handshake(waiter, transport, protocol)
        try:
            create_task: Any = self._loop.create_task  # 3.10's knows no context
            create_task(handshake, context=context)
        except BaseException as error:
            handshake.close()
            transport.abort()
            if is_exit(error):
                raise
            self._failed(error, protocol)

    async def _wait_for_handshake(
        self,
        waiter: asyncio.Future[None],
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
    ) -> None:
        # A task of its own, to close what a failed handshake leaves behind.
        try:
            await waiter
        except BaseException as error:
            if is_exit(error):
                raise
            transport.close()
            # A failed handshake is the peer's doing and was logged by the TLS protocol, as in asyncio.
            self._failed(error, protocol, transport, is_news=self._loop.get_debug())
        finally:
            # The exception in the future would keep the protocol alive through its traceback.
            del waiter

    def _failed(
        self,
        error: BaseException,
        protocol: asyncio.BaseProtocol | None,
        transport: asyncio.BaseTransport | None = None,
        *,
        is_news: bool = True,
    ) -> None:
        if self._listener.server is not None:
            self._listener.server._note_failed()
        if not is_news:
            return
        context: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
            "exception": error,
        }
        if protocol is not None:
            context["protocol"] = protocol
        if transport is not None:
            context["transport"] = transport
        self._loop.call_exception_handler(context)


def extra_of(connection: socket | _tonnage.AcceptedSocket, peer: object) -> dict[str, object] | None:
    """Return what a transport of `connection` could not find out."""
    # An accepted socket of ours knows its peer.
    return None if isinstance(connection, _tonnage.AcceptedSocket) else {"peername": peer}


def is_exit(error: BaseException) -> bool:
    """Tell whether `error` ends the program, and so must leave the loop."""
    return isinstance(error, (SystemExit, KeyboardInterrupt))


class Accepting(InheritedLoop):
    """The part of the event loop that starts and stops acceptors."""

    # One entry for each socket that is being watched or that waits for its retry.
    _acceptors: dict[socket, Acceptor]
    # Sockets of Unix servers whose path is removed on close, with the inode that they were bound to.
    _unix_server_sockets: dict[socket, int]

    def _start_serving(  # noqa: PLR0917
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
    ) -> None:
        listener = Listener(
            protocol_factory,
            sock,
            sslcontext,
            server,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            context,
        )
        acceptor = Acceptor(self, listener)
        self._acceptors[sock] = acceptor
        acceptor.start()

    def _stop_serving(self, sock: socket) -> None:
        inode = self._stop_watching(sock)
        path = None if inode is None else sock.getsockname()
        sock.close()
        if path is None:
            return
        try:
            # Another server may have bound the same path since; its socket is not ours to remove.
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)

    def _stop_watching(self, sock: socket) -> int | None:
        """Forget a listening socket, and return the inode of its path if that is to be removed."""
        acceptor = self._acceptors.pop(sock, None)
        if acceptor is not None and not self.is_closed():
            acceptor.stop()
        return self._unix_server_sockets.pop(sock, None)
