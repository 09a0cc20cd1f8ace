"""`async with amap(...) as results`: results as they come, back-pressure, and the end of the block."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import tonnage

from .conftest import turns
from .implementations import OURS, Implementation

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Run = Callable[[Any], Any]
VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


class Work:
    """A source, and a function for its items that counts."""

    def __init__(self) -> None:
        self.taken = 0
        self.running = 0
        self.done: list[int] = []
        self.closed = False

    def source(self, count: int = 10**9) -> Iterator[int]:
        for item in range(count):
            self.taken += 1
            yield item

    async def asource(self, count: int = 10**9) -> AsyncIterator[int]:
        try:
            for item in range(count):
                self.taken += 1
                yield item
                await turns(1)
        finally:
            await turns(2)
            self.closed = True

    async def run(self, item: int) -> int:
        self.running += 1
        try:
            try:
                await turns(1 + (item * 7) % 4)
            finally:
                await turns(1)
        finally:
            self.running -= 1
        self.done.append(item)
        return -item

    async def fail_at_5(self, item: int) -> int:
        if item == 5:
            raise LookupError(item)
        return await self.run(item)


async def sleep_for_ever(item: int) -> int:
    await tonnage.sleep(3600)
    return item


def test_results_come_in_order(run: Run, nothing_left: None) -> None:
    work = Work()

    async def main() -> None:
        async with tonnage.amap(work.run, range(50), limit=4) as results:
            assert [result async for result in results] == [-item for item in range(50)]
            with pytest.raises(StopAsyncIteration):
                await results.__anext__()

    run(main())
    assert work.done != sorted(work.done)


def test_unordered_results_come_when_they_are_there(run: Run, nothing_left: None) -> None:
    work = Work()

    async def main() -> None:
        async with tonnage.amap(work.run, work.source(50), limit=4, ordered=False) as results:
            seen = [-result async for result in results]
        assert seen == work.done
        assert seen != sorted(seen)

    run(main())


def test_results_come_before_all_items_are_done(run: Run) -> None:
    work = Work()

    async def main() -> None:
        async with tonnage.amap(work.run, work.source(), limit=3) as results:
            async for result in results:
                if result == -100:
                    break
        assert work.running == 0

    run(main())
    assert 100 <= work.taken <= 110


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("limit", "buffersize"), [(1, 0), (1, 1), (3, 0), (3, 2), (2, 7), (4, None)])
def test_slow_consumer_stops_production(
    run: Run, *, limit: int, buffersize: int | None, ordered: bool
) -> None:
    work = Work()
    room = limit + (limit if buffersize is None else buffersize)

    async def main() -> None:
        mapped = tonnage.amap(work.run, work.source(), limit=limit, buffersize=buffersize, ordered=ordered)
        async with mapped as results:
            await turns(100)
            assert work.taken == len(work.done) == room
            for consumed in range(1, 6):
                await results.__anext__()
                await turns(100)
                assert work.taken == len(work.done) == room + consumed

    run(main())


def test_one_slow_item_does_not_let_ordered_results_pile_up(run: Run) -> None:
    work = Work()

    async def main() -> None:
        gate = asyncio.Event()

        async def held(item: int) -> int:
            if item == 0:
                await gate.wait()
            return await work.run(item)

        async with tonnage.amap(held, work.source(), limit=3, buffersize=5) as results:
            await turns(100)
            assert work.taken == 8
            gate.set()
            assert [await results.__anext__() for _ in range(20)] == [-item for item in range(20)]

    run(main())


def test_consumer_may_take_as_long_as_it_likes(run: Run) -> None:
    async def main() -> None:
        work = Work()
        seen = []
        async with tonnage.amap(work.run, work.asource(30), limit=5).pairs() as results:
            async for item, result in results:
                await turns(3)
                seen.append((item, result))
        assert seen == [(item, -item) for item in range(30)]

    run(main())


def test_several_tasks_may_share_the_results(run: Run) -> None:
    async def consume(results: AsyncIterator[int]) -> list[int]:
        seen = []
        async for result in results:
            seen.append(result)
            await turns(1)
        return seen

    async def main() -> None:
        work = Work()
        async with tonnage.amap(work.run, range(40), limit=5) as results:
            shares = await tonnage.gather(*[consume(results) for _ in range(3)])
        assert sorted(-result for share in shares for result in share) == list(range(40))
        assert all(shares)

    run(main())


def test_cancelled_consumer_loses_no_result(run: Run) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def work(item: int) -> int:
            await gate.wait()
            return item

        async with tonnage.amap(work, range(3), limit=3) as results:
            first = asyncio.ensure_future(results.__anext__())  # type: ignore[arg-type]
            second = asyncio.ensure_future(results.__anext__())  # type: ignore[arg-type]
            await turns(5)
            gate.set()
            await turns(1)
            # Maybe the first was woken in this turn.
            first.cancel()
            await turns(5)
            rest = [result async for result in results]
            found = [task.result() for task in (first, second) if not task.cancelled()]
            assert found + rest == [0, 1, 2]

    run(main())


def test_results_that_wait_for_one_wake_all_who_wait_for_them(run: Run) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def work(item: int) -> int:
            if item == 0:
                await gate.wait()
            return item

        async with tonnage.amap(work, range(3), limit=3) as results:
            consumers = [asyncio.ensure_future(results.__anext__()) for _ in range(3)]  # type: ignore[arg-type]
            await turns(5)
            gate.set()
            assert await tonnage.gather(*consumers) == [0, 1, 2]

    run(main())


# The end of the block.


@pytest.mark.parametrize("is_async", [False, True])
def test_leaving_early_ends_the_workers_and_closes_the_source(
    run: Run, nothing_left: None, *, is_async: bool
) -> None:
    work = Work()

    async def main() -> None:
        before = asyncio.all_tasks()
        source: Any = work.asource() if is_async else work.source()
        async with tonnage.amap(work.run, source, limit=3) as results:
            assert await results.__anext__() == 0
        assert asyncio.all_tasks() == before
        assert work.running == 0
        assert work.closed is is_async
        with pytest.raises(RuntimeError, match="was left"):
            await results.__anext__()

    run(main())


def test_source_that_waits_is_cancelled_and_closed(run: Run) -> None:
    trace = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await tonnage.sleep(3600)
        except asyncio.CancelledError:
            trace.append("cancelled")
            raise
        finally:
            await turns(2)
            trace.append("closed")

    class WithoutClose:
        def __init__(self) -> None:
            self.iterator = source()

        def __aiter__(self) -> WithoutClose:
            return self

        async def __anext__(self) -> int:
            return await self.iterator.__anext__()

    async def main() -> None:
        for items in (source(), WithoutClose()):
            async with tonnage.amap(sleep_for_ever, items, limit=3):
                await turns(10)

    run(main())
    assert trace == ["cancelled", "closed"] * 2


def test_exhausted_source_is_not_closed_again(run: Run) -> None:
    class Source:
        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            raise AssertionError

    async def main() -> None:
        async with tonnage.amap(sleep_for_ever, Source(), limit=3) as results:
            assert [result async for result in results] == []

    run(main())


def test_source_is_closed_in_its_own_context(run: Run) -> None:
    async def source() -> AsyncIterator[int]:
        token = VARIABLE.set("source")
        try:
            while True:
                yield 1
        finally:
            VARIABLE.reset(token)

    async def main() -> None:
        async with tonnage.amap(sleep_for_ever, source(), limit=2):
            await turns(5)
        assert VARIABLE.get() == "unset"

    run(main())


def test_block_that_is_entered_and_left_at_once_begins_nothing(run: Run) -> None:
    work = Work()

    async def main() -> None:
        async with tonnage.amap(work.run, work.source(), limit=3):
            pass

    run(main())
    assert work.taken <= 1
    assert work.done == []


def test_error_of_the_block_goes_on_after_the_workers_have_ended(run: Run, nothing_left: None) -> None:
    work = Work()

    async def main() -> None:
        with pytest.raises(LookupError, match="block"):
            async with tonnage.amap(work.run, work.source(), limit=3) as results:
                await results.__anext__()
                raise LookupError("block")
        assert work.running == 0

    run(main())


def test_failure_leaves_the_loop_after_the_results_before_it(run: Run, nothing_left: None) -> None:
    work = Work()
    seen = []

    async def main() -> None:
        with pytest.raises(ExceptionGroup, match=r"unhandled errors in amap\(\)") as caught:
            async with tonnage.amap(work.fail_at_5, work.source(), limit=1, buffersize=9) as results:
                await turns(50)
                async for result in results:
                    seen.append(result)
        assert repr(caught.value.exceptions) == "(LookupError(5),)"
        assert work.running == 0

    run(main())
    assert seen == [0, -1, -2, -3, -4]


def test_failure_that_the_loop_has_not_seen_leaves_the_block(run: Run, nothing_left: None) -> None:
    work = Work()

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.amap(work.fail_at_5, work.source(), limit=10):
                await turns(50)
                assert work.running == 0
        assert repr(caught.value.exceptions) == "(LookupError(5),)"
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.amap(work.fail_at_5, range(10), limit=10):
                await turns(50)
                raise ValueError("block")
        assert repr(caught.value.exceptions) == "(LookupError(5), ValueError('block'))"
        assert repr(caught.value.__context__) == "ValueError('block')"

    run(main())


def test_failure_that_the_block_has_caught_leaves_it_once(run: Run) -> None:
    work = Work()

    async def main() -> None:
        async with tonnage.amap(work.fail_at_5, range(10), limit=2) as results:
            with pytest.raises(ExceptionGroup):
                async for _ in results:
                    pass
            assert [result async for result in results] == []

    run(main())


def test_worker_that_fails_while_it_is_cancelled_is_heard(run: Run) -> None:
    async def work(item: int) -> None:
        try:
            await tonnage.sleep(3600)
        finally:
            raise ValueError(item)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.amap(work, range(10), limit=2):
                await turns(5)
        assert repr(caught.value.exceptions) == "(ValueError(0), ValueError(1))"

    run(main())


def test_item_that_ends_cancelled_ends_the_loop_cancelled(run: Run) -> None:
    async def work(item: int) -> int:
        if item == 2:
            raise asyncio.CancelledError("by itself")
        return item

    async def main() -> None:
        seen = []
        with pytest.raises(asyncio.CancelledError):
            async with tonnage.amap(work, range(9), limit=1) as results:
                async for result in results:
                    seen.append(result)
        assert seen == [0, 1]

    run(main())


def test_cancel_of_the_consumer_goes_on_after_the_workers_have_ended(run: Run, nothing_left: None) -> None:
    work = Work()

    async def consumer() -> None:
        async with tonnage.amap(work.run, work.asource(), limit=3) as results:
            async for _ in results:
                pass

    async def main() -> None:
        for count in range(12):
            task = asyncio.ensure_future(consumer())
            await turns(count)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert work.running == 0

    run(main())


def test_cancel_while_the_block_is_left_is_not_lost(run: Run) -> None:
    trace = []

    async def work(item: int) -> None:
        try:
            await tonnage.sleep(3600)
        finally:
            await turns(5)
            trace.append(item)

    async def consumer() -> None:
        async with tonnage.amap(work, range(2), limit=2):
            await turns(5)
        trace.append("not reached")

    async def main() -> None:
        task = asyncio.ensure_future(consumer())
        await turns(9)
        assert trace == []
        task.cancel()
        await turns(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert trace == [0, 1]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_the_block_bare(
    run: Run, loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    async def work(item: int) -> None:
        try:
            await tonnage.sleep(3600)
        finally:
            raise ValueError(item)

    async def main() -> None:
        with pytest.raises(kind) as caught:
            async with tonnage.amap(work, range(1), limit=2):
                await turns(3)
                raise kind("now")
        assert caught.value.__notes__ == ["in the same amap() failed: ValueError(0)"]  # type: ignore[attr-defined]

    run(main())


def test_consumer_that_is_closed_cancels_the_workers(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    work = Work()

    async def consumer() -> None:
        await tonnage.amap(work.run, work.source(), limit=2).drain()

    async def main() -> None:
        coro = consumer()

        async def step() -> None:
            # As a task would, once.
            coro.send(None)

        await asyncio.ensure_future(step())
        await turns(3)
        assert work.running == 2
        coro.close()
        await turns(5)
        assert work.running == 0

    run(main())


def test_block_is_entered_before_it_is_left(run: Run) -> None:
    async def main() -> None:
        mapped = tonnage.amap(sleep_for_ever, [1], limit=1)
        with pytest.raises(RuntimeError, match="was not entered"):
            await mapped.__aexit__(None, None, None)
        async with mapped:
            pass
        with pytest.raises(RuntimeError, match="was left"):
            await mapped.__aexit__(None, None, None)

    run(main())
