"""Memory of one waiting task, and a full garbage collection: 100,000 tasks, each on a future of its own.

Run as a script, in a process of its own for each loop, it measures that loop. The
figure includes coroutine, task, future, context, and what the loop keeps for each.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path
from time import process_time_ns
from typing import Any

from child import Child, ChildError
from loops import LOOPS

TASKS = 100_000


def measure(loops: list[str]) -> dict[str, dict[str, Any]]:
    """Return `{loop: {"bytes_per_task", "peak_bytes_per_task", "collect_ms"}}`."""
    results: dict[str, dict[str, Any]] = {}
    for loop in loops:
        with Child.python("waiting_memory.py", loop) as child:
            try:
                results[loop] = child.receive()
            except ChildError as error:
                results[loop] = Child.outcome(error)
    return results


def resident_bytes(field: str) -> int:
    """Read VmRSS (now) or VmHWM (the most so far) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


async def wait(future: asyncio.Future[None]) -> None:
    await future


async def fill(count: int) -> dict[str, float]:
    """Have `count` tasks wait, measure, and let them all end."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None] | None] = [None] * count
    tasks: list[asyncio.Task[None] | None] = [None] * count
    gc.collect()
    before = resident_bytes("VmRSS")
    for index in range(count):
        futures[index] = future = loop.create_future()
        tasks[index] = loop.create_task(wait(future))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    now, most = resident_bytes("VmRSS"), resident_bytes("VmHWM")
    started = process_time_ns()
    gc.collect()
    collected_ns = process_time_ns() - started
    for waited, task in zip(futures, tasks, strict=True):
        assert waited is not None
        assert task is not None
        waited.set_result(None)
        await task
    return {
        "bytes_per_task": round((now - before) / count),
        "peak_bytes_per_task": round((most - before) / count),
        "collect_ms": round(collected_ns / 1e6, 1),
    }


async def warm_and_fill() -> dict[str, float]:
    await fill(1000)
    return await fill(TASKS)


def main() -> None:
    loop = LOOPS[sys.argv[1]].new_event_loop()
    asyncio.set_event_loop(loop)
    print(json.dumps(loop.run_until_complete(warm_and_fill())), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
