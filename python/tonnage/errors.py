"""Exceptions of Python 3.15's asyncio that older versions lack, and tonnage's own.

Where asyncio has the class, it is asyncio's own. Else its module is said to be
`tonnage`, where every version finds one of that name: what is pickled on an
older Python can be read on a later one.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import sys
from typing import Literal

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown
else:

    class QueueShutDown(Exception):  # noqa: N818 - The name is asyncio's.
        """The queue was shut down: nothing can be put, or nothing is left to get."""

        __module__ = "tonnage"


if sys.version_info >= (3, 11):
    from asyncio import BrokenBarrierError, TimeoutError  # noqa: A004
else:

    class BrokenBarrierError(RuntimeError):
        """The barrier was reset or aborted."""

        __module__ = "tonnage"

    # asyncio.TimeoutError and the built-in one are two classes here: a program
    # that catches either catches this one.
    class TimeoutError(asyncio.TimeoutError, builtins.TimeoutError):  # noqa: A001
        """The time is over."""


class Overloaded(RuntimeError):  # noqa: N818 - It says what happened; the fault is in no code.
    """Something that is bounded refuses more work.

    Attributes:
        reason: Why: the waiting line is `"full"`; the wait was or would be too long
            (`"delay"`), or longer than the deadline of who waits (`"deadline"`); what
            refuses is `"closed"`; the program has too many `"tasks"`; a retry or a
            hedge is over its `"budget"`.
        retry_after: Seconds after which it may be worth trying again; None if nobody can tell.
        limiter: The name of what refuses, if it has one.
    """

    __module__ = "tonnage"

    def __init__(
        self,
        message: str = "overloaded",
        *,
        reason: Literal["full", "delay", "deadline", "closed", "tasks", "budget"] = "full",
        retry_after: float | None = None,
        limiter: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.limiter = limiter


class LimiterDeadlock(RuntimeError):  # noqa: N818 - As above.
    """All who hold a limiter wait for tasks that wait for this limiter."""

    __module__ = "tonnage"


_ASYNCIOS: dict[type[BaseException], type[BaseException]] = {
    concurrent.futures.CancelledError: asyncio.CancelledError,
    concurrent.futures.TimeoutError: asyncio.TimeoutError,
    concurrent.futures.InvalidStateError: asyncio.InvalidStateError,
}


def between_threads(error: BaseException) -> BaseException:
    """Return what asyncio makes of an error that goes from a thread to a loop, or back."""
    # Only these classes themselves: CPython 3.15, Lib/asyncio/futures.py, _convert_future_exc.
    asyncios = _ASYNCIOS.get(type(error), type(error))
    if asyncios is type(error):
        return error
    return asyncios(*error.args).with_traceback(error.__traceback__)


__all__ = ["BrokenBarrierError", "LimiterDeadlock", "Overloaded", "QueueShutDown", "TimeoutError"]
