"""Future: the result, the callbacks, cancellation, and what a lost exception says."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import sys
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def turn(loop: Loop) -> None:
    """Let the loop run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_future_of_tonnage_is_native() -> None:
    loop = tonnage.new_event_loop()
    assert type(loop.create_future()) is tonnage.Future
    loop.close()


def test_new_future_is_pending(loop: Loop) -> None:
    future = loop.create_future()
    assert not future.done()
    assert not future.cancelled()
    assert future.get_loop() is loop
    with pytest.raises(asyncio.InvalidStateError, match=r"^Result is not set\.$"):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match=r"^Exception is not set\.$"):
        future.exception()


def test_result_is_what_was_set(loop: Loop) -> None:
    future = loop.create_future()
    value = object()
    assert future.set_result(value) is None  # type: ignore[func-returns-value]
    assert future.done()
    assert not future.cancelled()
    assert future.result() is value
    assert future.result() is value
    assert future.exception() is None


def test_exception_is_raised_by_result(loop: Loop) -> None:
    future = loop.create_future()
    error = LookupError("lost")
    future.set_exception(error)
    assert future.exception() is error
    with pytest.raises(LookupError) as caught:
        future.result()
    assert caught.value is error


def test_exception_class_is_called(loop: Loop) -> None:
    future = loop.create_future()
    future.set_exception(LookupError)
    assert type(future.exception()) is LookupError


def test_what_is_no_exception_is_refused(loop: Loop) -> None:
    future = loop.create_future()
    for value in (None, 3, "text", int, object()):
        with pytest.raises(TypeError):
            future.set_exception(value)  # type: ignore[arg-type]
    assert not future.done()
    future.cancel()


def test_stop_iteration_becomes_runtime_error(loop: Loop, asyncio_since: Callable[..., None]) -> None:
    asyncio_since(3, 13)
    future = loop.create_future()
    stop = StopIteration()
    future.set_exception(stop)
    with pytest.raises(RuntimeError, match="StopIteration interacts badly") as caught:
        future.result()
    assert caught.value.__cause__ is stop


@pytest.mark.parametrize("finish", ["result", "exception", "cancel"])
@pytest.mark.parametrize("again", ["result", "exception"])
def test_outcome_is_set_once(loop: Loop, finish: str, again: str) -> None:
    def apply(how: str) -> Any:
        if how == "cancel":
            return future.cancel()
        return future.set_result(1) if how == "result" else future.set_exception(LookupError())

    future = loop.create_future()
    apply(finish)
    with pytest.raises(asyncio.InvalidStateError):
        apply(again)
    assert future.cancel() is False
    if finish == "exception":
        future.exception()


def test_cancelled_future_raises_its_message(loop: Loop) -> None:
    future = loop.create_future()
    assert future.cancel("why") is True
    assert future.cancelled()
    assert future.done()
    for ask in (future.result, future.exception):
        with pytest.raises(asyncio.CancelledError) as caught:
            ask()
        assert caught.value.args == ("why",)


def test_cancel_without_message_has_no_arguments(loop: Loop) -> None:
    future = loop.create_future()
    future.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        future.result()
    assert caught.value.args == ()


