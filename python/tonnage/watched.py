"""What a loop watches, in the shape of asyncio's selector.

What is written for asyncio's selector loop asks `loop._selector` which events are waited for: transports of
asyncio's, in their repr, and CPython's own tests. There is no Python selector to ask; this answers from the
reactor, and changes nothing.
"""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import _tonnage

__all__ = ("WatchedDescriptors",)


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
