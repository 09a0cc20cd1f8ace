"""Task: its steps, its end, its cancellation, its name, context and stack."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import re
import sys
import types
import weakref
from collections.abc import Callable, Generator
from contextlib import closing
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


async def give(value: Any) -> Any:
    return value


async def fail(error: BaseException) -> None:
    raise error


async def park(loop: Loop) -> None:
    await loop.create_future()


def test_task_of_tonnage_is_native() -> None:
    loop = tonnage.new_event_loop()
    task = loop.create_task(give(1))
    assert type(task) is tonnage.Task
    assert loop.run_until_complete(task) == 1
    loop.close()


def test_task_starts_in_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append("child")

    async def main() -> None:
        task = loop.create_task(child())
        seen.append("created")
        await task
        seen.append("awaited")

    loop.run_until_complete(main())
    assert seen == ["created", "child", "awaited"]


def test_task_gives_its_coroutines_result(loop: Loop, run: Run) -> None:
    value = object()
    task = loop.create_task(give(value))
    assert run(task) is value
    assert task.done()
    assert task.result() is value
    assert task.exception() is None


@pytest.mark.parametrize("value", [(), (1, 2), StopIteration(1), LookupError(), None])
def test_task_returns_any_object(loop: Loop, run: Run, value: Any) -> None:
    async def main() -> Any:
        return await loop.create_task(give(value))

    assert run(main()) is value


def test_task_keeps_its_coroutines_exception(loop: Loop, run: Run) -> None:
    error = LookupError("lost")
    task = loop.create_task(fail(error))
    with pytest.raises(LookupError) as caught:
        run(task)
    assert caught.value is error
    assert task.exception() is error


def test_exception_is_raised_where_the_task_is_awaited(loop: Loop, run: Run) -> None:
    async def main() -> str:
        try:
            await loop.create_task(fail(LookupError("lost")))
        except LookupError as error:
            return str(error)
        return "nothing"

    assert run(main()) == "lost"


def test_stop_iteration_in_a_coroutine_becomes_runtime_error(loop: Loop, run: Run) -> None:
    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        run(loop.create_task(fail(StopIteration())))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exit_leaves_the_loop_and_stays_in_the_task(loop: Loop, kind: type[BaseException]) -> None:
    error = kind("out")
    task = loop.create_task(fail(error))
    loop.call_soon(loop.stop)
    with pytest.raises(kind) as caught:
        loop.run_forever()
    assert caught.value is error
    assert task.exception() is error
    turn(loop)


def test_what_is_no_coroutine_is_refused(loop: Loop) -> None:
    for value in (None, 3, give, loop.create_future(), object()):
        with pytest.raises(TypeError, match=r"^a coroutine was expected, got "):
            loop.create_task(value)  # type: ignore[arg-type]


def test_generator_based_coroutine_is_one_up_to_python_3_11(loop: Loop, run: Run) -> None:
    @types.coroutine
    def old() -> Generator[None, None, int]:
        yield
        return 5

    if sys.version_info < (3, 12):
        assert run(loop.create_task(old())) == 5  # type: ignore[arg-type]
    else:
        with pytest.raises(TypeError, match="a coroutine was expected"):
            loop.create_task(old())  # type: ignore[arg-type]


def test_coroutine_that_was_awaited_already_fails(loop: Loop, run: Run) -> None:
    coro = give(1)
    assert run(coro) == 1
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        run(loop.create_task(coro))


def test_bare_yield_gives_others_a_turn(loop: Loop, run: Run) -> None:
    seen: list[str] = []

    @types.coroutine
    def switch() -> Generator[None, None, None]:
        yield

    async def walk(name: str) -> None:
        for step in range(3):
            seen.append(f"{name}{step}")
            await switch()

    async def main() -> None:
        await asyncio.gather(walk("a"), walk("b"))

    run(main())
    assert seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


@pytest.mark.parametrize("value", [3, "text", object(), (1,), [None]])
def test_yielding_a_strange_object_is_an_error_inside(loop: Loop, run: Run, value: Any) -> None:
    @types.coroutine
    def strange() -> Generator[Any, None, None]:
        yield value

    with pytest.raises(RuntimeError, match=r"Task got bad yield: "):
        run(strange())


def test_yielding_a_future_without_await_is_an_error_inside(loop: Loop, run: Run) -> None:
    @types.coroutine
    def strange() -> Generator[Any, None, None]:
        yield loop.create_future()

    with pytest.raises(RuntimeError, match=r"^yield was used instead of yield from in task <Task"):
        run(strange())


def test_yielding_a_generator_is_an_error_inside(loop: Loop, run: Run) -> None:
    @types.coroutine
    def strange() -> Generator[Any, None, None]:
        yield (number for number in range(3))

    with pytest.raises(RuntimeError, match=r"^yield was used instead of yield from for generator in task"):
        run(strange())


def test_future_of_another_loop_is_refused(loop: Loop, run: Run, loop_factory: Callable[[], Loop]) -> None:
    other = loop_factory()
    future = other.create_future()

    async def main() -> None:
        await future

    with pytest.raises(RuntimeError, match=r"attached to a different loop$"):
        run(main())
    other.close()


def test_task_awaiting_itself_is_refused(loop: Loop, run: Run) -> None:
    async def main() -> None:
        await task

    task = loop.create_task(main())
    with pytest.raises(RuntimeError, match=r"^Task cannot await on itself: <Task"):
        run(task)


# Cancellation


def test_cancelled_before_it_started_never_runs(loop: Loop, run: Run) -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append("ran")

    task = loop.create_task(child())
    assert task.cancel() is True
    with pytest.raises(asyncio.CancelledError):
        run(task)
    assert task.cancelled()
    assert seen == []


def test_cancel_raises_where_the_task_waits(loop: Loop, run: Run, asyncio_since: Callable[..., None]) -> None:
    # In 3.10 the message does not reach those who await the task.
    asyncio_since(3, 11)

    async def child() -> None:
        try:
            await loop.create_future()
        except asyncio.CancelledError as error:
            seen.append(error.args)
            raise

    seen: list[Any] = []

    async def main() -> None:
        task = loop.create_task(child())
        await asyncio.sleep(0)
        assert task.cancel("why")
        assert not task.done()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("why",)
        assert task.cancelled()

    run(main())
    assert seen == [("why",)]


def test_cancel_of_a_finished_task_does_nothing(loop: Loop, run: Run) -> None:
    task = loop.create_task(give(1))
    run(task)
    assert task.cancel() is False
    assert not task.cancelled()
    assert task.result() == 1


def test_task_may_refuse_a_cancellation(loop: Loop, run: Run) -> None:
    async def stubborn() -> str:
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            return "stayed"
        return "never"

    async def main() -> str:
        task = loop.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert run(main()) == "stayed"


def test_two_cancels_in_one_turn_are_delivered_once(loop: Loop, run: Run) -> None:
    async def child() -> int:
        caught = 0
        for _ in range(3):
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                caught += 1
        return caught

    async def main() -> int:
        task = loop.create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        return await task

    assert run(main()) == 1


def test_cancels_are_counted(loop: Loop, run: Run, asyncio_since: Callable[..., None]) -> None:
    asyncio_since(3, 11)

    async def main() -> None:
        task: Any = loop.create_task(park(loop))
        await asyncio.sleep(0)
        assert task.cancelling() == 0
        assert task.uncancel() == 0
        task.cancel()
        task.cancel()
        assert task.cancelling() == 2
        assert task.uncancel() == 1
        assert task.cancelling() == 1
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_uncancel_takes_a_cancel_back_that_was_not_delivered(
    loop: Loop, run: Run, asyncio_since: Callable[..., None]
) -> None:
    asyncio_since(3, 13)

    async def main() -> str:
        task: Any = asyncio.current_task()
        task.cancel()
        assert task.uncancel() == 0
        await asyncio.sleep(0)
        return "not cancelled"

    assert run(main()) == "not cancelled"


def test_cancel_of_itself_is_delivered_at_the_next_wait(loop: Loop, run: Run) -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "there"
        return "never"

    assert run(main()) == "there"


def test_cancel_of_itself_right_before_the_end_cancels(loop: Loop) -> None:
    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("late")
        return "lost"

    task = loop.create_task(main())
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert task.cancelled()


def test_cancel_reaches_the_innermost_of_a_chain(loop: Loop, run: Run) -> None:
    async def chain(depth: int) -> None:
        if depth:
            await loop.create_task(chain(depth - 1))
        else:
            await future

    future = loop.create_future()

    async def main() -> None:
        task = loop.create_task(chain(10))
        for _ in range(12):
            await asyncio.sleep(0)
        task.cancel()
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_cancel_and_result_in_one_tick_cancels(loop: Loop, run: Run) -> None:
    async def child() -> str:
        return str(await future)

    future = loop.create_future()

    async def main() -> None:
        task = loop.create_task(child())
        await asyncio.sleep(0)
        future.set_result("value")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_cancelled_error_is_the_very_one_that_was_raised(
    loop: Loop, run: Run, asyncio_since: Callable[..., None]
) -> None:
    asyncio_since(3, 11)
    raised: list[BaseException] = []

    async def child() -> None:
        try:
            await loop.create_future()
        except asyncio.CancelledError as error:
            raised.append(error)
            raise

    async def main() -> None:
        task = loop.create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value is raised.pop()

    run(main())


def test_private_attributes_tell_how_a_task_waits(loop: Loop, run: Run) -> None:
    async def main() -> None:
        coro = park(loop)
        task: Any = loop.create_task(coro)
        assert task._fut_waiter is None
        assert task._coro is coro
        assert task.get_coro() is coro
        await asyncio.sleep(0)
        assert asyncio.isfuture(task._fut_waiter)
        assert task._must_cancel is False
        task._fut_waiter.set_result(None)
        task.cancel()
        assert task._must_cancel is True
        await asyncio.wait([task])

    run(main())


# What it is called and where it runs


def test_tasks_are_numbered(loop: Loop, run: Run) -> None:
    tasks = [loop.create_task(give(1)) for _ in range(2)]
    numbers = [int(re.fullmatch(r"Task-(\d+)", task.get_name())[1]) for task in tasks]  # type: ignore[index]
    assert numbers[1] == numbers[0] + 1
    for task in tasks:
        run(task)


def test_name_can_be_given_and_changed(loop: Loop, run: Run) -> None:
    task = loop.create_task(give(1), name="given")
    assert task.get_name() == "given"
    task.set_name(42)
    assert task.get_name() == "42"
    assert "name='42'" in repr(task)
    run(task)


def test_nothing_given_by_name_is_as_nothing(loop: Loop, run: Run) -> None:
    # asyncio's loop knows contexts since 3.11.
    knows_contexts = isinstance(loop, tonnage.EventLoop) or sys.version_info >= (3, 11)
    nothing: dict[str, Any] = {"context": None} if knows_contexts else {}

    async def create() -> list[asyncio.Task[int]]:
        return [
            loop.create_task(give(1), name=None),
            loop.create_task(give(1), name=None, **nothing),
            loop.create_task(give(1)),
        ]

    tasks = run(loop.create_task(create()))
    numbers = [int(task.get_name().removeprefix("Task-")) for task in tasks]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    assert [run(task) for task in tasks] == [1, 1, 1]


def test_unknown_name_is_refused_in_a_task(loop: Loop, run: Run) -> None:
    async def create() -> None:
        coro = give(1)
        with closing(coro), pytest.raises(TypeError, match="unexpected keyword argument 'nmae'"):
            loop.create_task(coro, nmae=None)  # type: ignore[call-arg]

    run(loop.create_task(create()))


def test_repr_names_coroutine_and_state(loop: Loop, run: Run) -> None:
    task = loop.create_task(give(1), name="it")
    assert re.fullmatch(
        r"<Task pending name='it' coro=<give\(\) running at .*test_task\.py:\d+>>", repr(task)
    )
    run(task)
    assert re.fullmatch(
        r"<Task finished name='it' coro=<give\(\) done, defined at .*test_task\.py:\d+> result=1>", repr(task)
    )


def test_repr_names_what_a_task_waits_for(loop: Loop, run: Run) -> None:
    async def main() -> None:
        task = loop.create_task(park(loop), name="it")
        await asyncio.sleep(0)
        assert "wait_for=<Future pending cb=[" in repr(task)
        task.cancel()
        assert repr(task).startswith("<Task ")
        await asyncio.wait([task])

    run(main())


def test_repr_says_while_a_task_is_being_cancelled(loop: Loop, run: Run, asyncio_since: Any) -> None:
    asyncio_since(3, 11)

    async def main() -> None:
        task = loop.create_task(park(loop))
        await asyncio.sleep(0)
        task.cancel()
        assert repr(task).startswith("<Task cancelling name=")
        await asyncio.wait([task])
        assert repr(task).startswith("<Task cancelled name=")

    run(main())


def test_task_runs_in_a_copy_of_its_makers_context(loop: Loop, run: Run) -> None:
    async def child() -> str:
        before = variable.get()
        variable.set("child")
        return before

    async def main() -> tuple[str, str]:
        variable.set("main")
        return await loop.create_task(child()), variable.get()

    assert run(main()) == ("main", "main")
    assert variable.get() == "unset"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task() takes a context since 3.11")
def test_task_runs_in_the_context_given(loop: Loop, run: Run) -> None:
    context = contextvars.copy_context()

    async def child() -> None:
        variable.set("child")
        await asyncio.sleep(0)
        variable.set(variable.get() + " again")

    run(loop.create_task(child(), context=context))
    assert context[variable] == "child again"
    assert variable.get() == "unset"


def test_task_that_is_not_awaited_is_still_in_its_context_after_a_wait(loop: Loop, run: Run) -> None:
    async def child() -> str:
        variable.set("kept")
        await asyncio.sleep(0)
        return variable.get()

    assert run(child()) == "kept"


def test_stack_of_a_waiting_task_is_its_frame(loop: Loop, run: Run) -> None:
    async def main() -> None:
        task = loop.create_task(park(loop))
        await asyncio.sleep(0)
        (frame,) = task.get_stack()
        assert frame.f_code.co_name == "park"
        text = io.StringIO()
        task.print_stack(file=text)
        assert "Stack for <Task pending" in text.getvalue()
        task.cancel()
        await asyncio.wait([task])
        assert task.get_stack() == []

    run(main())


def test_stack_of_a_failed_task_is_its_traceback(loop: Loop, run: Run) -> None:
    async def main() -> None:
        task = loop.create_task(fail(LookupError("lost")))
        await asyncio.wait([task])
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["fail"]
        text = io.StringIO()
        task.print_stack(limit=1, file=text)
        assert "LookupError: lost" in text.getvalue()
        task.exception()

    run(main())


def test_task_has_no_setters(loop: Loop, run: Run) -> None:
    task = loop.create_task(give(1))
    with pytest.raises(RuntimeError, match=r"^Task does not support set_result operation$"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match=r"^Task does not support set_exception operation$"):
        task.set_exception(LookupError())
    run(task)


# Its end


def test_task_that_nobody_holds_runs_to_its_end(
    loop: Loop, run: Run, asyncio_since: Callable[..., None]
) -> None:
    asyncio_since()
    seen: list[str] = []

    async def child() -> None:
        own = loop.create_future()
        reference.append(weakref.ref(own))
        await own
        seen.append("done")

    reference: list[Any] = []

    async def main() -> None:
        loop.create_task(child())
        await asyncio.sleep(0)
        gc.collect()
        reference[0]().set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())
    assert seen == ["done"]


def test_finished_task_dies_with_its_last_reference(loop: Loop, run: Run) -> None:
    async def main() -> None:
        task = loop.create_task(give(1))
        reference = weakref.ref(task)
        await task
        del task
        await asyncio.sleep(0)
        assert reference() is None

    run(main())


def test_failed_task_that_nobody_looked_at_is_reported(
    loop: Loop, run: Run, reports: list[dict[str, Any]]
) -> None:
    error = LookupError("lost")

    async def main() -> None:
        loop.create_task(fail(error))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    run(main())
    (report,) = reports
    assert report["message"] == "Task exception was never retrieved"
    assert report["exception"] is error
    assert isinstance(report["future"], asyncio.Task)


def test_pending_task_that_dies_with_its_loop_is_reported(loop_factory: Callable[[], Loop]) -> None:
    reports: list[Any] = []
    loop = loop_factory()
    loop.set_exception_handler(lambda _, report: reports.append(report["message"]))
    task = loop.create_task(park(loop))
    turn(loop)
    loop.close()
    del task
    gc.collect()
    assert reports == ["Task was destroyed but it is pending!"]


def test_task_that_never_started_warns_of_its_coroutine(loop_factory: Callable[[], Loop]) -> None:
    reports: list[Any] = []
    loop = loop_factory()
    loop.set_exception_handler(lambda _, report: reports.append(report["message"]))
    with pytest.warns(RuntimeWarning, match="was never awaited"):  # noqa: PT031
        loop.create_task(give(1))
        loop.close()
        gc.collect()
    assert reports == ["Task was destroyed but it is pending!"]


def test_log_of_a_lost_task_can_be_switched_off(loop_factory: Callable[[], Loop]) -> None:
    reports: list[Any] = []
    loop = loop_factory()
    loop.set_exception_handler(lambda _, report: reports.append(report))
    task: Any = loop.create_task(park(loop))
    turn(loop)
    task._log_destroy_pending = False
    del task
    loop.close()
    gc.collect()
    assert reports == []


def test_create_task_on_a_closed_loop_is_refused(loop: Loop) -> None:
    loop.close()
    coro = give(1)
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.create_task(coro)
    coro.close()


def test_cycle_of_task_coroutine_and_exception_dies(loop: Loop, run: Run) -> None:
    class Kept:
        pass

    async def child() -> None:
        kept = Kept()
        reference.append(weakref.ref(kept))
        me = asyncio.current_task()
        try:
            raise LookupError(me)
        except LookupError as error:
            again = error
        raise again

    reference: list[Any] = []

    async def main() -> None:
        task = loop.create_task(child())
        await asyncio.wait([task])
        task.exception()

    run(main())
    gc.collect()
    assert reference[0]() is None
