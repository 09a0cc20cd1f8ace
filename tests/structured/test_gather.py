"""gather: results, errors and cancellation, on asyncio's own functions first."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Awaitable, fail, turns, value_of
from .implementations import Implementation

Run = Callable[[Any], Any]


class Trouble(Exception):  # noqa: N818 - It is none in particular.
    """What the tests raise."""


def test_results_stand_in_the_order_of_the_arguments(api: Implementation, run: Run) -> None:
    async def main() -> list[Any]:
        return list(await api.gather(value_of(1, after=5), value_of(2), Awaitable(3), value_of(4, after=0)))

    assert run(main()) == [1, 2, 3, 4]


def test_nothing_to_gather_is_an_empty_list_at_once(api: Implementation, run: Run) -> None:
    async def main() -> Any:
        outer = api.gather()
        assert outer.done()
        return await outer

    assert run(main()) == []


def test_an_argument_that_is_given_twice_runs_once(api: Implementation, run: Run) -> None:
    async def main() -> Any:
        ran = []

        async def work(name: str) -> str:
            ran.append(name)
            return name

        coro, future = work("a"), asyncio.ensure_future(work("b"))
        results = await api.gather(coro, future, coro, future, coro)
        assert sorted(ran) == ["a", "b"]
        return results

    assert run(main()) == ["a", "b", "a", "b", "a"]


def test_equal_awaitables_share_a_task(api: Implementation, run: Run) -> None:
    class Equal(Awaitable):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 1

    async def main() -> Any:
        return await api.gather(Equal(1), value_of(3), Equal(2))

    assert run(main()) == [1, 3, 1]


def test_an_awaitable_that_cannot_be_hashed_is_refused(api: Implementation, run: Run) -> None:
    class Unhashable(Awaitable):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return self is other

    async def main() -> None:
        with pytest.raises(TypeError, match="unhashable"):
            api.gather(Unhashable(1), Unhashable(2))

    run(main())


def test_the_first_error_ends_it_and_the_others_run_on(api: Implementation, run: Run) -> None:
    async def main() -> None:
        slow = asyncio.ensure_future(value_of("slow", after=8))
        first, second = Trouble("first"), Trouble("second")
        outer = api.gather(slow, fail(first, after=2), fail(second, after=4))
        with pytest.raises(Trouble) as caught:
            await outer
        assert caught.value is first
        assert not slow.done()
        assert await slow == "slow"

    run(main())


def test_of_several_errors_in_one_turn_the_first_wins(api: Implementation, run: Run) -> None:
    async def main() -> None:
        futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
        outer = api.gather(*futures)
        futures[2].set_exception(Trouble(2))
        futures[0].set_exception(Trouble(0))
        futures[1].set_result(1)
        with pytest.raises(Trouble, match="2"):
            await outer
        await turns()

    run(main())


def test_errors_are_values_with_return_exceptions(api: Implementation, run: Run) -> None:
    async def main() -> None:
        cancelled = asyncio.get_running_loop().create_future()
        error = Trouble("it")
        outer = api.gather(fail(error), cancelled, value_of(3), return_exceptions=True)
        cancelled.cancel("the message")
        results = await outer
        assert results[0] is error
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[1].args == ("the message",)
        assert results[2] == 3

    run(main())


def test_a_cancelled_child_without_message_has_an_empty_one(api: Implementation, run: Run) -> None:
    async def main() -> None:
        child = asyncio.get_running_loop().create_future()
        outer = api.gather(child, return_exceptions=True)
        child.cancel()
        [result] = await outer
        assert result.args == ("",)

    run(main())


def test_a_cancelled_child_is_an_error_of_the_whole(api: Implementation, run: Run) -> None:
    async def main() -> None:
        child, other = (asyncio.get_running_loop().create_future() for _ in range(2))
        outer = api.gather(child, other)
        child.cancel("reason")
        with pytest.raises(asyncio.CancelledError, match="reason"):
            await outer
        assert not outer.cancelled()
        assert not other.done()
        other.cancel()

    run(main())


@pytest.mark.parametrize("return_exceptions", [False, True])
@pytest.mark.parametrize("kind", ["futures", "tasks", "both"])
def test_cancelling_the_whole_cancels_each_child(
    api: Implementation, run: Run, kind: str, return_exceptions: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(2)] if kind != "tasks" else []
        tasks = [loop.create_task(asyncio.sleep(9)) for _ in range(2)] if kind != "futures" else []
        children = [*futures, *tasks]
        outer = api.gather(*children, return_exceptions=return_exceptions)
        await turns()
        assert outer.cancel("stop") is True
        # 3.10's tasks lose the message.
        keeps_message = kind == "futures" or api.name == "tonnage" or sys.version_info >= (3, 11)
        with pytest.raises(asyncio.CancelledError, match="stop" if keeps_message else None):
            await outer
        await turns()
        assert all(child.cancelled() for child in children)
        assert not outer.cancelled()
        assert outer.cancel() is False

    run(main())


def test_cancelling_the_task_that_waits_cancels_each_child(api: Implementation, run: Run) -> None:
    async def main() -> None:
        children = [asyncio.ensure_future(asyncio.sleep(9)) for _ in range(3)]

        async def parent() -> None:
            await api.gather(*children)

        task = asyncio.ensure_future(parent())
        await turns()
        task.cancel("stop")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(child.cancelled() for child in children)

    run(main())


def test_a_child_that_refuses_to_be_cancelled_counts_as_cancelled_whole(
    api: Implementation, run: Run
) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            return "stubborn"
        return "never"

    async def main() -> None:
        outer = api.gather(stubborn(), stubborn())
        await turns()
        assert outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer

    run(main())


def test_a_child_that_ended_with_the_cancel_of_the_whole_in_one_turn(api: Implementation, run: Run) -> None:
    async def main() -> None:
        one, other = (asyncio.get_running_loop().create_future() for _ in range(2))
        outer = api.gather(one, other)
        one.set_result(1)
        assert outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert other.cancelled()

    run(main())


def test_a_child_and_the_whole_are_cancelled_in_one_turn(api: Implementation, run: Run) -> None:
    async def main() -> None:
        one, other = (asyncio.get_running_loop().create_future() for _ in range(2))
        outer = api.gather(one, other, return_exceptions=True)
        one.cancel("child")
        assert outer.cancel("whole")
        with pytest.raises(asyncio.CancelledError, match="whole"):
            await outer
        assert other.cancelled()

    run(main())


def test_cancelling_when_all_children_are_done_says_no(api: Implementation, run: Run) -> None:
    async def main() -> None:
        child = asyncio.get_running_loop().create_future()
        outer = api.gather(child)
        child.set_result(1)
        assert outer.cancel() is False
        assert await outer == [1]

    run(main())


def test_futures_that_were_done_before(api: Implementation, run: Run) -> None:
    async def main() -> None:
        done, failed, pending = (asyncio.get_running_loop().create_future() for _ in range(3))
        done.set_result("done")
        outer = api.gather(done, done)
        assert await outer == ["done", "done"]
        failed.set_exception(Trouble("before"))
        outer = api.gather(done, failed, pending)
        with pytest.raises(Trouble, match="before"):
            await outer
        assert not pending.done()
        pending.cancel()

    run(main())


def test_eager_children_that_end_at_once(run: Run, api: Implementation) -> None:
    if sys.version_info < (3, 12) and api.name != "tonnage":
        pytest.skip("asyncio has no eager tasks")
    if api.name == "tonnage-on-uvloop":
        pytest.skip("uvloop's factories get other arguments")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        factory = tonnage if api.name == "tonnage" else asyncio
        loop.set_task_factory(factory.eager_task_factory)
        outer = api.gather(value_of(1, after=0), value_of(2, after=0))
        assert outer.done()
        assert await outer == [1, 2]
        assert await api.gather(value_of(1, after=0), value_of(2, after=3)) == [1, 2]
        with pytest.raises(Trouble):
            await api.gather(fail(Trouble("eager"), after=0), value_of(2, after=3))
        await turns(5)

    run(main())


def test_futures_of_another_implementation(api: Implementation, run: Run) -> None:
    class Other(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = Other(loop=loop), tonnage.Future(loop=loop)
        loop.call_soon(one.set_result, 1)
        loop.call_soon(other.set_result, 2)
        assert await api.gather(one, other) == [1, 2]
        one, other = Other(loop=loop), tonnage.Future(loop=loop)
        outer = api.gather(one, other)
        assert outer.cancel("both")
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert one.cancelled()
        assert other.cancelled()

    run(main())


def test_wrong_arguments_are_refused_with_the_same_words(api: Implementation, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="^An asyncio.Future, a coroutine or an awaitable is required$"):
            api.gather(1)
        with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
            api.gather(other=1)

    run(main())


def test_children_before_a_refused_argument_run_on_in_silence(api: Implementation, run: Run) -> None:
    async def main() -> None:
        ran = []

        async def work() -> None:
            ran.append(1)
            raise Trouble

        with pytest.raises(TypeError):
            api.gather(work(), 1)
        await turns()
        assert ran == [1]
        gc.collect()

    # The loop's fixture fails the test if the error of the child is reported.
    run(main())


def test_futures_of_another_loop_are_refused(api: Implementation, run: Run) -> None:
    other = api.loop_factory()
    try:

        async def main() -> None:
            foreign = other.create_future()
            mine = asyncio.get_running_loop().create_future()
            with pytest.raises(ValueError, match="belongs to a different loop than the one specified"):
                api.gather(mine, foreign)
            mine.cancel()

        run(main())
    finally:
        other.close()


def test_outside_of_a_loop_the_futures_say_which(
    api: Implementation, run: Run, loop: asyncio.AbstractEventLoop
) -> None:
    futures = [loop.create_future() for _ in range(2)]
    outer = api.gather(*futures)
    assert outer.get_loop() is loop
    for number, future in enumerate(futures):
        future.set_result(number)
    assert run(outer) == [0, 1]


def test_it_is_a_future_of_asyncio(api: Implementation, run: Run) -> None:
    async def main() -> None:
        child = asyncio.get_running_loop().create_future()
        outer = api.gather(child)
        assert asyncio.isfuture(outer)
        assert isinstance(outer, asyncio.Future)
        assert repr(outer) == "<_GatheringFuture pending>"
        assert outer._children == [child]
        assert outer._cancel_requested is False
        child.set_result(None)
        await outer

    run(main())


def test_tasks_run_in_copies_of_the_caller_s_context(api: Implementation, run: Run) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def change(value: int) -> int:
        before = variable.get()
        variable.set(value)
        await turns(2)
        assert variable.get() == value
        return before

    async def main() -> None:
        variable.set(7)
        assert await api.gather(change(1), change(2)) == [7, 7]
        assert variable.get() == 7

    run(main())


def test_a_lost_child_is_lost_in_silence(api: Implementation, run: Run) -> None:
    async def main() -> None:
        child = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await child

        outer = api.gather(wait())
        [task] = outer._children
        assert task._log_destroy_pending is False
        child.set_result(None)
        await outer

    run(main())


def test_task_factory_of_the_loop_makes_the_children(api: Implementation, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = []

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
            task = tonnage.Task(coro, loop=loop, **options)
            made.append(task)
            return task

        loop.set_task_factory(factory)
        assert await api.gather(value_of(1), value_of(2)) == [1, 2]
        loop.set_task_factory(None)
        assert len(made) == 2

    run(main())


def test_create_task_of_a_loop_s_subclass_makes_the_children() -> None:
    made = []

    class Loop(tonnage.EventLoop):
        def create_task(self, coro: Any, **options: Any) -> Any:
            made.append(coro)
            return super().create_task(coro, **options)

    async def main() -> Any:
        return await tonnage.gather(value_of(1), value_of(2))

    with tonnage.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == [1, 2]
    assert len(made) >= 2


def test_children_know_the_task_that_waits(api: Implementation, run: Run) -> None:
    if not api.has_call_graph:
        pytest.skip("these tasks have no call graph")

    async def main() -> None:
        me = asyncio.current_task()
        failing, other = (asyncio.ensure_future(turns(count)) for count in (1, 9))
        outer = api.gather(failing, other)
        assert failing._asyncio_awaited_by == {me}
        failing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        # The survivor is not awaited by anybody any more.
        assert not other._asyncio_awaited_by
        await other

    run(main())


def test_ten_thousand_children(api: Implementation, run: Run) -> None:
    async def main() -> None:
        assert await api.gather(*(value_of(number, after=0) for number in range(10_000))) == list(
            range(10_000)
        )

    run(main())


def test_deep_nesting_ends_and_is_cancelled_without_recursion(api: Implementation, run: Run) -> None:
    if api.name != "tonnage":
        pytest.skip("deeper than asyncio's own tasks allow")

    async def deep(levels: int, last: asyncio.Future[None]) -> None:
        await (api.gather(deep(levels - 1, last)) if levels else last)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for cancel in (False, True):
            last: asyncio.Future[None] = loop.create_future()
            task = asyncio.ensure_future(deep(10_000, last))
            await turns(10_010)
            if cancel:
                assert task.cancel("deep")
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert last.cancelled()
            else:
                last.set_result(None)
                await task
        for end in ("set_result", "cancel"):
            last = loop.create_future()
            outer: Any = last
            for _ in range(10_000):
                outer = api.gather(outer)
            getattr(last, end)(None)
            if end == "cancel":
                with pytest.raises(asyncio.CancelledError):
                    await outer
            else:
                await outer

    run(main())


def test_tasks_that_await_each_other_by_gather_cannot_be_cancelled(api: Implementation, run: Run) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def wait_for_other() -> None:
            await api.gather(tasks[0])

        tasks.append(asyncio.ensure_future(wait_for_other()))
        await turns(2)
        with pytest.raises(RecursionError):
            tasks[0].cancel()
        [gathering] = (
            [tasks[0]._fut_waiter] if hasattr(tasks[0], "_fut_waiter") else []  # type: ignore[attr-defined]
        )
        gathering.set_result([])
        await tasks[0]

    run(main())


def test_a_child_whose_cancel_raises_leaves_the_rest_in_order(run: Run, api: Implementation) -> None:
    class Broken(asyncio.Future):  # type: ignore[type-arg]
        def cancel(self, msg: Any = None) -> bool:
            raise Trouble("broken")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        good, broken = loop.create_future(), Broken(loop=loop)
        outer = api.gather(good, broken)
        with pytest.raises(Trouble, match="broken"):
            outer.cancel()
        assert good.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await outer
        broken.set_result(None)

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_nothing_keeps_the_exception_alive(api: Implementation, run: Run) -> None:
    if api.name == "asyncio":
        pytest.skip("the reference is asyncio's own")

    async def main() -> weakref.ref[Trouble]:
        async def work() -> None:
            await asyncio.sleep(0)
            raise Trouble

        reference = None
        try:
            await api.gather(work(), value_of(1))
        except Trouble as error:
            reference = weakref.ref(error)
        assert reference is not None
        return reference

    gc.collect()
    gc.disable()
    try:
        reference = run(main())
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.usefixtures("nothing_left")
def test_a_cycle_through_it_dies(api: Implementation, run: Run) -> None:
    async def main() -> weakref.ref[Any]:
        child: Any = asyncio.Future() if not api.is_ours else tonnage.Future()
        outer = api.gather(child)
        child.outer = outer
        return weakref.ref(child)

    reference = run(main())
    gc.collect()
    assert reference() is None
