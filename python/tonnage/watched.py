"""What a loop watches and which transports it has, in the shape of asyncio's selector and dictionary.

What is written for asyncio's selector loop asks `loop._selector` which events are waited for: transports of
asyncio's, in their repr, and CPython's own tests. There is no Python selector to ask; this answers from the
reactor, and changes nothing. It also asks `loop._transports` whether a descriptor is a transport's, which the
loop itself knows.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from . import _tonnage

__all__ = ("KnownTransports", "WatchedDescriptors")


class WatchedDescriptors:
    """A read-only view of the descriptors that a loop watches."""

    def __init__(self, loop: _tonnage.EventLoop) -> None:
        self._loop = loop

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return what is waited for on a descriptor, or an object that has one.

        Raises:
            KeyError: The loop does not watch it.
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        # The reactor's numbers are those of EVENT_READ and EVENT_WRITE.
        events = 0 if self._loop.is_closed() else self._loop._watched_events(fd)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(fileobj, fd, events, None)


class KnownTransports:
    """A view of the transports of a loop, by descriptor. It keeps none of them alive."""

    __slots__ = ("_loop",)

    def __init__(self, loop: _tonnage.EventLoop) -> None:
        self._loop = loop

    def get(self, fd: int) -> asyncio.BaseTransport | None:
        """Return the transport that has the descriptor, if there is one."""
        return self._loop._transport_at(fd)

    def __getitem__(self, fd: int) -> asyncio.BaseTransport:
        """Return the transport that has the descriptor; raise KeyError if there is none."""
        transport = self._loop._transport_at(fd)
        if transport is None:
            raise KeyError(fd)
        return transport

    def __setitem__(self, fd: int, transport: asyncio.BaseTransport) -> None:
        """Note that another transport has the descriptor."""
        self._loop._note_transport(fd, transport)
