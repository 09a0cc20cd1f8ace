"""amap: awaited for a list, or drained. Streaming is in `test_amap_stream.py`."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import tonnage

from .conftest import turns
from .implementations import OURS, Implementation
from .jobs import Jobs, double, error_of, errors_of, numbers

Run = Callable[[Any], Any]


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


# What comes of the items.


def test_results_are_in_the_order_of_the_items(run: Run, nothing_left: None) -> None:
    jobs = Jobs()

    async def main() -> list[int]:
        return await tonnage.amap(jobs.work, range(20), limit=4)

    assert run(main()) == [-item for item in range(20)]
    assert jobs.begun == list(range(20))
    assert jobs.ended != jobs.begun


def test_unordered_results_are_in_the_order_of_their_ends(run: Run) -> None:
    jobs = Jobs()

    async def main() -> list[int]:
        return await tonnage.amap(jobs.work, range(20), limit=4, ordered=False)

    assert run(main()) == [-item for item in jobs.ended]
    assert jobs.ended != jobs.begun


@pytest.mark.parametrize("limit", [1, 2, 7, 50, sys.maxsize, 10**30])
def test_as_many_items_run_at_once_as_the_limit_says(run: Run, limit: int) -> None:
    jobs = Jobs()

    async def main() -> None:
        opened = asyncio.Event()

        async def work(item: int) -> None:
            jobs.running += 1
            jobs.most = max(jobs.most, jobs.running)
            await opened.wait()
            jobs.running -= 1

        task = asyncio.ensure_future(tonnage.amap(work, range(30), limit=limit))
        await turns(40)
        assert jobs.running == min(limit, 30)
        opened.set()
        await task

    run(main())
    assert jobs.most == min(limit, 30)


def test_no_items_give_no_results(run: Run) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, [], limit=3) == []
        assert await tonnage.amap(double, numbers(0), limit=3) == []
        assert await tonnage.amap(double, [], limit=3).drain() == 0

    run(main())


def test_source_may_be_asynchronous(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, numbers(10), limit=3) == [2 * item for item in range(10)]

    run(main())


def test_source_may_be_any_object_that_can_be_iterated(run: Run) -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    async def main() -> None:
        assert await tonnage.amap(double, Old(), limit=3) == [0, 2, 4]  # type: ignore[arg-type, call-overload]
        assert await tonnage.amap(double, {1: "a"}, limit=3) == [2]

    run(main())


def test_item_is_taken_only_when_it_can_be_begun(run: Run) -> None:
    jobs = Jobs()
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(30):
            taken += 1
            assert taken - len(jobs.ended) <= 3
            yield item

    async def main() -> None:
        await tonnage.amap(jobs.work, source(), limit=3)

    run(main())
    assert taken == 30


def test_asynchronous_source_is_advanced_once_at_a_time(run: Run) -> None:
    class Source:
        def __init__(self) -> None:
            self.item = 0
            self.busy = False

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            assert not self.busy
            self.busy = True
            await turns(2)
            self.busy = False
            if self.item == 12:
                raise StopAsyncIteration
            self.item += 1
            return self.item

    async def main() -> None:
        jobs = Jobs()
        assert await tonnage.amap(jobs.work, Source(), limit=5) == [-item for item in range(1, 13)]

    run(main())


def test_workers_are_few_if_the_items_are(run: Run) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        most = 0

        async def work(item: int) -> None:
            nonlocal most
            await turns(5)
            most = max(most, len(asyncio.all_tasks() - before))

        await tonnage.amap(work, range(3), limit=1000)
        assert 3 <= most <= 7

    run(main())


def test_slow_source_needs_few_workers(run: Run) -> None:
    seen = set()

    async def source() -> AsyncIterator[int]:
        for item in range(20):
            await turns(10)
            yield item

    async def work(item: int) -> None:
        seen.add(asyncio.current_task())
        await turns(1)

    async def main() -> None:
        await tonnage.amap(work, source(), limit=1000)

    run(main())
    assert len(seen) <= 3


@pytest.mark.parametrize("pause", [0, 1, 3])
def test_source_of_any_pace_has_all_the_workers_that_it_needs(run: Run, pause: int) -> None:
    running = 0

    async def source() -> AsyncIterator[int]:
        for item in range(40):
            await turns(pause * (1 + item % 3))
            yield item

    async def main() -> None:
        opened = asyncio.Event()

        async def work(item: int) -> None:
            nonlocal running
            running += 1
            # Some end at once, and let the others wait for the source.
            if item % 4 == 0 and item < 20:
                await turns(item % 5)
                running -= 1
            else:
                await opened.wait()

        task = asyncio.ensure_future(tonnage.amap(work, source(), limit=100))
        await turns(600)
        assert running == 35
        opened.set()
        await task

    run(main())


def test_function_may_return_any_awaitable(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    def make(item: int) -> Any:
        if item == 0:
            future = loop.create_future()
            loop.call_soon(future.set_result, "future")
            return future
        if item == 1:
            return loop.create_task(tonnage.sleep(0, "task"))
        return Awaitable() if item == 2 else tonnage.sleep(0, "coroutine")

    async def main() -> Any:
        return await tonnage.amap(make, range(4), limit=2)

    assert run(main()) == ["future", "task", "awaited", "coroutine"]


def test_function_need_not_wait(run: Run) -> None:
    async def at_once(item: int) -> int:
        return item + 1

    async def main() -> None:
        assert await tonnage.amap(at_once, range(100_000), limit=10) == list(range(1, 100_001))

    run(main())


def test_pairs_have_the_item_and_its_result(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, [3, 4], limit=3).pairs() == [(3, 6), (4, 8)]
        assert await tonnage.amap(double, [3], limit=3).pairs().pairs() == [(3, (3, 6))]

    run(main())


def test_drain_counts_the_items(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, range(17), limit=3).drain() == 17
        assert await tonnage.amap(double, numbers(5), limit=3).pairs().drain() == 5

    run(main())


def test_map_can_be_waited_for_as_any_awaitable(run: Run) -> None:
    async def main() -> None:
        maps = [tonnage.amap(double, [item], limit=1) for item in range(3)]
        assert await tonnage.gather(*maps) == [[0], [2], [4]]
        assert await tonnage.wait_for(tonnage.amap(double, [1], limit=1), 60) == [2]
        assert await tonnage.wait_for(tonnage.amap(double, [1], limit=1).drain(), 60) == 1

    run(main())


# How it is used.


def test_map_is_used_once(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        used = tonnage.amap(double, [1], limit=1)
        assert await used == [2]
        for again in (lambda: used, used.drain, used.__aenter__):
            assert "call amap() again" in str(await error_of(again()))  # type: ignore[operator]
        with pytest.raises(RuntimeError, match=r"call amap\(\) again"):
            used.pairs()
        paired = tonnage.amap(double, [1], limit=1)
        assert await paired.pairs() == [(1, 2)]
        assert "call amap() again" in str(await error_of(paired))
        running = tonnage.amap(lambda _: tonnage.sleep(0, await_again(running)), [1], limit=1)
        await running

    def await_again(running: Any) -> None:
        with pytest.raises(RuntimeError, match=r"call amap\(\) again"):
            running.__await__().send(None)

    run(main())


def test_unused_map_is_dropped_silently(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tonnage.amap(double, numbers(3), limit=1)
            gc.collect()

    run(main())


def test_map_cannot_be_iterated_by_itself(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"use 'async with amap\(\.\.\.\) as results"):
            async for _ in tonnage.amap(double, [1], limit=1):
                pass

    run(main())


def test_bad_arguments_are_refused_at_once() -> None:
    amap: Any = tonnage.amap
    for args, options, text in (
        ((double, [1]), {}, "missing required argument 'limit'"),
        ((double, [1]), {"limit": None}, "needs a limit, got None"),
        ((double, [1]), {"limit": "3"}, "limit must be an int, a Limiter or a sequence of Limiters, got '3'"),
        (
            (double, [1]),
            {"limit": True},
            "limit must be an int, a Limiter or a sequence of Limiters, got True",
        ),
        ((5, [1]), {"limit": 1}, "needs a function, got 5"),
        ((double, 5), {"limit": 1}, "needs an iterable or an async iterable, got int"),
        ((double, [1]), {"limit": 1, "buffersize": 1.5}, "buffersize must be an int, got 1.5"),
        ((double, [1]), {"limit": 1, "unknown": 1}, "unexpected keyword argument 'unknown'"),
        ((double, [1], 3), {}, "takes at most 2 positional arguments"),
    ):
        with pytest.raises(TypeError, match=text.replace("(", r"\(")):
            amap(*args, **options)
    for options, text in (
        ({"limit": 0}, "limit must be 1 or more, got 0"),
        ({"limit": 1, "buffersize": -1}, "buffersize must be 0 or more, got -1"),
        ({"limit": 1, "timeout": float("nan")}, "Invalid timeout: NaN"),
    ):
        with pytest.raises(ValueError, match=text):
            amap(double, [1], **options)


def test_map_outside_of_a_task_is_refused() -> None:
    waiting = tonnage.amap(double, [1], limit=1).__await__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(waiting)


def test_repr_says_of_what_it_is_and_how_far() -> None:
    created = tonnage.amap(double, [1], limit=1)
    assert repr(created) == f"<AsyncMap of {double!r} created>"
    created.pairs()
    assert repr(created) == "<AsyncMap used>"


def test_task_factory_that_fails_ends_the_map(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    jobs = Jobs()
    allowed = 2

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        nonlocal allowed
        allowed -= 1
        if allowed < 0:
            raise LookupError("no more tasks")
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        loop.set_task_factory(factory)
        error = await error_of(tonnage.amap(jobs.work, range(9), limit=9))
        assert set(errors_of(error)) == {"LookupError('no more tasks')"}
        error = await error_of(tonnage.amap(jobs.work, range(9), limit=9))
        assert repr(error) == "LookupError('no more tasks')"
        loop.set_task_factory(None)
        assert jobs.running == 0

    run(main())


def test_cycle_through_a_map_is_collected(run: Run, nothing_left: None) -> None:
    class Holder:
        map: Any

    async def main() -> None:
        holder = Holder()
        holder.map = tonnage.amap(lambda item: double(holder.map), [holder], limit=1)
        await turns(1)

    run(main())
