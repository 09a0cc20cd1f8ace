"""What becomes of the calls of all `Workers` when the process ends, and in a forked child.

The end waits for calls for which somebody may still wait, such as those of `run_in_executor()` whose future
nobody cancelled: asyncio waits for them too, with no limit where the loop was not shut down. Calls that were
abandoned get a few seconds. The threads are daemons; what is left then dies with the process.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time

from .workers import Workers, live_workers

__all__ = ("register",)

LAST_WAIT_S = 300.0
"""asyncio's own limit: CPython 3.15, Lib/asyncio/constants.py, THREAD_JOIN_TIMEOUT."""

LEAVE_S = 0.25
"""A thread that waits for the GIL looks up after `sys.getswitchinterval()`, 5 ms, and leaves."""


def register() -> None:
    """Have the interpreter tell us; called once."""
    atexit.register(_wait_for_calls)
    os.register_at_fork(after_in_child=_forget_calls)


def _wait_for_calls() -> None:
    began_at = time.monotonic()
    for workers in list(live_workers):
        _wait_for(workers, began_at)
    if sys.version_info < (3, 11):
        _last.append(_Leaving([thread for workers in live_workers for thread in workers._threads.alive()]))


class _Leaving:
    """Wait, when this is freed, until our threads have seen that the interpreter ends.

    It is freed while the interpreter takes its modules apart. A thread that waits for the
    GIL leaves as soon as it looks up. CPython 3.10 frees what it looks at before the process is over, so that
    one which looks up later crashes it (Python/ceval_gil.h, take_gil: it resets the drop request of an
    interpreter that was freed). Later versions never free that.
    """

    def __init__(self, threads: list[threading.Thread]) -> None:
        self._paths = [f"/proc/self/task/{thread.native_id}" for thread in threads]
        # Modules that were imported are empty by then, and no loop runs.
        self._sleep, self._stat, self._now = time.sleep, os.stat, time.monotonic  # noqa: TID251

    def __del__(self) -> None:
        give_up_at = self._now() + LEAVE_S
        for path in self._paths:
            while self._now() < give_up_at:
                try:
                    self._stat(path)
                except OSError:
                    break
                self._sleep(0.001)


_last: list[_Leaving] = []
"""Freed with the module, which is after the threads were told to leave."""


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
