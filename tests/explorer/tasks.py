"""Tasks and sleep, with no other primitive: a cancel reaches what a task waits for, and is never lost."""

from __future__ import annotations

from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World


@scenario()
def chain(world: World) -> None:
    """A cancel of the last goes down to the first, and one of the first comes up to the last."""
    tasks: list[Any] = []

    async def first() -> str:
        await world.pause()
        await switch(3)
        return "through"

    async def link(before: Any) -> Any:
        await world.pause()
        return await before

    tasks.append(world.actor(first(), child=True))
    for _ in range(2):
        before = tasks[-1]
        tasks.append(world.actor(link(before), child=True, cancelled_if=before.cancelled))


@scenario()
def cleanup_that_waits(world: World) -> None:
    ended: list[int] = []
    started: list[int] = []

    async def work(number: int) -> None:
        await world.pause()
        started.append(number)
        try:
            await switch(2)
        finally:
            ended.append(number)
            await switch(2)

    for number in range(2):
        world.actor(work(number))
    world.at_end(lambda: world.expect(sorted(started) == sorted(ended), "not cleaned up", ended))


@scenario()
def future_that_is_set(world: World) -> None:
    """Two wait for one future; the cancel of one is not the cancel of the other's value."""
    result = world.loop.create_future()

    async def wait() -> None:
        await world.pause()
        world.expect(await world.names.shield(result) == "value", "result")

    async def give() -> None:
        await world.pause()
        await switch(2)
        result.set_result("value")

    giver = world.actor(give())
    for _ in range(2):
        world.actor(wait(), waits=lambda: world.was_cancelled(giver))


@scenario()
def sleep(world: World) -> None:
    """Three sleep until the same moment; a cancel in that moment is felt."""
    woken: list[float] = []

    async def work() -> None:
        await world.pause()
        world.expect(await world.names.sleep(world.delay(1), "slept") == "slept", "result")
        woken.append(world.loop.time())
        await world.names.sleep(0)

    for _ in range(3):
        world.actor(work())
    world.at_end(lambda: world.expect(woken == sorted(woken), "order", woken))
