"""`run()` and `Runner`: a program's way in, with Python 3.15's semantics on every version.

The first Ctrl-C cancels the main task, so that its `finally` blocks run; if the
program lets the cancellation through, it leaves as KeyboardInterrupt. A second
Ctrl-C does not wait. `close()` leaves nothing behind: tasks are cancelled,
async generators are closed, the default executor's threads are joined.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
import threading
from collections.abc import Coroutine
from contextvars import Context, copy_context
from enum import Enum
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tonnage._tonnage import Task
from tonnage.default_workers import shutdown_foreign_workers
from tonnage.event_loop import EventLoop, new_event_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from tonnage.policy import Policy

_T = TypeVar("_T")

# asyncio's own limit: CPython 3.15, Lib/asyncio/constants.py, THREAD_JOIN_TIMEOUT.
_JOIN_TIMEOUT_S = 300

# What a loop that is not ours can do.
_LOOPS_KNOW_CONTEXTS: bool = sys.version_info >= (3, 11)
_LOOPS_JOIN_WITH_TIMEOUT: bool = sys.version_info >= (3, 12)


class _State(Enum):
    CREATED = "created"
    INITIALIZED = "initialized"
    CLOSED = "closed"


class Runner:
    """Run several coroutines in one event loop and one context, then clean up.

    Args:
        debug: Turn the loop's debug mode on or off; None leaves it as it is.
        loop_factory: Makes the loop; by default it is tonnage's, and the
            thread's current loop until `close()`.
        policy: The ceilings that tonnage's loop keeps; by default those of
            `Policy()`. A loop that `loop_factory` makes is given its own there.

    Raises:
        ValueError: Both `loop_factory` and `policy` are given.

    Example:
        with tonnage.Runner() as runner:
            runner.run(prepare())
            runner.run(serve())
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        policy: Policy | None = None,
    ) -> None:
        if loop_factory is not None and policy is not None:
            raise ValueError(
                "policy is for the loop that tonnage makes; with loop_factory, give it there: "
                "new_event_loop(policy=...)"
            )
        self._policy = policy
        self._state = _State.CREATED
        self._debug = debug
        self._loop_factory = loop_factory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: Context | None = None
        self._interrupt_count = 0
        self._is_current_loop = False

    def __enter__(self) -> Self:
        self.get_loop()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the runner's event loop, made at the first call.

        Raises:
            RuntimeError: The runner is closed.
        """
        if self._state is _State.CLOSED:
            raise RuntimeError("Runner is closed")
        if self._loop is None:
            if self._loop_factory is None:
                self._loop = self._new_loop()
                asyncio.set_event_loop(self._loop)
                self._is_current_loop = True
            else:
                self._loop = self._loop_factory()
            if self._debug is not None:
                self._loop.set_debug(self._debug)
            self._context = copy_context()
            self._state = _State.INITIALIZED
        return self._loop

    def run(self, coro: Awaitable[_T], *, context: Context | None = None) -> _T:
        """Run `coro`, any awaitable, to its end, and return its result.

        Args:
            coro: What to run.
            context: Where to run it; by default in the runner's one context.

        Raises:
            RuntimeError: A loop is running in this thread, or the runner is closed.
            TypeError: `coro` cannot be awaited.
            KeyboardInterrupt: Ctrl-C was pressed, and `coro` ended cancelled,
                or it was pressed twice.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Runner.run() cannot be called from a running event loop")
        event_loop = self.get_loop()
        if context is None:
            context = self._context
        task = _create_task(event_loop, _as_coroutine(coro), context)
        handler = self._catch_interrupts(task)
        self._interrupt_count = 0
        try:
            return event_loop.run_until_complete(task)
        except asyncio.CancelledError:
            if self._interrupt_count > 0:
                # A foreign loop's task may lack `uncancel`.
                uncancel = getattr(task, "uncancel", None)
                if uncancel is not None and uncancel() == 0:
                    # The cancellation stays its context: it says where the program was.
                    raise KeyboardInterrupt  # noqa: B904
            raise
        finally:
            if handler is not None and signal.getsignal(signal.SIGINT) is handler:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        """Cancel all tasks, close async generators and the default executor, close the loop.

        A second call does nothing. Calls of `to_thread()` and `run_in_executor()`
        are waited for: those that were abandoned for 5 seconds at most, and the
        others for 300. What is left is logged with its stack, and dies with the
        process.
        """
        if self._state is not _State.INITIALIZED:
            return
        assert self._loop is not None
        event_loop = self._loop
        try:
            _cancel_all_tasks(event_loop)
            event_loop.run_until_complete(event_loop.shutdown_asyncgens())
            event_loop.run_until_complete(_shutdown_executor(event_loop))
        finally:
            if self._is_current_loop:
                asyncio.set_event_loop(None)
            event_loop.close()
            self._loop = None
            self._state = _State.CLOSED

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return new_event_loop(policy=self._policy)

    def _catch_interrupts(self, task: asyncio.Task[Any]) -> Callable[[int, FrameType | None], None] | None:
        """Take over Ctrl-C, unless the program handles it itself."""
        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return None

        # A function, because older versions of signal.signal() take the repr of a handler, and that of a
        # partial shows the task with its result.
        def handler(_signum: int, _frame: FrameType | None) -> None:
            self._on_interrupt(task)

        try:
            signal.signal(signal.SIGINT, handler)
        except ValueError:
            # An embedding program runs Python's "main" thread in another thread of its own.
            return None
        return handler

    def _on_interrupt(self, main_task: asyncio.Task[Any]) -> None:
        self._interrupt_count += 1
        if self._interrupt_count > 1 or main_task.done():
            raise KeyboardInterrupt
        main_task.cancel()
        # The loop may be asleep in the kernel: wake it, so that it sees the cancellation.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: None)


