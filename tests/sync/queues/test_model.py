"""Random orders of puts, gets, cancels and turns, against a model in plain Python."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

import pytest
import tonnage
from hypothesis import HealthCheck, given, settings, strategies as st

from .conftest import KINDS, QUEUES

Step = tuple[str, int]
# Rare steps end most of what can happen later; cancels matter most between a promise and a turn.
STEPS = ["put", "get", "get", "put_nowait", "get_nowait", "cancel", "cancel_promised", "turn", "task_done"]
WEIGHTS = st.sampled_from(STEPS * 6 + ["shutdown", "drain"])

# uvloop's `stop()` does not end the loop after the turn in which it is called, so no model can follow it.
TURN_BY_TURN = [kind for kind in KINDS if kind.is_ours and kind.name != "tonnage-on-uvloop"]


class Job:
    """A task that gets (`item` is None) or puts."""

    def __init__(self, item: int | None) -> None:
        self.item = item
        self.state = "created"
        self.must_cancel = False
        self.outcome: Any = None


class Model:
    """What the documentation says: lines, promises and a turn at a time."""

    def __init__(self, name: str, maxsize: int) -> None:
        self.name, self.maxsize = name, maxsize
        self.items: list[int] = []
        self.lines: dict[bool, list[Job]] = {True: [], False: []}
        self.promised = {True: 0, False: 0}
        self.ready: list[Job] = []
        self.unfinished = 0
        self.is_shutdown = False

    def qsize(self) -> int:
        return max(0, len(self.items) - self.promised[True])

    def full(self) -> bool:
        return self.maxsize > 0 and len(self.items) + self.promised[False] >= self.maxsize

    def put_nowait(self, item: int) -> Any:
        if self.is_shutdown:
            return tonnage.QueueShutDown
        if self.full():
            return asyncio.QueueFull
        if self.name == "PriorityQueue":
            heapq.heappush(self.items, item)
        else:
            self.items.append(item)
        self.unfinished += 1
        self.serve()
        return None

    def get_nowait(self) -> Any:
        if not self.qsize():
            return tonnage.QueueShutDown if self.is_shutdown else asyncio.QueueEmpty
        if self.name == "PriorityQueue":
            item = heapq.heappop(self.items)
        else:
            item = self.items.pop(-1 if self.name == "LifoQueue" else 0)
        self.serve()
        return item

    def serve(self) -> None:
        for gets, is_free in ((True, lambda: self.qsize() > 0), (False, lambda: not self.full())):
            line = self.lines[gets]
            while line and is_free():
                job = line.pop(0)
                if job.state == "waiting":
                    job.state = "promised"
                    self.promised[gets] += 1
                    self.ready.append(job)

    def cancel(self, job: Job) -> None:
        if job.state == "waiting":
            job.state = "cancelled"
            self.ready.append(job)
        else:
            job.must_cancel = True

    def turn(self) -> None:
        jobs, self.ready = self.ready, []
        for job in jobs:
            self.step(job)

    def step(self, job: Job) -> None:
        gets = job.item is None
        if job in self.lines[gets]:
            self.lines[gets].remove(job)
        if job.state == "promised":
            self.promised[gets] -= 1
        if job.must_cancel or job.state == "cancelled":
            job.outcome = asyncio.CancelledError
            self.serve()
        else:
            job.outcome = self.get_nowait() if job.item is None else self.put_nowait(job.item)
            if job.outcome in (asyncio.QueueEmpty, asyncio.QueueFull):
                job.state = "waiting"
                self.lines[gets].append(job)
                return
        job.state = "done"

    def task_done(self) -> Any:
        if self.unfinished == 0:
            return ValueError
        self.unfinished -= 1
        return None

    def shutdown(self, immediate: bool) -> None:
        self.is_shutdown = True
        if immediate:
            self.unfinished = max(0, self.unfinished - len(self.items))
            self.items.clear()
        for line in self.lines.values():
            for job in line:
                if job.state == "waiting":
                    job.state = "told"
                    self.ready.append(job)
            line.clear()


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returned, or the class of what it raised."""
    try:
        return call()
    except Exception as error:
        return type(error)


