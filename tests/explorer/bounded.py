"""What runs at most so many at once: never more do, no slot is lost, and what has not begun is closed.

A lost slot is a task that is stuck. The children are actors too: in the line, with a slot that was just
granted, and while they run.
"""

from __future__ import annotations

import asyncio
from typing import Any

import tonnage

from .groups import Family
from .scenario import accepts, scenario
from .switch import switch
from .world import World

limited = scenario("TaskGroup.submit", can=accepts("TaskGroup", limit=1))


class Meter:
    """Counts who runs at once."""

    def __init__(self, world: World, limit: int) -> None:
        self.world = world
        self.limit = limit
        self.running = 0
        self.begun: list[int] = []
        world.at_end(self.judge)

    async def live(self, number: int, turns: int = 1) -> int:
        self.begun.append(number)
        self.running += 1
        self.world.expect(self.running <= self.limit, "above the limit", self.running)
        try:
            await self.world.pause()
            await switch(turns)
        finally:
            self.running -= 1
        return number

    def judge(self) -> None:
        # Elsewhere the search itself changes the order in which they begin.
        if isinstance(self.world.loop, tonnage.EventLoop):
            self.world.expect(self.begun == sorted(self.begun), "order", self.begun)


@limited
def limited_group(world: World) -> None:
    meter = Meter(world, 2)
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        group = world.names.TaskGroup(limit=2)
        try:
            async with group:
                for number in range(4):
                    children.append(family.child(group, meter.live(number, 1 + number % 2)))
                await switch()
        finally:
            family.expect_ended(children)
            world.expect((group.active, group.waiting) == (0, 0), "left", group)
        await switch()

    world.actor(parent())


@limited
def limited_group_with_slow_ends(world: World) -> None:
    """A slot is free when its task has ended, and not when it was cancelled."""
    meter = Meter(world, 1)
    family = Family(world)

    async def slow(number: int) -> None:
        meter.begun.append(number)
        meter.running += 1
        world.expect(meter.running <= 1, "above the limit", meter.running)
        try:
            await family.linger(1)
        finally:
            meter.running -= 1

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup(limit=1) as group:
                children += [family.child(group, slow(number)) for number in range(3)]
                await switch()
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


@limited
def limited_group_with_a_failing_child(world: World) -> None:
    family = Family(world)
    meter = Meter(world, 1)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup(limit=1) as group:
                children.append(family.child(group, family.fail(1)))
                children += [family.child(group, meter.live(number)) for number in range(2)]
                await switch(3)
        except Exception as error:
            family.collect(error)
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


def submitters(world: World, *, body: int) -> None:
    """Two from outside submit while the block runs, waits, or was cancelled."""
    meter = Meter(world, 1)
    family = Family(world)
    children: list[Any] = []
    group = world.names.TaskGroup(limit=1)

    async def submit(number: int) -> None:
        await world.pause()
        child = await group.submit(meter.live, number)
        children.append(world.adopt(child, child=True))
        await switch()

    async def parent() -> None:
        await world.pause()
        try:
            async with group:
                for _ in range(2):
                    world.actor(
                        submit(0), raises=(RuntimeError,), cancelled_if=lambda: world.was_cancelled(task)
                    )
                children.append(family.child(group, meter.live(0)))
                await switch(body)
        finally:
            # Whose submit() returns in this turn, has a task that was cancelled before it began.
            family.expect_ended(children)
            world.expect((group.active, group.waiting) == (0, 0), "left", group)
        await switch()

    task = world.actor(parent())


@limited
def submit(world: World) -> None:
    submitters(world, body=3)


@limited
def submit_to_a_block_that_ends(world: World) -> None:
    submitters(world, body=1)


@limited
def submit_and_create_task(world: World) -> None:
    """The block submits while its children stand in the line."""
    meter = Meter(world, 1)
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup(limit=1) as group:
                children += [family.child(group, meter.live(number)) for number in range(2)]
                for number in (2, 3):
                    children.append(world.adopt(await group.submit(meter.live, number), child=True))
                children.append(family.child(group, meter.live(4, 2)))
                await switch()
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


@limited
def limited_group_whose_member_waits_for_siblings(world: World) -> None:
    """It lends its slot, also when it goes on early and when the sibling does."""
    family = Family(world)

    async def member(group: Any, children: list[Any]) -> None:
        await world.pause()
        siblings = [family.child(group, family.live(1)) for _ in range(2)]
        children += siblings
        # A member of another kind does not lend to those that a task factory has made.
        if type(asyncio.current_task()) is world.names.Task:
            await world.names.wait(siblings, return_when="FIRST_COMPLETED")
            await world.names.gather(*siblings, return_exceptions=True)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup(limit=1) as group:
                children.append(family.child(group, member(group, children)))
                await switch()
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


def gathering(world: World, *, fails: bool) -> None:
    meter = Meter(world, 2)
    children: list[Any] = []
    over: list[bool] = []

    async def live(number: int) -> int:
        if over:
            # It had its slot in time; no actor waits for it.
            return number
        children.append(world.adopt(asyncio.current_task(), child=True, raises=(LookupError,)))
        found = await meter.live(number, 1 + number % 2)
        if fails and number == 1:
            raise LookupError("it")
        return found

    async def parent() -> None:
        await world.pause()
        try:
            found = await world.names.gather(*map(live, range(5)), limit=2)
            world.expect(found == [0, 1, 2, 3, 4], "result", found)
            world.expect(not fails, "lost error")
        finally:
            over.append(True)

    world.actor(
        parent(),
        raises=(LookupError,) if fails else (),
        cancelled_if=lambda: any(child.cancelled() for child in children),
    )


limited_gather_needs = scenario("gather", "TaskGroup", can=accepts("TaskGroup", limit=1))


@limited_gather_needs
def limited_gather(world: World) -> None:
    gathering(world, fails=False)


@limited_gather_needs
def limited_gather_that_fails(world: World) -> None:
    gathering(world, fails=True)
