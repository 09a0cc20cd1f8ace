"""Nobody passes those who wait; who is cancelled passes on what it was promised; nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import Any

import pytest

from .conftest import Run, end, settle


def spawn(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(coroutine)


def test_getters_are_served_in_order(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue()
        getters = [spawn(queue.get()) for _ in range(5)]
        await settle()
        for number in range(5):
            queue.put_nowait(number)
        return await asyncio.gather(*getters)

    assert run(main()) == [0, 1, 2, 3, 4]


def test_putters_are_served_in_order(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue(1)
        putters = [spawn(queue.put(number)) for number in range(5)]
        await settle()
        items = []
        for _ in range(5):
            items.append(queue.get_nowait())
            await settle()
        await asyncio.gather(*putters)
        return items

    assert run(main()) == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("ours")
def test_nobody_takes_what_is_promised_to_a_getter(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        first = spawn(queue.get())
        await settle()
        queue.put_nowait("promised")
        assert (queue.qsize(), queue.empty(), list(queue._queue)) == (0, True, ["promised"])
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()
        # It waits in line, though the item is there still.
        late = queue.get()
        late.send(None)
        late.close()
        assert await first == "promised"

    run(main())


@pytest.mark.usefixtures("ours")
def test_a_promised_item_counts_for_the_bound(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        getter = spawn(queue.get())
        await settle()
        queue.put_nowait(1)
        assert queue.full()
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(2)
        assert await getter == 1
        assert not queue.full()

    run(main())


@pytest.mark.usefixtures("ours")
def test_nobody_takes_the_place_that_is_promised_to_a_putter(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        queue.put_nowait(1)
        putter = spawn(queue.put(2))
        await settle()
        assert queue.get_nowait() == 1
        assert (queue.qsize(), queue.full(), list(queue._queue)) == (0, True, [])
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(3)
        late = queue.put(3)
        late.send(None)
        late.close()
        await putter
        assert queue.get_nowait() == 2

    run(main())


def test_loops_over_empty_and_full_never_raise(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(3)
        getters = [spawn(queue.get()) for _ in range(2)]
        await settle()
        while not queue.full():
            queue.put_nowait(0)
        while not queue.empty():
            queue.get_nowait()
        await end(*getters)
        putters = [spawn(queue.put(1)) for _ in range(6)]
        await settle()
        while not queue.empty():
            queue.get_nowait()
        while not queue.full():
            queue.put_nowait(2)
        await end(*putters)

    run(main())


def test_the_order_is_decided_when_the_getter_resumes(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.PriorityQueue()
        getter = spawn(queue.get())
        await settle()
        queue.put_nowait(2)
        queue.put_nowait(1)
        assert await getter == 1

    run(main())


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("puts", [0, 1, 2, 3])
@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancelled_getters_lose_nothing(
    lib: Any, run: Run, count: int, puts: int, cancel_first: bool
) -> None:
    async def main(cancelled: tuple[int, ...]) -> None:
        queue = lib.Queue()
        getters = [spawn(queue.get()) for _ in range(count)]
        await settle()

        def cancel() -> None:
            for index in cancelled:
                getters[index].cancel()

        if cancel_first:
            cancel()
        for number in range(puts):
            queue.put_nowait(number)
        if not cancel_first:
            cancel()
        await settle()
        got = [getter.result() for getter in getters if getter.done() and not getter.cancelled()]
        left = list(queue._queue)
        assert got + left == list(range(puts))
        assert len(got) == min(puts, count - len(cancelled))
        assert queue.qsize() == len(left)
        await end(*getters)

    for size in range(count + 1):
        for cancelled in itertools.combinations(range(count), size):
            run(main(cancelled))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("gets", [0, 1, 2])
@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancelled_putters_store_nothing(
    lib: Any, run: Run, count: int, gets: int, cancel_first: bool
) -> None:
    async def main(cancelled: tuple[int, ...]) -> None:
        queue = lib.Queue(2)
        queue.put_nowait("a")
        queue.put_nowait("b")
        putters = [spawn(queue.put(number)) for number in range(count)]
        await settle()

        def cancel() -> None:
            for index in cancelled:
                putters[index].cancel()

        if cancel_first:
            cancel()
        for _ in range(gets):
            queue.get_nowait()
        if not cancel_first:
            cancel()
        await settle()
        stored = [item for item in queue._queue if isinstance(item, int)]
        live = [number for number in range(count) if number not in cancelled]
        assert stored == live[:gets]
        assert [putter.done() for putter in putters] == [
            number in cancelled or number in stored for number in range(count)
        ]
        assert queue.full() is (len(queue._queue) == 2)
        await end(*putters)

    for size in range(count + 1):
        for cancelled in itertools.combinations(range(count), size):
            run(main(cancelled))


def test_a_coroutine_that_goes_passes_its_promise_on(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        doomed = queue.get()
        doomed.send(None)
        getter = spawn(queue.get())
        await settle()
        queue.put_nowait(1)
        del doomed
        gc.collect()
        assert await asyncio.wait_for(getter, 1) == 1
        queue.put_nowait(2)
        doomed = queue.put(3)
        doomed.send(None)
        putter = spawn(queue.put(4))
        await settle()
        queue.get_nowait()
        doomed.close()
        await asyncio.wait_for(putter, 1)
        assert queue.get_nowait() == 4

    run(main())


def test_a_timeout_takes_nothing(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.get(), 0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.get(), 0.001)
        queue.put_nowait(1)
        assert queue.get_nowait() == 1

    run(main())


def test_who_is_woken_from_outside_waits_on(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        getter = spawn(queue.get())
        await settle()
        queue._getters[0].set_result(None)
        await settle()
        assert not getter.done()
        queue.put_nowait(1)
        assert await getter == 1

    run(main())
