"""amap and race: each item is done once or not at all, and nobody who was started is left behind.

Whatever is cancelled, when the parent goes on no item runs, its source is closed, and what has failed has
left once. The workers are actors too, in some scenarios.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World


class Load:
    """Items, what becomes of them, and what they have raised."""

    def __init__(self, world: World, *, fails: tuple[int, ...] = (), hears_all: bool = True) -> None:
        self.world = world
        self.fails = fails
        # Must each error be found in what the parent gets?
        self.hears_all = hears_all
        self.taken = 0
        self.source_open = False
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.raised: list[BaseException] = []
        self.found: list[BaseException] = []
        world.at_end(self.judge)

    async def source(self, count: int) -> AsyncIterator[int]:
        self.source_open = True
        try:
            for item in range(count):
                await self.world.pause()
                await switch()
                self.taken += 1
                yield item
        finally:
            try:
                await switch()
            finally:
                self.source_open = False

    async def work(self, item: int) -> int:
        self.begun.append(item)
        try:
            await self.world.pause()
            await switch(1 + item % 2)
        finally:
            await self.finish(item)
        if item in self.fails:
            self.raised.append(LookupError(item))
            raise self.raised[-1]
        return -item

    async def finish(self, item: int) -> None:
        """Take a turn, whatever comes."""
        try:
            await switch()
        finally:
            self.ended.append(item)

    def expect_rest(self) -> None:
        self.world.expect(sorted(self.begun) == sorted(self.ended), "left running", (self.begun, self.ended))
        self.world.expect(not self.source_open, "source left open")

    def judge(self) -> None:
        self.expect_rest()
        self.world.expect(len(set(self.begun)) == len(self.begun), "done twice", self.begun)
        if not self.hears_all:
            return
        found = sorted(map(id, self.found))
        self.world.expect(found == sorted(map(id, self.raised)), "lost error", (self.raised, self.found))

    async def watch(self, run: Callable[[], Awaitable[Any]]) -> None:
        """Be the parent: nothing is left when it goes on, with or without an error."""
        await self.world.pause()
        try:
            await run()
        except Exception as error:
            self.found.extend(getattr(error, "exceptions", (error,)))
        finally:
            self.expect_rest()
        # A cancel that came meanwhile must be felt here.
        await switch()


@scenario("amap")
def amap_for_a_list(world: World) -> None:
    load = Load(world)

    async def run() -> None:
        found = await world.names.amap(load.work, range(4), limit=2)
        world.expect(found == [0, -1, -2, -3], "result", found)

    world.actor(load.watch(run))


@scenario("amap")
def amap_over_an_asynchronous_source(world: World) -> None:
    load = Load(world)

    async def run() -> None:
        count = await world.names.amap(load.work, load.source(3), limit=2).drain()
        world.expect(count == 3 and load.begun == [0, 1, 2], "result", count)

    world.actor(load.watch(run))


@scenario("amap")
def amap_that_fails(world: World) -> None:
    load = Load(world, fails=(1, 2))

    async def run() -> None:
        await world.names.amap(load.work, load.source(4), limit=3)
        world.expect(condition=False, kind="lost error")

    world.actor(load.watch(run))


@scenario("amap")
def amap_as_a_stream(world: World) -> None:
    load = Load(world)

    async def run() -> None:
        seen = []
        mapped = world.names.amap(load.work, load.source(4), limit=2, buffersize=0)
        async with mapped as results:
            async for result in results:
                seen.append(result)
                await switch()
                world.expect(load.taken <= len(seen) + 2, "taken too early", (load.taken, seen))
        world.expect(seen == [0, -1, -2, -3], "result", seen)

    world.actor(load.watch(run))


@scenario("amap")
def amap_that_is_left_early(world: World) -> None:
    load = Load(world)

    async def run() -> None:
        async with world.names.amap(load.work, load.source(9), limit=2, ordered=False) as results:
            async for result in results:
                if result < 0:
                    break

    world.actor(load.watch(run))


@scenario("amap")
def amap_that_fails_as_a_stream(world: World) -> None:
    load = Load(world, fails=(1,))

    async def run() -> None:
        async with world.names.amap(load.work, range(9), limit=2) as results:
            async for _ in results:
                await switch()

    world.actor(load.watch(run))


@scenario("amap")
def amap_with_two_consumers(world: World) -> None:
    """A consumer that is cancelled leaves what it was woken for to the other."""
    load = Load(world)
    seen: list[int] = []

    async def consume(results: AsyncIterator[int]) -> None:
        await world.pause()
        async for result in results:
            seen.append(result)
            await switch()

    async def run() -> None:
        async with world.names.amap(load.work, range(4), limit=2) as results:
            consumers = [world.actor(consume(results), child=True) for _ in range(2)]
            await world.names.gather(*consumers, return_exceptions=True)
        if any(not consumer.cancelled() for consumer in consumers):
            world.expect(sorted(seen) == [-3, -2, -1, 0], "result", seen)

    world.actor(load.watch(run))


@scenario("amap")
def amap_whose_workers_are_cancelled(world: World) -> None:
    """The result of the item will never be there, so the whole ends cancelled."""
    load = Load(world)
    workers: list[Any] = []

    async def work(item: int) -> int:
        worker = asyncio.current_task()
        if worker not in workers:
            workers.append(worker)
            world.adopt(worker, child=True, cancelled_if=lambda: True)  # type: ignore[arg-type]
        return await load.work(item)

    async def run() -> None:
        found = await world.names.amap(work, range(3), limit=2)
        world.expect(found == [0, -1, -2], "result", found)

    world.actor(load.watch(run), cancelled_if=lambda: any(map(world.was_cancelled, workers)))


def race_of(world: World, *items: int, fails: tuple[int, ...] = (), **options: Any) -> None:
    load = Load(world, fails=fails, hears_all=False)

    async def run() -> None:
        funcs = [lambda item=item: load.work(item) for item in items]
        try:
            found = await world.names.race(*funcs, **options)
        except Exception as error:
            errors = list(getattr(error, "exceptions", (error,)))
            world.expect(len(errors) == len(items) == len(fails), "raised", error)
            world.expect(sorted(map(id, errors)) == sorted(map(id, load.raised)), "lost error", errors)
        else:
            world.expect(-found in set(items) - set(fails), "result", found)

    world.actor(load.watch(run))


@scenario("race")
def race(world: World) -> None:
    race_of(world, 0, 1)


@scenario("race")
def race_with_a_failure(world: World) -> None:
    race_of(world, 2, 1, fails=(2,))


@scenario("race")
def race_in_turns(world: World) -> None:
    race_of(world, 0, 1, 3, fails=(0,), stagger=world.delay(1))


@scenario("race")
def race_that_all_lose(world: World) -> None:
    race_of(world, 1, 2, fails=(1, 2), stagger=world.delay(1_000_000))
