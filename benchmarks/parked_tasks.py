"""Many tasks that wait for one Event: what one of them weighs, and what it costs to start and to cancel it.

parked_tasks.py tonnage 1000000 [--no-collector]
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from time import process_time
from types import SimpleNamespace

from loops import LOOPS
from waiting_memory import resident_bytes


async def park(names: SimpleNamespace, count: int) -> dict[str, float]:
    event = names.Event()
    create_task = asyncio.get_running_loop().create_task

    async def wait() -> None:
        await event.wait()

    tasks = []
    gc.collect()
    before, began = resident_bytes("VmRSS"), process_time()
    for _ in range(count):
        tasks.append(create_task(wait()))
    await names.sleep(0)
    await names.sleep(0)
    started, now = process_time(), resident_bytes("VmRSS")
    for task in tasks:
        task.cancel()
    while not tasks[-1].done():
        await names.sleep(0)
    cancelled = process_time()
    assert all(task.cancelled() for task in tasks)
    return {
        "bytes": (now - before) / count,
        "start_us": (started - began) / count * 1e6,
        "cancel_us": (cancelled - started) / count * 1e6,
    }


def main() -> None:
    choice, count = LOOPS[sys.argv[1]], int(sys.argv[2])
    loop = choice.new_event_loop()
    asyncio.set_event_loop(loop)
    names = choice.names()
    loop.run_until_complete(park(names, 1000))
    if "--no-collector" in sys.argv:
        gc.disable()
    print(json.dumps(loop.run_until_complete(park(names, count))), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
