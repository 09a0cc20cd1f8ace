"""timeout and timeout_at: the end of one's own time and a cancel from outside are told apart.

A block that ran out of time ends with TimeoutError; a cancelled task ends cancelled, though its time was
up in the same turn. `cancelling()` is balanced either way.
"""

from __future__ import annotations

from .scenario import scenario
from .switch import switch
from .world import World


@scenario("timeout")
def timeout(world: World) -> None:
    async def work() -> None:
        await world.pause()
        try:
            async with world.names.timeout(world.delay(1)) as limit:
                await world.names.sleep(world.delay(1))
        except TimeoutError:
            world.expect(limit.expired(), "not expired")
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("timeout")
def timeout_that_is_long(world: World) -> None:
    async def work() -> None:
        await world.pause()
        try:
            async with world.names.timeout(world.delay(60)):
                await switch(2)
        except TimeoutError:
            await switch()

    for _ in range(3):
        world.actor(work())


@scenario("timeout")
def timeout_in_timeout(world: World) -> None:
    """Both may end in one turn: the outer then wins, and nothing is left over."""

    async def work() -> None:
        await world.pause()
        ended = ""
        try:
            async with world.names.timeout(world.delay(1)) as outer:
                try:
                    async with world.names.timeout(world.delay(1)) as inner:
                        await world.names.sleep(world.delay(60))
                except TimeoutError:
                    ended = "inner"
                    world.expect(inner.expired(), "not expired")
                    await world.names.sleep(world.delay(60))
        except TimeoutError:
            world.expect(outer.expired(), "not expired", ended)
        await switch()

    for _ in range(2):
        world.actor(work())


@scenario("timeout_at")
def timeout_that_is_moved(world: World) -> None:
    async def work() -> None:
        await world.pause()
        now = world.loop.time()
        try:
            async with world.names.timeout_at(now + world.delay(60)) as limit:
                await switch()
                limit.reschedule(now + world.delay(0))
                await switch(2)
                limit.reschedule(None)
                await switch()
        except TimeoutError:
            world.expect(limit.expired(), "not expired")
        except RuntimeError:
            # Its time was up, and its cancel comes at the next await.
            world.expect(limit.expired(), "not expired")
            await switch()

    for _ in range(2):
        world.actor(work())


@scenario("timeout", "TaskGroup")
def timeout_around_group(world: World) -> None:
    ended: list[int] = []
    started: list[int] = []

    async def child(number: int) -> None:
        started.append(number)
        try:
            await world.names.sleep(world.delay(1))
        finally:
            ended.append(number)

    async def work() -> None:
        await world.pause()
        try:
            async with world.names.timeout(world.delay(1)), world.names.TaskGroup() as tasks:
                for number in range(2):
                    world.adopt(tasks.create_task(child(number)), child=True)
        except TimeoutError:
            await switch()
        finally:
            world.expect(sorted(started) == sorted(ended), "child left", (started, ended))

    world.actor(work())
