"""The types of adaptive limits; only type checkers read it."""

from __future__ import annotations

import tonnage
from typing_extensions import assert_type


class Fixed:
    """An algorithm of a program's own."""

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        return 10


class Strange:
    """None, as it tells no number."""

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> str:
        return "10"


async def adaptive() -> None:
    algorithms: list[tonnage.LimitAlgorithm] = [tonnage.Gradient(window=0.5), tonnage.AIMD(0.2), Fixed()]
    assert_type(algorithms[0].update(1.0, 0.1, 3, False), int)
    tonnage.AdaptiveLimiter()
    tonnage.AdaptiveLimiter(None)
    limiter = tonnage.AdaptiveLimiter(Fixed(), min=2, max=5, dropped=(TimeoutError,), max_waiting=None)
    assert_type(limiter.limit, int)
    async with limiter as permit:
        assert_type(permit, tonnage.Permit)
        permit.release("dropped")

    tonnage.AdaptiveLimiter(Strange())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Gradient(0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.AIMD()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def job(number: int) -> str:
    return str(number)


async def owners() -> None:
    capacity, rate = tonnage.CapacityLimiter(5), tonnage.RateLimiter(10)
    tonnage.TaskGroup(limit=capacity)
    tonnage.TaskGroup(limit=(capacity, rate))
    assert_type(await tonnage.amap(job, range(3), limit=[rate]), list[str])
    assert_type(await tonnage.gather(job(1), job(2), limit=[capacity, rate]), tuple[str, str])
    tonnage.Workers([capacity, rate])

    tonnage.TaskGroup(limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Workers([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
