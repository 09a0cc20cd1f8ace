"""AdaptiveLimiter: whatever the algorithm says meanwhile, tokens come back, and those who wait are served."""

from __future__ import annotations

import itertools
from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World


class Wavering:
    """Says another limit at each call."""

    def __init__(self) -> None:
        self.limits = itertools.cycle([1, 3, 2])
        self.told = 0

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        self.told += 1
        return next(self.limits)


@scenario("AdaptiveLimiter")
def adaptive_limiter(world: World) -> None:
    wavering = Wavering()
    limiter: Any = world.names.AdaptiveLimiter(wavering, initial=1, max_waiting=None)
    inside = ended = 0

    async def work(times: int) -> None:
        nonlocal inside, ended
        for _ in range(times):
            await world.pause()
            async with limiter:
                inside += 1
                world.expect(inside <= 3, "too many inside", inside)
                try:
                    await switch()
                finally:
                    inside -= 1
                ended += 1

    for times in (2, 1, 1, 1):
        world.actor(work(times))

    def judge() -> None:
        stats = limiter.stats()
        world.expect(stats.in_use == 0, "lost permit", stats)
        world.expect(stats.waiting == 0, "left waiter", stats)
        world.expect(wavering.told == ended, "told wrongly", (wavering.told, ended))
        world.expect(limiter.limit in {1, 2, 3}, "strange limit", limiter.limit)

    world.at_end(judge)
