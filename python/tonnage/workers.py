"""Workers: functions that block, at most so many at once, in threads or in an executor.

A call has a slot from the moment that it may begin until it has ended, whatever becomes of its waiter;
without a slot it stands in the line, first come, first served. Who ends takes the first of the line along.
Nothing here belongs to a loop: each call is settled on the loop where it was made, so that one `Workers`
serves them all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections import OrderedDict
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from ._tonnage import move_on_after
from .errors import Overloaded
from .limit import checked_limit
from .worker_call import Call
from .worker_threads import Threads

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import ParamSpec, Self

    from ._tonnage import Limiter, MoveOn
    from .worker_call import AbandonedCall
    from .worker_threads import Mailbox

    _P = ParamSpec("_P")

_T = TypeVar("_T")

__all__ = ("Workers", "live_workers")

logger = logging.getLogger("tonnage")

ABANDONED_S = 5.0
"""How long the end waits for calls for which nobody else does. asyncio waits for 300 seconds."""

live_workers: weakref.WeakSet[Workers] = weakref.WeakSet()
"""All that may have calls, for the end of the process and for forks."""


class Workers:
    """Run functions that block, at most `limit` at once; others wait in a line, first come, first served.

    The functions run in threads of its own, named `tonnage-NAME-1` and so on, which are made when they are
    needed and end when there was nothing to do for 10 seconds. One `Workers` may be used by several loops.

    A call that has begun keeps its slot until it has ended. A call whose wait is cancelled before it has
    begun never begins.

    Args:
        limit: How many calls run at once; or a `Limiter`, or a sequence of them, of each of which a call
            needs a permit before it begins. They are asked in their order, and get back what they gave in
            reverse, when the call has ended. Calls wait in their lines, and on one loop at a time.
        executor: Runs the calls in place of threads: any executor of `concurrent.futures`, such as one of
            processes or of interpreters. It is handed at most `limit` calls at once, and stays its owner's to
            shut down. The calls see no context variables and cannot use `check_cancelled()`.
        abandon_on_cancel: What a cancel does while the call runs. False: `check_cancelled()` raises in the
            thread, the wait lasts until the call has ended, and then the cancel goes on. True: the wait ends
            at once, and the call is abandoned: it runs on and keeps its slot, and its result is dropped. What
            an abandoned call raises goes to the loop's exception handler.
        name: Names the threads, and this object in errors and reports.

    Raises:
        TypeError: `limit` is no int and no limiter.
        ValueError: `limit` is less than 1, an empty sequence, or has a limiter twice.

    Example:
        async def main():
            async with tonnage.Workers(4, name="thumbnails") as workers:
                async with tonnage.TaskGroup() as group:
                    for path in paths:
                        group.create_task(workers.run(shrink, path))
    """

    def __init__(
        self,
        limit: int | Limiter | Sequence[Limiter],
        *,
        executor: concurrent.futures.Executor | None = None,
        abandon_on_cancel: bool = False,
        name: str | None = None,
    ) -> None:
        self._limit, self._limiters = checked_limit(limit)
        self._executor = executor
        self._abandon_on_cancel = abandon_on_cancel
        self._name = name
        # How many may be in the line; None: any number, since each is a caller that waits.
        self._waiting_max: int | None = None
        # Guards the three below; held for a few instructions. It may be taken again where it is held, as a
        # finalizer or a signal handler may come in between.
        self._lock = threading.RLock()
        self._running: dict[Call, None] = {}
        self._waiting: OrderedDict[Call, None] = OrderedDict()
        # With limiters: calls that wait for these, each in a block that can be ended.
        self._asking: dict[Call, MoveOn] = {}
        self._threads = Threads(name or "workers", self._finish, self._notify)
        self._is_closed = False
        # Those that want to hear of each call that has ended, or for which nobody waits any more.
        self._listeners: list[Callable[[], object]] = []
        live_workers.add(self)

    async def __aenter__(self) -> Self:
        if self._is_closed:
            raise self._refusal("closed")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        state = " closed" if self._is_closed else ""
        limit = ", ".join(repr(limiter.name) for limiter in self._limiters) or self._limit
        waiting = len(self._waiting) + len(self._asking)
        counts = f"limit={limit} running={len(self._running)} waiting={waiting}"
        return f"<Workers{name}{state} {counts}>"

    async def run(self, func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call `func(*args, **kwargs)` where it may block, and return its result.

        It sees the caller's context variables. Cancelled in the line, the call never begins; while it runs,
        `abandon_on_cancel` says what happens. If the call ends with an error although its wait was cancelled,
        and is not abandoned, the error is raised, with the cancel as its context.

        Args:
            func: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Raises:
            Overloaded: The workers are closed, or a limiter refuses the call.
            RuntimeError: The system gives no thread, or the executor takes no call.
        """
        context = copy_context() if self._executor is None else None
        call = Call(asyncio.get_running_loop(), func, args, kwargs, context)
        cancelled: asyncio.CancelledError | None = None
        try:
            if self._limiters:
                await self._enter_admitted(call)
            else:
                self._enter(call)
            while not call.is_settled:
                try:
                    await call.wait()
                except asyncio.CancelledError as error:  # noqa: PERF203 - An await that is cut short.
                    call.cancelled_with = error.args
                    if self._abandon_on_cancel or self._withdraw(call):
                        raise
                    cancelled = cancelled or error
            if cancelled is not None:
                if call.error is None:
                    raise cancelled
                call.error.__context__ = call.error.__context__ or cancelled
            result: _T = call.outcome()
            return result
        finally:
            cancelled = None
            if not call.is_settled or call.error is not None:
                self._give_up(call)

    async def aclose(self, timeout: float | None = None) -> None:
        """Take no more calls, and wait for those that run or stand in the line, at most `timeout` seconds.

        Abandoned calls are waited for at most 5 seconds. What does not end in time is left to itself, and
        logged with its stack; it does not keep the process alive. Calls that are still in the line then raise
        `Overloaded`. If the wait is cancelled, the calls go on, and `aclose()` may be called again.

        Args:
            timeout: Seconds; None waits as long as it takes.
        """
        await self._aclose_within(timeout)

    async def _aclose_within(self, timeout: float | None) -> bool:
        """Do what `aclose()` does, and return False if calls that were not abandoned are left."""
        self._refuse_more()
        event_loop = asyncio.get_running_loop()
        began_at = event_loop.time()
        while True:
            changed: asyncio.Future[None] = event_loop.create_future()
            listener = partial(_wake, event_loop, changed)
            self._listeners.append(listener)
            try:
                rest_s = self._rest_s(timeout, event_loop.time() - began_at)
                if rest_s is not None and rest_s <= 0:
                    break
                await asyncio.wait([changed], timeout=rest_s)
            finally:
                self._listeners.remove(listener)
        return self._leave()

    @property
    def abandoned(self) -> int:
        """How many calls run although nobody waits for them any more; they keep their slots."""
        return sum(call.is_given_up for call in list(self._running))

    def abandoned_calls(self) -> list[AbandonedCall]:
        """Return what runs although nobody waits for it any more, with the stack of each thread."""
        return [call.describe() for call in list(self._running) if call.is_given_up]

    async def _enter_admitted(self, call: Call) -> None:
        """Begin the call when it has a permit of each limiter, which are its own until it has ended."""
        try:
            async with move_on_after(None) as block:
                with self._lock:
                    if self._is_closed:
                        raise self._refusal("closed")  # noqa: TRY301 - As an error of a limiter.
                    self._asking[call] = block
                for limiter in self._limiters:
                    call.permits.append(await limiter.acquire())
            self._enter(call)
        except BaseException:
            # What runs all the same keeps them.
            if call not in self._running:
                call.drop_permits()
            raise
        finally:
            with self._lock:
                self._asking.pop(call, None)

    def _enter(self, call: Call) -> None:
        """Begin the call, or put it into the line."""
        try:
            if not self._has_slot(call):
                return
            if self._executor is None:
                self._begin(call)
            else:
                call.hand_over(self._executor, partial(self._end_outside, call))
        except BaseException:
            # Or an interrupt, as by a signal handler, which may come at any point.
            self._recall(call)
            raise

    def _has_slot(self, call: Call) -> bool:
        """Give the call a slot, or put it into the line."""
        with self._lock:
            # Who has waited for limiters may begin although nobody else may, unless it was refused meanwhile.
            if self._asking.pop(call, None) is None and self._is_closed:
                raise self._refusal("closed")
            if self._waiting or len(self._running) >= self._limit:
                if self._waiting_max is not None and len(self._waiting) >= self._waiting_max:
                    raise self._refusal("full")
                self._waiting[call] = None
                return False
            self._running[call] = None
        return True

    def _recall(self, call: Call) -> None:
        """Take back a call that was not handed over in full, unless it runs already."""
        if call.outside is not None and not call.outside.cancel():
            # Its end may not be waited for yet.
            call.end_outside(partial(self._end_outside, call))
            return
        with self._lock:
            if not call.claim():
                return
            self._waiting.pop(call, None)
            following = self._finish(call)
        self._notify()
        if self._executor is not None:
            self._pass_on(following)
            return
        while following is not None:
            try:
                self._begin(following)
            except RuntimeError as error:  # noqa: PERF203 - As often as the system has no thread.
                following.error = error
                following.tell()
                following = self._next_in_line()
            else:
                return

    def _refusal(self, reason: Literal["closed", "full"]) -> Overloaded:
        name = "Workers" if self._name is None else f"Workers {self._name!r}"
        return Overloaded(
            f"{name} take no more calls: aclose() was called", reason=reason, limiter=self._name
        )

    def _refuse_more(self) -> None:
        # A thread that is about to be free sees it, or is found among the free ones.
        with self._lock:
            self._is_closed = True

    def _withdraw(self, call: Call) -> bool:
        """Take the call back, if it has not begun."""
        with self._lock:
            if self._waiting.pop(call, self) is None:
                call.drop_permits()
                return True
        return call.outside is not None and call.outside.cancel()

    def _give_up(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        with self._lock:
            if self._waiting.pop(call, self) is None:
                call.drop_permits()
            call.is_given_up = True
        if call.is_settled:
            call.report()
        self._notify()

    def _give_up_lost(self) -> None:
        """Give up the calls whose waiters no loop runs any more, at the end of the process."""
        for call in [*self._running, *self._waiting]:
            if call.is_lost():
                self._give_up(call)

    def _finish(self, call: Call, mailbox: Mailbox | None = None) -> Call | None:
        """Take the slot of a call that has ended, and return who has it next, or the thread is free."""
        with self._lock:
            # One that was recalled has none.
            had_slot = self._running.pop(call, self) is None
            if had_slot and (following := self._next_in_line()) is not None:
                return following
            if mailbox is not None:
                if self._is_closed:
                    mailbox.put(None)
                else:
                    self._threads.free.append(mailbox)
        return None

    def _next_in_line(self) -> Call | None:
        """Give a slot that is free to the first of the line."""
        with self._lock:
            if not self._waiting:
                return None
            first, _ = self._waiting.popitem(last=False)
            self._running[first] = None
            return first

    def _notify(self) -> None:
        for listener in list(self._listeners):
            listener()

    def _begin(self, call: Call) -> None:
        """Run a call that has its slot, in a thread."""
        try:
            self._threads.begin(call)
        except RuntimeError:
            with self._lock:
                self._running.pop(call, None)
                if self._running:
                    # A thread takes it along when it is done with its own call.
                    self._waiting[call] = None
                    self._waiting.move_to_end(call, last=False)
                    return
            raise

    def _end_outside(self, call: Call) -> None:
        """The executor is done with the call."""
        following = self._finish(call)
        call.tell()
        self._notify()
        self._pass_on(following)

    def _pass_on(self, following: Call | None) -> None:
        """Begin a call out of the line, on its loop: here the executor may hold a lock of its own."""
        while following is not None:
            try:
                following.event_loop.call_soon_threadsafe(self._begin_following, following)
            except RuntimeError:  # noqa: PERF203 - As often as a loop was closed.
                # Nobody waits any more.
                following.drop_permits()
                following = self._finish(following)
            else:
                return

    def _begin_following(self, call: Call) -> None:
        try:
            if call.is_given_up or call.cancelled_with is not None:
                raise asyncio.CancelledError(*(call.cancelled_with or ()))  # noqa: TRY301
            assert self._executor is not None
            call.hand_over(self._executor, partial(self._end_outside, call))
        except BaseException as error:  # noqa: BLE001 - The waiter gets it.
            call.error = error
            self._pass_on(self._finish(call))
            call.settle()
            self._notify()

    def _rest_s(self, timeout: float | None, waited_s: float) -> float | None:
        """For how much longer to wait for what is left; None is as long as it takes, and 0 no longer."""
        with self._lock:
            if not self._running and not self._waiting and not self._asking:
                return 0.0
            if not self._waiting and not self._asking and all(call.is_given_up for call in self._running):
                timeout = ABANDONED_S if timeout is None else min(timeout, ABANDONED_S)
        return None if timeout is None else timeout - waited_s

    def _leave(self) -> bool:
        """Let go of what has not ended, and return True if all of that was abandoned."""
        with self._lock:
            refused, left = list(self._waiting), list(self._running)
            asking = dict(self._asking)
            self._waiting.clear()
            self._asking.clear()
        for call, block in asking.items():
            call.end_block(block)
        for call in refused:
            call.error = self._refusal("closed")
            call.tell()
        live_workers.discard(self)
        if left:
            logger.warning("%s", self._describe(left))
        self._end_free_threads()
        return not refused and not asking and all(call.is_given_up for call in left)

    def _end_free_threads(self) -> None:
        self._threads.end(busy=[call.thread for call in list(self._running)])
        with self._lock:
            if self._is_closed and not self._running and not self._waiting:
                self._threads.let_go()

    def _describe(self, calls: list[Call]) -> str:
        name = "" if self._name is None else f" {self._name!r}"
        count = "1 call" if len(calls) == 1 else f"{len(calls)} calls"
        lines = [f"{count} of Workers{name} did not end in time, left to themselves:"]
        for found in (call.describe() for call in calls):
            where = "in an executor" if found.thread is None else f"in thread {found.thread}"
            lines.append(f"  {found.function}, for {found.seconds:.1f} s {where}")
            lines += [
                f'    File "{file}", line {line}, in {function}' for file, line, function in found.stack
            ]
        return "\n".join(lines)

    def _forget_after_fork(self) -> None:
        """Let go of the parent's calls in a forked child, which has none of the threads."""
        # Another thread may have held it.
        self._lock = threading.RLock()
        self._running.clear()
        self._waiting.clear()
        self._asking.clear()
        self._listeners.clear()
        self._threads.forget_after_fork()


def _wake(event_loop: asyncio.AbstractEventLoop, changed: asyncio.Future[None]) -> None:
    """Wake who waits for `changed`, from any thread."""
    # A loop that was closed meanwhile refuses; nobody waits any more.
    with suppress(RuntimeError):
        event_loop.call_soon_threadsafe(_settle, changed)


def _settle(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)
