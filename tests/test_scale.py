"""A million tasks: memory is given back, and the second round needs no more than the first."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import Any

import pytest
import tonnage

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20
MANY = 100_000


def resident() -> int:
    """Return how much memory the process has, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE


@pytest.fixture
def ours() -> Any:
    """A loop of tonnage."""
    loop = tonnage.new_event_loop()
    yield loop
    loop.close()


async def one_by_one(count: int) -> int:
    """Create tasks that end before the next one starts."""
    done = 0

    async def child() -> None:
        nonlocal done
        done += 1

    for _ in range(count):
        await asyncio.ensure_future(child())
    return done


async def in_batches(count: int, batch: int = 1000) -> int:
    """Create tasks in batches, each of which waits once."""
    done = 0

    async def child() -> None:
        nonlocal done
        await asyncio.sleep(0)
        done += 1

    loop = asyncio.get_running_loop()
    for _ in range(count // batch):
        tasks = [loop.create_task(child()) for _ in range(batch)]
        for task in tasks:
            await task
    return done


async def parked(count: int) -> int:
    """Let all tasks live at once, then cancel them."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    tasks = [loop.create_task(event.wait()) for _ in range(count)]  # type: ignore[arg-type, var-annotated]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    # asyncio.Event removes its waiters one by one from a deque, in the order in which they came.
    await asyncio.wait(tasks)
    return sum(task.cancelled() for task in tasks)


async def timers(count: int) -> int:
    """Set timers, and cancel them all."""
    loop = asyncio.get_running_loop()
    handles = [loop.call_later(3600 + number % 97, print) for number in range(count)]
    for handle in handles:
        handle.cancel()
    return count


WORKS = {work.__name__: work for work in (one_by_one, in_batches, parked, timers)}


def check_second_round(loop: Any, name: str, count: int) -> None:
    work = WORKS[name]
    after = []
    for _ in range(3):
        assert loop.run_until_complete(work(count)) == count
        gc.collect()
        after.append(resident())
    assert min(after[1] - after[0], after[2] - after[1]) <= MIB, [size / MIB for size in after]


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_second_round_needs_no_more_memory(ours: Any, name: str) -> None:
    check_second_round(ours, name, MANY // 4 if name == "parked" else MANY)


@pytest.mark.slow
@pytest.mark.skipif("TONNAGE_LONG" not in os.environ, reason="takes a minute; set TONNAGE_LONG=1")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WORKS)
def test_second_million_needs_no_more_memory(ours: Any, name: str) -> None:
    check_second_round(ours, name, 1_000_000)


@pytest.mark.slow
def test_waiters_of_one_semaphore_are_cancelled_in_linear_time(ours: Any) -> None:
    async def main(count: int) -> float:
        semaphore = asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(semaphore.acquire()) for _ in range(count)]  # type: ignore[arg-type, var-annotated]
        await asyncio.sleep(0)
        began = loop.time()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return loop.time() - began

    small = min(ours.run_until_complete(main(2_000)) for _ in range(3))
    large = min(ours.run_until_complete(main(40_000)) for _ in range(2))
    assert large < small * 20 * 5


@pytest.mark.slow
def test_memory_of_a_burst_is_given_back(ours: Any) -> None:
    ours.run_until_complete(parked(1000))
    gc.collect()
    before = resident()
    ours.run_until_complete(parked(MANY // 2))
    gc.collect()
    kept = resident() - before
    # What the allocators keep in arenas is not ours to give; the loop's own tables are some MiB each.
    assert kept < MANY // 2 * 200, kept / MIB


@pytest.mark.slow
def test_callbacks_by_the_hundred_thousand_run_in_order(ours: Any) -> None:
    seen: list[int] = []
    for number in range(MANY):
        ours.call_soon(seen.append, number)
    ours.call_soon(ours.stop)
    ours.run_forever()
    assert seen == list(range(MANY))


@pytest.mark.slow
def test_all_tasks_lists_a_hundred_thousand(ours: Any) -> None:
    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        async def wait() -> None:
            await future

        tasks = [loop.create_task(wait()) for _ in range(100_000)]
        await asyncio.sleep(0)
        during = len(asyncio.all_tasks())
        future.set_result(None)
        await asyncio.wait(tasks)
        return during, len(asyncio.all_tasks())

    assert ours.run_until_complete(main()) == (100_001, 1)
