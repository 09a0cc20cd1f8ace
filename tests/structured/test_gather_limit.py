"""gather(limit=): coroutines become tasks when there is a slot; those that have not begun can be closed."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage
from tonnage import gather

from .bounded import LOOPS, MakeLoop, Meter
from .conftest import Awaitable, fail, never_run, turns, value_of

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_unawaited")


@pytest.fixture(params=[*LOOPS, *([] if "asyncio" in LOOPS else ["asyncio"])])
def loop_factory(request: pytest.FixtureRequest) -> MakeLoop:
    """Each kind of loop; gather needs no tasks that count their cancellations."""
    return LOOPS.get(request.param, asyncio.SelectorEventLoop)


def test_no_more_than_the_limit_run_at_once_and_the_results_are_in_order(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        members = [meter.member(number, after=1 + number % 3) for number in range(30)]
        assert await gather(*members, limit=4) == list(range(30))

    run(main())
    assert meter.most == 4
    assert meter.begun == list(range(30))


def test_a_limit_that_is_not_reached_changes_nothing(run: Run) -> None:
    async def main() -> None:
        assert await gather(value_of(1), value_of(2), limit=9) == [1, 2]
        assert await gather(limit=1) == []
        assert await gather(value_of(1), limit=None) == [1]

    run(main())


def test_a_coroutine_has_no_task_before_it_has_a_slot(run: Run) -> None:
    async def main() -> None:
        before = len(asyncio.all_tasks())
        gathering = gather(*[turns(2) for _ in range(2_000)], limit=3)
        for _ in range(9):
            assert len(asyncio.all_tasks()) - before <= 3
            await turns(1)
        await gathering

    run(main())


def test_each_coroutine_has_a_copy_of_the_context_of_the_call(run: Run) -> None:
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    async def child(number: int) -> Any:
        found = variable.get()
        variable.set(number)
        await turns(1)
        return found, variable.get()

    async def main() -> None:
        variable.set("of the call")
        gathering = gather(*[child(number) for number in range(5)], limit=2)
        variable.set("later")
        assert await gathering == [("of the call", number) for number in range(5)]

    run(main())


def test_futures_run_already_and_are_not_counted(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        tasks = [asyncio.ensure_future(value_of(number, after=4)) for number in range(3)]
        done = asyncio.get_running_loop().create_future()
        done.set_result("done")
        arguments = [tasks[0], meter.member("a"), tasks[1], done, meter.member("b"), tasks[2]]
        assert await gather(*arguments, limit=1) == [0, "a", 1, "done", "b", 2]

    run(main())
    assert meter.most == 1


def test_only_futures_need_no_slot(run: Run) -> None:
    async def main() -> None:
        assert await gather(*[asyncio.ensure_future(value_of(number)) for number in range(3)], limit=1) == [
            0,
            1,
            2,
        ]

    run(main())


def test_awaitables_of_other_kinds_wait_too(run: Run) -> None:
    async def main() -> None:
        assert await gather(*map(Awaitable, range(4)), limit=1) == [0, 1, 2, 3]

    run(main())


def test_the_same_one_twice_runs_once(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        twice, other = meter.member("twice"), meter.member("other")
        assert await gather(twice, other, twice, limit=1) == ["twice", "other", "twice"]

    run(main())
    assert meter.begun == ["twice", "other"]


def test_after_the_first_error_the_started_go_on_and_the_others_are_closed(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def goes_on() -> None:
            await turns(6)
            ended.append(True)

        waiting = [never_run() for _ in range(5)]
        with pytest.raises(ValueError, match="it"):
            await gather(fail(ValueError("it")), goes_on(), *waiting, limit=2)
        assert all(coro.cr_frame is None for coro in waiting)
        assert not ended
        await turns(8)
        assert ended

    run(main())


def test_with_return_exceptions_all_run(run: Run) -> None:
    async def main() -> None:
        error = ValueError("it")
        assert await gather(
            fail(error), value_of(1), fail(error), value_of(2), limit=1, return_exceptions=True
        ) == [
            error,
            1,
            error,
            2,
        ]

    run(main())


def test_a_future_that_has_failed_already_lets_nobody_begin(run: Run) -> None:
    async def main() -> None:
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(ValueError("it"))
        with pytest.raises(ValueError, match="it"):
            await gather(never_run(), failed, limit=1)

    run(main())


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_a_cancel_closes_who_has_not_begun(run: Run, return_exceptions: bool) -> None:
    async def main() -> None:
        cancelled = []

        async def started() -> None:
            try:
                await turns(50)
            except asyncio.CancelledError:
                cancelled.append(True)
                await turns(2)
                raise

        waiting = [never_run() for _ in range(5)]
        gathering = gather(started(), started(), *waiting, limit=2, return_exceptions=return_exceptions)
        await turns(2)
        assert gathering.cancel("by hand")
        assert all(coro.cr_frame is None for coro in waiting)
        with pytest.raises(asyncio.CancelledError, match="by hand" if sys.version_info >= (3, 11) else None):
            await gathering
        assert cancelled == [True, True]
        assert not gathering.cancel()

    run(main())


def test_a_cancel_of_who_awaits_it_closes_who_has_not_begun(run: Run) -> None:
    async def main() -> None:
        waiting = [never_run() for _ in range(5)]

        async def outer() -> None:
            await gather(turns(50), *waiting, limit=1)

        task = asyncio.ensure_future(outer())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(coro.cr_frame is None for coro in waiting)

    run(main())


def test_who_refuses_the_cancel_does_not_save_who_has_not_begun(run: Run) -> None:
    async def main() -> None:
        async def refuses() -> str:
            try:
                await turns(50)
            except asyncio.CancelledError:
                await turns(2)
            return "refused"

        gathering = gather(refuses(), never_run(), never_run(), limit=1, return_exceptions=True)
        await turns(2)
        assert gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering

    run(main())


def test_one_that_is_cancelled_by_itself_counts_as_an_error(run: Run) -> None:
    async def main() -> None:
        async def cancels_itself() -> None:
            task: Any = asyncio.current_task()
            task.cancel()
            await turns(1)

        with pytest.raises(asyncio.CancelledError):
            await gather(cancels_itself(), never_run(), limit=1)
        found = await gather(cancels_itself(), value_of(1), limit=1, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1] == 1

    run(main())


def test_what_cannot_be_awaited_is_refused_before_anything_begins(run: Run) -> None:
    async def main() -> None:
        waiting = [never_run() for _ in range(3)]
        with pytest.raises(TypeError, match="a coroutine or an awaitable is required"):
            gather(*waiting, "no awaitable", limit=2)  # type: ignore[call-overload]
        assert all(coro.cr_frame is None for coro in waiting)
        await turns(2)

    run(main())


def test_a_future_of_another_loop_is_refused(run: Run) -> None:
    other = asyncio.SelectorEventLoop()
    foreign = other.create_future()

    async def main() -> None:
        with pytest.raises(ValueError, match="belongs to a different loop"):
            gather(never_run(), foreign, limit=2)

    run(main())
    other.close()


@pytest.mark.parametrize("limit", [0, -3, True, 2.0, "1"])
def test_a_limit_that_is_no_number_of_tasks_is_refused(run: Run, limit: Any) -> None:
    async def main() -> None:
        coro = never_run()
        with pytest.raises(ValueError if type(limit) is int else TypeError, match=r"^limit must be "):
            gather(coro, limit=limit)
        coro.close()

    run(main())


def test_an_unknown_option_is_refused(run: Run) -> None:
    with pytest.raises(TypeError, match=r"^gather\(\) got an unexpected keyword argument 'color'$"):
        gather(limit=1, color="red")  # type: ignore[call-overload]


def test_a_loop_that_makes_no_more_tasks_ends_the_whole() -> None:
    loop = tonnage.new_event_loop()
    made = []

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        if len(made) == 3:
            coro.close()
            raise LookupError("no more")
        made.append(tonnage.Task(coro, loop=loop))
        return made[-1]

    async def main() -> None:
        loop.set_task_factory(factory)
        with pytest.raises(LookupError, match="no more"):
            await gather(*[turns(1) for _ in range(4)], never_run(), limit=2)
        await turns(4)

    loop.run_until_complete(main())
    loop.close()


def test_eager_tasks_are_not_nested() -> None:
    loop = tonnage.new_event_loop()
    loop.set_task_factory(tonnage.eager_task_factory)

    async def number_of(number: int) -> int:
        return number

    async def main() -> None:
        assert await gather(*map(number_of, range(5_000)), limit=2) == list(range(5_000))

    loop.run_until_complete(main())
    loop.close()


def test_who_starts_eagerly_can_cancel_the_whole() -> None:
    loop = tonnage.new_event_loop()
    loop.set_task_factory(tonnage.eager_task_factory)
    gatherings = []

    async def cancels() -> None:
        for gathering in gatherings:
            gathering.cancel()
        await turns(9)

    async def main() -> None:
        gatherings.append(gather(turns(3), cancels(), never_run(), limit=1))
        with pytest.raises(asyncio.CancelledError):
            await gatherings[0]

    loop.run_until_complete(main())
    loop.close()


def test_members_of_a_bounded_gather_can_gather(run: Run) -> None:
    async def nest(depth: int) -> int:
        if not depth:
            await turns(1)
            return 1
        return sum(await gather(*[nest(depth - 1) for _ in range(3)], limit=2))

    async def main() -> None:
        assert await nest(4) == 3**4

    run(main())


def test_it_is_made_outside_of_a_running_loop() -> None:
    loop = tonnage.new_event_loop()
    first = loop.create_task(value_of(1))
    gathering: Any = gather(first, value_of(2), value_of(3), limit=1)
    assert loop.run_until_complete(gathering) == [1, 2, 3]
    loop.close()


def test_nothing_is_left_of_a_bounded_gather(nothing_left: None) -> None:
    loop = tonnage.new_event_loop()

    async def main() -> None:
        await gather(*[turns(1) for _ in range(20)], limit=3)
        with pytest.raises(ValueError, match="it"):
            await gather(fail(ValueError("it")), *[turns(1) for _ in range(20)], limit=3)
        gathering = gather(*[turns(1) for _ in range(20)], limit=3)
        await turns(1)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering

    loop.run_until_complete(main())
    loop.close()
