"""The workers that each loop has: what `to_thread()` and `run_in_executor(None, ...)` run on."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .errors import Overloaded
from .policy import Policy, of_program
from .worker_call import FutureCall
from .workers import Workers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_T = TypeVar("_T")

__all__ = ("DefaultWorkers", "shutdown_foreign_workers", "workers_of_foreign_loop")


class DefaultWorkers(Workers):
    """Workers with a line that is bounded, whose calls are abandoned when their wait is cancelled.

    Args:
        policy: Says how many calls run, and how many wait.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.threads, abandon_on_cancel=True, name="to_thread")
        self._waiting_max = policy.threads_waiting

    def submit(
        self, event_loop: asyncio.AbstractEventLoop, func: Callable[..., _T], args: tuple[Any, ...]
    ) -> asyncio.Future[_T]:
        """Call `func(*args)` in the thread's own context, and return a future of `event_loop` for it.

        Cancelling the future is what cancelling the wait is in `run()`.
        """
        call = FutureCall(event_loop, func, args, {}, None)
        future = call.wait()
        self._enter(call)
        future.add_done_callback(partial(self._forget_cancelled, call))
        return future

    def stop(self) -> None:
        """Take no more calls, and wait for none; those in the line still run, as in asyncio."""
        self._refuse_more()
        self._end_free_threads()

    def _forget_cancelled(self, call: FutureCall, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            self._give_up(call)

    def _refusal(self, reason: Literal["closed", "full"]) -> Overloaded:
        if reason == "closed":
            return super()._refusal(reason)
        text = (
            f"to_thread() and run_in_executor() are full: {self._limit} calls run, {len(self._waiting)} "
            "wait; start fewer at once, or raise threads= or threads_waiting= of the loop's Policy"
        )
        return Overloaded(text, reason=reason, limiter=self._name)


_of_foreign_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, DefaultWorkers] = (
    weakref.WeakKeyDictionary()
)


def workers_of_foreign_loop(event_loop: asyncio.AbstractEventLoop) -> DefaultWorkers:
    """Return the workers of a loop that is not ours, made at the first call."""
    workers = _of_foreign_loops.get(event_loop)
    if workers is None:
        workers = _of_foreign_loops[event_loop] = DefaultWorkers(of_program())
    return workers


async def shutdown_foreign_workers(event_loop: asyncio.AbstractEventLoop, timeout: float) -> None:
    """Wait until the workers of a loop that is not ours have ended, if it has some."""
    workers = _of_foreign_loops.get(event_loop)
    if workers is not None:
        await workers.aclose(timeout)
