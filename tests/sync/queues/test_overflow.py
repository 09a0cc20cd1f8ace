"""overflow= and on_drop=: what a full queue does with one more item."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import pytest
import tonnage

from .conftest import Run, settle

pytestmark = pytest.mark.usefixtures("ours")


def test_wait_is_asyncios_queue(lib: Any) -> None:
    queue = lib.Queue(1, overflow="wait")
    queue.put_nowait(1)
    with pytest.raises(asyncio.QueueFull, match="^$"):
        queue.put_nowait(2)


def test_raise_refuses_with_a_text(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(2, overflow="raise")
        await queue.put(1)
        await queue.put(2)
        text = (
            "queue is full: 2 of 2; construct it with overflow='wait' and await put(), or with "
            "overflow='drop_oldest' or 'drop_newest'"
        )
        with pytest.raises(asyncio.QueueFull, match=f"^{re.escape(text)}$"):
            await queue.put(3)
        with pytest.raises(asyncio.QueueFull, match=f"^{re.escape(text)}$"):
            queue.put_nowait(3)
        assert list(queue._queue) == [1, 2]

    run(main())


@pytest.mark.parametrize("name", ["Queue", "LifoQueue"])
@pytest.mark.parametrize("nowait", [True, False])
def test_drop_oldest(lib: Any, run: Run, name: str, nowait: bool) -> None:
    async def main() -> None:
        dropped: list[Any] = []
        queue = getattr(lib, name)(
            2, overflow="drop_oldest", on_drop=lambda *arguments: dropped.append(arguments)
        )
        for number in range(5):
            if nowait:
                queue.put_nowait(number)
            else:
                await queue.put(number)
        assert list(queue._queue) == [3, 4]
        assert dropped == [(number, "drop_oldest") for number in range(3)]
        assert queue.stats().dropped == 3
        assert queue._unfinished_tasks == 2

    run(main())


@pytest.mark.parametrize("name", ["Queue", "LifoQueue", "PriorityQueue"])
def test_drop_newest(lib: Any, run: Run, name: str) -> None:
    async def main() -> None:
        dropped: list[Any] = []
        queue = getattr(lib, name)(
            2, overflow="drop_newest", on_drop=lambda *arguments: dropped.append(arguments)
        )
        for number in range(4):
            await queue.put(number)
        queue.put_nowait(4)
        assert list(queue._queue) == [0, 1]
        assert dropped == [(number, "drop_newest") for number in (2, 3, 4)]
        assert (queue.stats().dropped, queue._unfinished_tasks) == (3, 2)

    run(main())


def test_join_does_not_see_an_empty_queue_between(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1, overflow="drop_oldest")
        queue.put_nowait(1)
        join = asyncio.ensure_future(queue.join())
        await settle()
        queue.put_nowait(2)
        await settle()
        assert not join.done()
        queue.get_nowait()
        queue.task_done()
        await join

    run(main())


def test_a_shut_down_queue_drops_nothing(lib: Any) -> None:
    queue = lib.Queue(1, overflow="drop_newest")
    queue.put_nowait(1)
    queue.shutdown()
    with pytest.raises(tonnage.QueueShutDown):
        queue.put_nowait(2)
    assert queue.stats().dropped == 0


def test_a_promised_item_that_is_dropped_is_replaced(lib: Any, run: Run) -> None:
    async def main() -> None:
        queue = lib.Queue(1, overflow="drop_oldest")
        getter = asyncio.ensure_future(queue.get())
        await settle()
        queue.put_nowait(1)
        queue.put_nowait(2)
        assert await getter == 2
        assert queue.empty()

    run(main())


def fail(item: object, reason: str) -> None:
    raise LookupError(item)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_what_on_drop_raises_is_reported(
    lib: Any, run: Run, reports: list[dict[str, Any]], overflow: str
) -> None:
    async def main() -> Any:
        queue = lib.Queue(1, overflow=overflow, on_drop=fail)
        await queue.put(1)
        await queue.put(2)
        assert queue.qsize() == 1
        return queue

    queue = run(main())
    assert [(type(report["exception"]), report["queue"]) for report in reports] == [(LookupError, queue)]
    assert reports[0]["message"].startswith("Exception in on_drop <function fail at ")
    reports.clear()


def test_what_on_drop_raises_outside_a_loop_is_unraisable(lib: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda report: reported.append((report.exc_type, report.object))
    )
    queue = lib.Queue(1, overflow="drop_newest", on_drop=fail)
    queue.put_nowait(1)
    queue.put_nowait(2)
    assert reported == [(LookupError, fail)]


def test_on_drop_may_leave_the_loop(lib: Any) -> None:
    def interrupt(item: object, reason: str) -> None:
        raise KeyboardInterrupt

    queue = lib.Queue(1, overflow="drop_oldest", on_drop=interrupt)
    queue.put_nowait(1)
    with pytest.raises(KeyboardInterrupt):
        queue.put_nowait(2)
    assert list(queue._queue) == [2]


def test_on_drop_may_use_the_queue(lib: Any) -> None:
    queue = lib.Queue(2, overflow="drop_oldest", on_drop=lambda item, reason: queue.get_nowait())
    for number in range(3):
        queue.put_nowait(number)
    assert list(queue._queue) == [2]
    assert queue._unfinished_tasks == 2


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("maxsize", [0, -1])
def test_a_queue_that_drops_needs_a_bound(lib: Any, overflow: str, maxsize: int) -> None:
    text = f"maxsize must be 1 or more with overflow='{overflow}', got {maxsize}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        lib.Queue(maxsize, overflow=overflow)


def test_a_priority_queue_has_no_oldest_item(lib: Any) -> None:
    with pytest.raises(ValueError, match=r"^a PriorityQueue does not know its oldest item; use overflow="):
        lib.PriorityQueue(3, overflow="drop_oldest")


@pytest.mark.parametrize("overflow", ["drop", "", 3, None])
def test_a_wrong_overflow_names_the_four(lib: Any, overflow: Any) -> None:
    text = f"overflow must be 'wait', 'raise', 'drop_oldest' or 'drop_newest', got {overflow!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        lib.Queue(3, overflow=overflow)


def test_on_drop_is_checked(lib: Any) -> None:
    with pytest.raises(TypeError, match="^on_drop must be callable, got 3$"):
        lib.Queue(3, overflow="drop_oldest", on_drop=3)
    for overflow in ("wait", "raise"):
        with pytest.raises(
            ValueError, match=f"^on_drop needs a queue that drops, got overflow='{overflow}'; "
        ):
            lib.Queue(3, overflow=overflow, on_drop=print)
    with pytest.raises(TypeError):
        lib.Queue(3, "drop_oldest")