def run(
    main: Awaitable[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    policy: Policy | None = None,
) -> _T:
    """Run `main`, any awaitable, in a loop of its own, and return its result.

    Args:
        main: The program.
        debug: Turn the loop's debug mode on or off; None leaves it as it is.
        loop_factory: Makes the loop; by default it is tonnage's.
        policy: The ceilings that tonnage's loop keeps; by default those of
            `Policy()`.

    Raises:
        RuntimeError: A loop is running in this thread.
        TypeError: `main` cannot be awaited.
        ValueError: Both `loop_factory` and `policy` are given.
        KeyboardInterrupt: Ctrl-C was pressed, and `main` ended cancelled, or
            it was pressed twice.

    Example:
        async def main():
            await tonnage.sleep(1)

        tonnage.run(main())
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory, policy=policy) as runner:
        return runner.run(main)


def _as_coroutine(awaitable: Awaitable[_T]) -> Coroutine[Any, Any, _T]:
    if isinstance(awaitable, (CoroutineType, Coroutine)):
        return awaitable
    if not inspect.isawaitable(awaitable):
        raise TypeError("An asyncio.Future, a coroutine or an awaitable is required")

    async def wait_for_it() -> _T:
        return await awaitable

    return wait_for_it()


def _create_task(
    event_loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T],
    context: Context | None,
) -> asyncio.Task[_T]:
    if _LOOPS_KNOW_CONTEXTS or isinstance(event_loop, EventLoop):
        return cast("EventLoop", event_loop).create_task(coro, context=context)
    # A loop of Python 3.10 knows no contexts. Its task factory makes a task in a copy of the current one;
    # without a factory, our own task takes the context on any loop.
    if context is not None and event_loop.get_task_factory() is not None:
        return context.run(event_loop.create_task, coro)
    return Task(coro, loop=event_loop, context=context)


def _cancel_all_tasks(event_loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(event_loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    event_loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            event_loop.call_exception_handler(
                {
                    "message": "unhandled exception during asyncio.run() shutdown",
                    "exception": error,
                    "task": task,
                }
            )


async def _shutdown_executor(event_loop: asyncio.AbstractEventLoop) -> None:
    await shutdown_foreign_workers(event_loop, _JOIN_TIMEOUT_S)
    if _LOOPS_JOIN_WITH_TIMEOUT or isinstance(event_loop, EventLoop):
        await cast("EventLoop", event_loop).shutdown_default_executor(_JOIN_TIMEOUT_S)
    else:
        await event_loop.shutdown_default_executor()
