"""`limit=` of limiters: who begins has a permit of each, and gives them back in reverse when it has ended."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import tonnage
from tonnage import AdaptiveLimiter, CapacityLimiter, Overloaded, RateLimiter, TaskGroup

from .bounded import LOOPS, MakeLoop, Meter
from .conftest import fail, never_run, turns, value_of

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_left", "nothing_unawaited")


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> MakeLoop:
    """Each kind of loop."""
    return LOOPS[request.param]


class Told:
    """An algorithm that keeps what it is told of each outcome: was it a drop?"""

    def __init__(self) -> None:
        self.drops: list[bool] = []

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        self.drops.append(dropped)
        return 20


def unused(*limiters: CapacityLimiter) -> bool:
    """Has everything come back, and does nobody wait?"""
    return all(limiter.borrowed_tokens == 0 and limiter.stats().waiting == 0 for limiter in limiters)


async def started(group: TaskGroup, meter: Meter, count: int) -> list[Any]:
    return [group.create_task(meter.member(number)) for number in range(count)]


# What may be given.


@pytest.mark.parametrize(
    ("limit", "error", "text"),
    [
        ((), ValueError, "limit must have a limiter, got an empty sequence"),
        ([], ValueError, "limit must have a limiter, got an empty sequence"),
        ([3], TypeError, "limit must be a sequence of Limiters, got one that has 3"),
        ("3", TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got '3'"),
        (2.5, TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got 2.5"),
        ({1}, TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got {1}"),
    ],
)
def test_what_is_no_limit_is_refused_by_all(limit: Any, error: type[Exception], text: str) -> None:
    for make in (
        lambda: TaskGroup(limit=limit),
        lambda: tonnage.amap(value_of, [1], limit=limit),
        lambda: tonnage.gather(limit=limit),
        lambda: tonnage.Workers(limit),
    ):
        with pytest.raises(error) as caught:
            make()
        assert str(caught.value) == text


def test_a_limiter_that_is_given_twice_is_refused() -> None:
    limiter = CapacityLimiter(1)
    for make in (lambda: TaskGroup(limit=[limiter, limiter]), lambda: tonnage.Workers([limiter, limiter])):
        with pytest.raises(ValueError, match="limit must name each limiter once"):
            make()


# TaskGroup.


def test_children_run_as_the_limiter_says_and_in_order(run: Run) -> None:
    meter = Meter()
    limiter = CapacityLimiter(2)

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            tasks = await started(group, meter, 10)
            assert (group.active, group.waiting) == (10, 8)
            # One ask for all who wait.
            assert limiter.stats().waiting == 1
        assert [task.result() for task in tasks] == list(range(10))

    run(main())
    assert (meter.most, meter.begun) == (2, list(range(10)))
    assert unused(limiter)


def test_several_limiters_are_taken_in_order_and_given_back_in_reverse(run: Run) -> None:
    outer, inner = CapacityLimiter(3, name="outer"), CapacityLimiter(1, name="inner")
    seen: list[str] = []

    async def wait_for(limiter: CapacityLimiter) -> None:
        async with limiter:
            seen.append(limiter.name)

    async def main() -> None:
        async with TaskGroup(limit=(outer, inner)) as group:
            first = group.create_task(turns(6))
            second = group.create_task(turns(1))
            await turns(1)
            # The second has the outer one, and waits for the inner one; no third asks before it has begun.
            group.create_task(turns(1))
            assert (outer.borrowed_tokens, inner.borrowed_tokens) == (2, 1)
            assert (outer.stats().waiting, inner.stats().waiting) == (0, 1)
            await first
            await second
        only = CapacityLimiter(1, name="first"), CapacityLimiter(1, name="second")
        async with TaskGroup(limit=only) as group:
            group.create_task(turns(4))
            others = [tonnage.create_task(wait_for(limiter)) for limiter in only]
            await turns(2)
        await asyncio.wait(others)

    run(main())
    assert seen == ["second", "first"]
    assert unused(outer, inner)


def test_child_is_the_borrower(run: Run) -> None:
    limiter = CapacityLimiter(2)

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            tasks = [group.create_task(turns(3)) for _ in range(3)]
            assert limiter.stats().borrowers == tuple(tasks[:2])
            await tasks[0]
            with pytest.raises(RuntimeError, match="isn't holding any"):
                limiter.release()

    run(main())


def test_child_cannot_release_its_own_slot(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def child() -> None:
        with pytest.raises(RuntimeError, match="isn't holding any"):
            limiter.release()

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            group.create_task(child())

    run(main())
    assert unused(limiter)


def test_limiter_that_is_shared_serves_its_groups_in_turn(run: Run) -> None:
    limiter = CapacityLimiter(1)
    meter = Meter()

    async def owner(name: str) -> None:
        async with TaskGroup(limit=limiter) as group:
            for number in range(3):
                group.create_task(meter.member(f"{name}{number}"))

    async def main() -> None:
        await tonnage.gather(owner("a"), owner("b"))

    run(main())
    assert meter.most == 1
    assert meter.begun == ["a0", "a1", "b0", "a2", "b1", "b2"] or sorted(meter.begun[:4]) == [
        "a0",
        "a1",
        "b0",
        "b1",
    ]
    assert unused(limiter)


def test_submit_waits_for_the_limiter(run: Run) -> None:
    limiter = CapacityLimiter(1)
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            await group.submit(meter.member, 1)
            tasks = [tonnage.create_task(group.submit(meter.member, number)) for number in (2, 3)]
            await turns(1)
            assert group.waiting == 2
            submitted = [await task for task in tasks]
        assert [task.result() for task in submitted] == [2, 3]

    run(main())
    assert (meter.most, meter.begun) == (1, [1, 2, 3])
    assert unused(limiter)


def test_start_needs_a_permit(run: Run) -> None:
    limiter = CapacityLimiter(1)
    order: list[str] = []

    async def server(task_status: tonnage.TaskStatus[int]) -> None:
        order.append("server")
        task_status.started(7)

    async def child() -> None:
        await turns(3)
        order.append("child")

    async def member(group: TaskGroup) -> None:
        # A member has its permit already, and waits for whom it starts.
        assert await group.start(server) == 7

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            group.create_task(child())
            assert await group.start(server) == 7
            await turns(3)
            group.create_task(member(group))

    run(main())
    assert order == ["child", "server", "server"]
    assert unused(limiter)


def test_child_that_a_member_has_started_inherits_its_permit(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def server(event: tonnage.Event, *, task_status: tonnage.TaskStatus[int]) -> None:
        task_status.started(7)
        await event.wait()

    async def main() -> None:
        event = tonnage.Event()
        async with TaskGroup(limit=limiter) as group:
            assert await group.create_task(group.start(server, event)) == 7
            await turns(1)
            waiting = group.create_task(turns(1))
            assert (group.waiting, limiter.borrowed_tokens) == (1, 1)
            event.set()
            await waiting

    run(main())
    assert unused(limiter)


def test_refusal_is_the_failure_of_a_waiting_child(run: Run) -> None:
    limiter = CapacityLimiter(1, max_waiting=0)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=limiter) as group:
                group.create_task(turns(50))
                task = group.create_task(never_run())
                await turns(50)
        [error] = caught.value.exceptions
        assert isinstance(error, Overloaded)
        assert (error.reason, error.limiter) == ("full", limiter.name)
        assert task.exception() is error

    run(main())
    assert unused(limiter)


def test_limiter_that_is_closed_refuses_whoever_waits(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def main() -> None:
        async with TaskGroup(limit=limiter, on_error="report") as group:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            group.create_task(turns(9))
            tasks = [group.create_task(never_run()) for _ in range(3)]
            submitted = tonnage.create_task(group.submit(never_run))
            await turns(2)
            limiter.close()
            with pytest.raises(Overloaded) as caught:
                await submitted
            assert caught.value.reason == "closed"
            await asyncio.wait(tasks)
            for task in tasks:
                assert isinstance(task.exception(), Overloaded)
            with pytest.raises(Overloaded):
                await group.submit(never_run)
            assert group.waiting == 0

    run(main())
    assert unused(limiter)


def test_second_limiter_that_refuses_gives_the_first_one_back(run: Run) -> None:
    first, second = CapacityLimiter(5), CapacityLimiter(1, max_waiting=0)

    async def main() -> None:
        async with TaskGroup(limit=[first, second]) as group:
            group.create_task(turns(3))
            with pytest.raises(Overloaded):
                await group.submit(never_run)
            assert (first.borrowed_tokens, second.borrowed_tokens) == (1, 1)

    run(main())
    assert unused(first, second)


def test_max_pending_bounds_the_line_still(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def main() -> None:
        async with TaskGroup(limit=limiter, max_pending=1) as group:
            tasks = [group.create_task(turns(2)) for _ in range(2)]
            with pytest.raises(Overloaded, match="1 running, 1 waiting"):
                group.create_task(never_run())
            await asyncio.wait(tasks)

    run(main())


def test_cancelled_child_of_the_line_withdraws_the_ask(run: Run) -> None:
    first, second = CapacityLimiter(5), CapacityLimiter(1)

    async def main() -> None:
        async with second, TaskGroup(limit=[first, second]) as group:
            tasks = [group.create_task(never_run()) for _ in range(2)]
            submitted = tonnage.create_task(group.submit(never_run))
            await turns(2)
            assert (first.borrowed_tokens, second.stats().waiting) == (1, 1)
            for task in (*tasks, submitted):
                task.cancel()
            await asyncio.wait([*tasks, submitted])
            await turns(1)
            assert (first.borrowed_tokens, second.stats().waiting) == (0, 0)

    run(main())
    assert unused(first, second)


@pytest.mark.parametrize("granted", [False, True])
def test_abort_gives_back_what_the_ask_has(run: Run, granted: bool) -> None:
    first, second = CapacityLimiter(5), CapacityLimiter(1)

    async def main() -> None:
        await second.acquire_on_behalf_of("it")
        with pytest.raises(ExceptionGroup):
            async with TaskGroup(limit=[first, second]) as group:
                group.create_task(never_run())
                submitted = tonnage.create_task(group.submit(never_run))
                await turns(2)
                if granted:
                    group._tasks.pop().cancel()
                    second.release_on_behalf_of("it")
                raise LookupError
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await submitted
        if not granted:
            second.release_on_behalf_of("it")

    run(main())
    assert unused(first, second)


def test_submit_that_is_cancelled_when_it_was_granted_passes_the_permit_on(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def main() -> None:
        await limiter.acquire_on_behalf_of("it")
        async with TaskGroup(limit=limiter) as group:
            submitted = tonnage.create_task(group.submit(never_run))
            await turns(2)
            limiter.release_on_behalf_of("it")
            submitted.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitted
            assert await group.create_task(value_of(1)) == 1

    run(main())
    assert unused(limiter)


def test_member_that_waits_for_a_sibling_of_the_line_lends_it_its_permit(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def member(group: TaskGroup) -> Any:
        sibling = group.create_task(value_of("sibling"))
        # A member of another kind does not lend to those that a task factory has made.
        if type(asyncio.current_task()) is not tonnage.Task:
            return "sibling"
        return await sibling

    async def main() -> None:
        async with TaskGroup(limit=limiter) as group:
            assert await group.create_task(member(group)) == "sibling"

    run(main())
    assert unused(limiter)


@pytest.mark.parametrize("loop_factory", [tonnage.new_event_loop])
def test_permit_of_a_member_that_ends_first_is_inherited(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def member(group: TaskGroup, event: tonnage.Event) -> Any:
        sibling = group.create_task(event.wait())
        await tonnage.wait([sibling], timeout=0.001)
        return sibling

    async def main() -> None:
        event = tonnage.Event()
        async with TaskGroup(limit=limiter) as group:
            sibling = await group.create_task(member(group, event))
            await turns(1)
            assert (limiter.borrowed_tokens, sibling.done()) == (1, False)
            event.set()
            await sibling
            assert limiter.borrowed_tokens == 0

    run(main())
    assert unused(limiter)


def test_group_that_is_dropped_gives_its_permits_back() -> None:
    limiter = CapacityLimiter(1)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        group = TaskGroup(limit=limiter)
        await group.__aenter__()
        group.create_task(tonnage.Event().wait())
        await turns(1)
        assert limiter.borrowed_tokens == 1

    loop = tonnage.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    assert unused(limiter)


def test_permit_that_comes_while_the_loop_rests_lets_the_next_begin(
    run: Run, loop: asyncio.AbstractEventLoop
) -> None:
    limiter = CapacityLimiter(1)
    meter = Meter()

    async def parent() -> None:
        async with TaskGroup(limit=limiter) as group:
            await started(group, meter, 3)

    async def begin() -> asyncio.Task[None]:
        await limiter.acquire_on_behalf_of("it")
        task = asyncio.ensure_future(parent())
        await turns(3)
        return task

    task = run(begin())
    limiter.release_on_behalf_of("it")
    run(task)
    assert meter.begun == [0, 1, 2]
    assert unused(limiter)


# What the limiters learn.


def test_adaptive_limiter_is_told_how_each_child_has_ended(run: Run) -> None:
    told = Told()
    limiter = AdaptiveLimiter(told, max_waiting=None)

    async def main() -> None:
        async with TaskGroup(limit=limiter, on_error="report") as group:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            tasks: list[Any] = [
                group.create_task(value_of(1)),
                group.create_task(fail(ConnectionError())),
                group.create_task(fail(LookupError())),
                group.create_task(asyncio.sleep(1000)),
            ]
            await turns(1)
            tasks[3].cancel()
            await asyncio.wait(tasks)
        assert sorted(told.drops) == [False, True]
        await tonnage.gather(value_of(1), fail(ConnectionError()), return_exceptions=True, limit=limiter)
        assert sorted(told.drops) == [False, False, True, True]

        async def item(error: BaseException | None) -> None:
            await turns(1)
            if error:
                raise error

        await tonnage.amap(item, [None, ConnectionError()], limit=limiter, return_exceptions=True)
        assert sorted(told.drops) == [False] * 3 + [True] * 3

    run(main())
    assert limiter.stats().in_use == 0


@pytest.mark.parametrize("loop_factory", [tonnage.new_event_loop])
def test_child_that_would_wait_beyond_its_deadline_is_refused(run: Run) -> None:
    async def main() -> None:
        limiter = RateLimiter(0.01, burst=1)
        with pytest.raises(ExceptionGroup) as caught:
            async with TaskGroup(limit=limiter) as group, tonnage.timeout(50):
                group.create_task(value_of(1))
                group.create_task(never_run())
        [error] = caught.value.exceptions
        assert isinstance(error, Overloaded)
        assert error.reason == "deadline"

    run(main())


# gather.


def test_gather_starts_as_the_limiter_says(run: Run) -> None:
    limiter = CapacityLimiter(2)
    meter = Meter()

    async def main() -> None:
        gathered = tonnage.gather(*map(meter.member, range(7)), limit=limiter)
        await turns(1)
        assert (limiter.borrowed_tokens, limiter.stats().waiting) == (2, 1)
        assert await gathered == list(range(7))

    run(main())
    assert (meter.most, meter.begun) == (2, list(range(7)))
    assert unused(limiter)


def test_gather_has_a_refusal_as_the_outcome_of_its_coroutine(run: Run) -> None:
    limiter = CapacityLimiter(1, max_waiting=0)

    async def main() -> None:
        coros = [value_of(1), never_run(), never_run()]
        found = await tonnage.gather(*coros, return_exceptions=True, limit=limiter)
        assert found[0] == 1
        assert [type(error) for error in found[1:]] == [Overloaded, Overloaded]
        with pytest.raises(Overloaded):
            await tonnage.gather(value_of(1), never_run(), never_run(), limit=limiter)
        await turns(4)

    run(main())
    assert unused(limiter)


def test_gather_of_a_closed_limiter_refuses_any_number(run: Run) -> None:
    limiter = CapacityLimiter(1)
    limiter.close()

    async def main() -> None:
        coros = [never_run() for _ in range(3000)]
        found = await tonnage.gather(*coros, return_exceptions=True, limit=limiter)
        assert {type(error) for error in found} == {Overloaded}

    run(main())


@pytest.mark.parametrize("granted", [False, True])
def test_gather_that_is_cancelled_withdraws(run: Run, granted: bool) -> None:
    first, second = CapacityLimiter(5), CapacityLimiter(1)

    async def main() -> None:
        await second.acquire_on_behalf_of("it")
        gathered = tonnage.gather(never_run(), never_run(), limit=[first, second])
        await turns(1)
        assert (first.borrowed_tokens, second.stats().waiting) == (1, 1)
        if granted:
            second.release_on_behalf_of("it")
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered
        if not granted:
            assert second.stats().waiting == 0
            second.release_on_behalf_of("it")

    run(main())
    assert unused(first, second)


def test_gather_that_fails_withdraws(run: Run) -> None:
    limiter = CapacityLimiter(1)

    async def main() -> None:
        with pytest.raises(LookupError):
            await tonnage.gather(fail(LookupError()), never_run(), never_run(), limit=limiter)
        assert unused(limiter)

    run(main())


# amap.


def test_amap_begins_as_the_limiter_says(run: Run) -> None:
    limiter = CapacityLimiter(2)
    meter = Meter()

    async def main() -> None:
        assert await tonnage.amap(meter.member, range(9), limit=limiter) == list(range(9))

    run(main())
    assert (meter.most, meter.begun) == (2, list(range(9)))
    assert unused(limiter)


def test_amap_takes_at_most_one_item_that_has_not_begun(run: Run) -> None:
    limiter = CapacityLimiter(2)
    taken: list[int] = []
    begun: list[int] = []

    async def items() -> Any:
        for number in range(8):
            await turns(1)
            taken.append(number)
            yield number

    async def job(number: int) -> int:
        begun.append(number)
        assert len(taken) <= len(begun) + 1
        await turns(5)
        return number

    async def main() -> None:
        assert await tonnage.amap(job, items(), limit=limiter) == list(range(8))
        assert taken == begun == list(range(8))

    run(main())
    assert unused(limiter)


def test_amap_fails_with_a_refusal_as_with_any_error(run: Run) -> None:
    limiter = CapacityLimiter(2, max_waiting=0)

    async def main() -> None:
        await limiter.acquire_on_behalf_of("it")
        meter = Meter()
        job = partial(meter.member, after=9)
        found = await tonnage.amap(job, [1, 2, 3], limit=limiter, return_exceptions=True)
        assert found[0] == 1
        assert any(isinstance(error, Overloaded) for error in found)
        limiter.release_on_behalf_of("it")
        limiter.close()
        with pytest.raises(ExceptionGroup) as caught:
            await tonnage.amap(value_of, [1, 2], limit=limiter)
        assert isinstance(caught.value.exceptions[0], Overloaded)

    run(main())
    assert unused(limiter)


def test_amap_streams_by_a_limiter_and_keeps_its_room(run: Run) -> None:
    limiter = CapacityLimiter(2)
    meter = Meter()

    async def main() -> None:
        async with tonnage.amap(meter.member, range(50), limit=limiter, buffersize=1) as results:
            assert await results.__anext__() == 0
            await turns(40)
            # 2 at once, 1 more kept.
            assert len(meter.begun) == 4
            assert [result async for result in results] == list(range(1, 50))

    run(main())
    assert unused(limiter)


@pytest.mark.parametrize("granted", [False, True])
def test_amap_that_is_left_withdraws(run: Run, granted: bool) -> None:
    first, second = CapacityLimiter(5), CapacityLimiter(1)

    async def main() -> None:
        await second.acquire_on_behalf_of("it")
        async with tonnage.amap(value_of, range(5), limit=[first, second]):
            await turns(3)
            assert (first.borrowed_tokens, second.stats().waiting) == (1, 1)
            if granted:
                second.release_on_behalf_of("it")
        if not granted:
            assert second.stats().waiting == 0
            second.release_on_behalf_of("it")

    run(main())
    assert unused(first, second)


def test_one_limiter_bounds_groups_gathers_and_maps_together(run: Run) -> None:
    limiter = CapacityLimiter(3)
    meter = Meter()

    async def grouped() -> None:
        async with TaskGroup(limit=limiter) as group:
            await started(group, meter, 8)

    async def main() -> None:
        await tonnage.gather(
            grouped(),
            tonnage.gather(*map(meter.member, range(8)), limit=limiter),
            tonnage.amap(meter.member, range(8), limit=limiter),
            return_exceptions=False,
        )

    run(main())
    assert meter.most == 3
    assert len(meter.begun) == 24
    assert unused(limiter)
