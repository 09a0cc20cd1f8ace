"""Limiters as `limit=`: whatever is cancelled when, each permit comes back, and no more run than they admit.

A lost permit is one that is in use at the end, or an owner that is stuck.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .groups import Family
from .limiters import expect_all_back
from .scenario import scenario
from .switch import switch
from .world import World

owners = scenario("CapacityLimiter", "TaskGroup.submit")


def limiters(world: World) -> tuple[Any, Any]:
    """Two, of which the second decides."""
    both = world.names.CapacityLimiter(3), world.names.CapacityLimiter(1)
    for each in both:
        expect_all_back(world, each)
    return both


class Inside:
    """How many run at once, of all owners."""

    def __init__(self, world: World, most: int) -> None:
        self.world, self.most, self.now = world, most, 0

    async def live(self, turns: int = 1) -> None:
        self.now += 1
        self.world.expect(self.now <= self.most, "above the limit", self.now)
        try:
            await self.world.pause()
            await switch(turns)
        finally:
            self.now -= 1


async def run_group(world: World, limit: Any, inside: Inside, *, fails: bool = False) -> None:
    family = Family(world)
    children: list[Any] = []
    await world.pause()
    group = world.names.TaskGroup(limit=limit)
    try:
        async with group:
            if fails:
                children.append(family.child(group, family.fail(1)))
            children += [family.child(group, inside.live(1 + turns % 2)) for turns in range(3)]
            await switch()
    except Exception as error:
        family.collect(error)
    finally:
        family.expect_ended(children)
        world.expect((group.active, group.waiting) == (0, 0), "left", group)
    await switch()


@owners
def group_of_a_limiter(world: World) -> None:
    limit = world.names.CapacityLimiter(2)
    expect_all_back(world, limit)
    world.actor(run_group(world, limit, Inside(world, 2)))


@owners
def groups_that_share_limiters(world: World) -> None:
    limit, inside = limiters(world), Inside(world, 1)
    for _ in range(2):
        world.actor(run_group(world, limit, inside))


@owners
def group_of_limiters_that_fails(world: World) -> None:
    limit = limiters(world)

    async def work() -> None:
        await world.pause()
        async with limit[1]:
            await switch()

    world.actor(run_group(world, limit, Inside(world, 4), fails=True))
    world.actor(work())


@owners
def submit_by_limiters(world: World) -> None:
    limit, inside = limiters(world), Inside(world, 1)
    family = Family(world)
    children: list[Any] = []
    group = world.names.TaskGroup(limit=limit)

    async def submit() -> None:
        await world.pause()
        children.append(world.adopt(await group.submit(inside.live), child=True))
        await switch()

    async def parent() -> None:
        await world.pause()
        try:
            async with group:
                for _ in range(2):
                    world.actor(
                        submit(), raises=(RuntimeError,), cancelled_if=lambda: world.was_cancelled(task)
                    )
                children.append(family.child(group, inside.live()))
                await switch(3)
        finally:
            family.expect_ended(children)
        await switch()

    task = world.actor(parent())


@owners
def group_whose_limiter_is_closed(world: World) -> None:
    limit = limiters(world)
    refused = (world.names.Overloaded,)

    async def parent() -> None:
        await world.pause()
        children: list[Any] = []
        family = Family(world)
        try:
            async with world.names.TaskGroup(limit=limit) as group:
                children += [family.child(group, family.live(1)) for _ in range(3)]
                await switch()
        except Exception as error:
            family.collect(error)
            world.expect(all(isinstance(found, refused) for found in family.found), "error", error)
            family.found.clear()
        finally:
            family.expect_ended(children)

    async def close() -> None:
        await world.pause()
        await switch()
        limit[1].close()

    world.actor(parent())
    world.actor(close())


@owners
def gathers_that_share_limiters(world: World) -> None:
    limit = limiters(world)
    children: list[Any] = []

    async def live(number: int, over: list[bool]) -> int:
        if over:
            # It had its permits in time; no actor waits for it.
            return number
        children.append(world.adopt(asyncio.current_task(), child=True))
        await world.pause()
        await switch(1 + number % 2)
        return number

    async def parent() -> None:
        await world.pause()
        over: list[bool] = []
        try:
            found = await world.names.gather(*(live(number, over) for number in range(3)), limit=limit)
            world.expect(found == [0, 1, 2], "result", found)
        finally:
            over.append(True)

    for _ in range(2):
        world.actor(parent(), cancelled_if=lambda: any(child.cancelled() for child in children))


@owners
def map_by_limiters(world: World) -> None:
    limit, inside = limiters(world), Inside(world, 1)

    async def live(number: int) -> int:
        await inside.live(1 + number % 2)
        return number

    async def parent() -> None:
        await world.pause()
        found = await world.names.amap(live, range(4), limit=limit)
        world.expect(found == [0, 1, 2, 3], "result", found)

    async def work() -> None:
        await world.pause()
        async with limit[1]:
            await switch()

    world.actor(parent())
    world.actor(work())
    world.actor(work())
