"""The types of what waits for awaitables; only type checkers read it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Iterable
from contextvars import copy_context
from typing import Any

import tonnage
from typing_extensions import assert_type


async def number() -> int:
    return 1


async def text() -> str:
    return ""


class OwnAwaitable:
    def __await__(self) -> Generator[None, None, bytes]:
        yield
        return b""


async def sleep() -> None:
    assert_type(await tonnage.sleep(0.5), None)
    assert_type(await tonnage.sleep(0, "rested"), str)
    assert_type(await tonnage.sleep(delay=1, result=[1]), list[int])


async def tasks() -> None:
    task = tonnage.create_task(number(), name="n", context=copy_context(), eager_start=None)
    assert_type(task, tonnage.Task[int])
    assert_type(tonnage.create_task(tonnage.sleep(0)), tonnage.Task[None])
    assert_type(tonnage.ensure_future(number()), tonnage.Task[int])
    assert_type(tonnage.ensure_future(task), tonnage.Task[int])
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    assert_type(tonnage.ensure_future(future, loop=asyncio.get_running_loop()), asyncio.Future[str])


async def gather(future: asyncio.Future[bool], task: tonnage.Task[bytes], many: list[Awaitable[int]]) -> None:
    assert_type(await tonnage.gather(number()), tuple[int])
    assert_type(await tonnage.gather(number(), text()), tuple[int, str])
    assert_type(await tonnage.gather(number(), text(), future), tuple[int, str, bool])
    assert_type(await tonnage.gather(number(), text(), future, task), tuple[int, str, bool, bytes])
    assert_type(
        await tonnage.gather(number(), text(), future, task, tonnage.sleep(0, 1.5)),
        tuple[int, str, bool, bytes, float],
    )
    assert_type(
        await tonnage.gather(number(), text(), future, task, tonnage.sleep(0), text()),
        tuple[int, str, bool, bytes, None, str],
    )
    assert_type(await tonnage.gather(*many), list[int])
    assert_type(
        await tonnage.gather(number(), number(), number(), number(), number(), number(), number()), list[int]
    )
    assert_type(tonnage.gather(text(), number()), asyncio.Future[tuple[str, int]])


async def gather_with_exceptions(flag: bool, task: tonnage.Task[bytes], many: list[Awaitable[int]]) -> None:
    assert_type(await tonnage.gather(number(), return_exceptions=True), tuple[int | BaseException])
    assert_type(
        await tonnage.gather(number(), text(), return_exceptions=True),
        tuple[int | BaseException, str | BaseException],
    )
    assert_type(
        await tonnage.gather(number(), text(), task, return_exceptions=flag),
        tuple[int | BaseException, str | BaseException, bytes | BaseException],
    )
    assert_type(
        await tonnage.gather(number(), text(), task, number(), number(), text(), return_exceptions=True),
        tuple[
            int | BaseException,
            str | BaseException,
            bytes | BaseException,
            int | BaseException,
            int | BaseException,
            str | BaseException,
        ],
    )
    assert_type(await tonnage.gather(number(), text(), return_exceptions=False), tuple[int, str])
    assert_type(await tonnage.gather(*many, return_exceptions=True), list[int | BaseException])


async def wait(futures: list[asyncio.Future[str]]) -> None:
    one = {tonnage.create_task(number())}
    done, pending = await tonnage.wait(one, timeout=1.5, return_when=tonnage.FIRST_COMPLETED)
    assert_type(done, set[tonnage.Task[int]])
    assert_type(pending, set[tonnage.Task[int]])
    assert_type(await tonnage.wait(futures), tuple[set[asyncio.Future[str]], set[asyncio.Future[str]]])


async def wait_for(future: asyncio.Future[bool], task: tonnage.Task[bytes]) -> None:
    assert_type(await tonnage.wait_for(number(), timeout=None), int)
    assert_type(await tonnage.wait_for(future, 0.5), bool)
    assert_type(await tonnage.wait_for(task, 1), bytes)
    assert_type(await tonnage.wait_for(tonnage.Queue[str]().get(), 1), str)


async def move_on() -> None:
    async with tonnage.move_on_after(1) as attempt:
        assert_type(attempt, tonnage.MoveOn)
        assert_type(attempt.cancelled_caught, bool)
        assert_type(attempt.when(), float | None)
        attempt.reschedule(None)
    async with tonnage.move_on_at(1.5) as attempt:
        assert_type(attempt.expired(), bool)


async def shield_scope() -> None:
    async with tonnage.shield_scope(5) as scope:
        assert_type(scope, tonnage.shield_scope)
    async with tonnage.shield_scope(timeout=1.5):
        pass
    tonnage.shield_scope()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.shield_scope(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def shield_scope_swallows_nothing() -> int:
    async with tonnage.shield_scope(1):
        return 1


def deadline() -> None:
    assert_type(tonnage.current_effective_deadline(), float)
    tonnage.current_effective_deadline(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def move_on_may_not_return() -> int:  # type: ignore[return]  # pyright: ignore[reportReturnType]
    async with tonnage.move_on_after(1):
        return 1


async def shield(future: asyncio.Future[bool], task: tonnage.Task[bytes]) -> None:
    assert_type(tonnage.shield(task), asyncio.Future[bytes])
    assert_type(await tonnage.shield(future), bool)
    assert_type(await tonnage.shield(number()), int)


async def as_completed(tasks: list[tonnage.Task[int]], awaitables: Iterable[Awaitable[str]]) -> None:
    async for finished in tonnage.as_completed(tasks, timeout=1):
        assert_type(finished, asyncio.Future[int])
        assert_type(await finished, int)
    for coming in tonnage.as_completed(awaitables):
        assert_type(await coming, str)
        coming.close()
    first = next(iter(tonnage.as_completed([number()])))
    assert_type(await first, int)


async def as_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    """What tonnage returns goes where asyncio's is asked for."""
    task: asyncio.Task[int] = tonnage.create_task(number())
    assert_type(await asyncio.gather(tonnage.sleep(0, 1), task), tuple[int, int])
    assert_type(asyncio.run_coroutine_threadsafe(tonnage.sleep(0, ""), loop).result(), str)
    asyncio.create_task(tonnage.sleep(0))
    coroutine: Coroutine[Any, Any, int] = tonnage.sleep(0, 1)
    assert_type(await coroutine, int)


async def own_awaitables() -> None:
    assert_type(await tonnage.gather(OwnAwaitable(), number()), tuple[bytes, int])
    assert_type(await tonnage.wait_for(OwnAwaitable(), 1), bytes)
    assert_type(tonnage.ensure_future(OwnAwaitable()), tonnage.Task[bytes])


async def refused(future: asyncio.Future[int]) -> None:
    tonnage.sleep(1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    tonnage.wait_for(future, 1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await tonnage.sleep("1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await tonnage.wait_for(future)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await tonnage.wait_for(1, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.move_on_after("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.move_on_after()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await tonnage.gather(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await tonnage.gather([future])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await tonnage.gather(future, return_exceptions="yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    # Only tasks and futures: a coroutine would be lost.
    await tonnage.wait([number()])  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await tonnage.wait([future], 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.shield(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.as_completed(number())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.create_task(future)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.create_task(number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tonnage.ensure_future(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
