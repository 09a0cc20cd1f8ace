"""Puts TLS on a connection, with asyncio's own `SSLProtocol` over our socket transport.

The user's `SSLContext` is used as it is, with all its callbacks. `start_tls` has the signature and the
behaviour of CPython 3.15 on every version; below it is the `SSLProtocol` of the running version.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import sys
from asyncio import sslproto
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import contextvars
    import socket

    from .server import Server

from .inherited import InheritedLoop

__all__ = ("Encrypting",)


class Encrypting(InheritedLoop):
    """The part of the event loop that makes TLS transports."""

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl_module.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Upgrade a connection to TLS, and return the transport to use from then on."""
        if not isinstance(sslcontext, ssl_module.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")

        waiter: asyncio.Future[None] = self.create_future()
        ssl_protocol = _ssl_protocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # No data may arrive before ssl_protocol.connection_made().
        plain = cast("asyncio.Transport", transport)
        plain.pause_reading()
        early = self._take_early_data(protocol) if server_side else b""
        transport.set_protocol(ssl_protocol)
        steps = [self.call_soon(ssl_protocol.connection_made, transport)]
        if early and sys.version_info >= (3, 11):
            ssl_protocol._incoming.write(early)
        elif early:
            steps.append(self.call_soon(ssl_protocol.data_received, early))
        steps.append(self.call_soon(plain.resume_reading))
        try:
            await waiter
        except BaseException:
            transport.close()
            for step in steps:
                step.cancel()
            raise
        finally:
            # An exception in the future would keep this frame alive.
            del waiter
        upgraded: asyncio.Transport = ssl_protocol._app_transport
        return upgraded

    @staticmethod
    def _take_early_data(protocol: asyncio.BaseProtocol) -> bytes:
        # A client may send its first TLS bytes together with its last plain ones; the StreamReader has
        # them already (gh-142352).
        reader = getattr(protocol, "_stream_reader", None)
        if not isinstance(protocol, asyncio.StreamReaderProtocol) or reader is None:
            return b""
        early = bytes(reader._buffer)
        reader._buffer.clear()
        return early

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl_module.SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        call_connection_made: bool = True,
        context: contextvars.Context | None = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = _ssl_protocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=call_connection_made,
        )
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, context=context)
        upgraded: asyncio.Transport = ssl_protocol._app_transport
        return upgraded


if sys.version_info >= (3, 11):
    SSLProtocol = sslproto.SSLProtocol
else:

    class SSLProtocol(sslproto.SSLProtocol):
        """CPython 3.10's protocol, which forgets that a transport is closed if the peer closed it."""

        def connection_lost(self, exc: BaseException | None) -> None:
            """End the connection; a transport without one needs no warning that it is unclosed."""
            if self._app_transport is not None:
                self._app_transport._closed = True
            super().connection_lost(exc)


def _ssl_protocol(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl_module.SSLContext | None,
    waiter: asyncio.Future[None] | None,
    *,
    ssl_shutdown_timeout: float | None,
    **options: Any,
) -> Any:
    # CPython 3.10's SSLProtocol closes without waiting for the peer, and knows no shutdown timeout.
    if sys.version_info >= (3, 11):
        options["ssl_shutdown_timeout"] = ssl_shutdown_timeout
    elif ssl_shutdown_timeout is not None and ssl_shutdown_timeout <= 0:
        raise ValueError(f"ssl_shutdown_timeout should be a positive number, got {ssl_shutdown_timeout}")
    return SSLProtocol(loop, protocol, sslcontext, waiter, **options)  # type: ignore[arg-type]
