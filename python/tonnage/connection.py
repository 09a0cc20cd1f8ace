"""Sets up stream connections: TCP and Unix clients, and accepted sockets.

This runs once per connection; the bytes go through the Rust `SocketTransport`. Arguments, checks, their
order and their texts are those of CPython 3.15, Lib/asyncio/base_events.py and unix_events.py. Until a
transport owns a socket that was made here, every error path closes the socket.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import ssl as ssl_module
import sys
from asyncio.log import logger
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import ref

from . import _tonnage
from .happy_eyeballs import connect_first, interleave_families
from .tls import Encrypting

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from .server import Server

__all__ = ("Connecting",)

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)


def check_stream_socket(sock: socket.socket) -> None:
    """Raise ValueError unless `sock` is a stream socket of any family."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def check_unix_stream_socket(sock: socket.socket) -> None:
    """Raise ValueError unless `sock` is a Unix stream socket."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def check_not_ssl_socket(sock: socket.socket | None) -> None:
    """Raise TypeError if `sock` does TLS by itself."""
    if isinstance(sock, ssl_module.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def check_ssl_timeouts(
    ssl: object, ssl_handshake_timeout: float | None, ssl_shutdown_timeout: float | None
) -> None:
    """Raise ValueError if a TLS timeout was given without TLS."""
    if ssl_handshake_timeout is not None and not ssl:
        raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
    if ssl_shutdown_timeout is not None and not ssl:
        raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


class Connecting(Encrypting):
    """The part of the event loop that makes stream transports."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | bytes | None = None,
        port: str | bytes | int | None = None,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect to a TCP server, and return its transport and protocol.

        If the wait is cancelled, no socket is left. The parameters are asyncio's.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host  # type: ignore[assignment]
        check_ssl_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_not_ssl_socket(sock)
        if happy_eyeballs_delay is not None and interleave is None:
            interleave = 1

        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            resolve = {"family": family, "proto": proto, "flags": flags}
            infos = await self._resolve_stream((host, port), **resolve)
            local_infos = None
            if local_addr is not None:
                local_infos = await self._resolve_stream(local_addr, **resolve)
            if interleave:
                infos = interleave_families(infos, interleave)
            sock = await self._connect_any(
                infos, local_infos, happy_eyeballs_delay=happy_eyeballs_delay, all_errors=all_errors
            )
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            check_stream_socket(sock)

        transport, protocol = await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if self._debug:
            used = transport.get_extra_info("socket")
            logger.debug("%r connected to %s:%r: (%r, %r)", used, host, port, transport, protocol)
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect to a Unix server, and return its transport and protocol.

        If the wait is cancelled, no socket is left. The parameters are asyncio's.
        """
        assert server_hostname is None or isinstance(server_hostname, str)
        if ssl:
            if server_hostname is None:
                raise ValueError("you have to pass server_hostname when using ssl")
        elif server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        check_ssl_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)

        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, path)
            except BaseException:
                sock.close()
                raise
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            check_unix_stream_socket(sock)
            sock.setblocking(False)

        return await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket.socket,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Take over a connection that was accepted elsewhere, as its server side."""
        check_stream_socket(sock)
        check_ssl_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_not_ssl_socket(sock)
        transport, protocol = await self._create_connection_transport(
            sock,
            protocol_factory,
            ssl,
            "",
            server_side=True,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        if self._debug:
            used = transport.get_extra_info("socket")
            logger.debug("%r handled: (%r, %r)", used, transport, protocol)
        return transport, protocol

    async def _resolve_stream(self, address: Any, **options: int) -> list[Any]:
        infos: list[Any] = await self._ensure_resolved(address, type=socket.SOCK_STREAM, loop=self, **options)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def _connect_any(
        self,
        infos: list[Any],
        local_infos: list[Any] | None,
        *,
        happy_eyeballs_delay: float | None,
        all_errors: bool,
    ) -> socket.socket:
        # A closed loop refuses the attempts' tasks, and would leave coroutines that nobody awaits.
        self._check_closed()
        # One list of errors for each address, in the order in which the attempts started.
        attempts: list[list[OSError]] = []
        sock = None
        if happy_eyeballs_delay is None:
            for info in infos:
                try:
                    sock = await self._connect_sock(attempts, info, local_infos)
                    break
                except OSError:
                    continue
        else:
            sock = await connect_first(
                self,
                [partial(self._connect_sock, attempts, info, local_infos) for info in infos],
                happy_eyeballs_delay,
            )
        if sock is not None:
            return sock
        errors = [error for attempt in attempts for error in attempt]
        try:
            if all_errors:
                raise ExceptionGroup("create_connection failed", errors.copy())
            if not errors:
                raise TimeoutError("create_connection failed")
            # Errors with one and the same text are one error to the user.
            if len({str(error) for error in errors}) == 1:
                raise errors[0]
            texts = ", ".join(str(error) for error in errors)
            raise OSError(f"Multiple exceptions: {texts}")
        finally:
            # The errors' tracebacks hold this frame.
            errors.clear()
            attempts.clear()

    async def _connect_sock(
        self, attempts: list[list[OSError]], info: Any, local_infos: list[Any] | None = None
    ) -> socket.socket:
        errors: list[OSError] = []
        attempts.append(errors)
        family, kind, proto, _, address = info
        sock = None
        try:
            sock = socket.socket(family=family, type=kind, proto=proto)
            sock.setblocking(False)
            if local_infos is not None:
                self._bind_any(sock, local_infos, errors)
            await self.sock_connect(sock, address)
        except BaseException as error:
            if sock is not None:
                # A reset connection can say so on close; the error that is on its way says more.
                with suppress(OSError):
                    sock.close()
            if isinstance(error, OSError):
                errors.append(error)
            raise
        finally:
            # The errors' tracebacks hold this frame.
            del errors, attempts
        return sock

    @staticmethod
    def _bind_any(sock: socket.socket, local_infos: list[Any], errors: list[OSError]) -> None:
        for family, _, _, _, address in local_infos:
            if family != sock.family:
                continue
            try:
                sock.bind(address)
            except OSError as error:
                text = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
                errors.append(OSError(error.errno, text))
            else:
                return
        if errors:
            raise errors.pop()
        raise OSError(f"no matching local address with family={sock.family!r} found")

    async def _create_connection_transport(  # noqa: PLR0917
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _ProtocolT],
        ssl: ssl_module.SSLContext | bool | None,  # noqa: FBT001
        server_hostname: str | None,
        server_side: bool = False,  # noqa: FBT001, FBT002
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: contextvars.Context | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        try:
            self._check_closed()
            sock.setblocking(False)
            if context is None:
                context = contextvars.copy_context()
            protocol = protocol_factory()
            waiter: asyncio.Future[None] = self.create_future()
            if ssl:
                transport = self._make_ssl_transport(
                    sock,
                    protocol,
                    None if isinstance(ssl, bool) else ssl,
                    waiter,
                    server_side=server_side,
                    server_hostname=server_hostname,
                    ssl_handshake_timeout=ssl_handshake_timeout,
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                    context=context,
                )
            else:
                transport = self._make_socket_transport(sock, protocol, waiter, context=context)
        except BaseException:
            # No transport owns the socket (gh-153133).
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            # An exception in the future would keep this frame alive.
            del waiter
        return transport, protocol

    def _make_socket_transport(
        self,
        sock: socket.socket | _tonnage.AcceptedSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Transport:
        fd = sock.fileno()
        # The dictionary's own methods cost more than the transport. An entry stays until its number is used
        # again, as asyncio's check allows for: its transport is gone or closing.
        transports: dict[int, Any] = cast("Any", self._transports).data  # typeshed has no `data`
        known = transports.get(fd)
        if known is not None and known() is not None:
            self._ensure_fd_no_transport(fd)
        transport = _tonnage.SocketTransport(self, sock, protocol, waiter, extra, server, context)
        transports[fd] = ref(transport)
        return transport
