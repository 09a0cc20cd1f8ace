"""get_many(), `async for` and stats(): what asyncio's queues lack."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import tonnage

from .conftest import Run, end, settle

pytestmark = pytest.mark.usefixtures("ours")


def test_get_many_takes_what_is_there(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        for number in range(5):
            queue.put_nowait(number)
        assert await queue.get_many(3) == [0, 1, 2]
        assert await queue.get_many(10**6) == [3, 4]

    run(main())


def test_get_many_waits_for_one(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        batch = asyncio.ensure_future(queue.get_many(10))
        await settle()
        assert not batch.done()
        queue.put_nowait(1)
        queue.put_nowait(2)
        assert await batch == [1, 2]

    run(main())


def test_get_many_leaves_what_is_promised_to_others(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        batch = asyncio.ensure_future(queue.get_many(10))
        getter = asyncio.ensure_future(queue.get())
        await settle()
        for number in range(3):
            queue.put_nowait(number)
        assert await batch == [0, 1]
        assert await getter == 2

    run(main())


def test_get_many_wakes_as_many_putters(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(2)
        putters = [asyncio.ensure_future(queue.put(number)) for number in range(6)]
        await settle()
        assert await queue.get_many(5) == [0, 1]
        await settle()
        assert list(queue._queue) == [2, 3]
        await end(*putters)

    run(main())


@pytest.mark.parametrize("limit", [0, -1, 0.5])
def test_a_limit_below_one_is_an_error(lib: Any, limit: Any) -> None:
    with pytest.raises(ValueError, match=f"^limit must be 1 or more, got {limit}$"):
        lib.Queue().get_many(limit)


def test_a_cancelled_get_many_has_taken_nothing(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        batch = asyncio.ensure_future(queue.get_many(2))
        await settle()
        queue.put_nowait(1)
        batch.cancel()
        await settle()
        assert batch.cancelled()
        assert queue.get_nowait() == 1

    run(main())


def test_get_many_ends_at_shutdown(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        queue.put_nowait(1)
        queue.shutdown()
        assert await queue.get_many(2) == [1]
        with pytest.raises(tonnage.QueueShutDown):
            await queue.get_many(2)

    run(main())


def test_get_many_keeps_what_it_took_before_an_error(lib: Any, run: Run) -> None:
    class Failing(lib.Queue):  # type: ignore[misc, name-defined]
        def _get(self) -> Any:
            if self._queue[0] == "bad":
                raise LookupError
            return super()._get()

    async def main() -> None:
        queue = Failing()
        for item in (1, 2, "bad"):
            queue.put_nowait(item)
        assert await queue.get_many(5) == [1, 2]
        with pytest.raises(LookupError):
            await queue.get_many(5)

    run(main())


def test_async_for_ends_at_shutdown_and_does_the_work(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue()
        items: list[int] = []

        async def consume() -> None:
            async for item in queue:
                items.append(item)
                assert queue._unfinished_tasks > 0

        consumer = asyncio.ensure_future(consume())
        for number in range(5):
            await queue.put(number)
        await queue.join()
        queue.shutdown()
        await consumer
        assert queue._unfinished_tasks == 0
        return items

    assert run(main()) == [0, 1, 2, 3, 4]


def test_consumers_share_the_items(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        items: list[int] = []

        async def consume() -> None:
            async for item in queue:
                items.append(item)
                await asyncio.sleep(0)

        consumers = [asyncio.ensure_future(consume()) for _ in range(3)]
        for number in range(20):
            queue.put_nowait(number)
        queue.shutdown()
        await asyncio.gather(*consumers)
        await queue.join()
        assert sorted(items) == list(range(20))

    run(main())


def test_who_breaks_out_leaves_the_last_item_unfinished(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        for number in range(3):
            queue.put_nowait(number)
        async for item in queue:
            if item == 1:
                break
        assert queue._unfinished_tasks == 2
        queue.task_done()
        queue.get_nowait()
        queue.task_done()
        await queue.join()

    run(main())


def test_a_cancelled_step_has_taken_nothing(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        iterator = aiter_(queue)
        step = asyncio.ensure_future(iterator.__anext__())
        await settle()
        queue.put_nowait(1)
        step.cancel()
        await settle()
        assert step.cancelled()
        assert await iterator.__anext__() == 1
        assert queue._unfinished_tasks == 1

    run(main())


def aiter_(queue: Any) -> Any:
    """`aiter()`, which type checkers know from 3.10 on for what declares it only."""
    iterator = queue.__aiter__()
    assert iterator.__aiter__() is iterator
    return iterator


def test_stats(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(2)
        getter = asyncio.ensure_future(queue.get())
        await settle()
        assert queue.stats().getters == 1
        await end(getter)
        queue.put_nowait(1)
        queue.put_nowait(2)
        putter = asyncio.ensure_future(queue.put(3))
        await settle()
        stats = queue.stats()
        assert repr(stats) == (
            "QueueStats(size=2, maxsize=2, peak=2, getters=0, putters=1, dropped=0, delay=0.0)"
        )
        assert isinstance(stats, tonnage.QueueStats)
        assert stats == queue.stats()
        with pytest.raises(AttributeError):
            stats.size = 3
        await end(putter)
        while not queue.empty():
            queue.get_nowait()
        assert (queue.stats().size, queue.stats().peak) == (0, 2)
        assert lib.Queue(-3).stats().maxsize == 0

    run(main())
