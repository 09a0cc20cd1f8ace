"""Barrier: nobody is left behind at one that can be passed, is broken or was reset.

`waits` says when an actor may wait for ever: while fewer than all parties are there.
"""

from __future__ import annotations

from .scenario import scenario
from .switch import switch
from .world import World


def meet(world: World, parties: int, actors: int, breaker: str = "") -> None:
    meeting = world.names.Barrier(parties)
    indexes: list[int] = []

    async def work() -> None:
        await world.pause()
        try:
            async with meeting as index:
                indexes.append(index)
                await switch()
        except world.names.BrokenBarrierError:
            world.expect(breaker, "broken")

    async def end_it() -> None:
        await world.pause()
        await switch()
        await getattr(meeting, breaker)()

    for _ in range(actors):
        world.actor(work(), waits=lambda: meeting.n_waiting < parties and not meeting.broken)
    if breaker:
        world.actor(end_it())
    world.at_end(lambda: world.expect(meeting.n_waiting == 0, "left waiter", meeting))
    world.at_end(lambda: world.expect(all(0 <= index < parties for index in indexes), "index", indexes))


@scenario("Barrier")
def barrier(world: World) -> None:
    meet(world, 2, 3)


@scenario("Barrier")
def barrier_of_all(world: World) -> None:
    meet(world, 3, 3)


@scenario("Barrier")
def barrier_aborted(world: World) -> None:
    meet(world, 2, 2, "abort")


@scenario("Barrier")
def barrier_reset(world: World) -> None:
    meet(world, 2, 2, "reset")
