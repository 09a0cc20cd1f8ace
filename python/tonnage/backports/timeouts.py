"""`timeout()` and `timeout_at()` for Python 3.10.

The rule: the timeout turns a cancellation into TimeoutError only if it asked
for that cancellation itself, and nobody else asked for one meanwhile. The
task's count of requests to cancel, taken at entry, decides it.

asyncio.TimeoutError and the built-in one are two classes on 3.10 (one since
3.11). Programs catch either, so what is raised here is both.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from exceptiongroup import ExceptionGroup

from tonnage.backports.parent import CountingTask, counting_task
from tonnage.errors import TimeoutError  # noqa: A004

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class _State(Enum):
    CREATED = "created"
    ENTERED = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    EXITED = "finished"


class Timeout:
    """Cancel what runs in an `async with` block when a deadline passes.

    Make one with `timeout()` or `timeout_at()`.
    """

    def __init__(self, when: float | None) -> None:
        """Remember the deadline: `when` is in the loop's time, None is never."""
        self._state = _State.CREATED
        self._when = when
        self._alarm: asyncio.Handle | None = None
        self._task: CountingTask | None = None
        self._requests_at_entry = 0

    def __repr__(self) -> str:
        deadline = ""
        if self._state is _State.ENTERED:
            deadline = f" when={self._when if self._when is None else round(self._when, 3)}"
        return f"<Timeout [{self._state.value}]{deadline}>"

    def when(self) -> float | None:
        """Return the deadline in the loop's time, or None."""
        return self._when

    def expired(self) -> bool:
        """Return True once the deadline has passed inside the block."""
        return self._state in (_State.EXPIRING, _State.EXPIRED)

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to `when`, in the loop's time; None is never.

        Raises:
            RuntimeError: The block is not entered, or its deadline has passed.
        """
        if self._state is _State.CREATED:
            raise RuntimeError("Timeout has not been entered")
        if self._state is not _State.ENTERED:
            raise RuntimeError(f"Cannot change state of {self._state.value} Timeout")
        self._when = when
        self._silence()
        if when is None:
            return
        event_loop = asyncio.get_running_loop()
        if when <= event_loop.time():
            self._alarm = event_loop.call_soon(self._expire)
        else:
            self._alarm = event_loop.call_at(when, self._expire)

    async def __aenter__(self) -> Self:
        """Start to watch the clock for the current task."""
        if self._state is not _State.CREATED:
            raise RuntimeError("Timeout has already been entered")
        task = counting_task(None, "Timeout")
        if task is None:
            raise RuntimeError("Timeout should be used inside a task")
        self._task = task
        self._requests_at_entry = task.cancelling()
        self._state = _State.ENTERED
        self.reschedule(self._when)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Stop the clock, and raise TimeoutError if it was this timeout that cancelled."""
        self._silence()
        if self._state is _State.ENTERED:
            self._state = _State.EXITED
            return
        assert self._state is _State.EXPIRING
        assert self._task is not None
        self._state = _State.EXPIRED
        is_ours_alone = self._task.uncancel() <= self._requests_at_entry
        if not is_ours_alone or exc_val is None:
            return
        if isinstance(exc_val, asyncio.CancelledError):
            raise TimeoutError from exc_val
        _explain(exc_val)
        if isinstance(exc_val, ExceptionGroup):
            for member in exc_val.exceptions:
                _explain(member)

    def _expire(self) -> None:
        assert self._state is _State.ENTERED
        assert self._task is not None
        self._task.cancel()
        self._state = _State.EXPIRING
        self._alarm = None

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def _explain(error: BaseException) -> None:
    """Put TimeoutError between `error` and the cancellation that it was raised from."""
    inner = error.__context__
    while inner is not None:
        if isinstance(inner, asyncio.CancelledError):
            reason = TimeoutError()
            reason.__cause__ = reason.__context__ = inner
            error.__context__ = reason
            return
        error, inner = inner, inner.__context__


def timeout(delay: float | None) -> Timeout:
    """Cancel the block after `delay` seconds, and raise TimeoutError; None is never.

    Example:
        async with tonnage.timeout(10):
            await long_running_task()
    """
    now = asyncio.get_running_loop().time()
    return Timeout(None if delay is None else now + delay)


def timeout_at(when: float | None) -> Timeout:
    """Cancel the block at the loop's time `when`, and raise TimeoutError; None is never."""
    return Timeout(when)
