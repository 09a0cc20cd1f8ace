"""Many jobs, 20 at once: what it costs to bound them, in each of the ways that people use.

200,000 jobs of `sleep(0)`. The figures of a way are CPU time for each job, the memory that is
resident at most beside what was there before, and the longest time for which the loop ran no
callback that was due. Each way runs in a process of its own; a round runs all of them, and the
least of the rounds counts.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter, process_time
from typing import Any

from child import Child, ChildError
from waiting_memory import resident_bytes

JOBS = 200_000
LIMIT = 20
TICK_S = 0.001
ROUNDS = 3

Way = Callable[[int], Awaitable[object]]
WAYS: dict[str, tuple[Way, str, str]] = {}
"""What runs all jobs, the module that it needs, and the module whose loop it runs on."""


def way(name: str, *, needs: str = "asyncio", loop: str = "asyncio") -> Callable[[Way], Way]:
    """Enter a function that runs so many jobs."""

    def enter(function: Way) -> Way:
        WAYS[name] = (function, needs, loop)
        return function

    return enter


sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
"""Of the module whose names are measured."""


async def job(_: int = 0) -> None:
    await sleep(0)


@way("asyncio: gather and Semaphore")
async def gather_and_semaphore(count: int) -> None:
    semaphore = asyncio.Semaphore(LIMIT)

    async def member(item: int) -> None:
        async with semaphore:
            await job(item)

    await asyncio.gather(*[member(item) for item in range(count)])


@way("asyncio: TaskGroup and Semaphore")
async def group_and_semaphore(count: int) -> None:
    semaphore = asyncio.Semaphore(LIMIT)

    async def member(item: int) -> None:
        async with semaphore:
            await job(item)

    async with asyncio.TaskGroup() as group:
        for item in range(count):
            group.create_task(member(item))


@way("asyncio: acquire, then create_task")
async def acquire_then_spawn(count: int) -> None:
    semaphore = asyncio.Semaphore(LIMIT)

    async def member(item: int) -> None:
        try:
            await job(item)
        finally:
            semaphore.release()

    async with asyncio.TaskGroup() as group:
        for item in range(count):
            await semaphore.acquire()
            group.create_task(member(item))


@way("asyncio: 20 workers over one iterator")
async def workers(count: int) -> None:
    items = iter(range(count))

    async def work() -> None:
        for item in items:
            await job(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(LIMIT):
            group.create_task(work())


@way("quattro.gather(concurrency_limit=)", needs="quattro")
async def quattro_gather(count: int) -> None:
    quattro = importlib.import_module("quattro")
    await quattro.gather(*[job(item) for item in range(count)], concurrency_limit=LIMIT)


@way("anyio.amap and CapacityLimiter", needs="anyio")
async def anyio_amap(count: int) -> None:
    anyio = importlib.import_module("anyio")
    limiter = anyio.CapacityLimiter(LIMIT)

    async def member(item: int) -> None:
        async with limiter:
            await job(item)

    await anyio.amap(member, range(count))


@way("aiometer.run_on_each(max_at_once=)", needs="aiometer")
async def aiometer_run(count: int) -> None:
    aiometer = importlib.import_module("aiometer")
    await aiometer.run_on_each(job, list(range(count)), max_at_once=LIMIT)


@way("aiojobs.Scheduler(limit=)", needs="aiojobs")
async def aiojobs_scheduler(count: int) -> None:
    aiojobs = importlib.import_module("aiojobs")
    async with aiojobs.Scheduler(limit=LIMIT, pending_limit=LIMIT, wait_timeout=None) as scheduler:
        for item in range(count):
            await scheduler.spawn(job(item))
        await scheduler.wait_and_close(timeout=None)


@way("tuskpool.TaskPool", needs="tuskpool")
async def tuskpool_map(count: int) -> None:
    tuskpool = importlib.import_module("tuskpool")
    async with tuskpool.TaskPool(max_workers=LIMIT) as pool:
        async for _ in pool.map(job, range(count)):
            pass


@way("aiostream.stream.map(task_limit=)", needs="aiostream")
async def aiostream_map(count: int) -> None:
    stream = importlib.import_module("aiostream").stream
    async with stream.map(stream.iterate(range(count)), job, task_limit=LIMIT).stream() as results:
        async for _ in results:
            pass


@way("tonnage: TaskGroup(limit=).create_task", loop="tonnage")
async def tonnage_create_task(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    async with tonnage.TaskGroup(limit=LIMIT, max_pending=count) as group:
        for item in range(count):
            group.create_task(job(item))


@way("tonnage: TaskGroup(limit=).submit", loop="tonnage")
async def tonnage_submit(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    async with tonnage.TaskGroup(limit=LIMIT) as group:
        for item in range(count):
            await group.submit(job, item)


@way("tonnage: gather(limit=)", loop="tonnage")
async def tonnage_gather(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    await tonnage.gather(*[job(item) for item in range(count)], limit=LIMIT)


@way("tonnage: await amap(limit=)", loop="tonnage")
async def tonnage_amap(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    await tonnage.amap(job, range(count), limit=LIMIT)


@way("tonnage: async with amap(limit=)", loop="tonnage")
async def tonnage_amap_stream(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    async with tonnage.amap(job, range(count), limit=LIMIT) as results:
        async for _ in results:
            pass


@way("tonnage: amap(limit=).drain()", loop="tonnage")
async def tonnage_amap_drain(count: int) -> None:
    tonnage = importlib.import_module("tonnage")
    await tonnage.amap(job, range(count), limit=LIMIT).drain()


class Ticker:
    """A callback that is due every millisecond, and remembers how late it was at most."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self.due = perf_counter() + TICK_S
        self.handle = asyncio.get_running_loop().call_later(TICK_S, self.tick)

    def tick(self) -> None:
        now = perf_counter()
        self.worst_s = max(self.worst_s, now - self.due)
        self.due = now + TICK_S
        self.handle = asyncio.get_running_loop().call_later(TICK_S, self.tick)

    def stop(self) -> float:
        """Return the worst in seconds, what is late at this moment included."""
        self.handle.cancel()
        return max(self.worst_s, perf_counter() - self.due)


