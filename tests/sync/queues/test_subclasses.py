"""Python subclasses that override what asyncio lets them, and items that do something when compared."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Run, end, settle


def test_a_subclass_may_hold_its_items_itself(lib: Any, run: Run) -> None:
    class Unique(lib.Queue):  # type: ignore[misc, name-defined]
        def _init(self, maxsize: int) -> None:
            self.inits = [maxsize]
            self._queue: dict[Any, None] = {}

        def _put(self, item: Any) -> None:
            self._queue[item] = None

        def _get(self) -> Any:
            return self._queue.popitem()[0]

    async def main() -> None:
        queue = Unique(2)
        assert queue.inits == [2]
        getters = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await settle()
        queue.put_nowait("a")
        queue.put_nowait("a")
        await settle()
        assert [getter.done() for getter in getters] == [True, False]
        await queue.put("b")
        assert [await getter for getter in getters] == ["a", "b"]
        queue.put_nowait("c")
        queue.put_nowait("c")
        assert (queue.qsize(), str(queue)) == (1, "<Unique maxsize=2 _queue=['c'] tasks=5>")
        assert await queue.get() == "c"

    run(main())


def test_a_stop_iteration_of_a_subclass_does_not_pass_for_an_item(lib: Any, run: Run) -> None:
    class Drawn(lib.Queue):  # type: ignore[misc, name-defined]
        def _get(self) -> Any:
            return next(iter(()))

    async def main() -> None:
        queue = Drawn()
        queue.put_nowait(1)
        with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$"):
            await queue.get()

    run(main())


def test_a_subclass_may_ask_for_its_loop(
    lib: Any, run: Run, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    queue = lib.Queue()
    assert queue._loop is None

    async def ask() -> None:
        assert queue._get_loop() is asyncio.get_running_loop()
        assert queue._loop is asyncio.get_running_loop()

    async def ask_elsewhere() -> None:
        with pytest.raises(RuntimeError, match="is bound to a different event loop$"):
            queue._get_loop()

    run(ask())
    other = loop_factory()
    try:
        other.run_until_complete(ask_elsewhere())
    finally:
        other.close()


def test_overridden_put_and_get_may_call_the_originals(lib: Any, run: Run) -> None:
    class Tagged(lib.LifoQueue):  # type: ignore[misc, name-defined]
        def _put(self, item: Any) -> None:
            super()._put(("in", item))

        def _get(self) -> Any:
            return ("out", *super()._get())

    async def main() -> None:
        queue = Tagged(1)
        await queue.put(1)
        putter = asyncio.ensure_future(queue.put(2))
        await settle()
        assert await queue.get() == ("out", "in", 1)
        await putter
        assert queue.get_nowait() == ("out", "in", 2)

    run(main())


def test_overridden_nowait_methods_are_used(lib: Any, run: Run) -> None:
    class Counting(lib.Queue):  # type: ignore[misc, name-defined]
        puts = gets = 0

        def put_nowait(self, item: Any) -> None:
            self.puts += 1
            super().put_nowait(item)

        def get_nowait(self) -> Any:
            self.gets += 1
            return super().get_nowait()

    async def main() -> None:
        queue = Counting(1)
        await queue.put(1)
        putter = asyncio.ensure_future(queue.put(2))
        await settle()
        assert [await queue.get(), await queue.get()] == [1, 2]
        await putter
        assert (queue.puts, queue.gets) == (2, 2)

    run(main())


def test_overridden_sizes_are_asked(lib: Any, run: Run) -> None:
    class Heavy(lib.Queue):  # type: ignore[misc, name-defined]
        """Full by the sum of its items."""

        def full(self) -> bool:
            return sum(self._queue) >= 10

        def empty(self) -> bool:
            return not self._queue

    async def main() -> None:
        queue = Heavy()
        await queue.put(12)
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(1)
        putters = [asyncio.ensure_future(queue.put(number)) for number in (7, 8, 9)]
        await settle()
        items = []
        for _ in range(4):
            items.append(await queue.get())
            await settle()
        assert items == [12, 7, 8, 9]
        await asyncio.gather(*putters)
        getters = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await settle()
        for number in (1, 2, 3):
            queue.put_nowait(number)
        assert await asyncio.gather(*getters) == [1, 2, 3]

    run(main())


def test_a_put_that_fails_leaves_the_queue_as_it_was(lib: Any, run: Run) -> None:
    class Picky(lib.Queue):  # type: ignore[misc, name-defined]
        def _put(self, item: Any) -> None:
            if item == "bad":
                raise LookupError(item)
            super()._put(item)

    async def main() -> None:
        queue = Picky(1)
        with pytest.raises(LookupError):
            await queue.put("bad")
        assert (queue.qsize(), queue._unfinished_tasks) == (0, 0)
        queue.put_nowait(1)
        bad, good = (asyncio.ensure_future(queue.put(item)) for item in ("bad", 2))
        await settle()
        assert queue.get_nowait() == 1
        await settle()
        if lib is asyncio:
            # There the next putter sleeps on.
            assert await end(good) == [asyncio.CancelledError]
        else:
            assert await asyncio.wait_for(good, 1) is None
        assert await end(bad) == [LookupError]

    run(main())


@pytest.mark.usefixtures("ours")
def test_qsize_hook_counts_the_stored_items(lib: Any) -> None:
    class Elsewhere(lib.Queue):  # type: ignore[misc, name-defined]
        def _init(self, maxsize: int) -> None:
            self.items: list[Any] = []

        def _qsize(self) -> int:
            return len(self.items)

        def _put(self, item: Any) -> None:
            self.items.append(item)

        def _get(self) -> Any:
            return self.items.pop(0)

    queue = Elsewhere(2)
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert (queue.qsize(), queue.full(), queue.empty()) == (2, True, False)
    assert [queue.get_nowait(), queue.get_nowait()] == [1, 2]
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


class Item:
    """Compares by `key`, after it has done something."""

    act: Callable[[], object] | None = None

    def __init__(self, key: int) -> None:
        self.key = key

    def __lt__(self, other: Item) -> bool:
        if Item.act is not None:
            Item.act()
        return self.key < other.key


def fail() -> None:
    raise LookupError


@pytest.fixture(autouse=True)
def harmless() -> Any:
    yield
    Item.act = None


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 8, 20])
def test_a_failing_comparison_leaves_the_heap_as_it_was(lib: Any, after: int, size: int) -> None:
    def failed(call: Callable[[], object]) -> bool:
        calls = iter(range(100))
        Item.act = lambda: fail() if next(calls) >= after else None
        try:
            call()
        except LookupError:
            return True
        finally:
            Item.act = None
        return False

    queue = lib.PriorityQueue()
    for number in range(size):
        queue.put_nowait(Item(number * 7 % 20 + 10))
    before = list(queue._queue)
    if failed(lambda: queue.put_nowait(Item(5))):
        assert queue._queue == before
        assert queue._unfinished_tasks == size
    before = list(queue._queue)
    if failed(queue.get_nowait):
        assert queue._queue == before
    keys = [queue.get_nowait().key for _ in range(queue.qsize())]
    assert keys == sorted(keys)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_comparison_may_use_the_queue(lib: Any, run: Run, count: int) -> None:
    async def main() -> None:
        queue = lib.PriorityQueue(maxsize=count + 1)
        for key in range(count):
            queue.put_nowait(Item(key))
        depth = 0

        def act() -> None:
            nonlocal depth
            if depth < 2:
                depth += 1
                for call in (queue.get_nowait, lambda: queue.put_nowait(Item(-5)), lambda: str(queue)):
                    with contextlib.suppress(asyncio.QueueEmpty, asyncio.QueueFull, RuntimeError, IndexError):
                        call()
                depth -= 1

        Item.act = act
        for call in (lambda: queue.put_nowait(Item(-1)), queue.get_nowait) * 3:
            with contextlib.suppress(asyncio.QueueEmpty, asyncio.QueueFull, RuntimeError, IndexError):
                call()
        Item.act = None
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(Item(1))
        assert (await queue.get()).key == 1

    run(main())


@pytest.mark.usefixtures("ours")
def test_a_getter_whose_comparison_fails_passes_on(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.PriorityQueue()
        getters = [asyncio.ensure_future(queue.get()) for _ in range(2)]
        await settle()
        for key in (1, 2, 3):
            queue.put_nowait(Item(key))
        Item.act = fail
        await settle(1)
        await settle(1)
        Item.act = None
        outcomes = await end(*getters)
        assert outcomes[0] is LookupError
        assert queue.qsize() == 3 - sum(isinstance(outcome, Item) for outcome in outcomes)

    run(main())


def test_a_put_is_not_resumed_by_the_item_that_it_drops(lib: Any, run: Run) -> None:
    class Dropped:
        def __del__(self) -> None:
            with contextlib.suppress(ValueError):
                coro.send(None)
            try:
                coro.close()
            except ValueError as error:
                told.append(str(error))

    async def main() -> None:
        nonlocal coro
        queue = lib.Queue()
        queue._queue = collections.deque([Dropped()], maxlen=1)
        coro = queue.put(1)
        await coro
        assert told == ["coroutine already executing"]
        assert await queue.get() == 1

    coro: Any = None
    told: list[str] = []
    run(main())
