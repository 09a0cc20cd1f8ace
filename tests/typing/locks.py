"""The types of locks and their kin; only type checkers read it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Literal

import tonnage
from typing_extensions import assert_type


async def lock() -> None:
    lock = tonnage.Lock()
    assert_type(await lock.acquire(), Literal[True])
    assert_type(lock.locked(), bool)
    assert_type(lock.release(), None)
    async with lock as entered:
        assert_type(entered, None)


async def event() -> None:
    event = tonnage.Event()
    assert_type(await event.wait(), Literal[True])
    assert_type(event.is_set(), bool)
    assert_type(event.set(), None)
    assert_type(event.clear(), None)


async def condition(numbers: list[int]) -> None:
    tonnage.Condition(tonnage.Lock())
    tonnage.Condition(lock=asyncio.Lock())
    condition = tonnage.Condition()
    async with condition as entered:
        assert_type(entered, None)
        assert_type(await condition.wait(), Literal[True])
        assert_type(await condition.wait_for(lambda: numbers), list[int])
        assert_type(condition.notify(), None)
        condition.notify(2)
        assert_type(condition.notify_all(), None)
    assert_type(await condition.acquire(), Literal[True])
    assert_type(condition.locked(), bool)
    assert_type(condition.release(), None)


async def semaphores() -> None:
    for semaphore in (tonnage.Semaphore(), tonnage.Semaphore(2), tonnage.BoundedSemaphore(value=3)):
        assert_type(await semaphore.acquire(), Literal[True])
        assert_type(semaphore.locked(), bool)
        assert_type(semaphore.release(), None)
        async with semaphore as entered:
            assert_type(entered, None)


async def barrier() -> None:
    barrier = tonnage.Barrier(2)
    assert_type(await barrier.wait(), int)
    async with barrier as position:
        assert_type(position, int)
    assert_type(await barrier.reset(), None)
    assert_type(await barrier.abort(), None)
    assert_type((barrier.parties, barrier.n_waiting), tuple[int, int])
    assert_type(barrier.broken, bool)
    try:
        await barrier.wait()
    except tonnage.BrokenBarrierError as error:
        assert_type(error, tonnage.BrokenBarrierError)


def as_asyncio(
    lock: asyncio.Lock, event: asyncio.Event, semaphore: asyncio.Semaphore, condition: asyncio.Condition
) -> None:
    """A parameter that asks for asyncio's takes ours."""
    as_asyncio(tonnage.Lock(), tonnage.Event(), tonnage.BoundedSemaphore(), tonnage.Condition())


async def as_context_managers() -> None:
    async with AsyncExitStack() as stack:
        assert_type(await stack.enter_async_context(tonnage.Lock()), None)
        assert_type(await stack.enter_async_context(tonnage.Barrier(1)), int)
        assert_type(await stack.enter_async_context(tonnage.TaskGroup()), tonnage.TaskGroup)
        assert_type(await stack.enter_async_context(tonnage.timeout(1)), tonnage.Timeout)
    managers: list[AbstractAsyncContextManager[object]] = [tonnage.Condition(), tonnage.Semaphore()]
    assert_type(len(managers), int)


async def refused(lock: tonnage.Lock, condition: tonnage.Condition) -> None:
    lock.acquire()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    with lock:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    await lock.release()  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]
    tonnage.Lock(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.Semaphore("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Barrier()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.Condition(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await condition.wait_for(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    condition.notify("all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.Barrier(2).parties = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
