"""target_delay=: a queue that drops what has waited for too long, while it is overloaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

TARGET_S = 0.001
# What CoDel looks at before it judges, and a little.
INTERVAL_S = 0.11


async def overload(queue: tonnage.Queue[int], items: int = 6) -> None:
    """Have the queue see a whole interval in which everything waited for longer than the target."""
    for item in range(items):
        await queue.put(item)
    time.sleep(5 * TARGET_S)
    assert await queue.get() == 0
    time.sleep(INTERVAL_S)
    # Who opens the next interval is served; then the queue is known to be overloaded.
    assert await queue.get() == 1


def test_late_items_are_dropped_and_told_of(run: Callable[[Any], Any]) -> None:
    dropped: list[tuple[int, str]] = []

    async def main() -> None:
        queue: tonnage.Queue[int] = tonnage.Queue(
            target_delay=TARGET_S, on_drop=lambda item, reason: dropped.append((item, reason))
        )
        await overload(queue)
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        assert dropped == [(item, "delay") for item in range(2, 6)]
        assert not getter.done()
        assert queue.stats().dropped == 4
        queue.put_nowait(7)
        assert await getter == 7
        for _ in range(3):
            queue.task_done()
        await queue.join()

    run(main())


def test_what_is_late_is_not_got_by_any_method(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        for get in (
            lambda queue: queue.get_nowait(),
            lambda queue: queue.get_many(3).send(None),
            lambda queue: queue.__aiter__().__anext__().send(None),
        ):
            queue: tonnage.Queue[int] = tonnage.Queue(target_delay=TARGET_S)
            await overload(queue)
            queue.shutdown()
            with pytest.raises((asyncio.QueueEmpty, tonnage.QueueShutDown, StopAsyncIteration)):
                get(queue)

    run(main())


def test_dropped_items_make_room_for_who_waits_to_put(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        queue: tonnage.Queue[int] = tonnage.Queue(6, target_delay=TARGET_S)
        await overload(queue)
        queue.put_nowait(6)
        queue.put_nowait(7)
        putter = asyncio.ensure_future(queue.put(8))
        await asyncio.sleep(0)
        assert not putter.done()
        assert await queue.get() == 6
        await putter
        assert await queue.get_many(2) == [7, 8]

    run(main())


def test_a_burst_is_served_to_its_end(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        queue: tonnage.Queue[int] = tonnage.Queue(target_delay=TARGET_S)
        for item in range(3):
            queue.put_nowait(item)
        time.sleep(5 * TARGET_S)
        assert await queue.get_many(3) == [0, 1, 2]
        assert queue.stats().dropped == 0

    run(main())


def test_statistics_tell_how_long_the_oldest_item_has_waited(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        queue: tonnage.Queue[int] = tonnage.Queue(target_delay=1)
        assert queue.stats().delay == 0.0
        queue.put_nowait(1)
        time.sleep(TARGET_S)
        queue.put_nowait(2)
        assert TARGET_S <= queue.stats().delay < 60
        queue.shutdown(immediate=True)
        assert queue.stats().delay == 0.0

    run(main())


def test_error_in_on_drop_is_reported_and_the_item_is_gone(
    run: Callable[[Any], Any], reports: list[dict[str, Any]]
) -> None:
    def fail(item: int, reason: str) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        queue: tonnage.Queue[int] = tonnage.Queue(target_delay=TARGET_S, on_drop=fail)
        await overload(queue, items=3)
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()

    run(main())
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError]


@pytest.mark.parametrize("target_delay", [0, -1.0, float("inf"), float("nan")])
def test_target_is_a_time(target_delay: float) -> None:
    with pytest.raises(ValueError, match=r"^target_delay must be a number of seconds above 0, got "):
        tonnage.Queue(target_delay=target_delay)


def test_only_a_queue_that_keeps_the_order_knows_how_long_its_items_wait() -> None:
    for kind in (tonnage.LifoQueue, tonnage.PriorityQueue):
        with pytest.raises(ValueError, match="^target_delay needs a queue that is first in, first out"):
            kind(target_delay=1.0)

    class Own(tonnage.Queue[int]):
        def _get(self) -> int:
            return super()._get()  # type: ignore[misc, no-any-return]

    with pytest.raises(TypeError, match="^target_delay needs the queue's own storage"):
        Own(target_delay=1.0)
    with pytest.raises(TypeError):
        tonnage.Queue(target_delay="1")  # type: ignore[arg-type]
