"""A limiter whose holders all wait for tasks that wait for it says so, and no other does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tonnage

from .conftest import JumpingLoop, Run, outcome, settle


class OurLoop(JumpingLoop):
    """Simulated time, with tasks and futures of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(lambda loop, coro, **options: tonnage.Task(coro, loop=loop, **options))

    def create_future(self) -> Any:
        return tonnage.Future(loop=self)


@pytest.fixture
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    return OurLoop


async def use(limiter: tonnage.Limiter) -> str:
    async with limiter:
        return "used"


async def by_await(limiter: tonnage.Limiter) -> Any:
    return await asyncio.ensure_future(use(limiter))


async def by_group(limiter: tonnage.Limiter) -> Any:
    async with tonnage.TaskGroup() as group:
        group.create_task(settle())
        tasks = [group.create_task(outcome(use(limiter))) for _ in range(2)]
    # Each in its turn.
    assert {type(task.result()) for task in tasks} == {tonnage.LimiterDeadlock}
    return tasks[0].result()


async def by_gather(limiter: tonnage.Limiter) -> Any:
    return await tonnage.gather(settle(), use(limiter), use(limiter))


async def by_many(limiter: tonnage.Limiter) -> Any:
    async def middle() -> Any:
        return await tonnage.gather(by_await(limiter), settle(2))

    return await asyncio.ensure_future(middle())


WAYS = [by_await, by_group, by_gather, by_many]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_holder_that_waits_for_who_waits_for_it_is_told(
    way: Callable[..., Awaitable[Any]], run: Run, loop: OurLoop
) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, name="db")
        began = loop.time()
        asyncio.current_task().set_name("holder")
        async with limiter:
            error = await outcome(way(limiter))
            assert isinstance(error, tonnage.LimiterDeadlock), error
        assert str(error) == (
            "limiter 'db' is deadlocked: each task that holds it (holder) waits for tasks that wait for it; "
            "release it before waiting for them, or use another limiter for them"
        )
        assert loop.time() - began <= 4
        await settle()
        assert limiter.borrowed_tokens == limiter.stats().waiting == 0

    run(main())


def test_holders_that_wait_for_each_other_s_children_are_told(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)

        async def hold() -> Any:
            async with limiter:
                await settle()
                return await by_await(limiter)

        results = await tonnage.gather(hold(), hold(), return_exceptions=True)
        assert sorted(str(type(result).__name__) for result in results) == ["LimiterDeadlock", "str"]
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_task_that_waits_for_itself_is_told(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            with pytest.raises(tonnage.LimiterDeadlock):
                async with limiter:
                    pass
        await limiter.acquire()
        with pytest.raises(tonnage.LimiterDeadlock):
            await limiter.acquire()
        limiter.release()

    run(main())


def test_a_holder_that_begins_to_wait_later_is_told(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            child = asyncio.ensure_future(use(limiter))
            await asyncio.sleep(10)
            with pytest.raises(tonnage.LimiterDeadlock):
                await child

    run(main())


# No deadlocks


async def slow(limiter: tonnage.Limiter) -> None:
    async with limiter:
        await asyncio.sleep(30)


async def in_time(limiter: tonnage.Limiter) -> Any:
    with pytest.raises(asyncio.TimeoutError):
        await tonnage.wait_for(by_await(limiter), 30)


async def with_a_sibling_that_fails(limiter: tonnage.Limiter) -> Any:
    async def fail() -> None:
        await asyncio.sleep(30)
        raise LookupError

    with pytest.raises(LookupError):
        await tonnage.gather(use(limiter), fail())
    await settle()


async def with_a_future(limiter: tonnage.Limiter) -> Any:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(30, done.set_result, None)
    child = asyncio.ensure_future(use(limiter))
    await tonnage.wait([child, done], return_when=asyncio.FIRST_COMPLETED)
    child.cancel()
    await settle()


@pytest.mark.parametrize(
    "way", [slow, in_time, with_a_sibling_that_fails, with_a_future], ids=lambda way: way.__name__
)
def test_who_may_go_on_is_in_no_deadlock(way: Callable[..., Awaitable[Any]], run: Run, loop: OurLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        began = loop.time()
        if way is slow:
            await tonnage.gather(slow(limiter), use(limiter))
        else:
            async with limiter:
                await way(limiter)
        assert loop.time() - began == pytest.approx(30)
        await settle()
        assert limiter.borrowed_tokens == limiter.stats().waiting == 0

    run(main())


def test_a_permit_may_be_released_by_anybody(run: Run, loop: OurLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        permit = await limiter.acquire()
        loop.call_later(30, permit.release)
        assert await by_await(limiter) == "used"

    run(main())


def test_a_wait_with_an_end_is_no_deadlock(run: Run, loop: OurLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, max_wait=30)
        async with limiter:
            with pytest.raises(tonnage.Overloaded):
                await by_await(limiter)

    run(main())


def test_a_look_begins_anew_with_each_line(run: Run, loop: OurLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            for _ in range(3):
                cancelled = asyncio.ensure_future(use(limiter))
                await asyncio.sleep(0.7)
                cancelled.cancel()
                await settle()
            began = loop.time()
            with pytest.raises(tonnage.LimiterDeadlock):
                await by_await(limiter)
            assert loop.time() - began == pytest.approx(1.0)

    run(main())


def test_a_program_that_stands_still_comes_to_rest(run: Run, loop: OurLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        permit = await limiter.acquire()
        waiting = asyncio.ensure_future(limiter.acquire())
        await settle()
        loop.call_later(100_000, permit.release)
        began, jumps = loop.time(), loop.jumps
        (await waiting).release()
        assert loop.time() - began >= 100_000
        assert loop.jumps - jumps <= 15

    run(main())


@pytest.mark.slow
def test_a_deadlock_is_told_on_a_real_clock() -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            with pytest.raises(tonnage.LimiterDeadlock):
                await by_gather(limiter)

    tonnage.run(main())
