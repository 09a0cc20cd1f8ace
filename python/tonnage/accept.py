"""Accepts connections on listening sockets.

One `Acceptor` per listening socket. It keeps three promises: a turn of the loop accepts a bounded number
of connections; a connection that cannot be set up is reported, closed, and never stops the others; when
the process is out of descriptors or memory, accepting pauses, with one report for the whole episode.
`Server` starts and stops acceptors through the loop's `_start_serving` and `_stop_serving`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from asyncio import constants, trsock
from asyncio.log import logger
from dataclasses import dataclass
from socket import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextvars import Context

    from .server import Server

from .inherited import InheritedLoop

__all__ = ("Accepting", "Acceptor")

ACCEPTS_PER_TURN_MAX = 64
"""A storm of connections must not hold the loop: the listening socket stays readable, so the rest
is accepted in the next turns. 64 set-ups take about 2 ms."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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
        # asyncio's limit, which also lets a backlog of 0 accept one connection.
        self._accepts_max = min(listener.backlog + 1, ACCEPTS_PER_TURN_MAX)
        self._kind = int(listener.sock.family), int(listener.sock.type), listener.sock.proto
        self._waiting = select.poll()
        self._waiting.register(listener.sock, select.POLLIN)
        self._retry: asyncio.TimerHandle | None = None
        self._is_starved = False

    def start(self) -> None:
        """Watch the listening socket."""
        self._retry = None
        self._loop._add_reader(self._listener.sock.fileno(), self._accept_ready)

    def stop(self) -> None:
        """Stop watching; the socket itself stays open."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        fd = self._listener.sock.fileno()
        if fd != -1:
            self._loop._remove_reader(fd)

    def _accept_ready(self) -> None:
        for number in range(self._accepts_max):
            # An accept() that finds nobody makes a socket first and costs 4 µs, a poll() 0.5. Connections
            # come alone or in numbers: where there were two, the rest is accepted until nobody is left.
            if number == 1 and not self._waiting.poll(0):
                return
            try:
                connection, peer = self._accept()
            except ConnectionAbortedError:
                # The peer gave up before its turn came.
                continue
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                self._pause(error)
                return
            self._is_starved = False
            self._set_up(connection, peer)
            if self._listener.sock.fileno() == -1:
                # The protocol factory closed the server.
                return

    def _accept(self) -> tuple[socket, object]:
        # As socket.accept(), which finds out family and type for each connection again.
        fd, peer = self._listener.sock._accept()  # type: ignore[attr-defined]
        return socket(*self._kind, fileno=fd), peer

    def _pause(self, error: OSError) -> None:
        # The kernel would report the socket as readable in every turn, so it is not watched for a while.
        # asyncio reports each attempt; this reports an episode once. A connection that is accepted ends it.
        sock = self._listener.sock
        self._loop._remove_reader(sock.fileno())
        self._retry = self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self.start)
        if not self._is_starved:
            self._is_starved = True
            self._loop.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": error,
                    "socket": trsock.TransportSocket(sock),
                }
            )

    def _set_up(self, connection: socket, peer: object) -> None:
        connection.setblocking(False)
        if self._loop.get_debug():
            logger.debug("%r got a new connection from %r: %r", self._listener.server, peer, connection)
        context = None if self._listener.context is None else self._listener.context.copy()
        if self._listener.ssl_context is not None:
            handshake = self._make_tls_transport(connection, peer, context)
            try:
                create_task: Any = self._loop.create_task  # 3.10's knows no context
                create_task(handshake, context=context)
            except BaseException as error:
                handshake.close()
                connection.close()
                if is_exit(error):
                    raise
                self._report(error, None)
        elif context is not None:
            context.run(self._make_transport, connection, peer, context)
        else:
            self._make_transport(connection, peer, context)

    def _make_transport(self, connection: socket, peer: object, context: Context | None) -> None:
        listener = self._listener
        protocol = None
        try:
            protocol = listener.protocol_factory()
            self._loop._make_socket_transport(
                connection, protocol, extra={"peername": peer}, server=listener.server, context=context
            )
        except BaseException as error:
            connection.close()
            if is_exit(error):
                raise
            self._report(error, protocol)

    async def _make_tls_transport(self, connection: socket, peer: object, context: Context | None) -> None:
        # A task of its own waits for the handshake, to close what a failed one leaves behind.
        listener = self._listener
        protocol = None
        try:
            if listener.server is not None and not listener.server.is_serving():
                connection.close()
                return
            protocol = listener.protocol_factory()
            waiter = self._loop.create_future()
            transport = self._loop._make_ssl_transport(
                connection,
                protocol,
                listener.ssl_context,
                waiter,
                server_side=True,
                extra={"peername": peer},
                server=listener.server,
                ssl_handshake_timeout=listener.ssl_handshake_timeout,
                ssl_shutdown_timeout=listener.ssl_shutdown_timeout,
                context=context,
            )
        except BaseException as error:
            connection.close()
            if is_exit(error):
                raise
            self._report(error, protocol)
            return
        try:
            await waiter
        except BaseException as error:
            if is_exit(error):
                raise
            transport.close()
            # A failed handshake is the peer's doing and was logged by the TLS protocol, as in asyncio.
            if self._loop.get_debug():
                self._report(error, protocol, transport)
        finally:
            # The exception in the future would keep the protocol alive through its traceback.
            del waiter

    def _report(
        self,
        error: BaseException,
        protocol: asyncio.BaseProtocol | None,
        transport: asyncio.BaseTransport | None = None,
    ) -> None:
        context: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
            "exception": error,
        }
        if protocol is not None:
            context["protocol"] = protocol
        if transport is not None:
            context["transport"] = transport
        self._loop.call_exception_handler(context)


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
