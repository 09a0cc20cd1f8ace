"""Call: a function that blocks, on its way through a thread and back to who waits for it.

The thread runs `execute` and then `tell`; all the rest happens on the thread of the waiter's loop.
`is_settled` turns true there, when the outcome has arrived. Whoever takes the outcome clears it, so that no
error keeps the frames alive through which it came.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tonnage.errors import between_threads

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from types import FrameType

    from ._tonnage import MoveOn, Permit

__all__ = ("AbandonedCall", "Call", "FutureCall", "check_cancelled")


class AbandonedCall(NamedTuple):
    """A call that runs, though nobody waits for it any more.

    Attributes:
        function: The name of what was called.
        seconds: For how long it has been running.
        thread: The name of its thread; None if an executor runs it.
        stack: Where it is: file, line and function, the innermost last; empty if an executor runs it, or if
            the function itself is not written in Python.
    """

    function: str
    seconds: float
    thread: str | None
    stack: Sequence[tuple[str, int, str]]


class _Here(threading.local):
    """The call that runs in this thread."""

    call: Call | None = None


_here = _Here()


def check_cancelled() -> None:
    """Raise CancelledError if nobody waits any more for the call that runs in this thread.

    A function that `to_thread()` or `Workers.run()` called cannot be cancelled from outside; it asks from
    time to time, and stops. Calls that an executor runs cannot ask.

    Raises:
        asyncio.CancelledError: The wait was cancelled, or its loop is closed.
        RuntimeError: This thread runs no such call.

    Example:
        def count(path):
            lines = 0
            for _ in open(path):
                tonnage.check_cancelled()
                lines += 1
            return lines
    """
    call = _here.call
    if call is None:
        raise RuntimeError(
            "check_cancelled() is for functions that to_thread() or Workers.run() called, "
            "in the thread where they run"
        )
    if call.cancelled_with is not None:
        raise asyncio.CancelledError(*call.cancelled_with)
    if call.is_given_up or call.event_loop.is_closed():
        raise asyncio.CancelledError


class Call:
    """A call whose waiter is a coroutine."""

    __slots__ = (
        "_claims",
        "args",
        "began_at",
        "cancelled_with",
        "context",
        "error",
        "event_loop",
        "function",
        "is_given_up",
        "is_settled",
        "kwargs",
        "outside",
        "permits",
        "result",
        "thread",
        "waiter",
    )

    def __init__(
        self,
        event_loop: asyncio.AbstractEventLoop,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: Context | None,
    ) -> None:
        self.event_loop = event_loop
        self.function = function
        self.args = args
        self.kwargs = kwargs
        # None: it sees the thread's own.
        self.context = context
        # Where it runs, and since when, by the loop's clock: a thread of ours, or an executor.
        self.thread: threading.Thread | None = None
        self.outside: concurrent.futures.Future[Any] | None = None
        self.began_at = 0.0
        # The arguments of the CancelledError that its waiter got.
        self.cancelled_with: tuple[Any, ...] | None = None
        # Empty once somebody has it.
        self._claims = [True]
        self.is_given_up = False
        self.is_settled = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.waiter: asyncio.Future[Any] | None = None
        # What limiters have given for it, in their order.
        self.permits: list[Permit] = []

    def claim(self) -> bool:
        """Take it, to run it in a thread or to drop it, and return whether it is still to be had."""
        try:
            return self._claims.pop()
        except IndexError:
            return False

    def hand_over(self, executor: concurrent.futures.Executor, then: Callable[[], object]) -> None:
        """Have the executor run it, keep the outcome, and call `then`, in a thread of the executor's."""
        self.began_at = self.event_loop.time()
        self.outside = executor.submit(self.function, *self.args, **self.kwargs)
        self.end_outside(then)

    def end_outside(self, then: Callable[[], object]) -> None:
        """Call `then` when the executor is done with it, and not a second time."""
        assert self.outside is not None
        self.outside.add_done_callback(partial(self._take_outcome, then))

    def _take_outcome(self, then: Callable[[], object], outside: concurrent.futures.Future[Any]) -> None:
        if not self.claim():
            return
        if outside.cancelled():
            self.error = asyncio.CancelledError()
        else:
            error = outside.exception()
            self.error = None if error is None else _converted(error)
            self.result = None if error is not None else outside.result()
        then()

    def run(self) -> Any:
        """Call the function, which may ask `check_cancelled()` meanwhile."""
        outer, _here.call = _here.call, self
        try:
            if self.context is None:
                return self.function(*self.args, **self.kwargs)
            return self.context.run(self.function, *self.args, **self.kwargs)
        except BaseException:
            # Its traceback holds this frame, and we may hold who holds the error.
            self = None  # type: ignore[assignment]  # noqa: PLW0642
            raise
        finally:
            _here.call = outer

    def execute(self) -> None:
        """Run, and keep the outcome. This is what a thread does."""
        self.began_at = self.event_loop.time()
        self.thread = threading.current_thread()
        try:
            self.result = self.run()
        except BaseException as error:  # noqa: BLE001 - The waiter gets it.
            self.error = _converted(error)
        if self.error is not None:
            # Its traceback holds this frame.
            self = None  # type: ignore[assignment]  # noqa: PLW0642

    def tell(self) -> None:
        """Let the loop settle it, from any thread."""
        try:
            self.event_loop.call_soon_threadsafe(self.settle)
        except RuntimeError:
            # The loop was closed meanwhile; nobody waits any more.
            self.release_permits()

    def release_permits(self) -> None:
        """Give back what limiters have given, in reverse, and tell them how the call has ended."""
        while self.permits:
            error = self.error
            self.permits.pop().__exit__(None if error is None else type(error), error, None)

    def drop_permits(self) -> None:
        """Give back what limiters have given for a call that has not begun."""
        while self.permits:
            self.permits.pop().release("ignore")

    def end_block(self, block: MoveOn) -> None:
        """End the wait for limiters that is in the block, from any thread."""
        # A loop that was closed meanwhile refuses; nobody waits any more.
        with suppress(RuntimeError):
            self.event_loop.call_soon_threadsafe(_end_block, block, self.event_loop.time())

    def wait(self) -> asyncio.Future[Any]:
        """Return a future for the waiter, which is done when the call is settled."""
        self.waiter = self.event_loop.create_future()
        return self.waiter

    def settle(self) -> None:
        """The outcome is there: wake who waits for it."""
        self.is_settled = True
        self.release_permits()
        if self.is_given_up:
            self.report()
        # A waiter that was cancelled a moment ago finds the outcome when it runs.
        elif self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def is_lost(self) -> bool:
        """Tell whether no loop would resume the waiter, if the process ended."""
        return not self.event_loop.is_running()

    def outcome(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is None:
            return self.result
        error, self.error = self.error, None
        try:
            raise error
        finally:
            del error

    def report(self) -> None:
        """Tell the loop's exception handler of an error for which nobody waits."""
        error, self.error = self.error, None
        self.result = None
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        self.event_loop.call_exception_handler(
            {"message": f"exception in an abandoned call of {self.name()}", "exception": error}
        )

    def name(self) -> str:
        """Name what is called, without asking the user's code."""
        function: Any = self.function
        while isinstance(function, partial):
            function = function.func
        name = getattr(function, "__qualname__", None)
        return name if isinstance(name, str) else type(function).__qualname__

    def describe(self) -> AbandonedCall:
        """Say what it does at this moment."""
        thread = self.thread
        frame = None if thread is None else sys._current_frames().get(thread.ident or 0)
        return AbandonedCall(
            self.name(),
            self.event_loop.time() - self.began_at,
            None if thread is None else thread.name,
            _stack(frame),
        )


class FutureCall(Call):
    """A call whose waiter is whoever has its future, as `run_in_executor()` gives it."""

    __slots__ = ()

    def settle(self) -> None:
        """The outcome is there: it becomes the future's."""
        self.is_settled = True
        assert self.waiter is not None
        if self.waiter.done():
            self.report()
            return
        result, self.result = self.result, None
        error, self.error = self.error, None
        if error is None:
            self.waiter.set_result(result)
        else:
            self.waiter.set_exception(error)

    def is_lost(self) -> bool:
        """Never: what nobody cancels is to be done, as in asyncio."""
        return False


def _end_block(block: MoveOn, when: float) -> None:
    # One that has ended meanwhile refuses.
    with suppress(RuntimeError):
        block.reschedule(when)


def _converted(error: BaseException) -> BaseException:
    """Return what asyncio makes of an error that comes from a thread."""
    if not isinstance(error, StopIteration):
        return between_threads(error)
    # As a future does: CPython 3.15, Lib/asyncio/futures.py, set_exception.
    text = "StopIteration interacts badly with generators and cannot be raised into a Future"
    converted = RuntimeError(text)
    converted.__cause__ = error
    return converted


def _stack(frame: FrameType | None) -> list[tuple[str, int, str]]:
    """Return where a thread is, below the frames that called the function."""
    stack: list[tuple[str, int, str]] = []
    while frame is not None:
        code = frame.f_code
        if code is Call.run.__code__:
            return stack[::-1]
        stack.append((code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    # The call has ended a moment ago.
    return []