def outcome(task: asyncio.Task[Any]) -> Any:
    if task.cancelled():
        return asyncio.CancelledError
    error = task.exception()
    return task.result() if error is None else type(error)


class Machine:
    """A queue and its model, taken through the same steps."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, maxsize: int) -> None:
        self.loop = loop
        self.queue = getattr(tonnage, name)(maxsize)
        self.model = Model(name, maxsize)
        self.jobs: list[tuple[asyncio.Task[Any], Job]] = []
        self.number = 0

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        self.model.turn()

    def spawn(self, item: int | None) -> None:
        coroutine = self.queue.get() if item is None else self.queue.put(item)
        job = Job(item)
        self.jobs.append((self.loop.create_task(coroutine), job))
        self.model.ready.append(job)

    def step(self, action: str, choice: int) -> None:
        queue, model = self.queue, self.model
        self.number += 1
        # Not in order of arrival, so that a PriorityQueue differs from a Queue.
        item = (choice % 7) * 1000 + self.number
        if action == "turn":
            self.turn()
        elif action in ("put", "get"):
            self.spawn(item if action == "put" else None)
        elif action == "put_nowait":
            assert attempt(lambda: queue.put_nowait(item)) == model.put_nowait(item)
        elif action == "get_nowait":
            assert attempt(queue.get_nowait) == model.get_nowait()
        elif action == "task_done":
            assert attempt(queue.task_done) == model.task_done()
        elif action in ("cancel", "cancel_promised"):
            alive = [
                (task, job)
                for task, job in self.jobs
                if not task.done() and (action == "cancel" or job.state == "promised")
            ]
            if alive:
                task, job = alive[choice % len(alive)]
                task.cancel()
                model.cancel(job)
        else:
            queue.shutdown(immediate=action == "drain")
            model.shutdown(action == "drain")

    def check(self) -> None:
        queue, model = self.queue, self.model
        assert list(queue._queue) == model.items
        assert (queue.qsize(), queue.empty(), queue.full()) == (
            model.qsize(),
            model.qsize() == 0,
            model.full(),
        )
        assert len(queue._queue) <= model.maxsize or model.maxsize == 0
        assert queue._unfinished_tasks == model.unfinished
        assert (len(queue._getters), len(queue._putters)) == (len(model.lines[True]), len(model.lines[False]))
        for task, job in self.jobs:
            assert task.done() == (job.state == "done")
            if task.done():
                assert outcome(task) == job.outcome

    def end(self) -> None:
        """When all is quiet nobody sleeps beside what it waits for."""
        while self.model.ready:
            self.turn()
            self.check()
        assert not (self.queue._getters and self.queue.qsize())
        assert not (self.queue._putters and not self.queue.full())
        for task, job in self.jobs:
            if not task.done():
                task.cancel()
                self.model.cancel(job)
        while self.model.ready:
            self.turn()
        self.check()
        assert (self.model.promised, self.queue._getters) == (
            {True: 0, False: 0},
            type(self.queue._getters)(),
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", TURN_BY_TURN, ids=lambda kind: kind.name)
@settings(
    max_examples=600,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    name=st.sampled_from(QUEUES),
    maxsize=st.integers(0, 3),
    steps=st.lists(st.tuples(WEIGHTS, st.integers(0, 40)), min_size=20, max_size=60),
)
def test_every_order_is_as_the_model_says(
    loop: asyncio.AbstractEventLoop, name: str, maxsize: int, steps: list[Step]
) -> None:
    machine = Machine(loop, name, maxsize)
    for action, choice in steps:
        machine.step(action, choice)
        machine.check()
    machine.end()
