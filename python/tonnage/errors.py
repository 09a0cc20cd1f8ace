"""Exceptions of Python 3.15's asyncio that older versions lack.

Where asyncio has the class, it is asyncio's own. Else its module is said to be
`tonnage`, where every version finds one of that name: what is pickled on an
older Python can be read on a later one.
"""

from __future__ import annotations

import asyncio
import builtins
import sys

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


__all__ = ["BrokenBarrierError", "QueueShutDown", "TimeoutError"]
