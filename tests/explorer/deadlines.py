"""move_on_after, shield_scope and the nearest deadline: a cancel from outside is told from one's own.

A block that ran out of time is left quietly, but a task that was cancelled ends cancelled. What a scope
shields is not torn apart before its time is over, and no cancel that it deferred is lost.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World


@scenario("move_on_after")
def move_on(world: World) -> None:
    async def work() -> None:
        await world.pause()
        async with world.names.move_on_after(world.delay(1)) as attempt:
            await world.names.sleep(world.delay(1))
            await switch()
        world.expect(attempt.expired() or not attempt.cancelled_caught, "caught in time")
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("move_on_after")
def move_on_in_move_on(world: World) -> None:
    """Both may be due in one turn."""

    async def work() -> None:
        await world.pause()
        reached = False
        async with world.names.move_on_after(world.delay(1)) as outer:
            async with world.names.move_on_after(world.delay(1)) as inner:
                await world.names.sleep(world.delay(60))
            world.expect(inner.expired() or not inner.cancelled_caught, "caught in time")
            await world.names.sleep(world.delay(60))
            reached = True
        world.expect(outer.cancelled_caught != reached, "lost")
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("move_on_after", "TaskGroup")
def move_on_around_group(world: World) -> None:
    started: list[int] = []
    ended: list[int] = []

    async def child(number: int) -> None:
        started.append(number)
        try:
            await world.names.sleep(world.delay(1))
        finally:
            ended.append(number)

    async def work() -> None:
        await world.pause()
        try:
            async with world.names.move_on_after(world.delay(1)), world.names.TaskGroup() as tasks:
                for number in range(2):
                    world.adopt(tasks.create_task(child(number)), child=True)
            await switch()
        finally:
            world.expect(sorted(started) == sorted(ended), "child left", (started, ended))

    world.actor(work())


@scenario("current_effective_deadline", "timeout_at")
def deadlines_of_two_tasks(world: World) -> None:
    deadline = world.names.current_effective_deadline

    async def nested(when: float) -> None:
        async with world.names.timeout_at(when):
            await switch()
            world.expect(deadline() == when, "wrong deadline", deadline())

    async def work(number: int) -> None:
        await world.pause()
        when = world.loop.time() + world.delay(100 + number)
        try:
            async with world.names.timeout_at(when):
                await nested(when - world.delay(10))
                world.expect(deadline() == when, "wrong deadline", deadline())
                await switch()
        except TimeoutError:
            world.expect(world.loop.time() >= when - world.delay(10), "early")
            await switch()
        finally:
            world.expect(deadline() == math.inf, "deadline left", deadline())

    for number in range(2):
        world.actor(work(number))


async def shielded(world: World, units: float, work: Callable[[], Awaitable[Any]]) -> None:
    """Do the work in a scope, in which nothing is to be cancelled before the time is over."""
    until = world.loop.time() + world.delay(units)
    async with world.names.shield_scope(world.delay(units)):
        try:
            await work()
        except asyncio.CancelledError:
            world.expect(world.loop.time() >= until, "torn apart")
            raise


@scenario("shield_scope")
def shielded_cleanup(world: World) -> None:
    async def work() -> None:
        await world.pause()
        try:
            await world.names.sleep(world.delay(1))
        finally:
            await shielded(world, 1000, lambda: switch(3))
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("shield_scope", "timeout", "TaskGroup")
def shielded_blocks(world: World) -> None:
    """They end for reasons of their own, whoever cancels the task meanwhile."""

    async def blocks() -> None:
        try:
            async with world.names.timeout(world.delay(1)) as limit:
                await world.names.sleep(world.delay(60))
        except TimeoutError:
            world.expect(limit.expired(), "not expired")
        async with world.names.TaskGroup() as tasks:
            tasks.create_task(switch())
            tasks.cancel()
            await world.names.sleep(world.delay(60))

    async def work() -> None:
        await world.pause()
        await shielded(world, 1000, blocks)
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("shield_scope", "timeout")
def shield_in_timeout(world: World) -> None:
    """The timeout that is due inside of the scope comes after it, and the cancel of somebody else too."""

    async def work() -> None:
        await world.pause()
        try:
            async with world.names.timeout(world.delay(1)) as limit:
                await shielded(world, 1000, lambda: world.names.sleep(world.delay(2)))
                await switch()
        except TimeoutError:
            world.expect(limit.expired(), "not expired")
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("shield_scope")
def shield_whose_time_is_over(world: World) -> None:
    """The cancel comes inside; the inner scope, which would last longer, does not hold it up."""

    async def inner() -> None:
        async with world.names.shield_scope(world.delay(60)):
            await switch(2)
            await world.names.sleep(world.delay(2))
            await switch()

    async def work() -> None:
        await world.pause()
        await shielded(world, 1, inner)
        await switch()

    for _ in range(2):
        world.actor(work())
