"""Sets up datagram endpoints: UDP, and Unix datagrams.

This runs once per endpoint; the datagrams go through the Rust `DatagramTransport`. Arguments, checks, their
order and their texts are those of CPython 3.15, Lib/asyncio/base_events.py, create_datagram_endpoint. Until a
transport owns a socket that was made here, every error path closes the socket.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from . import _tonnage
from .inherited import InheritedLoop
from .listen import remove_stale_socket, set_reuse_port

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Datagrams",)

# What to try: a family and its protocol, with the local and the remote address.
_Pairs: TypeAlias = "list[tuple[tuple[int, int], tuple[Any, Any]]]"
_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)


def check_datagram_socket(sock: socket.socket, options: dict[str, Any]) -> None:
    """Raise ValueError if `sock` is a stream socket, or an option was given that is for sockets made here."""
    if sock.type == socket.SOCK_STREAM:
        raise ValueError(f"A datagram socket was expected, got {sock!r}")
    problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if problems:
        raise ValueError(
            f"socket modifier keyword arguments can not be used when sock is specified. ({problems})"
        )


class DatagramClass(asyncio.Transport, asyncio.DatagramTransport):
    """The class that our datagram transports say is theirs.

    As in asyncio, they are of both classes; there it is so since 3.12.
    """


class Datagrams(InheritedLoop):
    """The part of the event loop that makes datagram transports."""

    # asyncio's older signatures have `reuse_address`, which it ignores or refuses.
    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _ProtocolT]:
        """Make a datagram endpoint, and return its transport and protocol.

        If the wait is cancelled, no socket is left. The parameters are asyncio's.
        """
        remote: Any = None
        is_own = sock is None
        if sock is not None:
            options = {
                "local_addr": local_addr,
                "remote_addr": remote_addr,
                "family": family,
                "proto": proto,
                "flags": flags,
                "reuse_port": reuse_port,
                "allow_broadcast": allow_broadcast,
            }
            check_datagram_socket(sock, options)
            sock.setblocking(False)
        else:
            pairs = await self._datagram_addresses(
                local_addr, remote_addr, family=family, proto=proto, flags=flags
            )
            sock, remote = await self._open_datagram_socket(
                pairs, reuse_port=reuse_port, allow_broadcast=allow_broadcast
            )
        try:
            self._check_closed()
            protocol = protocol_factory()
            waiter: asyncio.Future[None] = self.create_future()
            transport = self._make_datagram_transport(sock, protocol, remote, waiter)
        except BaseException:
            if is_own:
                sock.close()
            raise
        if self._debug:
            if local_addr:
                logger.info(
                    "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                    local_addr,
                    remote_addr,
                    transport,
                    protocol,
                )
            else:
                logger.debug(
                    "Datagram endpoint remote_addr=%r created: (%r, %r)", remote_addr, transport, protocol
                )
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        finally:
            # An exception in the future would keep this frame alive.
            del waiter
        return transport, protocol

    async def _datagram_addresses(
        self, local_addr: Any, remote_addr: Any, *, family: int, proto: int, flags: int
    ) -> _Pairs:
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [((family, proto), (None, None))]
        if family == socket.AF_UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            if local_addr:
                remove_stale_socket(local_addr)
            return [((family, proto), (local_addr, remote_addr))]
        return await self._resolve_datagram(local_addr, remote_addr, family=family, proto=proto, flags=flags)

    async def _resolve_datagram(self, local_addr: Any, remote_addr: Any, **options: int) -> _Pairs:
        found: dict[tuple[int, int], list[Any]] = {}
        for index, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(address, type=socket.SOCK_DGRAM, loop=self, **options)
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for info_family, _, info_proto, _, resolved in infos:
                found.setdefault((info_family, info_proto), [None, None])[index] = resolved
        # Each address has to have been found for the family.
        pairs = [
            (key, (local, remote))
            for key, (local, remote) in found.items()
            if not ((local_addr and local is None) or (remote_addr and remote is None))
        ]
        if not pairs:
            raise ValueError("can not get address information")
        return pairs

    async def _open_datagram_socket(
        self,
        pairs: _Pairs,
        *,
        reuse_port: bool | None,
        allow_broadcast: bool | None,
    ) -> tuple[socket.socket, Any]:
        """Open the first socket that works, and return it with the address that it is to send to."""
        errors: list[OSError] = []
        try:
            for (family, proto), (local, remote) in pairs:
                sock = None
                try:
                    sock = socket.socket(family=family, type=socket.SOCK_DGRAM, proto=proto)
                    if reuse_port:
                        set_reuse_port(sock)
                    if allow_broadcast:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    sock.setblocking(False)
                    if local:
                        sock.bind(local)
                    if remote and not allow_broadcast:
                        await self.sock_connect(sock, remote)
                except BaseException as error:
                    if sock is not None:
                        sock.close()
                    if not isinstance(error, OSError):
                        raise
                    errors.append(error)
                else:
                    return sock, remote or None
            raise errors[0]
        finally:
            # The errors' tracebacks hold this frame.
            errors.clear()

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        self._ensure_fd_no_transport(sock)
        fd = sock.fileno()
        transport = _tonnage.DatagramTransport(self, sock, protocol, address, waiter, extra)
        self._transports[fd] = transport
        return transport
