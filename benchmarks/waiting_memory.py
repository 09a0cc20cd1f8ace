"""Memory of one waiting task, and a full garbage collection: 100,000 tasks, each on a future of its own.

Tasks of the loop are measured, and children of a TaskGroup. Run as a script, in a
process of its own for each loop and kind, it measures one of them. The figure
includes coroutine, task, future, context, and what the loop and the group keep for each.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import process_time_ns
from types import SimpleNamespace
from typing import Any

from child import Child, ChildError
from loops import LOOPS

TASKS = 100_000
KINDS = ("task", "child of a TaskGroup")

CreateTask = Callable[[Coroutine[Any, Any, None]], object]


def measure(loops: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `{kind: {loop: {"bytes", "peak_bytes", "collect_ms"}}}`."""
    return {kind: {loop: measure_one(loop, kind) for loop in loops} for kind in KINDS}


def measure_one(loop: str, kind: str) -> dict[str, Any]:
    with Child.python("waiting_memory.py", loop, kind) as child:
        try:
            return child.receive()
        except ChildError as error:
            return Child.outcome(error)


def resident_bytes(field: str) -> int:
    """Read VmRSS (now) or VmHWM (the most so far) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


async def wait(future: asyncio.Future[None]) -> None:
    await future


async def fill_loop(names: SimpleNamespace, count: int) -> dict[str, float]:
    """Have `count` tasks of the loop wait, measure, and let them all end."""
    tasks: list[asyncio.Task[None] | None] = [None] * count
    index = iter(range(count))
    create_task = names.get_running_loop().create_task

    def create(coroutine: Coroutine[Any, Any, None]) -> None:
        tasks[next(index)] = create_task(coroutine)

    found = await fill(names, create, count)
    for task in tasks:
        assert task is not None
        await task
    return found


async def fill_group(names: SimpleNamespace, count: int) -> dict[str, float]:
    """Have `count` children of a group wait, measure, and let them all end."""
    async with names.TaskGroup() as group:
        return await fill(names, group.create_task, count)


async def fill(names: SimpleNamespace, create: CreateTask, count: int) -> dict[str, float]:
    loop = names.get_running_loop()
    futures: list[asyncio.Future[None] | None] = [None] * count
    gc.collect()
    before = resident_bytes("VmRSS")
    for index in range(count):
        futures[index] = future = loop.create_future()
        create(wait(future))
    await names.sleep(0)
    await names.sleep(0)
    now, most = resident_bytes("VmRSS"), resident_bytes("VmHWM")
    started = process_time_ns()
    gc.collect()
    collected_ns = process_time_ns() - started
    for waited in futures:
        assert waited is not None
        waited.set_result(None)
    return {
        "bytes": round((now - before) / count),
        "peak_bytes": round((most - before) / count),
        "collect_ms": round(collected_ns / 1e6, 1),
    }


async def warm_and_fill(names: SimpleNamespace, kind: str) -> dict[str, float]:
    fill_one = fill_loop if kind == "task" else fill_group
    await fill_one(names, 1000)
    return await fill_one(names, TASKS)


def main() -> None:
    choice, kind = LOOPS[sys.argv[1]], sys.argv[2]
    names = choice.names()
    if kind != "task" and not hasattr(names, "TaskGroup"):
        print(json.dumps({"skipped": f"no TaskGroup in {choice.names_module} of this Python"}), flush=True)
        return
    loop = choice.new_event_loop()
    asyncio.set_event_loop(loop)
    print(json.dumps(loop.run_until_complete(warm_and_fill(names, kind))), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
