"""The types of queues; only type checkers read it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import tonnage
from typing_extensions import assert_type


async def queue() -> None:
    queue: tonnage.Queue[int] = tonnage.Queue(10)
    assert_type(await queue.get(), int)
    assert_type(queue.get_nowait(), int)
    assert_type(await queue.get_many(3), list[int])
    assert_type(await queue.put(1), None)
    assert_type(queue.put_nowait(2), None)
    assert_type(queue.task_done(), None)
    assert_type(await queue.join(), None)
    assert_type((queue.qsize(), queue.maxsize), tuple[int, int])
    assert_type((queue.empty(), queue.full()), tuple[bool, bool])
    assert_type(queue.shutdown(), None)
    queue.shutdown(immediate=True)
    async for item in queue:
        assert_type(item, int)
    assert_type([item async for item in tonnage.Queue[str]()], list[str])


def log_drop(item: str, reason: str) -> None: ...


def options_of_a_queue() -> None:
    assert_type(tonnage.Queue(1, overflow="drop_oldest", on_drop=log_drop), tonnage.Queue[str])
    tonnage.Queue[str](overflow="drop_newest", on_drop=lambda item, reason: print(item.upper(), reason))
    tonnage.Queue[str](maxsize=3, overflow="raise")
    tonnage.Queue[str](maxsize=3, overflow="wait", on_drop=None)


async def kinds_of_queues() -> None:
    last: tonnage.LifoQueue[bytes] = tonnage.LifoQueue(2, overflow="raise")
    assert_type(await last.get(), bytes)
    smallest: tonnage.PriorityQueue[tuple[int, str]] = tonnage.PriorityQueue()
    assert_type(await smallest.get(), tuple[int, str])
    async for priority, name in smallest:
        assert_type(priority, int)
        assert_type(name, str)


def stats(queue: tonnage.Queue[object]) -> None:
    stats = queue.stats()
    assert_type(stats, tonnage.QueueStats)
    assert_type((stats.size, stats.maxsize, stats.peak), tuple[int, int, int])
    assert_type((stats.getters, stats.putters, stats.dropped), tuple[int, int, int])
    assert_type(stats.delay, float)


def exceptions(queue: tonnage.Queue[int]) -> int | None:
    try:
        return queue.get_nowait()
    except (tonnage.QueueEmpty, tonnage.QueueFull):
        return None
    except tonnage.QueueShutDown as error:
        assert_type(error, tonnage.QueueShutDown)
        return None


def as_asyncio(any_kind: asyncio.Queue[int], last: asyncio.LifoQueue[int]) -> None:
    """A parameter that asks for asyncio's takes ours."""
    as_asyncio(tonnage.Queue[int](), tonnage.LifoQueue[int]())
    as_asyncio(tonnage.PriorityQueue[int](), tonnage.LifoQueue[int]())


class Counter(Protocol):
    """What a program asks for may be a protocol of its own."""

    async def put(self, item: int) -> None: ...
    async def get(self) -> int: ...
    def qsize(self) -> int: ...


def as_protocol(queue: Counter) -> None:
    as_protocol(tonnage.Queue[int]())
    as_protocol(tonnage.PriorityQueue[int]())


class Sorted(tonnage.Queue[int]):
    """A subclass may override what asyncio lets it override."""

    def _put(self, item: int) -> None:
        super()._put(item + 1)

    async def get(self) -> int:
        return await super().get()


async def refused(queue: tonnage.Queue[int]) -> None:
    queue.put(1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await queue.put("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    queue.put_nowait(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await queue.get_many()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await queue.get_many(limit=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    for _ in queue:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    tonnage.Queue[int](1, "raise")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.Queue[int](1, overflow="block")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Queue[int](1, on_drop=log_drop)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Queue[int](1, on_drop=print, limit=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.PriorityQueue[object]()  # type: ignore[type-var]  # pyright: ignore[reportInvalidTypeArguments]
    queue.stats().size = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    tonnage.PriorityQueue[int](1, overflow="drop_oldest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
