"""shutdown(): in both modes, for those who wait and those who come later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import QUEUES, Run, end, settle

pytestmark = pytest.mark.usefixtures("since_3_13")


@pytest.fixture
def since_3_13(oracle_since: Callable[..., None]) -> None:
    oracle_since(3, 13)


def spawn(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(coroutine)


@pytest.mark.parametrize("name", QUEUES)
@pytest.mark.parametrize("immediate", [False, True])
def test_an_empty_queue_raises_at_once(lib: Any, run: Run, name: str, immediate: bool) -> None:
    async def main() -> None:
        queue = getattr(lib, name)()
        assert queue.shutdown(immediate=immediate) is None
        queue.shutdown(immediate)
        for call in (queue.get_nowait, lambda: queue.put_nowait(1)):
            with pytest.raises(tonnage.QueueShutDown, match="^$"):
                call()
        for wait in (queue.get, lambda: queue.put(1)):
            with pytest.raises(tonnage.QueueShutDown, match="^$"):
                await wait()
        await queue.join()

    run(main())


@pytest.mark.parametrize("name", QUEUES)
def test_what_is_stored_can_be_got(lib: Any, run: Run, name: str) -> None:
    async def main() -> None:
        queue = getattr(lib, name)(2)
        queue.put_nowait(1)
        queue.put_nowait(2)
        queue.shutdown()
        with pytest.raises(tonnage.QueueShutDown):
            queue.put_nowait(3)
        with pytest.raises(tonnage.QueueShutDown):
            await queue.put(3)
        assert {await queue.get(), queue.get_nowait()} == {1, 2}
        with pytest.raises(tonnage.QueueShutDown):
            await queue.get()
        join = spawn(queue.join())
        await settle()
        assert not join.done()
        queue.task_done()
        queue.task_done()
        await join

    run(main())


@pytest.mark.parametrize("name", QUEUES)
def test_immediate_throws_all_away(lib: Any, run: Run, name: str) -> None:
    async def main() -> None:
        queue = getattr(lib, name)()
        for number in range(3):
            queue.put_nowait(number)
        queue.get_nowait()
        joins = [spawn(queue.join()) for _ in range(2)]
        await settle()
        queue.shutdown(immediate=True)
        assert (queue.qsize(), queue._unfinished_tasks) == (0, 1)
        await settle()
        assert not any(join.done() for join in joins)
        queue.task_done()
        await asyncio.gather(*joins)
        with pytest.raises(tonnage.QueueShutDown):
            queue.get_nowait()

    run(main())


def test_immediate_ends_join(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        queue.put_nowait(1)
        join = spawn(queue.join())
        await settle()
        queue.shutdown(immediate=True)
        await join

    run(main())


@pytest.mark.parametrize("immediate", [False, True])
def test_getters_that_wait_raise(lib: Any, run: Run, immediate: bool) -> None:
    async def main() -> list[Any]:
        queue = lib.Queue()
        getters = [spawn(queue.get()) for _ in range(3)]
        await settle()
        queue.shutdown(immediate)
        return await end(*getters)

    assert run(main()) == [tonnage.QueueShutDown] * 3


@pytest.mark.parametrize("immediate", [False, True])
def test_putters_that_wait_raise(lib: Any, run: Run, immediate: bool) -> None:
    async def main() -> tuple[list[Any], int]:
        queue = lib.Queue(1)
        queue.put_nowait(1)
        putters = [spawn(queue.put(2)) for _ in range(3)]
        await settle()
        queue.shutdown(immediate)
        outcomes = await end(*putters)
        return outcomes, queue.qsize()

    assert run(main()) == ([tonnage.QueueShutDown] * 3, 0 if immediate else 1)


def test_a_promised_item_is_got_unless_immediate(lib: Any, run: Run) -> None:
    async def main(immediate: bool) -> list[Any]:
        queue = lib.Queue()
        getters = [spawn(queue.get()) for _ in range(2)]
        await settle()
        queue.put_nowait(1)
        queue.shutdown(immediate)
        return await end(*getters)

    assert run(main(False)) == [1, tonnage.QueueShutDown]
    assert run(main(True)) == [tonnage.QueueShutDown] * 2


def test_a_promised_place_is_not_used(lib: Any, run: Run) -> None:
    async def main(immediate: bool) -> tuple[list[Any], int]:
        queue = lib.Queue(1)
        queue.put_nowait(1)
        putters = [spawn(queue.put(2)) for _ in range(2)]
        await settle()
        queue.get_nowait()
        queue.shutdown(immediate)
        return await end(*putters), queue.qsize()

    for immediate in (False, True):
        assert run(main(immediate)) == ([tonnage.QueueShutDown] * 2, 0)


def test_a_getter_that_is_cancelled_as_well_leaves_its_item(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        getter = spawn(queue.get())
        await settle()
        queue.put_nowait(1)
        queue.shutdown()
        assert not await asyncio.sleep(0)
        assert await getter == 1
        queue = lib.Queue()
        getter = spawn(queue.get())
        await settle()
        queue.put_nowait(1)
        queue.shutdown()
        getter.cancel()
        assert await asyncio.gather(getter, return_exceptions=True)
        assert queue.get_nowait() == 1

    run(main())


def test_the_exception_is_asyncios_where_it_has_one() -> None:
    if sys.version_info >= (3, 13):
        assert tonnage.QueueShutDown is asyncio.QueueShutDown
    else:
        assert tonnage.QueueShutDown.__module__ == "tonnage"
    assert tonnage.QueueShutDown.__mro__[1] is Exception


def test_items_that_cannot_be_compared_are_thrown_away(lib: Any) -> None:
    queue = lib.PriorityQueue()
    queue.put_nowait(1)
    queue._queue.extend([object(), object()])
    if lib is asyncio:
        pytest.skip("asyncio compares them, and stops there")
    queue.shutdown(immediate=True)
    assert queue.qsize() == 0
