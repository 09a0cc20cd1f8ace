"""Survive an upstream that gets slow: find its limit, hedge a little, never queue for ever."""

from __future__ import annotations

import random

import tonnage

# Finds by itself how many calls the upstream can take. A few wait, and not for long; the others are refused.
upstream = tonnage.AdaptiveLimiter(initial=10, max=100, max_waiting=20, max_wait=0.5, name="upstream")
# At most one call in five may be a second try.
hedges = tonnage.Budget(ratio=0.2, min_per_second=1.0)


async def call() -> str:
    """Stand in for a call that is slow once in ten times."""
    async with upstream:
        await tonnage.sleep(0.2 if random.random() < 0.1 else 0.005)
        return "answer"


async def request() -> str:
    """Ask; if there is no answer after 20 ms, ask a second time, and take whichever comes first."""
    async with tonnage.timeout(1):
        return await tonnage.race(call, call, stagger=0.02, budget=hedges)


async def main() -> None:
    outcomes: dict[str, int] = {}

    async def client(_: int) -> None:
        try:
            outcome = await request()
        except Exception as error:
            # TimeoutError, Overloaded, or a group of them when both tries fail.
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    await tonnage.amap(client, range(200), limit=8).drain()
    print(outcomes, "limit:", upstream.limit)


tonnage.run(main())
