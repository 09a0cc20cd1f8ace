"""What a fork does to our loops: the parent's go on, the child's copies let go.

The child must not touch the reactor, the threads and the signal pipe that the parent works with. Until it
has let go, signals that a loop has handlers for are held back; one that came in between would be written into
the parent's pipe, and the child would never hear of it. (Of others, it wakes the parent's loop once.)
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from .all_tasks import live_loops

if TYPE_CHECKING:
    from .event_loop import EventLoop

__all__ = ("watch_forks",)


class _Held(threading.local):
    """The signals that the forking thread had blocked itself; None if nothing is held back."""

    mask: set[int] | None = None


_held = _Held()


def _open_loops() -> list[EventLoop]:
    from .event_loop import EventLoop

    return [loop for loop in list(live_loops) if isinstance(loop, EventLoop) and not loop.is_closed()]


def _hold_signals() -> None:
    handled = {signum for loop in _open_loops() for signum in loop._signal_handlers}
    if handled:
        _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, handled)


def _release_signals() -> None:
    mask, _held.mask = _held.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _let_go() -> None:
    try:
        for loop in _open_loops():
            loop._forget_after_fork()
    finally:
        _release_signals()


def watch_forks() -> None:
    """Register with the interpreter; called once."""
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_let_go)
