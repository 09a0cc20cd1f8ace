"""Queue, LifoQueue and PriorityQueue: what asyncio's do, on every version."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import QUEUES, Run, end, settle


@pytest.mark.parametrize(
    ("name", "order"), [("Queue", [2, 3, 1]), ("LifoQueue", [1, 3, 2]), ("PriorityQueue", [1, 2, 3])]
)
def test_items_come_out_in_the_queues_order(lib: Any, run: Run, name: str, order: list[int]) -> None:
    async def main() -> list[int]:
        queue = getattr(lib, name)()
        await queue.put(2)
        queue.put_nowait(3)
        await queue.put(1)
        return [await queue.get(), queue.get_nowait(), await queue.get()]

    assert run(main()) == order


@pytest.mark.parametrize("name", QUEUES)
def test_sizes(lib: Any, name: str) -> None:
    queue = getattr(lib, name)(2)
    assert (queue.qsize(), queue.empty(), queue.full(), queue.maxsize) == (0, True, False, 2)
    queue.put_nowait(1)
    assert (queue.qsize(), queue.empty(), queue.full()) == (1, False, False)
    queue.put_nowait(2)
    assert (queue.qsize(), queue.empty(), queue.full()) == (2, False, True)
    assert queue.get_nowait() in (1, 2)
    assert (queue.qsize(), queue.empty(), queue.full()) == (1, False, False)


@pytest.mark.parametrize("maxsize", [0, -1, -2.5, float("-inf"), False])
def test_no_bound(lib: Any, maxsize: Any) -> None:
    queue = lib.Queue(maxsize)
    for number in range(100):
        queue.put_nowait(number)
    assert not queue.full()
    assert queue.maxsize is maxsize


@pytest.mark.parametrize(
    ("maxsize", "fits"), [(1, 1), (1.3, 2), (2.0, 2), (True, 1), (10**30, 50), (float("inf"), 50), (0.1, 1)]
)
def test_a_bound_may_be_any_number(lib: Any, maxsize: Any, fits: int) -> None:
    queue = lib.Queue(maxsize=maxsize)
    for number in range(fits):
        assert not queue.full()
        queue.put_nowait(number)
    assert queue.full() is (fits < 50)


def test_nowait_raises_without_text(lib: Any) -> None:
    queue = lib.Queue(1)
    with pytest.raises(asyncio.QueueEmpty, match="^$"):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(asyncio.QueueFull, match="^$"):
        queue.put_nowait(2)


def test_the_item_may_be_named(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue()
        await queue.put(item=1)
        queue.put_nowait(item=2)
        return [await queue.get(), await queue.get()]

    assert run(main()) == [1, 2]


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.put(),
        lambda queue: queue.put(1, 2),
        lambda queue: queue.put_nowait(),
        lambda queue: queue.put_nowait(1, thing=2),
        lambda queue: queue.get(1),
        lambda queue: queue.get_nowait(1),
        lambda queue: type(queue)(1, 2),
        lambda queue: type(queue)(size=1),
    ],
)
def test_wrong_arguments(lib: Any, call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        call(lib.Queue())


def test_get_waits_for_put_and_put_for_get(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        getter = asyncio.ensure_future(queue.get())
        await settle()
        assert not getter.done()
        await queue.put("first")
        assert await getter == "first"
        await queue.put("second")
        putter = asyncio.ensure_future(queue.put("third"))
        await settle()
        assert not putter.done()
        assert queue.get_nowait() == "second"
        assert await putter is None
        assert queue.get_nowait() == "third"

    run(main())


def test_put_and_get_act_only_when_awaited(lib: Any) -> None:
    queue = lib.Queue()
    queue.put_nowait(1)
    put, get = queue.put(2), queue.get()
    assert queue.qsize() == 1
    put.close()
    get.close()


def test_a_producer_and_a_consumer_pass_everything(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue(3)

        async def produce() -> None:
            for number in range(200):
                await queue.put(number)

        task = asyncio.ensure_future(produce())
        items = [await queue.get() for _ in range(200)]
        await task
        return items

    assert run(main()) == list(range(200))


def test_join_waits_for_all_work(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        await queue.join()
        queue.put_nowait(1)
        queue.put_nowait(2)
        joins = [asyncio.ensure_future(queue.join()) for _ in range(2)]
        for _ in range(2):
            await settle()
            assert not any(join.done() for join in joins)
            queue.get_nowait()
            queue.task_done()
        # Work that comes later does not keep those who were told already.
        queue.put_nowait(3)
        assert await asyncio.gather(*joins) == [None, None]

    run(main())


def test_a_cancelled_join_leaves_no_trace(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        queue.put_nowait(1)
        join = asyncio.ensure_future(queue.join())
        assert await end(join) == [asyncio.CancelledError]
        queue.task_done()
        await queue.join()

    run(main())


def test_task_done_too_often_is_an_error(lib: Any) -> None:
    queue = lib.Queue()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        queue.task_done()
    queue.put_nowait(1)
    queue.task_done()
    with pytest.raises(ValueError, match=r"^task_done\(\) called too many times$"):
        queue.task_done()


@pytest.mark.parametrize("name", QUEUES)
def test_texts(lib: Any, run: Run, name: str) -> None:
    async def main() -> None:
        queue = getattr(lib, name)(maxsize=1)
        assert str(queue) == f"<{name} maxsize=1>"
        assert re.fullmatch(rf"<{name} at 0x[0-9a-f]+ maxsize=1>", repr(queue))
        getters = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await settle()
        assert str(queue) == f"<{name} maxsize=1 _getters[2]>"
        await end(*getters)
        queue.put_nowait("a")
        putter = asyncio.ensure_future(queue.put("b"))
        await settle()
        assert str(queue) == f"<{name} maxsize=1 _queue=['a'] _putters[1] tasks=1>"
        await end(putter)

    run(main())


def test_text_after_shutdown(lib: Any, oracle_since: Callable[..., None]) -> None:
    oracle_since(3, 13)
    queue = lib.Queue()
    queue.shutdown()
    assert str(queue) == "<Queue maxsize=0 shutdown>"


def test_a_queue_is_bound_to_the_first_loop_that_waits(
    lib: Any, run: Run, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        getter = asyncio.ensure_future(queue.get())
        await end(getter)

    async def elsewhere() -> None:
        # Nothing to wait for: any loop will do.
        await queue.put(1)
        assert await queue.get() == 1
        await queue.get()

    queue = lib.Queue()
    run(main())
    other = loop_factory()
    with pytest.raises(RuntimeError, match=r"^<Queue at 0x[0-9a-f]+ .*> is bound to a different event loop$"):
        other.run_until_complete(elsewhere())
    other.close()


@pytest.mark.usefixtures("ours")
def test_waiting_needs_a_running_loop(lib: Any) -> None:
    get = lib.Queue().get()
    with pytest.raises(RuntimeError, match="^no running event loop$"):
        get.send(None)


@pytest.mark.parametrize("name", QUEUES)
def test_white_box_attributes(lib: Any, run: Run, name: str) -> None:
    async def main() -> None:
        queue = getattr(lib, name)(2)
        assert type(queue._queue) is (deque if name == "Queue" else list)
        assert (queue._maxsize, queue._unfinished_tasks) == (2, 0)
        assert (type(queue._getters), len(queue._getters), len(queue._putters)) == (deque, 0, 0)
        getter = asyncio.ensure_future(queue.get())
        await settle()
        assert len(queue._getters) == 1
        assert asyncio.isfuture(queue._getters[0])
        await queue.put(1)
        assert await getter == 1
        assert queue._unfinished_tasks == 1
        queue._queue.append(5)
        assert queue.get_nowait() == 5

    run(main())


def test_reaching_in_does_not_lose_a_waiter(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue()
        getters = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await settle()
        queue.put_nowait("taken from under it")
        queue._queue.clear()
        await settle()
        assert not any(getter.done() for getter in getters)
        queue.put_nowait(1)
        queue.put_nowait(2)
        assert sorted(await asyncio.gather(*getters)) == [1, 2]

    run(main())


@pytest.mark.usefixtures("ours")
def test_a_larger_bound_wakes_putters(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        queue.put_nowait(1)
        putters = [asyncio.ensure_future(queue.put(number)) for number in (2, 3)]
        await settle()
        queue._maxsize = 3
        await asyncio.gather(*putters)
        assert (queue.maxsize, list(queue._queue)) == (3, [1, 2, 3])

    run(main())


@pytest.mark.parametrize("name", QUEUES)
def test_classes(lib: Any, name: str) -> None:
    class_ = getattr(lib, name)
    assert issubclass(class_, lib.Queue)
    assert class_[int].__origin__ is class_
    queue = class_()
    queue.attribute = 1
    assert weakref.ref(queue)() is queue


def test_a_queue_without_init_says_so(lib: Any) -> None:
    class Careless(lib.Queue):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

    for call in (lambda queue: queue.qsize(), lambda queue: queue.maxsize, lambda queue: queue.put_nowait(1)):
        with pytest.raises(AttributeError):
            call(Careless())


def test_init_again_begins_anew(lib: Any) -> None:
    queue = lib.Queue(1)
    queue.put_nowait(1)
    queue.__init__(2)
    assert (queue.qsize(), queue.maxsize) == (0, 2)


@pytest.mark.filterwarnings("ignore:coroutine 'Queue")
@pytest.mark.parametrize("name", QUEUES)
def test_a_cycle_through_a_queue_is_collected(lib: Any, name: str) -> None:
    class Item:
        def __lt__(self, other: object) -> bool:
            return False

    def make() -> weakref.ref[Any]:
        queue, item = getattr(lib, name)(), Item()
        item.kept = [queue, queue.get(), queue.join()]  # type: ignore[attr-defined]
        queue.put_nowait(item)
        return weakref.ref(item)

    item = make()
    gc.collect()
    assert item() is None


def test_a_waiting_coroutine_that_goes_leaves_the_line(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1)
        get = queue.get()
        get.send(None)
        assert len(queue._getters) == 1
        del get
        gc.collect()
        assert len(queue._getters) == 0
        queue.put_nowait(1)
        put = queue.put(2)
        put.send(None)
        assert len(queue._putters) == 1
        put.close()
        assert len(queue._putters) == 0
        assert (await queue.get(), queue.empty()) == (1, True)

    run(main())


def test_never_awaited_coroutines_warn(lib: Any) -> None:
    queue = lib.Queue()
    for name, make in {"get": queue.get, "join": queue.join}.items():
        with pytest.warns(RuntimeWarning, match=f"coroutine 'Queue.{name}' was never awaited"):
            make()


@pytest.mark.usefixtures("ours")
def test_a_chain_of_puts_is_dropped_without_a_deep_stack(lib: Any) -> None:
    coroutine = queue = lib.Queue()
    for _ in range(5_000):
        coroutine = queue.put(coroutine)
    chain = [coroutine]
    del coroutine
    with pytest.warns(RuntimeWarning, match="never awaited"):
        chain.clear()


def test_tonnage_exports_its_queues() -> None:
    for name in [*QUEUES, "QueueShutDown", "QueueStats"]:
        assert name in tonnage.__all__
    for name in QUEUES:
        assert getattr(tonnage, name).__module__ == "tonnage"
        assert getattr(tonnage, name).__qualname__ == name


def test_more_calls_come_and_go_than_objects_are_kept_for_the_next(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        queue = lib.Queue()
        sums = []
        for _ in range(2):
            puts = [queue.put(number) for number in range(5000)]
            gets = [queue.get() for _ in puts]
            for put in puts:
                await put
            sums.append(sum([await get for get in gets]))
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await puts[0]
        return sums

    assert run(main()) == [12_497_500] * 2
