"""The operations whose CPU time is measured.

Each is a coroutine function of a namespace with asyncio's names and a count.
It does the operation that many times, so that the same lines run on every
loop; a loop with names of its own passes those instead (`loops.py`). The
figure of an operation is its time over its count.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace

Run = Callable[[SimpleNamespace, int], Awaitable[None]]


@dataclass(frozen=True)
class Operation:
    """An operation, and how often one measured round does it."""

    name: str
    count: int
    run: Run
    summary: str

    def uses(self) -> set[str]:
        """Return the names of its namespace that the operation uses."""
        return set(re.findall(r"\bnames\.([A-Za-z]\w*)", inspect.getsource(self.run)))

    def missing(self, names: SimpleNamespace) -> list[str]:
        """Return the names that the operation uses and `names` lacks."""
        return sorted(name for name in self.uses() if not hasattr(names, name))


OPERATIONS: dict[str, Operation] = {}


def operation(name: str, *, count: int) -> Callable[[Run], Run]:
    """Register the operation; the first line of its docstring describes it in tables."""

    def register(run: Run) -> Run:
        summary = (run.__doc__ or "").strip().splitlines()[0].rstrip(".")
        OPERATIONS[name] = Operation(name, count, run, summary)
        return run

    return register


async def nothing() -> None:
    pass


@operation("tg_noop", count=4000)
async def tg_noop(names: SimpleNamespace, count: int) -> None:
    """TaskGroup, trivial child, 4000 alive at once."""
    async with names.TaskGroup() as group:
        for _ in range(count):
            group.create_task(nothing())


@operation("tg_batch", count=500)
async def tg_batch(names: SimpleNamespace, count: int) -> None:
    """TaskGroup, trivial child, in batches of 100."""
    for _ in range(count // 100):
        async with names.TaskGroup() as group:
            for _ in range(100):
                group.create_task(nothing())


@operation("tg_y1", count=4000)
async def tg_y1(names: SimpleNamespace, count: int) -> None:
    """TaskGroup, child with one sleep(0), 4000 alive at once."""
    sleep = names.sleep

    async def yield_once() -> None:
        await sleep(0)

    async with names.TaskGroup() as group:
        for _ in range(count):
            group.create_task(yield_once())


@operation("gather", count=4000)
async def gather(names: SimpleNamespace, count: int) -> None:
    """gather, trivial child, 4000 alive at once."""
    await names.gather(*[nothing() for _ in range(count)])


@operation("gather100", count=500)
async def gather100(names: SimpleNamespace, count: int) -> None:
    """gather, trivial child, in batches of 100."""
    for _ in range(count // 100):
        await names.gather(*[nothing() for _ in range(100)])


@operation("sem", count=4000)
async def sem(names: SimpleNamespace, count: int) -> None:
    """Semaphore(20), contended by 4000 tasks of one gather."""
    sleep = names.sleep
    semaphore = names.Semaphore(20)

    async def member() -> None:
        async with semaphore:
            await sleep(0)

    await names.gather(*[member() for _ in range(count)])


@operation("bounded", count=4000)
async def bounded(names: SimpleNamespace, count: int) -> None:
    """20 at once of 4000: TaskGroup and Semaphore(20), or TaskGroup(limit=20) where there is one."""
    sleep = names.sleep

    async def free() -> None:
        await sleep(0)

    if names.has_limit:
        async with names.TaskGroup(limit=20) as group:
            for _ in range(count):
                group.create_task(free())
        return
    semaphore = names.Semaphore(20)

    async def member() -> None:
        async with semaphore:
            await sleep(0)

    async with names.TaskGroup() as group:
        for _ in range(count):
            group.create_task(member())


@operation("amap", count=4000)
async def amap(names: SimpleNamespace, count: int) -> None:
    """20 at once of 4000 items: gather and Semaphore(20), or amap(limit=20) where there is one."""
    sleep = names.sleep

    async def work(item: int) -> int:
        await sleep(0)
        return item

    if names.amap is not None:
        await names.amap(work, range(count), limit=20)
        return
    semaphore = names.Semaphore(20)

    async def member(item: int) -> int:
        async with semaphore:
            return await work(item)

    await names.gather(*[member(item) for item in range(count)])


@operation("sem_free", count=1000)
async def sem_free(names: SimpleNamespace, count: int) -> None:
    """Semaphore, free: acquire and release."""
    semaphore = names.Semaphore(20)
    for _ in range(count):
        async with semaphore:
            pass


@operation("lock", count=1000)
async def lock(names: SimpleNamespace, count: int) -> None:
    """Lock, contended by 100 tasks."""
    sleep = names.sleep
    mutex = names.Lock()

    async def member(turns: int) -> None:
        for _ in range(turns):
            async with mutex:
                await sleep(0)

    await names.gather(*[member(count // 100) for _ in range(100)])


@operation("queue", count=1000)
async def queue(names: SimpleNamespace, count: int) -> None:
    """Queue(100), one producer and one consumer."""
    items = names.Queue(100)

    async def produce() -> None:
        for item in range(count):
            await items.put(item)

    producer = names.get_running_loop().create_task(produce())
    for _ in range(count):
        await items.get()
    await producer


@operation("event", count=500)
async def event(names: SimpleNamespace, count: int) -> None:
    """Event, 100 tasks wait for one set(); per task."""
    for _ in range(count // 100):
        flag = names.Event()

        async def set_it(flag: asyncio.Event = flag) -> None:
            flag.set()

        await names.gather(*[flag.wait() for _ in range(100)], set_it())


@operation("barrier", count=500)
async def barrier(names: SimpleNamespace, count: int) -> None:
    """Barrier(10), passed by ten tasks again and again; per task."""
    meeting = names.Barrier(10)

    async def member(turns: int) -> None:
        for _ in range(turns):
            await meeting.wait()

    await names.gather(*[member(count // 10) for _ in range(10)])


@operation("sleep0", count=500)
async def sleep0(names: SimpleNamespace, count: int) -> None:
    """sleep(0), one task."""
    sleep = names.sleep
    for _ in range(count):
        await sleep(0)


@operation("sleep0x100", count=1000)
async def sleep0x100(names: SimpleNamespace, count: int) -> None:
    """sleep(0), 100 tasks in turn."""
    sleep = names.sleep

    async def yielder(turns: int) -> None:
        for _ in range(turns):
            await sleep(0)

    await names.gather(*[yielder(count // 100) for _ in range(100)])


@operation("future", count=300)
async def future(names: SimpleNamespace, count: int) -> None:
    """Future round trip: create, call_soon(set_result), await."""
    loop = names.get_running_loop()
    for _ in range(count):
        answer = loop.create_future()
        loop.call_soon(answer.set_result, None)
        await answer


@operation("timeout", count=300)
async def timeout(names: SimpleNamespace, count: int) -> None:
    """timeout() around sleep(0)."""
    sleep, within = names.sleep, names.timeout
    for _ in range(count):
        async with within(60):
            await sleep(0)


@operation("wait_for", count=300)
async def wait_for(names: SimpleNamespace, count: int) -> None:
    """wait_for() around a coroutine with one sleep(0)."""
    sleep, within = names.sleep, names.wait_for

    async def yield_once() -> None:
        await sleep(0)

    for _ in range(count):
        await within(yield_once(), 60)


@operation("nested", count=600)
async def nested(names: SimpleNamespace, count: int) -> None:
    """Nested TaskGroups: each child of one group opens a group of two; per task."""

    async def family() -> None:
        async with names.TaskGroup() as group:
            group.create_task(nothing())
            group.create_task(nothing())

    async with names.TaskGroup() as group:
        for _ in range(count // 3):
            group.create_task(family())


@operation("callsoon", count=500)
async def callsoon(names: SimpleNamespace, count: int) -> None:
    """call_soon, from the callback before."""
    loop = names.get_running_loop()
    done = loop.create_future()
    left = count

    def tick() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(tick)
        else:
            done.set_result(None)

    loop.call_soon(tick)
    await done


@operation("timer", count=500)
async def timer(names: SimpleNamespace, count: int) -> None:
    """call_later and cancel."""
    loop = names.get_running_loop()

    def never() -> None:
        raise AssertionError

    for _ in range(count):
        loop.call_later(60, never).cancel()
    await names.sleep(0)


@operation("await_task", count=300)
async def await_task(names: SimpleNamespace, count: int) -> None:
    """create_task, and await it."""
    loop = names.get_running_loop()
    for _ in range(count):
        await loop.create_task(nothing())


@operation("pingpong", count=400)
async def pingpong(names: SimpleNamespace, count: int) -> None:
    """Two tasks wake each other by futures; per handover."""
    loop = names.get_running_loop()
    slots = [loop.create_future(), loop.create_future()]

    async def player(mine: int, other: int, turns: int) -> None:
        for _ in range(turns):
            await slots[mine]
            slots[mine] = loop.create_future()
            slots[other].set_result(None)

    players = [loop.create_task(player(0, 1, count // 2)), loop.create_task(player(1, 0, count // 2))]
    slots[0].set_result(None)
    for task in players:
        await task


@operation("threadsafe", count=300)
async def threadsafe(names: SimpleNamespace, count: int) -> None:
    """call_soon_threadsafe, from the callback before."""
    loop = names.get_running_loop()
    done = loop.create_future()
    left = count

    def tick() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon_threadsafe(tick)
        else:
            done.set_result(None)

    loop.call_soon_threadsafe(tick)
    await done
