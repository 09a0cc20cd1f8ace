"""What becomes of the calls of all `Workers` when the process ends, and in a forked child.

The end waits for calls for which somebody may still wait, such as those of `run_in_executor()` whose future
nobody
cancelled: asyncio waits for them too, with no limit where the loop was not shut down. Calls that were
    abandoned get a few seconds. The threads are daemons; what is left then dies with the process.
"""

from __future__ import annotations

import atexit
import os
import threading
import time

from .workers import Workers, live_workers

__all__ = ("register",)

LAST_WAIT_S = 300.0
"""asyncio's own limit: CPython 3.15, Lib/asyncio/constants.py, THREAD_JOIN_TIMEOUT."""


def register() -> None:
    """Have the interpreter tell us; called once."""
    atexit.register(_wait_for_calls)
    os.register_at_fork(after_in_child=_forget_calls)


def _wait_for_calls() -> None:
    began_at = time.monotonic()
    for workers in list(live_workers):
        _wait_for(workers, began_at)


def _wait_for(workers: Workers, began_at: float) -> None:
    workers._give_up_lost()
    ended = threading.Event()
    workers._listeners.append(ended.set)
    while True:
        ended.clear()
        rest_s = workers._rest_s(LAST_WAIT_S, time.monotonic() - began_at)
        if rest_s is None or rest_s <= 0:
            break
        ended.wait(rest_s)
    workers._listeners.remove(ended.set)
    workers._end_free_threads()


def _forget_calls() -> None:
    for workers in list(live_workers):
        workers._forget_after_fork()
