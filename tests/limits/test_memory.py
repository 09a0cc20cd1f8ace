"""No operation of a limiter keeps memory, and the collector may run at any moment."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import tonnage

from .conftest import outcome, settle

ROUNDS_MAX = 20
TIMES = 200
OPERATIONS: dict[str, Callable[[tonnage.CapacityLimiter], Coroutine[Any, Any, None]]] = {}


def operation(function: Any) -> Any:
    OPERATIONS[function.__name__] = function
    return function


@operation
async def block(limiter: tonnage.CapacityLimiter) -> None:
    async with limiter as permit, limiter:
        permit.release()


@operation
async def permit_of_a_key(limiter: tonnage.CapacityLimiter) -> None:
    with await limiter.acquire(2, key=object(), priority=id(limiter) % 7):
        pass


@operation
async def release_by_the_task(limiter: tonnage.CapacityLimiter) -> None:
    await limiter.acquire()
    limiter.release()


@operation
async def borrower(limiter: tonnage.CapacityLimiter) -> None:
    await limiter.acquire_on_behalf_of(limiter)
    limiter.release_on_behalf_of(limiter)


@operation
async def wait_that_is_served(limiter: tonnage.CapacityLimiter) -> None:
    permit = await limiter.acquire(2)
    waiting = asyncio.ensure_future(limiter.acquire(key="key"))
    await settle(1)
    permit.release()
    (await waiting).release()


@operation
async def wait_that_is_cancelled(limiter: tonnage.CapacityLimiter) -> None:
    with await limiter.acquire(2):
        waiting = [asyncio.ensure_future(limiter.acquire(key=key)) for key in range(3)]
        borrowing = asyncio.ensure_future(limiter.acquire_on_behalf_of("somebody"))
        await settle(1)
        for task in (*waiting, borrowing):
            task.cancel()
        await asyncio.wait([*waiting, borrowing])


@operation
async def wait_that_is_refused(limiter: tonnage.CapacityLimiter) -> None:
    closing = tonnage.CapacityLimiter(1, max_waiting=2, max_wait=100)
    async with closing:
        waiting = [asyncio.ensure_future(outcome(closing.acquire())) for _ in range(3)]
        await settle(1)
        closing.close()
        await asyncio.gather(*waiting)


@operation
async def permit_that_is_lost(limiter: tonnage.CapacityLimiter) -> None:
    await limiter.acquire()


@operation
async def limiter_in_a_cycle(limiter: tonnage.CapacityLimiter) -> None:
    other = tonnage.CapacityLimiter(1, per_key=1)
    other.itself = other  # type: ignore[attr-defined]
    other.permit = await other.acquire(key=other)  # type: ignore[attr-defined]
    await other.acquire_on_behalf_of("somebody") if other.available_tokens else None


@operation
async def rate(limiter: tonnage.CapacityLimiter) -> None:
    fast = tonnage.RateLimiter(1e6, burst=1)
    await fast.acquire()
    waiting = asyncio.ensure_future(fast.acquire(key=1))
    await settle(1)
    async with fast:
        fast.stats()
    await waiting


@pytest.fixture(params=["tonnage"])
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Our loop: others keep memory of their own."""
    return tonnage.new_event_loop


def perform(loop: asyncio.AbstractEventLoop, limiter: Any, name: str, times: int) -> None:
    async def main() -> None:
        for _ in range(times):
            await asyncio.ensure_future(OPERATIONS[name](limiter))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.run_until_complete(main())
        gc.collect()
    assert limiter.borrowed_tokens == limiter.stats().waiting == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_keeps_no_memory(name: str, loop: asyncio.AbstractEventLoop) -> None:
    limiter = tonnage.CapacityLimiter(2, per_key=2, name="memory")
    perform(loop, limiter, name, TIMES)
    growth = []
    for _ in range(ROUNDS_MAX):
        before = sys.getallocatedblocks()
        perform(loop, limiter, name, TIMES)
        growth.append(sys.getallocatedblocks() - before)
        if len(growth) >= 3 and min(growth) <= 0:
            break
    assert min(growth) <= 0, growth


@pytest.mark.parametrize("name", OPERATIONS)
def test_collector_may_run_at_each_allocation(name: str, loop: asyncio.AbstractEventLoop) -> None:
    limiter = tonnage.CapacityLimiter(2, per_key=2, name="memory")
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        perform(loop, limiter, name, 3)
    finally:
        gc.set_threshold(*old)