def test_callbacks_run_later_in_the_order_they_were_added(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[tuple[int, Any]] = []
    for number in range(5):
        future.add_done_callback(lambda done, number=number: seen.append((number, done)))
    future.set_result(None)
    assert seen == []
    turn(loop)
    assert seen == [(number, future) for number in range(5)]


def test_callback_of_a_finished_future_runs_in_the_next_turn(loop: Loop) -> None:
    future = loop.create_future()
    future.set_result(None)
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert seen == []
    turn(loop)
    assert seen == [future]


def test_same_callback_added_twice_runs_twice(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    future.add_done_callback(seen.append)
    future.set_result(None)
    turn(loop)
    assert seen == [future, future]


def test_removing_a_callback_removes_all_equal_ones(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[Any] = []
    other: list[Any] = []
    for callback in (seen.append, other.append, seen.append):
        future.add_done_callback(callback)
    assert future.remove_done_callback(seen.append) == 2
    assert future.remove_done_callback(seen.append) == 0
    assert future.remove_done_callback(print) == 0
    future.set_result(None)
    turn(loop)
    assert (seen, other) == ([], [future])


def test_callback_runs_in_the_context_it_was_added_in(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[str] = []
    contextvars.copy_context().run(
        lambda: (variable.set("adder"), future.add_done_callback(lambda _: seen.append(variable.get())))
    )
    given = contextvars.copy_context()
    given.run(variable.set, "given")
    future.add_done_callback(lambda _: seen.append(variable.get()), context=given)
    contextvars.copy_context().run(lambda: (variable.set("setter"), future.set_result(None)))
    turn(loop)
    assert seen == ["adder", "given"]


def test_failing_callback_is_reported_and_others_run(loop: Loop, reports: list[dict[str, Any]]) -> None:
    def fail(_: Any) -> None:
        raise error

    error = LookupError("lost")
    future = loop.create_future()
    seen: list[Any] = []
    future.add_done_callback(fail)
    future.add_done_callback(seen.append)
    future.set_result(None)
    turn(loop)
    assert seen == [future]
    (report,) = reports
    assert report["exception"] is error
    assert report["message"].startswith("Exception in callback ")
    assert isinstance(report["handle"], asyncio.Handle)


def test_callback_added_by_a_callback_runs_a_turn_later(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[str] = []

    def first(_: Any) -> None:
        seen.append("first")
        future.add_done_callback(lambda _: seen.append("added"))
        loop.call_soon(seen.append, "soon")

    future.add_done_callback(first)
    future.add_done_callback(lambda _: seen.append("second"))
    future.set_result(None)
    turn(loop)
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "added", "soon"]


def test_awaiting_a_finished_future_does_not_switch(loop: Loop) -> None:
    async def main() -> list[Any]:
        seen: list[Any] = []
        loop.call_soon(seen.append, "switched")
        future = loop.create_future()
        future.set_result("value")
        seen.append(await future)
        return seen[:]

    assert loop.run_until_complete(main()) == ["value"]


@pytest.mark.parametrize("value", [(), (1, 2), StopIteration(3), LookupError("a value"), None, [None]])
def test_any_object_can_be_the_result(loop: Loop, value: Any) -> None:
    async def main() -> Any:
        future = loop.create_future()
        loop.call_soon(future.set_result, value)
        first = await future
        assert await future is first
        return first

    assert loop.run_until_complete(main()) is value


def test_future_can_be_stepped_by_hand(loop: Loop) -> None:
    future = loop.create_future()
    steps = future.__await__()
    assert iter(steps) is steps
    assert next(steps) is future
    assert future._asyncio_future_blocking is True  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"^await wasn't used with future$"):
        next(steps)
    future._asyncio_future_blocking = False  # type: ignore[attr-defined]
    other = future.__await__()
    next(other)
    future.set_result(42)
    with pytest.raises(StopIteration) as caught:
        other.send(None)
    assert caught.value.value == 42


def test_steps_accept_throw_and_close(loop: Loop) -> None:
    future = loop.create_future()
    steps = future.__await__()
    next(steps)
    with pytest.raises(LookupError):
        steps.throw(LookupError("thrown"))  # type: ignore[union-attr]
    future._asyncio_future_blocking = False  # type: ignore[attr-defined]
    steps = iter(future)  # type: ignore[call-overload]
    next(steps)
    steps.close()
    future.set_result(None)
    with pytest.raises(StopIteration):
        next(steps)


def test_exception_of_a_lost_future_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    error = LookupError("lost")
    future = loop.create_future()
    future.set_exception(error)
    del future
    gc.collect()
    (report,) = reports
    assert report["message"] == "Future exception was never retrieved"
    assert report["exception"] is error
    assert isinstance(report["future"], asyncio.Future)


@pytest.mark.parametrize("look", ["result", "exception", "await", "cancel"])
def test_exception_that_was_looked_at_is_not_reported(loop: Loop, look: str) -> None:
    async def wait(future: Any) -> None:
        await future

    future = loop.create_future()
    future.set_exception(LookupError())
    if look == "cancel":
        future.cancel()
    elif look == "exception":
        future.exception()
    else:
        with pytest.raises(LookupError):
            loop.run_until_complete(wait(future)) if look == "await" else future.result()
    del future
    gc.collect()


def test_traceback_does_not_grow_with_each_result(loop: Loop, asyncio_since: Callable[..., None]) -> None:
    asyncio_since(3, 11)

    def depth() -> int:
        try:
            future.result()
        except LookupError as error:
            return len(traceback.extract_tb(error.__traceback__))
        raise AssertionError("the future has an exception")

    future = loop.create_future()
    try:
        raise LookupError("once")
    except LookupError as error:
        future.set_exception(error)
    assert max(depth() for _ in range(5)) <= 2


def test_repr_names_state_and_callbacks(loop: Loop) -> None:
    future = loop.create_future()
    assert repr(future) == "<Future pending>"
    future.add_done_callback(turn)  # type: ignore[arg-type]
    assert re.fullmatch(r"<Future pending cb=\[turn\(\) at .*test_future\.py:\d+\]>", repr(future))
    for _ in range(3):
        future.add_done_callback(turn)  # type: ignore[arg-type]
    assert "<2 more>" in repr(future)
    future.remove_done_callback(turn)  # type: ignore[arg-type]
    future.set_result(5)
    assert repr(future) == "<Future finished result=5>"
    cancelled = loop.create_future()
    cancelled.cancel()
    assert repr(cancelled) == "<Future cancelled>"


def test_recursive_repr_ends(loop: Loop) -> None:
    future = loop.create_future()
    future.set_result(future)
    assert repr(future).count("Future finished") >= 1
    other = loop.create_future()
    other.set_result([other])
    assert "..." in repr(other)


def test_private_attributes_are_asyncios(loop: Loop) -> None:
    future = loop.create_future()
    private: Any = future
    assert (private._state, private._callbacks, private._loop) == ("PENDING", None, loop)
    assert private._cancel_message is None
    assert private._log_traceback is False
    assert private._asyncio_future_blocking is False
    assert private._source_traceback is None
    future.add_done_callback(print)
    ((callback, context),) = private._callbacks
    assert callback is print
    assert isinstance(context, contextvars.Context)
    future.remove_done_callback(print)
    future.set_result(5)
    assert (private._state, private._result, private._exception) == ("FINISHED", 5, None)


def test_log_traceback_can_only_be_switched_off(loop: Loop) -> None:
    future: Any = loop.create_future()
    with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
        future._log_traceback = True
    future.set_exception(LookupError())
    assert future._log_traceback is True
    future._log_traceback = False
    del future
    gc.collect()


def test_debug_mode_remembers_where_a_future_was_made(loop: Loop) -> None:
    loop.set_debug(True)
    future: Any = loop.create_future()
    names = [frame.name for frame in future._source_traceback]
    assert "test_debug_mode_remembers_where_a_future_was_made" in names[-2:]
    assert " created at " in repr(future)


def test_future_can_be_subclassed(loop_factory: Callable[[], Loop]) -> None:
    base: Any = tonnage.Future if loop_factory is tonnage.new_event_loop else asyncio.Future

    class Mine(base):  # type: ignore[misc, valid-type]
        def __init__(self, *, loop: Loop) -> None:
            super().__init__(loop=loop)
            self.extra = "extra"

        def add_done_callback(self, *args: Any, **kwargs: Any) -> None:
            added.append(args)
            super().add_done_callback(*args, **kwargs)

    added: list[Any] = []
    loop = loop_factory()
    future = Mine(loop=loop)
    future.extra = "more"

    async def main() -> Any:
        loop.call_soon(future.set_result, future.extra)
        return await future

    assert loop.run_until_complete(main()) == "more"
    assert len(added) == 1
    assert repr(future).startswith("<Mine finished")
    loop.close()


@pytest.mark.parametrize("kind", ["asyncio", "tonnage"])
def test_uninitialised_future_refuses_to_work(kind: str) -> None:
    base: Any = {"asyncio": asyncio.Future, "tonnage": tonnage.Future}[kind]
    future = base.__new__(base)
    for use in ("result", "exception", "get_loop"):
        with pytest.raises((RuntimeError, asyncio.InvalidStateError)):
            getattr(future, use)()
    with pytest.raises(RuntimeError, match="not initialized"):
        future.set_result(1)
    with pytest.raises(RuntimeError, match="not initialized"):
        future.cancel()
    with pytest.raises(RuntimeError, match="initialized"):
        future.add_done_callback(print)
    with pytest.raises(RuntimeError, match="initialized"):
        iter(future)


def test_weak_reference_to_a_future_dies_with_it(loop: Loop) -> None:
    future = loop.create_future()
    died: list[Any] = []
    reference = weakref.ref(future, died.append)
    assert reference() is future
    del future
    assert died == [reference]


def test_cycle_through_a_future_is_collected(loop: Loop) -> None:
    class Owner:
        pass

    owner = Owner()
    owner.future = loop.create_future()  # type: ignore[attr-defined]
    owner.future.add_done_callback(lambda _, owner=owner: owner)  # type: ignore[attr-defined]
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    assert reference() is None


def test_future_class_is_generic() -> None:
    for base in (asyncio.Future, tonnage.Future):
        assert isinstance(base[int], types.GenericAlias)  # type: ignore[misc]


def test_wrapped_concurrent_future_gives_its_result(loop: Loop) -> None:
    from concurrent.futures import Future as ConcurrentFuture

    source: ConcurrentFuture[int] = ConcurrentFuture()
    future = asyncio.wrap_future(source, loop=loop)
    assert asyncio.isfuture(future)
    source.set_result(7)
    assert loop.run_until_complete(future) == 7


def test_cancelling_a_wrapped_future_cancels_its_source(loop: Loop) -> None:
    from concurrent.futures import Future as ConcurrentFuture

    source: ConcurrentFuture[int] = ConcurrentFuture()
    future = asyncio.wrap_future(source, loop=loop)
    future.cancel()
    turn(loop)
    assert source.cancelled()


def test_setting_a_result_on_a_closed_loop_says_so(loop: Loop) -> None:
    future = loop.create_future()
    future.add_done_callback(print)
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        future.set_result(1)
    assert future.done()


def test_future_without_a_loop_takes_the_running_one(loop_factory: Callable[[], Loop]) -> None:
    base: Any = tonnage.Future if loop_factory is tonnage.new_event_loop else asyncio.Future

    async def main() -> bool:
        return base().get_loop() is asyncio.get_running_loop()

    loop = loop_factory()
    assert loop.run_until_complete(main())
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the call graph is new in 3.14")
def test_future_knows_who_awaits_it(loop: Loop) -> None:
    async def main() -> None:
        future: Any = loop.create_future()
        task = asyncio.ensure_future(wait(future))
        await asyncio.sleep(0)
        assert future._asyncio_awaited_by == {task}
        future.set_result(None)
        await task
        assert not future._asyncio_awaited_by

    async def wait(future: Any) -> None:
        await future

    loop.run_until_complete(main())
