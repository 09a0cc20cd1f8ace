"""CapacityLimiter and RateLimiter.

What is lent comes back whatever is cancelled when, no more is lent than there is, a wait that ends otherwise
leaves the line, and nobody who could be served waits.
"""

from __future__ import annotations

from typing import Any

from .locks import mutual
from .scenario import scenario
from .switch import switch
from .world import World


def expect_all_back(world: World, limiter: Any, *, in_use: int = 0) -> None:
    def check() -> None:
        stats = limiter.stats()
        world.expect(stats.waiting == 0, "left waiter", limiter)
        world.expect(stats.in_use == in_use, "lost tokens", limiter)
        world.expect(len(stats.borrowers) == in_use, "left holder", stats)

    world.at_end(check)


class Lent:
    """How much is lent at the moment, as the program sees it."""

    def __init__(self, world: World, most: int) -> None:
        self.world, self.most, self.now = world, most, 0

    def change(self, tokens: int) -> None:
        self.now += tokens
        self.world.expect(self.now <= self.most, "too many inside", self.now)


@scenario("CapacityLimiter")
def limiter(world: World) -> None:
    tokens = world.names.CapacityLimiter(2)
    mutual(world, tokens, 2, [1, 1, 1, 1])
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_with_requests_of_many_sizes(world: World) -> None:
    tokens = world.names.CapacityLimiter(3)
    lent = Lent(world, 3)

    async def work(*sizes: int) -> None:
        for size in sizes:
            await world.pause()
            with await tokens.acquire(size):
                lent.change(size)
                try:
                    await switch()
                finally:
                    lent.change(-size)

    for sizes in ((2, 1), (3,), (1, 2)):
        world.actor(work(*sizes))
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_with_keys_and_priorities(world: World) -> None:
    tokens = world.names.CapacityLimiter(2, per_key=1)
    lent = {"a": Lent(world, 1), "b": Lent(world, 1)}

    async def work(key: str, priority: int) -> None:
        await world.pause()
        permit = await tokens.acquire(key=key, priority=priority)
        lent[key].change(1)
        try:
            await switch()
        finally:
            lent[key].change(-1)
            permit.release()

    for key, priority in (("a", 0), ("a", 1), ("b", 0), ("a", 0)):
        world.actor(work(key, priority))
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_that_is_resized(world: World) -> None:
    tokens = world.names.CapacityLimiter(1)

    async def work() -> None:
        await world.pause()
        async with tokens:
            await switch()

    async def resize() -> None:
        for total in (3, 1, 2):
            await world.pause()
            tokens.total_tokens = total
            await switch()

    for _ in range(3):
        world.actor(work())
    world.actor(resize())
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_that_is_closed(world: World) -> None:
    tokens = world.names.CapacityLimiter(1)
    refused = (world.names.Overloaded,)

    async def work() -> None:
        await world.pause()
        async with tokens:
            await switch()

    async def close() -> None:
        await world.pause()
        await switch()
        tokens.close()

    for _ in range(3):
        world.actor(work(), raises=refused)
    world.actor(close())
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_with_waits_that_are_too_long(world: World) -> None:
    tokens = world.names.CapacityLimiter(1, max_wait=world.delay(2))
    refused = (world.names.Overloaded,)

    async def work() -> None:
        await world.pause()
        async with tokens:
            await world.names.sleep(world.delay(3))

    for _ in range(3):
        world.actor(work(), raises=refused)
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_whose_permits_are_handed_over(world: World) -> None:
    """One acquires, and another releases, or the task that has acquired."""
    tokens = world.names.CapacityLimiter(2)
    permits: list[Any] = []

    async def take() -> None:
        await world.pause()
        permits.append(await tokens.acquire())

    async def take_and_release() -> None:
        await world.pause()
        await tokens.acquire()
        try:
            await switch()
        finally:
            tokens.release()

    async def give_back() -> None:
        for _ in range(2):
            await world.pause()
            await switch()
            while permits:
                permits.pop().release()

    for _ in range(2):
        world.actor(take(), waits=lambda: bool(permits))
    for _ in range(2):
        world.actor(take_and_release(), waits=lambda: bool(permits))
    world.actor(give_back())

    def release_all() -> None:
        while permits:
            permits.pop().release()

    world.at_end(release_all)
    expect_all_back(world, tokens)


@scenario("CapacityLimiter")
def limiter_with_borrowers(world: World) -> None:
    tokens = world.names.CapacityLimiter(1)
    holders: set[str] = set()

    async def work(borrower: str) -> None:
        await world.pause()
        await tokens.acquire_on_behalf_of(borrower)
        holders.add(borrower)
        world.expect(len(holders) == 1, "too many inside", holders)
        try:
            await switch()
        finally:
            holders.discard(borrower)
            tokens.release_on_behalf_of(borrower)

    for borrower in "abc":
        world.actor(work(borrower))
    expect_all_back(world, tokens)


def tick_of(world: World) -> float:
    """Return the time of a token: none is not possible."""
    return world.delay(1) or 1e-6


@scenario("RateLimiter")
def rate_limiter(world: World) -> None:
    tick = tick_of(world)
    tokens = world.names.RateLimiter(1, tick, burst=2)
    began: list[float] = []
    times: list[float] = []

    async def work(size: int) -> None:
        await world.pause()
        began.append(world.loop.time())
        await tokens.acquire(size)
        times.extend([world.loop.time()] * size)

    def check() -> None:
        world.expect(tokens.stats().waiting == 0, "left waiter", tokens)
        # From the beginning: who has been let in may run late, so that two come closer to each other.
        for number, time in enumerate(sorted(times)):
            passed = (time - began[0]) / tick
            world.expect(number + 1 <= 2 + passed + 1e-3, "too fast", times)

    for size in (1, 2, 1, 1):
        world.actor(work(size))
    world.at_end(check)


@scenario("RateLimiter")
def rate_limiter_with_waits_that_are_too_long(world: World) -> None:
    tick = tick_of(world)
    tokens = world.names.RateLimiter(1, tick, max_wait=1.5 * tick)
    refused = (world.names.Overloaded,)

    async def work(priority: int) -> None:
        await world.pause()
        async with tokens:
            await switch()
        await world.pause()
        async with tokens:
            pass

    for priority in (0, 1, 0):
        world.actor(work(priority), raises=refused)
    world.at_end(lambda: world.expect(tokens.stats().waiting == 0, "left waiter", tokens))
