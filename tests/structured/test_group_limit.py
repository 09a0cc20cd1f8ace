"""TaskGroup(limit=): at most so many run, the others wait in a line that is bounded too."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import tonnage
from tonnage import Overloaded, TaskGroup

from .bounded import LOOPS, MakeLoop, Meter
from .conftest import fail, never_run, turns, value_of

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_unawaited")
NOTE = "{} waiting for a slot and never started"


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> MakeLoop:
    """Each kind of loop."""
    return LOOPS[request.param]


def notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def test_no_more_than_the_limit_run_at_once(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=3) as group:
            tasks = [group.create_task(meter.member(number)) for number in range(20)]
        assert [task.result() for task in tasks] == list(range(20))

    run(main())
    assert meter.most == 3


def test_tasks_begin_in_the_order_of_their_creation(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            for number in range(9):
                group.create_task(meter.member(number, after=1 + number % 3))

    run(main())
    assert meter.begun == list(range(9))


def test_a_task_of_the_line_begins_when_debug_mode_was_turned_on_meanwhile(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            tasks = [group.create_task(value_of(number)) for number in range(3)]
            asyncio.get_running_loop().set_debug(True)
        assert [task.result() for task in tasks] == [0, 1, 2]

    run(main())


def test_a_task_in_the_line_is_pending_and_has_made_no_step(run: Run) -> None:
    async def main() -> None:
        begun = []

        async def child() -> None:
            begun.append(True)

        async with TaskGroup(limit=1) as group:
            release = asyncio.get_running_loop().create_future()
            group.create_task(value_of(None)).add_done_callback(lambda _: None)
            group.create_task(asyncio.wait_for(release, None))
            waiting = group.create_task(child(), name="mine")
            await turns(6)
            assert not waiting.done()
            assert waiting.get_name() == "mine"
            assert not begun
            assert (group.active, group.waiting) == (2, 1)
            release.set_result(None)
        assert begun

    run(main())


def test_active_counts_who_runs_and_who_waits(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            for _ in range(5):
                group.create_task(turns(3))
            group.create_task(turns(50), daemon=True)
            assert (group.active, group.waiting) == (5, 3)
        assert (group.active, group.waiting) == (0, 0)

    run(main())


def test_a_group_without_a_limit_has_nobody_in_the_line(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=None) as group:
            for _ in range(50):
                group.create_task(turns(1))
            assert (group.active, group.waiting) == (50, 0)

    run(main())


def test_the_context_is_that_of_the_creation(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def child() -> str:
        await turns(1)
        return variable.get()

    async def main() -> None:
        own = contextvars.copy_context()
        own.run(variable.set, "own")
        async with TaskGroup(limit=1) as group:
            tasks = []
            for number in range(4):
                variable.set(f"of {number}")
                tasks.append(group.create_task(child()))
            if sys.version_info >= (3, 11) or isinstance(asyncio.get_running_loop(), tonnage.EventLoop):
                tasks.append(group.create_task(child(), context=own))
            variable.set("later")
        found = [task.result() for task in tasks]
        assert found == ["of 0", "of 1", "of 2", "of 3", "own"][: len(found)]

    run(main())


def test_a_full_line_refuses_and_closes_the_coroutine(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=2, max_pending=3, name="crawl") as group:
            for _ in range(5):
                group.create_task(turns(1))
            refused = never_run()
            with pytest.raises(Overloaded) as caught:
                group.create_task(refused)
            assert refused.cr_frame is None
        assert (caught.value.reason, caught.value.limiter) == ("full", "crawl")
        assert caught.value.retry_after is None
        assert str(caught.value) == (
            "group 'crawl' is full: 2 running, 3 waiting; await submit(), which waits for a slot, or map "
            "over the items with amap()"
        )

    run(main())


def test_a_group_without_a_line_refuses_at_once(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1, max_pending=0) as group:
            group.create_task(turns(1))
            with pytest.raises(Overloaded, match=r"^group is full: 1 running, 0 waiting; ") as caught:
                group.create_task(never_run())
            assert caught.value.limiter is None
            await turns(4)
            group.create_task(turns(1))

    run(main())


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_limit_that_is_no_number_of_tasks_is_refused(limit: Any) -> None:
    error = ValueError if type(limit) is int else TypeError
    with pytest.raises(error, match=r"^limit must be "):
        TaskGroup(limit=limit)


@pytest.mark.parametrize("max_pending", [-1, None, False, 2.0])
def test_a_line_of_no_length_is_refused(max_pending: Any) -> None:
    error = ValueError if type(max_pending) is int else TypeError
    with pytest.raises(error, match=r"^max_pending must be "):
        TaskGroup(limit=1, max_pending=max_pending)


def test_numbers_without_end_are_no_bound(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=10**40, max_pending=10**40) as group:
            group.create_task(turns(1))

    run(main())


def test_a_cancel_in_the_line_ends_the_task_without_a_step(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(9))
            waiting = group.create_task(never_run())
            behind = group.create_task(value_of("behind"))
            assert waiting.cancel("by hand")
            assert waiting.cancelling() == 1
            await turns(3)
            assert waiting.cancelled()
            assert not waiting.cancel()
            with pytest.raises(
                asyncio.CancelledError, match="by hand" if sys.version_info >= (3, 11) else None
            ):
                await waiting
            assert (group.active, group.waiting) == (2, 1)
        assert behind.result() == "behind"

    run(main())


def test_who_awaits_a_cancelled_task_of_the_line_is_woken(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(9))
            waiting = group.create_task(never_run())
            outside = asyncio.ensure_future(asyncio.wait([waiting]))
            await turns(2)
            waiting.cancel()
            done, _ = await asyncio.wait_for(outside, 5)
            assert done == {waiting}

    run(main())


def test_a_cancel_of_who_awaits_it_cancels_a_task_of_the_line(run: Run) -> None:
    async def main() -> None:
        async def await_it() -> None:
            await waiting

        async with TaskGroup(limit=1) as group:
            group.create_task(turns(9))
            waiting = group.create_task(never_run())
            outside = asyncio.ensure_future(await_it())
            await turns(2)
            outside.cancel()
            await turns(4)
            assert waiting.cancelled()
            assert outside.cancelled()

    run(main())


def test_all_of_the_line_can_be_cancelled_in_any_order(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(9))
            tasks = [group.create_task(never_run()) for _ in range(300)]
            for task in tasks[::3] + tasks[2::3] + tasks[1::3]:
                task.cancel()
            await turns(4)
            assert group.waiting == 0
            assert all(task.cancelled() for task in tasks)

    run(main())


def test_a_slot_is_free_when_its_task_has_ended_and_not_when_it_was_cancelled(run: Run) -> None:
    async def main() -> None:
        events = []

        async def slow_to_end() -> None:
            try:
                await turns(100)
            finally:
                await turns(5)
                events.append("ended")

        async def next_one() -> None:
            events.append("next")

        async with TaskGroup(limit=1) as group:
            slow = group.create_task(slow_to_end())
            group.create_task(next_one())
            await turns(2)
            slow.cancel()
        assert events == ["ended", "next"]

    run(main())


def test_the_next_begins_in_the_turn_after_the_end(run: Run) -> None:
    async def main() -> None:
        begun = []

        async def child(name: str) -> None:
            await turns(2)
            begun.append(name)

        async with TaskGroup(limit=1) as group:
            group.create_task(child("first"))
            group.create_task(child("second"))
            await turns(3)
            assert begun == ["first"]
            # A loop of others tells the end of its tasks a turn later.
            await turns(4)
            assert begun == ["first", "second"]

    run(main())


def test_a_failure_closes_who_waits_and_says_how_many(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=1) as group:
                group.create_task(fail(ValueError("it"), after=2))
                waiting = [group.create_task(never_run()) for _ in range(3)]
        assert [task.cancelled() for task in waiting] == [True] * 3
        assert notes(caught.value) == [NOTE.format("3 tasks were")]
        assert [repr(error) for error in caught.value.exceptions] == ["ValueError('it')"]

    run(main())


def test_one_that_never_started_is_one_task(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=1) as group:
                group.create_task(turns(9))
                group.create_task(never_run())
                raise ValueError("of the block")
        assert notes(caught.value) == [NOTE.format("1 task was")]

    run(main())


def test_an_exit_that_leaves_bare_says_how_many_too(loop_factory: MakeLoop) -> None:
    loop = loop_factory()

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(9))
            group.create_task(never_run())
            raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        loop.run_until_complete(main())
    loop.close()
    assert notes(caught.value) == [NOTE.format("1 task was")]


def test_a_cancel_of_the_group_closes_who_waits(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            running = group.create_task(turns(9))
            waiting = [group.create_task(never_run()) for _ in range(3)]
            await turns(2)
            group.cancel()
        assert running.cancelled()
        assert [task.cancelled() for task in waiting] == [True] * 3

    run(main())


def test_a_cancel_of_the_parent_closes_who_waits(run: Run) -> None:
    async def main() -> None:
        waiting = []

        async def parent() -> None:
            async with TaskGroup(limit=1) as group:
                group.create_task(turns(9))
                waiting.extend([group.create_task(never_run()) for _ in range(3)])

        task = asyncio.ensure_future(parent())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [task.cancelled() for task in waiting] == [True] * 3

    run(main())


def test_with_collect_who_waits_runs_after_a_failure(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=1, on_error="collect") as group:
                group.create_task(fail(ValueError("first")))
                fine = group.create_task(value_of("fine"))
                group.create_task(fail(ValueError("second")))
        assert fine.result() == "fine"
        assert [str(error) for error in caught.value.exceptions] == ["first", "second"]
        assert not notes(caught.value)

    run(main())


def test_a_daemon_takes_no_slot(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            daemon = group.create_task(turns(1_000), daemon=True)
            group.create_task(meter.member(1))
            group.create_task(turns(1_000), daemon=True)
            group.create_task(meter.member(2))
            assert group.waiting == 1
        assert daemon.cancelled()

    run(main())
    assert meter.most == 1


def test_a_member_can_create_members(run: Run) -> None:
    meter = Meter()

    async def grow(group: TaskGroup, depth: int) -> None:
        await meter.member(depth)
        if depth:
            for _ in range(2):
                group.create_task(grow(group, depth - 1))

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            group.create_task(grow(group, 5))

    run(main())
    assert meter.most == 2
    assert len(meter.begun) == 2**6 - 1


def test_a_refused_coroutine_leaves_its_slot_free(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            with pytest.raises(TypeError):
                group.create_task("no coroutine")  # type: ignore[arg-type]
            assert group.active == 0
            group.create_task(turns(1))
            with pytest.raises(TypeError):
                group.create_task("no coroutine")  # type: ignore[arg-type]
            assert (group.active, group.waiting) == (1, 0)

    run(main())


def test_an_option_that_does_not_exist_is_refused_in_the_line_too(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(1))
            refused = never_run()
            with pytest.raises(TypeError):
                group.create_task(refused, color="red")
            refused.close()
            assert group.waiting == 0

    run(main())


def test_a_group_that_is_shutting_down_refuses(run: Run) -> None:
    async def main() -> None:
        async def late(group: TaskGroup) -> None:
            try:
                await turns(50)
            finally:
                with pytest.raises(RuntimeError, match="is shutting down$"):
                    group.create_task(never_run())

        async with TaskGroup(limit=1) as group:
            group.create_task(late(group))
            await turns(2)
            group.cancel()

    run(main())


def test_an_eager_task_without_a_slot_waits_and_begins_by_a_step(loop_factory: MakeLoop) -> None:
    if loop_factory is not LOOPS["tonnage"]:
        pytest.skip("loops of others start eagerly from 3.12 on only")
    loop = loop_factory()

    async def main() -> None:
        begun = []

        async def child(name: str) -> None:
            begun.append(name)
            await turns(1)

        async with TaskGroup(limit=1) as group:
            group.create_task(child("first"), eager_start=True)
            assert begun == ["first"]
            group.create_task(child("second"), eager_start=True)
            assert begun == ["first"]
            assert group.waiting == 1
        assert begun == ["first", "second"]

    loop.run_until_complete(main())
    loop.close()


def test_eager_tasks_that_end_at_once_give_their_slots_back(loop_factory: MakeLoop) -> None:
    if loop_factory is not LOOPS["tonnage"]:
        pytest.skip("loops of others start eagerly from 3.12 on only")
    loop = loop_factory()

    async def main() -> None:
        async def at_once(number: int) -> int:
            return number

        async with TaskGroup(limit=2) as group:
            tasks = [group.create_task(at_once(number), eager_start=True) for number in range(10)]
        assert [task.result() for task in tasks] == list(range(10))

    loop.run_until_complete(main())
    loop.close()


def test_the_repr_of_a_task_of_the_line_tells_its_group() -> None:
    loop = tonnage.new_event_loop()

    async def main() -> None:
        async with TaskGroup(limit=1, name="crawl") as group:
            group.create_task(turns(1))
            coro = turns(1)
            waiting: Any = group.create_task(coro, name="mine")
            assert "name='mine'" in repr(waiting)
            assert "wait_for=<TaskGroup 'crawl' tasks=2 waiting=1 entered>" in repr(waiting)
            assert waiting.get_coro() is coro
            assert waiting._fut_waiter is None
            assert waiting not in asyncio.all_tasks()
            await turns(4)
            assert "wait_for=<TaskGroup" not in repr(waiting)

    loop.run_until_complete(main())
    loop.close()


def test_a_group_that_is_dropped_with_its_line_dies(nothing_left: None) -> None:
    loop = tonnage.new_event_loop()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, report: reports.append(report["message"]))

    async def main() -> None:
        group = TaskGroup(limit=1)
        await group.__aenter__()
        group.create_task(asyncio.sleep(0))
        for _ in range(3):
            group.create_task(asyncio.sleep(0))
        submitting = group.submit(turns)
        submitting.send(None)

    loop.run_until_complete(main())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        del loop
        gc.collect()
    assert reports == ["Task was destroyed but it is pending!"] * 4


def test_nothing_is_left_of_a_bounded_group(nothing_left: None) -> None:
    loop = tonnage.new_event_loop()

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            tasks = [group.create_task(turns(1)) for _ in range(30)]
            tasks[20].cancel()
            await group.submit(turns, 1)
        with pytest.raises(BaseExceptionGroup):
            async with TaskGroup(limit=2) as group:
                for _ in range(30):
                    group.create_task(turns(1))
                group.create_task(turns(1))
                raise ValueError

    loop.run_until_complete(main())
    loop.close()
