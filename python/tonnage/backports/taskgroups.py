"""`TaskGroup` with the semantics of Python 3.15, for Python 3.10.

The group cancels its parent once at most, and takes that request back exactly
once at exit, so that a request of somebody else is never lost and never
swallowed. KeyboardInterrupt and SystemExit leave bare; everything else leaves
in one BaseExceptionGroup. Nothing is referenced after exit: errors hold
tracebacks, and tracebacks hold frames.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from exceptiongroup import BaseExceptionGroup

from tonnage.backports.parent import CountingTask, counting_task

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from typing_extensions import Self

_T = TypeVar("_T")


class _Phase(Enum):
    NEW = "new"
    OPEN = "open"
    LEAVING = "leaving"


class TaskGroup:
    """Wait for all tasks started in an `async with` block; if one fails, cancel the rest."""

    def __init__(self) -> None:
        self._phase = _Phase.NEW
        self._is_stopping = False
        self._is_cancelled_early = False
        self._has_cancelled_parent = False
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._parent_task: CountingTask | None = None
        # Bounded by the tasks that the program starts: each is here while it lives.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._all_ended: asyncio.Future[None] | None = None
        self._errors: list[BaseException] | None = []
        self._base_error: BaseException | None = None

    def __repr__(self) -> str:
        words = ["TaskGroup"]
        if self._tasks:
            words.append(f"tasks={len(self._tasks)}")
        if self._errors:
            words.append(f"errors={len(self._errors)}")
        if self._is_stopping:
            words.append("cancelling")
        elif self._phase is not _Phase.NEW:
            words.append("entered")
        return f"<{' '.join(words)}>"

    async def __aenter__(self) -> Self:
        """Open the group, with the current task as its parent."""
        if self._phase is not _Phase.NEW:
            raise RuntimeError(f"TaskGroup {self!r} has already been entered")
        self._event_loop = asyncio.get_running_loop()
        self._parent_task = counting_task(self._event_loop, "TaskGroup")
        if self._parent_task is None:
            raise RuntimeError(f"TaskGroup {self!r} cannot determine the parent task")
        self._phase = _Phase.OPEN
        if self._is_cancelled_early:
            self.cancel()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        """Wait for all tasks, and raise what the body and they raised."""
        del exc_tb
        try:
            return await self._finish(exc_val)
        finally:
            # Errors hold frames, frames hold errors: break the cycle here.
            exc_val = None
            self._parent_task = None
            self._errors = None
            self._base_error = None

    def create_task(self, coro: Coroutine[Any, Any, _T], **kwargs: Any) -> asyncio.Task[_T]:
        """Start `coro` as a task of this group; takes what `loop.create_task()` takes.

        Raises:
            RuntimeError: The group is not entered, has ended, or is being cancelled.
        """
        refusal = self._refusal()
        if refusal is not None:
            coro.close()
            raise RuntimeError(f"TaskGroup {self!r} {refusal}")
        assert self._event_loop is not None
        task = self._event_loop.create_task(coro, **kwargs)
        # A task that ran eagerly to its end is treated like any other: its
        # error must not reach the parent before its callback runs.
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        if self._is_stopping and not task.done():
            # It cancelled the group while it started eagerly, before it was a member.
            task.cancel()
        try:
            return task
        finally:
            # The frame of an error's traceback must not hold the task that holds the error.
            del task

    def cancel(self) -> None:
        """Cancel the tasks and the body; the block then ends without CancelledError.

        A group that is cancelled before it is entered is cancelled at entry.
        A second call does nothing, and neither does a call after exit.
        """
        if self._phase is _Phase.NEW:
            self._is_cancelled_early = True
            return
        has_ended = self._phase is _Phase.LEAVING and not self._tasks
        if not has_ended and not self._is_stopping:
            self._stop_tasks()
            self._cancel_parent()

    def _refusal(self) -> str | None:
        if self._phase is _Phase.NEW:
            return "has not been entered"
        if self._phase is _Phase.LEAVING and not self._tasks:
            return "is finished"
        if self._is_stopping:
            return "is shutting down"
        return None

    def _stop_tasks(self) -> None:
        self._is_stopping = True
        # A task's `cancel` may be the program's own, and may start or end others.
        for task in list(self._tasks):
            if not task.done():
                task.cancel()

    def _cancel_parent(self) -> None:
        if self._parent_task is not None and not self._has_cancelled_parent:
            self._has_cancelled_parent = True
            self._parent_task.cancel()

    async def _finish(self, body_error: BaseException | None) -> bool:
        """Wait, then raise what the group owes; return True to swallow the body's error."""
        self._phase = _Phase.LEAVING
        try:
            if body_error is not None:
                if _is_base_error(body_error) and self._base_error is None:
                    self._base_error = body_error
                if not self._is_stopping:
                    self._stop_tasks()
            interruption, last_cancellation = await self._wait_for_tasks()
            if isinstance(body_error, asyncio.CancelledError) and interruption is None:
                interruption = body_error
            if self._base_error is not None:
                raise self._base_error
            interruption = self._settle_parent(interruption, last_cancellation)
            assert self._errors is not None
            if interruption is not None and not self._errors:
                raise interruption
            self._raise_errors(body_error)
            return True
        finally:
            body_error = interruption = last_cancellation = None

    async def _wait_for_tasks(
        self,
    ) -> tuple[asyncio.CancelledError | None, asyncio.CancelledError | None]:
        """Wait for all tasks, however often the parent is cancelled meanwhile.

        Returns:
            The cancellation that stopped the group, and the last one of all.
        """
        interruption = last = None
        try:
            while self._tasks:
                assert self._event_loop is not None
                if self._all_ended is None:
                    self._all_ended = self._event_loop.create_future()
                try:
                    await self._all_ended
                except asyncio.CancelledError as cancellation:
                    last = cancellation
                    if not self._is_stopping:
                        interruption = cancellation
                        self._stop_tasks()
                self._all_ended = None
            return interruption, last
        finally:
            interruption = last = None

    def _settle_parent(
        self,
        interruption: asyncio.CancelledError | None,
        last_cancellation: asyncio.CancelledError | None,
    ) -> asyncio.CancelledError | None:
        """Take back our own request to cancel the parent; return what is left to propagate."""
        if not self._has_cancelled_parent:
            return interruption
        assert self._parent_task is not None
        if self._parent_task.uncancel() == 0:
            return None
        return interruption if interruption is not None else last_cancellation

    def _raise_errors(self, body_error: BaseException | None) -> None:
        errors = self._errors
        assert errors is not None
        assert self._parent_task is not None
        try:
            if body_error is not None and not isinstance(body_error, asyncio.CancelledError):
                errors.append(body_error)
            if not errors:
                return
            if self._parent_task.cancelling():
                # Somebody cancels the parent from outside: deliver it again at its next await.
                self._parent_task.uncancel()
                self._parent_task.cancel()
            if isinstance(body_error, GeneratorExit) and len(errors) == 1:
                # An async generator's aclose() expects it bare.
                raise body_error
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors) from None
        finally:
            del errors, body_error

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._tasks and self._all_ended is not None and not self._all_ended.done():
            self._all_ended.set_result(None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        try:
            assert self._errors is not None
            assert self._parent_task is not None
            self._errors.append(error)
            if _is_base_error(error) and self._base_error is None:
                self._base_error = error
            if self._parent_task.done():
                self._report(task, error)
            elif not self._is_stopping and not self._has_cancelled_parent:
                self._stop_tasks()
                self._cancel_parent()
        finally:
            error = None

    def _report(self, task: asyncio.Task[Any], error: BaseException) -> None:
        assert self._event_loop is not None
        self._event_loop.call_exception_handler(
            {
                "message": f"Task {task!r} has errored out but its parent task "
                f"{self._parent_task} is already completed",
                "exception": error,
                "task": task,
            }
        )


def _is_base_error(error: BaseException) -> bool:
    return isinstance(error, (SystemExit, KeyboardInterrupt))
