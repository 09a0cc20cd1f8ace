"""Loops whose `time()` a program overrides, as test clocks do: in a class, or as an attribute of one loop."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from typing import Any

import pytest
import tonnage

BASES = [tonnage.EventLoop, asyncio.SelectorEventLoop]


@pytest.fixture(params=["class", "attribute"])
def clocked(request, base):
    """A loop with a clock that stands until the test sets `now`."""

    class Clocked(base):
        def time(self) -> float:
            return clock["now"]

    clock = {"now": 0.0}
    loop = Clocked() if request.param == "class" else base()
    if request.param == "attribute":
        loop.time = lambda: clock["now"]
    yield loop, clock
    loop.close()


@pytest.fixture(params=BASES, ids=["tonnage", "asyncio"])
def base(request):
    return request.param


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_timers_are_due_by_the_time_that_the_program_tells(clocked) -> None:
    loop, clock = clocked

    async def main() -> None:
        seen: list[Any] = []
        assert loop.call_later(5, seen.append, "later").when() == 5.0
        loop.call_at(7, seen.append, "at")
        for now, expected in ((4.9, []), (5.0, ["later"]), (6.9, ["later"]), (1e9, ["later", "at"])):
            clock["now"] = now
            await turns()
            assert seen == expected

    loop.run_until_complete(main())


def test_sleeps_and_timeouts_end_by_the_time_that_the_program_tells(clocked) -> None:
    loop, clock = clocked

    async def limited() -> None:
        async with tonnage.timeout(20):
            await loop.create_future()

    async def main() -> None:
        sleeping = loop.create_task(tonnage.sleep(10, "slept"))
        theirs = loop.create_task(asyncio.sleep(10, "slept"))
        waiting = loop.create_task(tonnage.wait_for(loop.create_future(), 30))
        limiting = loop.create_task(limited())
        await turns()
        tasks = [sleeping, theirs, limiting, waiting]
        for now, count in ((9.0, 0), (10.0, 2), (20.0, 3), (30.0, 4)):
            clock["now"] = now
            await turns(6)
            assert [task.done() for task in tasks] == [True] * count + [False] * (4 - count)
        assert sleeping.result() == theirs.result() == "slept"
        for task in (limiting, waiting):
            with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                task.result()

    loop.run_until_complete(main())


def test_sum_that_is_rounded_up_is_due(clocked) -> None:
    loop, clock = clocked
    missed = []

    async def main() -> None:
        for start, delay in itertools.product(range(60), repeat=2):
            due = []
            clock["now"] = start / 10
            loop.call_later(delay / 10, due.append, None)
            clock["now"] = (start + delay) / 10
            await turns(2)
            if not due:
                missed.append((start, delay))

    loop.run_until_complete(main())
    assert missed == []


def test_limiters_serve_by_the_time_that_the_program_tells(clocked) -> None:
    loop, clock = clocked

    async def main() -> None:
        limiter = tonnage.RateLimiter(1, per=1.0, burst=1)
        served: list[float] = []

        async def request() -> None:
            async with limiter:
                served.append(clock["now"])

        tasks = [loop.create_task(request()) for _ in range(3)]
        await turns()
        for now in (0.5, 1.0, 1.5, 2.0):
            clock["now"] = now
            await turns(6)
        assert served == [0.0, 1.0, 2.0]
        assert all(task.done() for task in tasks)
        async with tonnage.timeout(10), tonnage.CapacityLimiter(1):
            pass

    loop.run_until_complete(main())


def test_clock_is_asked_by_no_task_and_in_no_task_s_context(base) -> None:
    variable = contextvars.ContextVar("variable", default="base")
    asked: set[Any] = set()
    loop = base()
    real = loop.time

    def time() -> float:
        asked.add((asyncio.current_task(loop), variable.get()))
        return real()

    async def child() -> None:
        variable.set("of a child")
        await turns()

    async def main() -> None:
        loop.call_later(60, int)
        children = [loop.create_task(child()) for _ in range(3)]
        await asyncio.sleep(0)
        loop.time = time
        for task in children:
            await task

    loop.run_until_complete(main())
    loop.close()
    assert asked == {(None, "base")}


def test_loop_closes_whatever_its_clock_says(base) -> None:
    class Broken(base):
        def time(self) -> float:
            raise LookupError("no time")

    loop = Broken()
    loop.close()
    assert loop.is_closed()


def test_class_that_a_loop_gets_tells_its_time(base) -> None:
    class Clocked(base):
        def time(self) -> float:
            return 100.0

    loop = base()
    loop.__class__ = Clocked
    assert loop.call_later(5, int).when() == 105.0
    loop.close()


def test_time_that_is_ahead_makes_no_difference(base) -> None:
    class Ahead(base):
        def time(self) -> float:
            return super().time() + 1000.0

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert abs(loop.call_later(0.001, int).when() - loop.time()) < 10
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(loop.create_future(), 0.001)
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await tonnage.wait_for(loop.create_future(), 0.001)
        assert await tonnage.sleep(0.001, "slept") == "slept"
        timer: asyncio.Future[None] = loop.create_future()
        loop.call_at(loop.time() + 0.001, timer.set_result, None)
        await asyncio.wait_for(timer, 60)

    loop = Ahead()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 60))
    finally:
        loop.close()


def test_error_of_the_clock_ends_the_run(base) -> None:
    class Broken(base):
        broken = False

        def time(self) -> float:
            if self.broken:
                raise LookupError("no time")
            return super().time()

    async def main() -> None:
        asyncio.get_running_loop().call_later(60, int)
        loop.broken = True
        await turns()

    loop = Broken()
    try:
        with pytest.raises(LookupError, match="no time"):
            loop.run_until_complete(main())
        loop.broken = False
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(turns())
        loop.close()
