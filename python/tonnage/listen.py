"""Opens listening sockets, and hands them to a `Server`.

Arguments, checks, their order and their texts are those of CPython 3.15, Lib/asyncio/base_events.py and
unix_events.py. If a server cannot be set up, every socket that was made for it is closed.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import stat
import sys
from asyncio.log import logger
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .accept import Accepting
from .connection import (
    check_not_ssl_socket,
    check_ssl_timeouts,
    check_stream_socket,
    check_unix_stream_socket,
)
from .server import Server, check_max_connections

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ("Listening",)

_ProtocolFactory = Callable[[], asyncio.BaseProtocol]
_Option = Callable[[socket.socket], None]


class Listening(Accepting):
    """The part of the event loop that makes servers."""

    async def create_server(
        self,
        protocol_factory: _ProtocolFactory,
        host: str | bytes | Iterable[str | bytes] | None = None,
        port: int | str | bytes | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | bool | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        max_connections: int | None = None,
    ) -> Server:
        """Create a TCP server on each address of each host.

        The parameters are asyncio's, and `max_connections`: while so many connections are open, the server
        accepts no more, and the others wait in the kernel's line of `backlog` places.
        """
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        check_ssl_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_max_connections(max_connections)
        check_not_ssl_socket(sock)

        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            if reuse_address is None:
                reuse_address = os.name == "posix" and sys.platform != "cygwin"
            infos = await self._resolve_listeners(host, port, family, flags)
            options: list[_Option] = [
                set_option
                for set_option, is_wanted in (
                    (_set_reuse_address, reuse_address),
                    (set_reuse_port, reuse_port),
                    (_set_keep_alive, keep_alive),
                )
                if is_wanted
            ]
            sockets = self._bind_all(infos, options)
            owned = sockets
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            check_stream_socket(sock)
            sockets, owned = [sock], []

        server = await self._serve(
            Server(
                self,
                sockets,
                protocol_factory,
                ssl,
                backlog,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
                max_connections=max_connections,
            ),
            sockets,
            owned,
            start_serving=start_serving,
        )
        if self._debug:
            logger.info("%r is serving", server)
        return server

    async def create_unix_server(
        self,
        protocol_factory: _ProtocolFactory,
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = True,
        max_connections: int | None = None,
    ) -> Server:
        """Create a Unix server; with `cleanup_socket`, closing it removes its path.

        The parameters are asyncio's, and `max_connections`, as in `create_server()`.
        """
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        check_ssl_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_max_connections(max_connections)

        owned: list[socket.socket] = []
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
            owned.append(sock)
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            check_unix_stream_socket(sock)

        if cleanup_socket:
            bound = sock.getsockname()
            if _is_filesystem_path(bound):
                with suppress(FileNotFoundError):
                    self._unix_server_sockets[sock] = os.stat(bound).st_ino
        return await self._serve(
            Server(
                self,
                [sock],
                protocol_factory,
                ssl,
                backlog,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
                max_connections=max_connections,
            ),
            [sock],
            owned,
            start_serving=start_serving,
        )

    async def _serve(
        self,
        server: Server,
        sockets: list[socket.socket],
        owned: list[socket.socket],
        *,
        start_serving: bool,
    ) -> Server:
        try:
            for sock in sockets:
                sock.setblocking(False)
            if start_serving:
                await server.start_serving()
        except BaseException:
            # A socket that the caller passed in stays the caller's until the server is there.
            for sock in sockets:
                if sock in owned:
                    self._stop_serving(sock)
                else:
                    self._stop_watching(sock)
            raise
        return server

    async def _resolve_listeners(
        self,
        host: str | bytes | Iterable[str | bytes] | None,
        port: int | str | bytes | None,
        family: int,
        flags: int,
    ) -> list[Any]:
        hosts: list[Any]
        if host == "":
            hosts = [None]
        elif isinstance(host, (str, bytes)) or not isinstance(host, Iterable):
            hosts = [host]
        else:
            hosts = list(host)
        # A closed loop refuses tasks, and would leave a coroutine that nobody awaits.
        self._check_closed()
        lookups: list[asyncio.Task[list[Any]]] = []
        try:
            for name in hosts:
                lookup = self._create_server_getaddrinfo(name, port, family, flags)
                # Refused by a loop that has as many tasks as its Policy allows.
                lookups.append(self.create_task(lookup))
            found = await asyncio.gather(*lookups)
        except BaseException:
            # The first failure is the caller's; nobody waits for the other names.
            for started in lookups:
                started.cancel()
            if lookups:
                await asyncio.wait(lookups)
            raise
        # Hosts can share addresses; each is bound once.
        return list(dict.fromkeys(itertools.chain.from_iterable(found)))

    async def _create_server_getaddrinfo(self, host: Any, port: Any, family: int, flags: int) -> list[Any]:
        infos: list[Any] = await self._ensure_resolved(
            (host, port), family=family, type=socket.SOCK_STREAM, flags=flags, loop=self
        )
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    def _bind_all(self, infos: list[Any], options: list[_Option]) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        try:
            for info in infos:
                sock = self._bind_tcp(info, options)
                if sock is not None:
                    sockets.append(sock)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        if not sockets:
            addresses = [info[4] for info in infos]
            raise OSError(f"could not bind on any address out of {addresses!r}")
        return sockets

    def _bind_tcp(self, info: Any, options: list[_Option]) -> socket.socket | None:
        """Return a bound socket, or None if this machine does not have the address or its family."""
        family, kind, proto, _, address = info
        try:
            sock = socket.socket(family, kind, proto)
        except OSError:
            if self._debug:
                logger.warning(
                    "create_server() failed to create socket.socket(%r, %r, %r)",
                    family,
                    kind,
                    proto,
                    exc_info=True,
                )
            return None
        try:
            for set_option in options:
                # Since Linux 6.12.9, SO_REUSEPORT is refused for other families.
                if set_option is not set_reuse_port or family in (socket.AF_INET, socket.AF_INET6):
                    set_option(sock)
            if family == socket.AF_INET6:
                # Linux would make the socket serve IPv4 too, which has a socket of its own.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
            try:
                sock.bind(address)
            except OSError as error:
                text = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
                if error.errno != errno.EADDRNOTAVAIL:
                    raise OSError(error.errno, text) from None
                sock.close()
                if self._debug:
                    logger.warning(text)
                return None
        except BaseException:
            sock.close()
            raise
        return sock


def _set_reuse_address(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _set_keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def set_reuse_port(sock: socket.socket) -> None:
    """Let other sockets be bound to the same port."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from None


def _is_filesystem_path(path: str | bytes) -> bool:
    # Linux's abstract addresses begin with a zero byte, and have no file; unbound sockets have "".
    return bool(path) and path[0] not in (0, "\x00")


def remove_stale_socket(path: str | bytes) -> None:
    """Remove the socket file that an earlier process left behind at `path`, if there is one."""
    if not _is_filesystem_path(path):
        return
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # The directory may allow to create sockets, and nothing else.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)


def _bind_unix(path: str | bytes) -> socket.socket:
    remove_stale_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock
