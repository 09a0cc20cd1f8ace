"""Interrupts, as of Ctrl-C, at each line that hands a call over to a thread: no slot is lost."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time

import pytest
import tonnage
from interrupts import Interrupt

FILES = ("workers.py", "worker_threads.py", "worker_call.py", "to_thread.py", "executor.py")
LINES_MAX = 400
"""More than a call executes: the sweep ends before."""
ENDED = ("settle", "release_permits")
"""By then the call has ended. Who interrupts it leaves the wait as it is, as in asyncio."""


async def in_executor(_workers):
    await asyncio.get_running_loop().run_in_executor(None, int)


async def in_thread(_workers):
    await tonnage.to_thread(int)


async def in_workers(workers):
    await workers.run(int)


async def all_are_well(workers):
    calls = [tonnage.to_thread(int), *(workers.run(int) for _ in range(2))]
    assert await asyncio.wait_for(asyncio.gather(*calls), 10) == [0, 0, 0]


def threads_of_workers():
    """Return those that do not end."""
    left = [thread for thread in threading.enumerate() if thread.name.startswith("tonnage-")]
    for thread in left:
        thread.join(10)
    return [thread for thread in left if thread.is_alive()]


async def end(workers):
    await asyncio.wait_for(workers.aclose(), 10)
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), 10)


def sweep(make, call, check):
    """Interrupt `call` at each of its lines, on a new loop with new workers, and `check` these afterwards."""
    if sys.gettrace() is not None:
        pytest.skip("somebody else traces")
    interrupts = 0
    for number in range(1, LINES_MAX):
        loop, workers = make()
        task = loop.create_task(call(workers))
        try:
            with Interrupt(number, FILES, but=ENDED):
                loop.run_until_complete(task)
        except KeyboardInterrupt:
            interrupts += 1
            # It may have met a callback, and not the task. What an executor runs may go on meanwhile.
            task.cancel()
            loop.run_until_complete(check(workers))
            loop.run_until_complete(asyncio.wait([task]))
        loop.run_until_complete(end(workers))
        loop.close()
        assert threads_of_workers() == []
        if interrupts < number:
            break
    assert 5 < interrupts < LINES_MAX - 1


@pytest.fixture
def executor():
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.mark.parametrize("limit", [1, "limiter"])
def test_interrupt_of_a_handover_to_an_executor_keeps_the_bound(executor, limit):
    """What the executor runs keeps its slot."""
    lock, running, most = threading.Lock(), 0, 0

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return 0

    async def several(workers):
        assert await asyncio.wait_for(asyncio.gather(*(workers.run(work) for _ in range(3))), 10) == [0] * 3

    def make():
        bound = tonnage.CapacityLimiter(1) if limit == "limiter" else 1
        return tonnage.new_event_loop(), tonnage.Workers(bound, executor=executor)

    async def call(workers):
        await workers.run(work)

    sweep(make, call, several)
    assert most == 1


@pytest.mark.parametrize("is_warm", [True, False])
@pytest.mark.parametrize(
    ("call", "limit"), [(in_executor, 1), (in_thread, 1), (in_workers, 1), (in_workers, "limiter")]
)
def test_interrupt_of_a_handover_loses_no_slot(call, limit, is_warm):
    def make():
        loop = tonnage.new_event_loop(policy=tonnage.Policy(threads=1))
        workers = tonnage.Workers(tonnage.CapacityLimiter(1) if limit == "limiter" else 1)
        if is_warm:
            # There are free threads, then.
            loop.run_until_complete(all_are_well(workers))
        return loop, workers

    sweep(make, call, all_are_well)
