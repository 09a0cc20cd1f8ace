"""Name lookups on threads of their own.

The resolver of the C library blocks, for many seconds when a name server is down, so it gets threads that
nothing else waits for: programs that fill the default executor can still connect. The number of threads
is bounded; a thread lives only while there are lookups. Addresses that need no lookup are answered
in place, by the same C function, so that IPv6 scope ids and error texts are the platform's.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .inherited import InheritedLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ("Resolver", "Resolving")

THREADS_MAX = 16
"""Enough for bursts: most answers come from a local cache. asyncio's default executor has 32 at most."""

CLOSE_WAIT_S = 0.25
"""How long closing a loop waits for lookups in flight. A lookup that hangs ends with its own timeout."""


_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Lookup:
    """One call that waits for a thread or runs on one."""

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        self.call = call
        self.args = args
        self.future = future

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Hand the outcome to the waiter, unless it has gone. Runs on the loop's thread."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Resolver:
    """Runs lookups of one loop on at most `THREADS_MAX` threads, first come, first served."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Guards the two fields below; held for a few instructions only.
        self._lock = threading.Lock()
        # Bounded by the number of waiting tasks: each takes its entry along when it goes.
        self._waiting: OrderedDict[Lookup, None] = OrderedDict()
        self._threads: set[threading.Thread] = set()

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return `call(*args)`, called on a thread of the resolver.

        If the wait is cancelled, a call that has not begun is dropped, and the outcome of one that has is.
        """
        lookup = Lookup(call, args, self._loop.create_future())
        self._enqueue(lookup)
        try:
            return await lookup.future
        finally:
            with self._lock:
                self._waiting.pop(lookup, None)

    def close(self) -> None:
        """Drop the waiting lookups, and wait a moment for the running ones."""
        with self._lock:
            self._waiting.clear()
            threads = list(self._threads)
        give_up_at = time.monotonic() + CLOSE_WAIT_S
        for thread in threads:
            thread.join(max(0.0, give_up_at - time.monotonic()))

    def forget_after_fork(self) -> None:
        """Start over in a forked child, which has none of the threads, and perhaps a lock that one held."""
        self._lock = threading.Lock()
        self._waiting.clear()
        self._threads.clear()

    def _enqueue(self, lookup: Lookup) -> None:
        with self._lock:
            self._waiting[lookup] = None
            if len(self._threads) >= THREADS_MAX:
                return
            # A lookup that hangs does not keep the process alive.
            thread = threading.Thread(target=self._work, name="tonnage-dns", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._threads.discard(thread)
                is_served = bool(self._threads)
                if not is_served:
                    self._waiting.pop(lookup, None)
            # Another thread takes the lookup when it is done with its own.
            if not is_served:
                raise

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return
                lookup, _ = self._waiting.popitem(last=False)
            result, error = None, None
            try:
                result = lookup.call(*lookup.args)
            except BaseException as raised:  # noqa: BLE001 - the waiter gets it.
                error = raised
            # A loop that was closed meanwhile refuses; nobody waits any more.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(lookup.settle, result, error)
            del lookup, result, error


def is_numeric_host(host: object) -> bool:
    """Tell whether `host` is an IP address, perhaps with an IPv6 scope, or the local host's None."""
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    if not isinstance(host, str) or not hasattr(socket, "inet_pton"):
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        address = host.partition("%")[0] if family == socket.AF_INET6 else host
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):
            continue
        return True
    return False


def is_numeric_port(port: object) -> bool:
    """Tell whether `port` needs no look into the table of services."""
    return port is None or isinstance(port, int) or (isinstance(port, (str, bytes)) and port.isdigit())


class Resolving(InheritedLoop):
    """The part of the event loop that looks up names."""

    _resolver: Resolver

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Do what `socket.getaddrinfo` does, without blocking the loop."""
        self._check_closed()
        call = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        if is_numeric_host(host) and is_numeric_port(port):
            return call(host, port, family, type, proto, flags)
        return await self._resolver.run(call, host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Do what `socket.getnameinfo` does, without blocking the loop."""
        self._check_closed()
        if flags & _NUMERIC == _NUMERIC:
            return socket.getnameinfo(sockaddr, flags)
        names: tuple[str, str] = await self._resolver.run(socket.getnameinfo, sockaddr, flags)
        return names
