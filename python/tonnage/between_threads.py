"""Between a loop and threads: `to_thread()` and `run_coroutine_threadsafe()`."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tonnage._tonnage import ensure_future
from tonnage.default_workers import workers_of_foreign_loop
from tonnage.errors import between_threads
from tonnage.executor import Executing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import ParamSpec

    _P = ParamSpec("_P")

_T = TypeVar("_T")


async def to_thread(func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a function that blocks in a thread of the loop's own workers, and return its result.

    At most 40 such calls run at once, and 1,000 wait in a line; a loop of
    tonnage's has its `Policy` for these numbers. If the program has set a default
    executor on it, that runs the function instead, and bounds nothing.

    The function sees the caller's context variables. If the wait is cancelled, a
    call that has not begun never does; one that has is abandoned: it runs on, keeps
    its place among the 40 and can ask `check_cancelled()`, its result is dropped,
    and what it raises goes to the loop's exception handler.

    Args:
        func: What to call.
        *args: Its positional arguments.
        **kwargs: Its keyword arguments.

    Raises:
        Overloaded: As many calls wait as may.
        RuntimeError: No loop is running, or its default executor was shut down.

    Example:
        async def main():
            text = await tonnage.to_thread(str.upper, "ahoy")
    """
    event_loop = asyncio.get_running_loop()
    if isinstance(event_loop, Executing):
        return await event_loop._run_in_thread(func, args, kwargs)
    return await workers_of_foreign_loop(event_loop).run(func, *args, **kwargs)


def run_coroutine_threadsafe(
    coro: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop
) -> concurrent.futures.Future[_T]:
    """Run a coroutine on a loop that runs in another thread, and return a future for this one.

    Cancelling the future cancels the task; the task's outcome becomes the future's.

    Args:
        coro: The coroutine.
        loop: Where it is to run.

    Raises:
        TypeError: `coro` is no coroutine.
        RuntimeError: `loop` is closed.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError("A coroutine object is required")
    answer: concurrent.futures.Future[_T] = concurrent.futures.Future()
    loop.call_soon_threadsafe(_start, coro, loop, answer)
    return answer


def _start(
    coro: Coroutine[Any, Any, _T],
    event_loop: asyncio.AbstractEventLoop,
    answer: concurrent.futures.Future[_T],
) -> None:
    try:
        task = ensure_future(coro, loop=event_loop)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        if answer.set_running_or_notify_cancel():
            answer.set_exception(error)
        raise
    answer.add_done_callback(partial(_cancel_task, task, event_loop))
    task.add_done_callback(partial(_hand_over, answer))


def _cancel_task(
    task: asyncio.Future[_T],
    event_loop: asyncio.AbstractEventLoop,
    answer: concurrent.futures.Future[_T],
) -> None:
    if not answer.cancelled():
        return
    if asyncio._get_running_loop() is event_loop:
        task.cancel()
        return
    # A loop that was closed meanwhile runs nothing any more.
    with suppress(RuntimeError):
        event_loop.call_soon_threadsafe(task.cancel)


def _hand_over(answer: concurrent.futures.Future[_T], task: asyncio.Future[_T]) -> None:
    if task.cancelled():
        answer.cancel()
    if not answer.set_running_or_notify_cancel():
        return
    error = task.exception()
    if error is None:
        answer.set_result(task.result())
    else:
        answer.set_exception(between_threads(error))
