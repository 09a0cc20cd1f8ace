"""Puts TLS on a connection: the user's `SSLContext`, with all its callbacks, over any transport.

This runs once per connection; the bytes go through the Rust `TLSProtocol`, which the transport below takes
for its protocol. `start_tls` has the signature and the behaviour of CPython 3.15 on every version.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, cast

from . import _tonnage
from .inherited import InheritedLoop

if TYPE_CHECKING:
    import contextvars
    import socket

    from .server import Server

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
        if transport.is_closing():
            # Who has lost its connection already would never hear of it.
            raise ConnectionResetError("Connection lost")

        waiter: asyncio.Future[None] = self.create_future()
        tls = _tonnage.TLSProtocol(
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
        # The protocol lets go of it when the connection ends, which may be in the turn of the handshake.
        upgraded = tls._app_transport
        # No data may arrive before tls.connection_made().
        plain = cast("asyncio.Transport", transport)
        plain.pause_reading()
        if early := _take_early_data(protocol):
            if server_side:
                # A client may send its first TLS bytes together with its last plain ones (gh-142352).
                tls._incoming.write(early)
            else:
                # What came before the upgrade is not secured, and must not pass for what comes after it. A
                # server has nothing to say in TLS before its client has.
                logger.warning("start_tls() dropped %d bytes that were received before it", len(early))
        transport.set_protocol(tls)
        steps = [self.call_soon(tls.connection_made, transport), self.call_soon(plain.resume_reading)]
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
        return upgraded

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
        tls = _tonnage.TLSProtocol(
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
        upgraded = tls._app_transport
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
        return upgraded


def _take_early_data(protocol: asyncio.BaseProtocol) -> bytes:
    """Take what a StreamReader has read and nobody has asked for."""
    reader = getattr(protocol, "_stream_reader", None)
    if not isinstance(protocol, asyncio.StreamReaderProtocol) or reader is None:
        return b""
    early = bytes(reader._buffer)
    reader._buffer.clear()
    return early
