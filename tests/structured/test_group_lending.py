"""A member of a bounded group that waits for a sibling in the line lends its slot to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import tonnage
from tonnage import TaskGroup

from .bounded import LENDING, MakeLoop, Meter
from .conftest import turns, value_of

Run = Callable[[Any], Any]
Wait = Callable[[list["asyncio.Task[Any]"]], Awaitable[Any]]


@pytest.fixture(params=list(LENDING))
def loop_factory(request: pytest.FixtureRequest) -> MakeLoop:
    """Each kind of loop on which members lend."""
    return LENDING[request.param]


async def each(tasks: list[asyncio.Task[Any]]) -> None:
    for task in reversed(tasks):
        await task


async def gathered(tasks: list[asyncio.Task[Any]]) -> None:
    assert await tonnage.gather(*tasks) == list(range(len(tasks)))


async def waited(tasks: list[asyncio.Task[Any]]) -> None:
    pending = set(tasks)
    while pending:
        _, pending = await tonnage.wait(pending, return_when=tonnage.FIRST_COMPLETED)


async def waited_for(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        await tonnage.wait_for(task, 60)


async def shielded(tasks: list[asyncio.Task[Any]]) -> None:
    await tonnage.shield(tonnage.gather(*map(tonnage.shield, tasks)))


async def completed(tasks: list[asyncio.Task[Any]]) -> None:
    for future in tonnage.as_completed(tasks):
        await future


async def in_time(tasks: list[asyncio.Task[Any]]) -> None:
    async with tonnage.timeout(60):
        await each(tasks)


WAYS = [each, gathered, waited, waited_for, shielded, completed, in_time]


@pytest.mark.parametrize("wait", WAYS)
@pytest.mark.parametrize("limit", [1, 2])
def test_a_member_can_wait_for_its_siblings(run: Run, wait: Wait, limit: int) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        await wait([group.create_task(meter.member(number)) for number in range(4)])

    async def main() -> None:
        async with TaskGroup(limit=limit) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))
    assert meter.most <= limit


@pytest.mark.parametrize("wait", WAYS)
def test_all_members_can_wait_for_siblings(run: Run, wait: Wait) -> None:
    meter = Meter()

    async def member(group: TaskGroup, depth: int) -> None:
        if depth:
            await wait([group.create_task(leaf(group, number, depth - 1)) for number in range(2)])
        else:
            await meter.member()

    async def leaf(group: TaskGroup, number: int, depth: int) -> int:
        await member(group, depth)
        return number

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            for _ in range(3):
                group.create_task(member(group, 4))

    run(asyncio.wait_for(main(), 30))
    assert len(meter.begun) == 3 * 2**4


def test_the_one_that_is_awaited_begins_at_once(run: Run) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        tasks = [group.create_task(meter.member(number)) for number in range(5)]
        await tasks[3]
        assert meter.begun == [3]
        await tonnage.gather(tasks[4], tasks[2])
        # A gather's are begun in its own order.
        assert meter.begun == [3, 4, 2]

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))
    assert meter.begun == [3, 4, 2, 0, 1]
    assert meter.most == 1


def test_a_slot_that_is_lent_lets_nobody_else_in(run: Run) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        await meter.member("lender")
        task = group.create_task(meter.member("borrower", after=6))
        await task
        await meter.member("lender again", after=6)

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            group.create_task(member(group))
            for number in range(8):
                group.create_task(meter.member(number))

    run(asyncio.wait_for(main(), 5))
    assert meter.most == 2


def test_who_goes_on_before_the_borrower_ends_runs_beside_it(run: Run) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        task = group.create_task(meter.member("borrower", after=8))
        await tonnage.wait([task], timeout=0)
        assert not task.done()
        await meter.member("lender", after=4)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))
            group.create_task(meter.member("next"))

    run(asyncio.wait_for(main(), 5))
    assert meter.begun == ["borrower", "lender", "next"]
    assert meter.most == 2


def test_who_polls_lends_to_one_at_a_time(run: Run) -> None:
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        pending = {group.create_task(meter.member(number, after=9)) for number in range(4)}
        while pending:
            _, pending = await tonnage.wait(pending, timeout=0)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))
    assert meter.most == 1


def test_a_callback_or_a_gather_that_nobody_waits_for_lends_nothing(run: Run, loop_factory: MakeLoop) -> None:
    meter = Meter()
    is_foreign = loop_factory in (LENDING.get("asyncio"), LENDING.get("uvloop"))

    async def member(group: TaskGroup) -> None:
        tasks = [group.create_task(meter.member(number)) for number in range(3)]
        seen: set[Any] = set(tasks)
        for task in tasks:
            task.add_done_callback(seen.discard)
        gathering = None if is_foreign else tonnage.gather(*tasks)
        await turns(6)
        assert not meter.begun
        if gathering is not None:
            await gathering

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    run(asyncio.wait_for(main(), 5))
    assert meter.most == 1


def test_who_is_no_member_lends_nothing(run: Run) -> None:
    meter = Meter()

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(meter.member("first", after=5))
            waiting = group.create_task(meter.member("second"))
            await tonnage.gather(waiting)

    run(main())
    assert meter.most == 1


def test_a_cancelled_lender_cancels_the_borrower(run: Run) -> None:
    async def main() -> None:
        tasks = []

        async def member(group: TaskGroup) -> None:
            tasks.extend([group.create_task(turns(50)) for _ in range(2)])
            await tonnage.gather(*tasks)

        async with TaskGroup(limit=1) as group:
            lender = group.create_task(member(group))
            await turns(4)
            lender.cancel()
            last = group.create_task(value_of("last"))
        assert [task.cancelled() for task in [lender, *tasks]] == [True] * 3
        assert last.result() == "last"

    run(asyncio.wait_for(main(), 5))


def test_a_member_that_starts_eagerly_can_wait_for_a_sibling() -> None:
    loop = tonnage.new_event_loop()
    meter = Meter()

    async def member(group: TaskGroup) -> None:
        await group.create_task(meter.member("sibling"))

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group), eager_start=True)

    loop.run_until_complete(asyncio.wait_for(main(), 5))
    loop.close()
    assert meter.begun == ["sibling"]


def test_a_gather_of_thousands_in_the_line_is_no_slower_than_its_number() -> None:
    loop = tonnage.new_event_loop()

    async def member(group: TaskGroup) -> None:
        await tonnage.gather(*[group.create_task(turns(1)) for _ in range(9_000)])

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    loop.run_until_complete(main())
    loop.close()


def test_nothing_is_left_of_who_lends(nothing_left: None) -> None:
    loop = tonnage.new_event_loop()

    async def member(group: TaskGroup) -> None:
        tasks = [group.create_task(turns(1)) for _ in range(9)]
        await tasks[5]
        await tonnage.wait(tasks, timeout=0)

    async def main() -> None:
        async with TaskGroup(limit=2) as group:
            for _ in range(4):
                group.create_task(member(group))

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("name", [name for name in ("tonnage", "asyncio") if name in LENDING])
def test_who_polls_for_long_keeps_nothing_of_it(name: str) -> None:
    loop = LENDING[name]()

    async def member(group: TaskGroup) -> None:
        tasks = [group.create_task(turns(300)) for _ in range(5)]
        before = tonnage._tonnage._live_objects()["Waiting"]  # type: ignore[attr-defined]
        for _ in range(200):
            await tonnage.wait(tasks, timeout=0)
        after = tonnage._tonnage._live_objects()["Waiting"]  # type: ignore[attr-defined]
        assert after - before < 10
        await tonnage.gather(*tasks)

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("name", [name for name in ("tonnage", "asyncio") if name in LENDING])
def test_thousands_of_shields_are_no_slower_than_their_number(name: str) -> None:
    loop = LENDING[name]()

    async def member(group: TaskGroup) -> None:
        tasks = [group.create_task(value_of(number)) for number in range(5_000)]
        assert await tonnage.gather(*map(tonnage.shield, tasks)) == list(range(5_000))

    async def main() -> None:
        async with TaskGroup(limit=1) as group:
            group.create_task(member(group))

    loop.run_until_complete(main())
    loop.close()
