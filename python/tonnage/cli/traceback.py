"""Tracebacks that begin at the program, and show none of our frames in its middle.

The interpreter prints what the program raised. Just before, its hook is wrapped:
the frames that led to the program go, and so do ours between two frames of the
program, with those of asyncio's loop, from which ours inherits. A frame of ours
where an error was raised stays, for it may be our bug. Ctrl-C is raised wherever
the program is, so there it goes too.
"""

from __future__ import annotations

import os
import sys
from asyncio import base_events
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]

_CLI = os.path.dirname(__file__) + os.sep
_OURS = (os.path.dirname(os.path.dirname(__file__)) + os.sep, base_events.__file__)


def hide_own_frames() -> None:
    """Have the exception that now ends the program printed without our frames."""
    sys.excepthook = partial(_print_without_own_frames, sys.excepthook)


def _print_without_own_frames(
    hook: Hook,
    error_type: type[BaseException],
    error: BaseException,
    _traceback: TracebackType | None,
) -> None:
    for each in _related(error):
        each.__traceback__ = _without_own_frames(each)
    # For a post-mortem debugger.
    sys.last_traceback = error.__traceback__
    hook(error_type, error, error.__traceback__)


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, its causes, contexts and members, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        members = getattr(each, "exceptions", ())
        if isinstance(members, (tuple, list)):
            waiting += [member for member in members if isinstance(member, BaseException)]


def _without_own_frames(error: BaseException) -> TracebackType | None:
    frames: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        if _is_in(_CLI, entry):
            # All up to here led to the program.
            frames.clear()
        else:
            frames.append(entry)
        entry = entry.tb_next
    if not frames:
        return None
    kept = [entry for entry in frames[:-1] if not _is_in(_OURS, entry)]
    last = frames[-1]
    if not (isinstance(error, KeyboardInterrupt) and _is_in(_OURS, last)):
        kept.append(last)
    inner: TracebackType | None = None
    for entry in reversed(kept):
        entry.tb_next = inner
        inner = entry
    return inner


def _is_in(place: str | tuple[str, ...], entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(place)
