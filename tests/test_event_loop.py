"""The loop: order of callbacks, timers, wake-ups, stopping, closing, and who may call what."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def turn(loop: Loop) -> None:
    """Let the loop run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


# Callbacks


def test_callbacks_run_in_the_order_of_call_soon(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(100):
        loop.call_soon(seen.append, number)
    turn(loop)
    assert seen == list(range(100))


def test_what_a_callback_schedules_runs_in_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        loop.call_soon(seen.append, "later")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    turn(loop)
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "later"]


def test_callback_gets_its_arguments(loop: Loop) -> None:
    seen: list[Any] = []
    loop.call_soon(lambda *args: seen.append(args), 1, 2, 3)
    loop.call_soon(lambda *args: seen.append(args))
    turn(loop)
    assert seen == [(1, 2, 3), ()]


def test_cancelled_handle_never_runs(loop: Loop) -> None:
    seen: list[int] = []
    handle = loop.call_soon(seen.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    turn(loop)
    assert seen == []


def test_callback_can_cancel_one_that_is_ready(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(lambda: second.cancel())
    second = loop.call_soon(seen.append, "second")
    loop.call_soon(seen.append, "third")
    turn(loop)
    assert seen == ["third"]


def test_cancelled_handle_says_so_in_debug_mode_and_keeps_its_repr(loop: Loop) -> None:
    loop.set_debug(True)
    for handle in (loop.call_soon(print, 1), loop.call_later(1, print, 1)):
        handle.cancel()
        text = repr(handle)
        assert " cancelled " in text
        assert "print(1)" in text
    turn(loop)


def test_cancelled_handle_drops_its_callback(loop: Loop) -> None:
    class Kept:
        def __call__(self) -> None: ...

    kept = Kept()
    reference = weakref.ref(kept)
    handle = loop.call_soon(kept)
    timer = loop.call_later(3600, kept)
    del kept
    handle.cancel()
    timer.cancel()
    assert reference() is None


def test_callback_runs_in_a_copy_of_its_schedulers_context(loop: Loop) -> None:
    seen: list[str] = []

    def schedule() -> None:
        variable.set("scheduler")
        for call in (loop.call_soon, loop.call_soon_threadsafe):
            call(lambda: (seen.append(variable.get()), variable.set("changed")))
        loop.call_later(0, lambda: (seen.append(variable.get()), loop.stop()))

    contextvars.copy_context().run(schedule)
    loop.run_forever()
    assert seen == ["scheduler"] * 3


def test_callback_runs_in_the_context_given(loop: Loop) -> None:
    context = contextvars.copy_context()
    loop.call_soon(variable.set, "soon", context=context)
    turn(loop)
    assert context[variable] == "soon"
    loop.call_later(0, lambda: (variable.set("later"), loop.stop()), context=context)
    loop.run_forever()
    assert context[variable] == "later"
    assert variable.get() == "unset"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context() is new in 3.12")
def test_handle_tells_its_context(loop: Loop) -> None:
    context = contextvars.copy_context()
    handle: Any = loop.call_soon(print, context=context)
    assert handle.get_context() is context
    handle.cancel()


# Failing callbacks


def test_failing_callback_is_reported_and_the_loop_goes_on(loop: Loop, reports: list[Any]) -> None:
    error = LookupError("lost")

    def fail() -> None:
        raise error

    seen: list[int] = []
    handle = loop.call_soon(fail)
    loop.call_soon(seen.append, 1)
    turn(loop)
    assert seen == [1]
    (report,) = reports
    assert report["exception"] is error
    assert report["handle"] is handle
    assert report["message"].startswith("Exception in callback test_failing_callback")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exit_in_a_callback_leaves_the_loop_which_can_run_again(
    loop: Loop, kind: type[BaseException]
) -> None:
    seen: list[int] = []

    def leave() -> None:
        raise kind

    loop.call_soon(leave)
    loop.call_soon(seen.append, 1)
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    turn(loop)
    assert seen == [1]


def test_default_exception_handler_logs(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_exception_handler(None)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert "Exception in callback" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert loop.get_exception_handler() is None


def test_failing_exception_handler_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    def handler(_: Loop, __: dict[str, Any]) -> None:
        raise LookupError("handler")

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert "Unhandled error in exception handler" in caplog.text


def test_exception_handler_must_be_callable(loop: Loop) -> None:
    with pytest.raises(TypeError, match="A callable object or None is expected, got 'text'"):
        loop.set_exception_handler("text")  # type: ignore[arg-type]


# Timers


def test_timers_fire_in_the_order_of_their_deadlines(loop: Loop) -> None:
    seen: list[int] = []
    base = loop.time()
    for number in (5, 1, 4, 2, 3):
        loop.call_at(base + number / 10000, seen.append, number)
    loop.call_at(base + 0.001, loop.stop)
    loop.run_forever()
    assert seen == [1, 2, 3, 4, 5]


def test_timers_with_equal_deadlines_fire_first_come_first_served(loop: Loop, asyncio_since: Any) -> None:
    # asyncio's heap compares deadlines only, so it promises no order.
    asyncio_since()
    seen: list[int] = []
    when = loop.time() + 0.001
    for number in range(200):
        loop.call_at(when, seen.append, number)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert seen == list(range(200))


def test_no_timer_fires_early(loop: Loop, asyncio_since: Any) -> None:
    # asyncio takes what is due within the clock's resolution.
    asyncio_since()
    early: list[float] = []
    left = 200

    def check(when: float) -> None:
        nonlocal left
        if loop.time() < when:
            early.append(when - loop.time())
        left -= 1
        if not left:
            loop.stop()

    base = loop.time()
    for number in range(left):
        when = base + number * 1.37e-5
        loop.call_at(when, check, when)
    loop.run_forever()
    assert early == []


def test_timer_of_the_past_fires_in_this_turn(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(-1, seen.append, "past")
    loop.call_at(0, seen.append, "long past")
    turn(loop)
    assert sorted(seen) == ["long past", "past"]


def test_due_timer_runs_after_what_was_ready(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0, seen.append, "timer")
    loop.call_soon(seen.append, "soon")
    turn(loop)
    assert seen == ["soon", "timer"] or seen == ["soon"]
    turn(loop)
    assert seen == ["soon", "timer"]


def test_cancelled_timer_never_fires(loop: Loop) -> None:
    seen: list[str] = []
    handle = loop.call_later(0.001, seen.append, "cancelled")
    loop.call_later(0.002, loop.stop)
    handle.cancel()
    assert handle.cancelled()
    loop.run_forever()
    assert seen == []


def test_timer_cancelled_by_a_timer_of_the_same_moment_never_fires(loop: Loop) -> None:
    seen: list[str] = []
    handles: list[asyncio.TimerHandle] = []

    def fire(name: int) -> None:
        seen.append(str(name))
        handles[1 - name].cancel()

    when = loop.time()
    handles.extend(loop.call_at(when, fire, name) for name in range(2))
    loop.call_at(when + 0.001, loop.stop)
    loop.run_forever()
    assert len(seen) == 1


def test_cancelled_timers_leave_no_memory(loop: Loop, asyncio_since: Any) -> None:
    asyncio_since()
    handles = [loop.call_later(3600, print) for _ in range(1000)]
    references = [weakref.ref(handle) for handle in handles]
    for handle in handles:
        handle.cancel()
    del handle
    handles.clear()
    assert not any(reference() for reference in references)


def test_timer_tells_its_time(loop: Loop) -> None:
    when = loop.time() + 3600.25
    handle = loop.call_at(when, print)
    assert handle.when() == when
    later = loop.call_later(10, print)
    assert 9 < later.when() - loop.time() <= 10
    handle.cancel()
    later.cancel()
    assert handle.when() == when


def test_timer_gives_an_int_back_as_it_was_given(loop: Loop) -> None:
    handle = loop.call_at(5, print)
    handle.cancel()
    assert handle.when() == 5
    assert type(handle.when()) is int


def test_timers_far_away_are_kept(loop: Loop) -> None:
    handles = [loop.call_later(delay, print) for delay in (1e9, 1e15, 1e300, float("inf"))]
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    for handle in handles:
        handle.cancel()


def test_clock_never_goes_back(loop: Loop) -> None:
    times = [loop.time() for _ in range(1000)]
    assert times == sorted(times)
    assert isinstance(times[0], float)


# Stop, run, close


def test_stop_before_running_runs_one_turn(loop: Loop) -> None:
    seen: list[int] = []
    loop.stop()
    loop.call_soon(seen.append, 1)
    loop.run_forever()
    assert seen == [1]


def test_stop_lets_the_turn_end(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same turn")
    loop.call_soon(lambda: loop.call_soon(seen.append, "next turn"))
    loop.run_forever()
    assert seen == ["same turn"]
    turn(loop)
    assert seen == ["same turn", "next turn"]


def test_loop_runs_again_and_again(loop: Loop, run: Run) -> None:
    async def count() -> int:
        await asyncio.sleep(0)
        return 1

    assert sum(run(count()) for _ in range(50)) == 50


def test_running_loop_is_known_while_it_runs(loop: Loop) -> None:
    seen: list[Any] = []
    assert not loop.is_running()
    loop.call_soon(lambda: seen.append((loop.is_running(), asyncio.get_running_loop() is loop)))
    turn(loop)
    assert seen == [(True, True)]
    assert not loop.is_running()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_running_loop_cannot_be_run_again(loop: Loop, run: Run) -> None:
    async def main() -> None:
        coro = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_until_complete(coro)
        coro.close()

    run(main())


def test_refused_run_leaves_the_running_loop_as_it_is(loop: Loop, run: Run, asyncio_since: Any) -> None:
    # In asyncio 3.13 the refused call ends the outer one's being the running loop.
    asyncio_since()

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_forever()
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop
        assert loop.is_running()
        assert asyncio.current_task() is not None

    run(main())


def test_another_loop_cannot_run_inside(loop: Loop, run: Run, loop_factory: Callable[[], Loop]) -> None:
    other = loop_factory()

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot run the event loop while another loop is running$"):
            other.run_forever()

    run(main())
    turn(other)
    other.close()


def test_running_loop_cannot_be_closed(loop: Loop, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            loop.close()

    run(main())
    assert not loop.is_closed()


def test_closed_loop_stays_closed(loop: Loop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    for use in (lambda: loop.call_soon(print), loop.run_forever, lambda: loop.call_later(1, print)):
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            use()


def test_closed_loop_keeps_no_descriptor(loop_factory: Callable[[], Loop]) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = descriptors()
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert descriptors() == before
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon_threadsafe(print)


def test_closing_drops_what_was_scheduled(loop: Loop) -> None:
    class Kept:
        def __call__(self) -> None: ...

    kept = Kept()
    reference = weakref.ref(kept)
    loop.call_soon(kept)
    loop.call_later(3600, kept)
    del kept
    loop.close()
    gc.collect()
    assert reference() is None


def test_run_until_complete_says_when_the_loop_stopped_first(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(future)
    future.cancel()


def test_run_until_complete_leaves_no_callback_behind(loop: Loop) -> None:
    future: Any = loop.create_future()
    loop.call_soon(future.set_result, 5)
    assert loop.run_until_complete(future) == 5
    assert not future._callbacks


def test_loop_that_was_not_closed_warns(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):  # noqa: PT031
        del loop
        gc.collect()


def test_repr_tells_the_state(loop: Loop) -> None:
    assert repr(loop).endswith("running=False closed=False debug=False>")
    loop.close()
    assert repr(loop).endswith("running=False closed=True debug=False>")


# Threads


def test_call_from_another_thread_wakes_a_sleeping_loop(loop: Loop) -> None:
    seen: list[int] = []

    def work() -> None:
        for number in range(100):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert seen == list(range(100))


def test_wake_up_before_the_loop_runs_is_not_lost(loop: Loop) -> None:
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    thread.start()
    thread.join()
    loop.run_forever()


def test_stop_and_wake_are_not_confused(loop: Loop) -> None:
    for _ in range(200):
        loop.call_soon_threadsafe(loop.stop)
        loop.run_forever()
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    turn(loop)
    assert seen == [1]


def test_debug_mode_refuses_calls_from_the_wrong_thread(loop: Loop, run: Run) -> None:
    async def main() -> list[str]:
        texts: list[str] = []

        def misuse() -> None:
            for call in (
                lambda: loop.call_soon(print),
                lambda: loop.call_later(1, print),
                lambda: loop.call_at(1, print),
            ):
                try:
                    call()
                except RuntimeError as error:
                    texts.append(str(error))

        await loop.run_in_executor(None, misuse)
        return texts

    loop.set_debug(True)
    text = "Non-thread-safe operation invoked on an event loop other than the current one"
    assert run(main()) == [text] * 3


# Debug mode


def test_debug_mode_names_slow_callbacks(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def slow() -> None: ...

    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.run_until_complete(slow())
    assert any("Executing <" in text and "took 0.00" in text for text in caplog.messages)


def test_fast_callbacks_are_not_named(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        turn(loop)
    assert caplog.messages == []


def test_debug_mode_refuses_coroutines_and_what_cannot_be_called(loop: Loop) -> None:
    async def function() -> None: ...

    loop.set_debug(True)
    calls: dict[str, Callable[[Any], Any]] = {
        "call_soon": loop.call_soon,
        "call_soon_threadsafe": loop.call_soon_threadsafe,
        "call_later": lambda callback: loop.call_later(1, callback),
        "call_at": lambda callback: loop.call_at(1, callback),
    }
    for name, call in calls.items():
        # call_later() is checked as call_at() by asyncio.
        with pytest.raises(TypeError, match=r"^coroutines cannot be used with call_"):
            call(function)
        with pytest.raises(TypeError, match=rf"^a callable object was expected by call_\w+\(\), got {3}"):
            call(3)
        assert name


def test_debug_mode_can_be_switched(loop: Loop, run: Run) -> None:
    async def main() -> int:
        loop.set_debug(True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return sys.get_coroutine_origin_tracking_depth()

    assert loop.get_debug() is False
    assert run(main()) > 0
    assert loop.get_debug() is True
    assert sys.get_coroutine_origin_tracking_depth() == 0
    loop.set_debug(False)


# Async generators


def test_lost_async_generator_is_closed_by_the_loop(loop: Loop, run: Run) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def main() -> None:
        async for _ in numbers():
            break
        gc.collect()
        for _ in range(4):
            await asyncio.sleep(0)

    run(main())
    assert closed == ["closed"]


def test_shutdown_closes_async_generators(loop: Loop, run: Run) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append("closed")

    async def main() -> Any:
        generator = numbers()
        await generator.__anext__()
        return generator

    generator = run(main())
    run(loop.shutdown_asyncgens())
    assert closed == ["closed"]
    del generator


def test_hooks_of_async_generators_are_given_back(loop: Loop) -> None:
    before = sys.get_asyncgen_hooks()
    seen: list[Any] = []
    loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
    turn(loop)
    assert seen[0] != before
    assert sys.get_asyncgen_hooks() == before


def test_loop_of_tonnage_is_a_base_event_loop() -> None:
    loop = tonnage.new_event_loop()
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()


def test_signal_raised_by_a_builtin_callback_is_not_slept_over(loop: Loop) -> None:
    # No bytecode runs between the callback and the wait, so nothing else would call the handler.
    handled: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: (handled.append(1), loop.stop()))
    try:
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        guard = loop.call_later(20, loop.stop)
        loop.run_forever()
        guard.cancel()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert handled == [1]
    assert loop.time() < guard.when()