async def run_jobs(function: Way, count: int) -> dict[str, float]:
    await function(LIMIT * 10)
    gc.collect()
    before = resident_bytes("VmRSS")
    ticker = Ticker()
    started = process_time()
    await function(count)
    spent = process_time() - started
    lag_s = ticker.stop()
    most = resident_bytes("VmHWM")
    return {"us": spent / count * 1e6, "megabytes": max(0, most - before) / 1e6, "lag_ms": lag_s * 1e3}


def missing(name: str) -> str | None:
    """Say what this way lacks here, or return None."""
    _, needs, loop = WAYS[name]
    for module in (needs, loop):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    own = importlib.import_module(loop)
    if "TaskGroup" in name and not hasattr(own, "TaskGroup"):
        return "no asyncio.TaskGroup"
    return None


def measure(names: list[str], rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Return `{way: {"us", "megabytes", "lag_ms"}}`, the least of the rounds."""
    found: dict[str, dict[str, Any]] = {}
    for number in range(rounds):
        for name in names:
            say(f"jobs, round {number + 1} of {rounds}: {name}")
            once = measure_one(name)
            best = found.setdefault(name, once)
            if "us" in once and "us" in best:
                found[name] = {key: min(best[key], once[key]) for key in once}
    return found


def measure_one(name: str) -> dict[str, Any]:
    reason = missing(name)
    if reason is not None:
        return {"skipped": reason}
    with Child.python("jobs.py", name) as child:
        try:
            return child.receive()
        except ChildError as error:
            return Child.outcome(error)


def main() -> None:
    global sleep
    function, _, module = WAYS[sys.argv[1]]
    own = importlib.import_module(module)
    sleep = own.sleep
    loop = own.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(run_jobs(function, JOBS))
    finally:
        loop.close()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
