"""TaskGroup.submit: waits for a slot, and makes the coroutine only then. `start` waits in the same line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage
from tonnage import Overloaded, TaskGroup

from .bounded import LOOPS, MakeLoop, Meter
from .conftest import fail, never_run, turns, value_of

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_unawaited")


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> MakeLoop:
    """Each kind of loop."""
    return LOOPS[request.param]


def test_submit_waits_for_a_slot_and_calls_the_function_only_then(run: Run) -> None:
    async def main() -> None:
        called = []

        def function(number: int, *, word: str) -> Any:
            called.append((number, word))
            return value_of((number, word))

        async with TaskGroup(limit=1) as group:
            first = group.create_task(turns(5))
            waiting = asyncio.ensure_future(group.submit(function, 1, word="x"))
            await turns(2)
            assert not called
            assert group.waiting == 1
            task = await waiting
            assert first.done()
            assert called == [(1, "x")]
        assert task.result() == (1, "x")

    run(main())


def test_submit_with_a_free_slot_does_not_wait(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            ready = []
            asyncio.get_running_loop().call_soon(ready.append, True)
            task = await group.submit(value_of, "it")
            assert not ready
            await turns(1)
            assert ready
        assert task.result() == "it"

    run(main())


def test_submit_without_a_limit_starts_at_once(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup() as group:
            tasks = [await group.submit(value_of, number) for number in range(50)]
            assert group.active == 50
        assert [task.result() for task in tasks] == list(range(50))

    run(main())


def test_submit_does_nothing_before_it_is_awaited(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            unused = group.submit(never_run)
            assert (group.active, group.waiting) == (0, 0)
            unused.close()

    run(main())


def test_there_is_one_line_for_submit_and_create_task(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(meter.member("first"))
            group.create_task(meter.member("created 1"))
            submitting = [asyncio.ensure_future(group.submit(meter.member, "submitted 1"))]
            await turns(1)
            group.create_task(meter.member("created 2"))
            submitting.append(asyncio.ensure_future(group.submit(meter.member, "submitted 2")))
            await turns(1)
            group.create_task(meter.member("created 3"))
            for each in submitting:
                await each

    run(main())
    assert meter.begun == ["first", "created 1", "submitted 1", "created 2", "submitted 2", "created 3"]
    assert meter.most == 1


def test_submit_bounds_a_producer(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=4, max_pending=0) as group:
            for number in range(50):
                await group.submit(meter.member, number)
                assert group.active <= 4

    run(main())
    assert meter.most == 4
    assert meter.begun == list(range(50))


def test_what_the_function_raises_leaves_submit_and_the_slot_goes_on(run: Run) -> None:
    def function() -> Any:
        raise LookupError("no coroutine")

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            with pytest.raises(LookupError):
                await group.submit(function)
            group.create_task(turns(3))
            waiting = [asyncio.ensure_future(group.submit(function)) for _ in range(2)]
            last = asyncio.ensure_future(group.submit(value_of, "last"))
            await turns(1)
            task = await last
            for each in waiting:
                with pytest.raises(LookupError):
                    await each
        assert task.result() == "last"

    run(main())


def test_what_is_no_coroutine_leaves_the_slot_free(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            with pytest.raises(TypeError):
                await group.submit(int, "3")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="not callable"):
                await group.submit(3)  # type: ignore[arg-type]
            assert group.active == 0
            await group.submit(turns, 1)

    run(main())


def test_submit_needs_a_function(run: Run) -> None:
    with pytest.raises(TypeError, match=r"^submit\(\) missing 1 required positional argument: 'func'$"):
        TaskGroup().submit()  # type: ignore[call-arg]


@pytest.mark.parametrize("limit", [None, 1])
def test_a_group_that_is_not_active_refuses(run: Run, limit: int | None) -> None:
    async def main() -> None:
        group = TaskGroup(limit=limit)
        with pytest.raises(RuntimeError, match="has not been entered$"):
            await group.submit(never_run)
        async with group:
            pass
        with pytest.raises(RuntimeError, match="is finished$"):
            await group.submit(never_run)

    run(main())


def test_a_cancelled_submit_leaves_the_line(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(5))
            first = asyncio.ensure_future(group.submit(never_run))
            second = asyncio.ensure_future(group.submit(value_of, "second"))
            await turns(2)
            first.cancel()
            await turns(2)
            assert first.cancelled()
            assert group.waiting == 1
            task = await second
        assert task.result() == "second"

    run(main())


async def end_and(turn: int, callback: Callable[[], Any]) -> None:
    """End after some turns, and call back in this turn after the last step."""

    def count(left: int) -> None:
        if left:
            loop.call_soon(count, left - 1)
        else:
            callback()

    await turns(3)
    loop = asyncio.get_running_loop()
    loop.call_soon(count, turn)


@pytest.mark.parametrize("turn", range(4))
def test_a_submit_that_is_cancelled_when_it_has_its_slot_passes_it_on(run: Run, turn: int) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(end_and(turn, lambda: first.cancel()))
            first = asyncio.ensure_future(group.submit(meter.member, "first"))
            second = asyncio.ensure_future(group.submit(meter.member, "second"))
            await turns(1)
            task = await second
            # Who has its task in time cannot be cancelled.
            assert first.cancelled() != ("first" in meter.begun)
        assert task.result() == "second"

    run(main())


def test_the_block_waits_for_who_submits(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(4))
            outside = [asyncio.ensure_future(group.submit(value_of, number)) for number in range(3)]
            await turns(1)
            assert (group.active, group.waiting) == (4, 3)
        assert [each.result().result() for each in outside] == [0, 1, 2]

    run(main())


def test_the_block_ends_when_the_last_who_submits_gives_up(run: Run) -> None:
    def function() -> Any:
        raise LookupError

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(4))
            outside = asyncio.ensure_future(group.submit(function))
            await turns(1)
        assert isinstance(outside.exception(), LookupError)

    run(asyncio.wait_for(main(), 5))


def test_an_abort_cancels_who_submits_without_a_request(run: Run) -> None:
    counts = []

    async def submit(group: TaskGroup) -> None:
        try:
            await group.submit(never_run)
        except asyncio.CancelledError:
            task: Any = asyncio.current_task()
            counts.append(task.cancelling())
            raise

    async def main() -> None:
        outside = []
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=1) as group:
                group.create_task(fail(ValueError("it"), after=3))
                outside += [asyncio.ensure_future(submit(group)) for _ in range(2)]
                await turns(2)
                group.create_task(never_run())
        await turns(1)
        assert [each.cancelled() for each in outside] == [True, True]
        assert caught.value.__notes__ == ["1 task was waiting for a slot and never started"]

    run(main())
    assert counts == [0, 0]


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("method", ["submit", "start"])
def test_an_abort_in_the_turn_of_the_grant_cancels_who_waits(run: Run, turn: int, method: str) -> None:
    async def function(**_: Any) -> None:
        await turns(9)

    async def main() -> None:
        group = TaskGroup(limit=1)
        async with group:
            group.create_task(end_and(turn, group.cancel))
            outside = asyncio.ensure_future(getattr(group, method)(function))
            await turns(9)
        assert group.active == 0
        await turns(1)
        if outside.cancelled():
            return
        # It had its task in time, which was cancelled; start() says that it has not started.
        if method == "submit":
            assert outside.result().cancelled()
        else:
            assert isinstance(outside.exception(), RuntimeError)

    run(main())


def test_submit_of_a_member_does_not_wait(run: Run) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        task = await group.submit(meter.member, "second")
        assert not task.done()
        assert (group.active, group.waiting) == (2, 1)
        with pytest.raises(Overloaded):
            await group.submit(never_run)

    async def main() -> None:
        async with TaskGroup(limit=1, max_pending=1) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))
    assert meter.begun == ["second"]


def test_submit_of_a_member_that_came_out_of_the_line_does_not_wait(run: Run) -> None:
    async def member(group: TaskGroup, depth: int) -> None:
        await turns(1)
        if depth:
            await group.submit(member, group, depth - 1)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            for _ in range(3):
                group.create_task(member(group, 4))

    run(asyncio.wait_for(main(), 5))


def test_submit_of_a_daemon_waits(run: Run) -> None:
    meter = Meter()

    async def daemon(group: TaskGroup) -> None:
        for number in range(4):
            await group.submit(meter.member, number)

    async def main() -> None:
        async with TaskGroup(limit=1, max_pending=0) as group:
            group.create_task(daemon(group), daemon=True)
            await turns(30)

    run(main())
    assert meter.begun == list(range(4))
    assert meter.most == 1


async def starts(*, task_status: Any, after: int = 2) -> str:
    task_status.started("up")
    await turns(after)
    return "ended"


def test_start_waits_for_a_slot_in_the_same_line(run: Run) -> None:
    meter = Meter()

    async def server(*, task_status: Any) -> None:
        task_status.started("up")
        await meter.member("server")

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(meter.member("first"))
            starting = asyncio.ensure_future(group.start(server))
            await turns(1)
            group.create_task(meter.member("last"))
            assert group.waiting == 2
            assert await starting == "up"

    run(main())
    assert meter.begun == ["first", "server", "last"]
    assert meter.most == 1


def test_start_of_a_member_does_not_wait_for_its_own_slot(run: Run) -> None:
    async def member(group: TaskGroup) -> None:
        assert await group.start(starts) == "up"

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))


def test_a_start_that_is_cancelled_in_the_line_calls_nothing(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(5))
            starting = asyncio.ensure_future(group.start(never_run))
            await turns(2)
            starting.cancel()
            await turns(2)
            assert starting.cancelled()
            assert (group.active, group.waiting) == (1, 0)

    run(main())


def test_a_start_that_fails_gives_its_slot_back(run: Run) -> None:
    async def fails(*, task_status: Any) -> None:
        await fail(ValueError("not up"))

    def refuses(*, task_status: Any) -> Any:
        raise LookupError("no")

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            for function, error in ((fails, ValueError), (refuses, LookupError)) * 2:
                with pytest.raises(error):
                    await group.start(function)
            group.create_task(turns(3))
            starting = asyncio.ensure_future(group.start(fails))
            with pytest.raises(ValueError, match="not up"):
                await starting
            await group.start(starts)

    run(main())


def test_an_abort_cancels_who_starts(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(5))
            starting = asyncio.ensure_future(group.start(never_run))
            await turns(2)
            group.cancel()
        await turns(1)
        assert starting.cancelled()

    run(main())


def test_a_submit_that_is_closed_while_it_waits_leaves_the_line(run: Run) -> None:
    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(turns(5))
            submitting = group.submit(never_run)
            submitting.send(None)
            assert group.waiting == 1
            submitting.close()
            assert (group.active, group.waiting) == (1, 0)

    run(main())


def test_a_member_that_starts_eagerly_can_submit() -> None:
    loop = tonnage.new_event_loop()
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        await group.submit(meter.member, "second")
        await turns(1)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group), eager_start=True)

    loop.run_until_complete(asyncio.wait_for(main(), 5))
    loop.close()
    assert meter.begun == ["second"]
