"""The types of limiters; only type checkers read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal

import tonnage
from typing_extensions import assert_type


async def capacity() -> None:
    limiter = tonnage.CapacityLimiter(
        20, per_key=2, max_waiting=100, max_wait=1, target_delay=0.1, name="database"
    )
    tonnage.CapacityLimiter(math.inf)
    permit = await limiter.acquire()
    assert_type(permit, tonnage.Permit)
    assert_type(await limiter.acquire(2, key=("tenant", 1), priority=3), tonnage.Permit)
    assert_type(limiter.acquire_nowait(tokens=2), tonnage.Permit)
    async with limiter as entered:
        assert_type(entered, tonnage.Permit)
    assert_type(limiter.total_tokens, float)
    limiter.total_tokens = 30
    assert_type(limiter.borrowed_tokens, int)
    assert_type(limiter.available_tokens, float)
    assert_type(await limiter.acquire_on_behalf_of("somebody"), None)
    assert_type(limiter.acquire_on_behalf_of_nowait(object()), None)
    assert_type(limiter.release(), None)
    assert_type(limiter.release_on_behalf_of(object()), None)
    assert_type(limiter.close(), None)
    assert_type(limiter.name, str)
    limiter.borrowed_tokens = 1  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    await limiter.acquire(key=[])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def permits(permit: tonnage.Permit) -> None:
    with permit as entered:
        assert_type(entered, tonnage.Permit)
    assert_type(permit.release(), None)
    permit.release("dropped")
    permit.release(outcome="ignore")
    permit.release("late")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def rate() -> None:
    limiter = tonnage.RateLimiter(100, 60, burst=5, max_waiting=3, max_wait=0.5, name=None)
    assert_type(await limiter.acquire(2), tonnage.Permit)
    assert_type(limiter.rate, float)
    assert_type(limiter.per, float)
    assert_type(limiter.burst, int)
    limiter.release()  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def statistics(limiter: tonnage.Limiter) -> None:
    stats = limiter.stats()
    assert_type(stats, tonnage.LimiterStats)
    assert_type(stats.limit, float)
    assert_type(stats.in_use, int)
    assert_type(stats.waiting, int)
    assert_type(stats.admitted, int)
    assert_type(stats.refused, Mapping[Literal["full", "delay", "deadline", "closed"], int])
    assert_type(stats.wait_seconds, tuple[tuple[float, int], ...])
    assert_type(stats.borrowers, tuple[object, ...])


async def decorated(limiter: tonnage.Limiter) -> None:
    @limiter
    async def fetch(url: str, *, retries: int = 3) -> bytes:
        return b""

    @limiter  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    def plain() -> int:
        return 1

    assert_type(await fetch("url", retries=1), bytes)
    made: Callable[[str], Coroutine[Any, Any, bytes]] = fetch
    await made("url")
    await fetch(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
