"""The types of task groups and timeouts; only type checkers read it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any

import tonnage
from typing_extensions import assert_type


async def count() -> int:
    return 1


async def serve(host: str, port: int = 0, *, task_status: tonnage.TaskStatus[int]) -> None:
    task_status.started(port)


async def serve_quietly(*, task_status: tonnage.TaskStatus[None]) -> str:
    task_status.started()
    return "served"


async def task_group() -> None:
    async with tonnage.TaskGroup() as group:
        assert_type(group, tonnage.TaskGroup)
        task = group.create_task(count(), name="one", context=copy_context(), eager_start=True)
        assert_type(task, tonnage.Task[int])
        assert_type(await task, int)
        assert_type(task.result(), int)
        assert_type(group.create_task(tonnage.sleep(1, "rested"), daemon=True), tonnage.Task[str])
        assert_type(group.create_task(tonnage.Queue[bytes]().get()), tonnage.Task[bytes])
        assert_type(group.active, int)
        assert_type(group.cancel(), None)
        group.cancel("enough")
        group.cancel(msg=None)


async def options_of_a_group() -> None:
    tonnage.TaskGroup(on_error="cancel")
    tonnage.TaskGroup(on_error="collect", name="crawlers")
    tonnage.TaskGroup(on_error="report")


async def start(anything: Callable[..., Coroutine[Any, Any, object]]) -> None:
    async with tonnage.TaskGroup() as group:
        port: int = await group.start(serve, "localhost", 80, name="server")
        await group.start(serve_quietly)
        await group.start(partial(serve, "localhost"))
        assert_type(await group.start(anything, port), Any)


class Subclass(tonnage.TaskGroup):
    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await super().__aexit__(et, exc, tb)


async def subclass() -> None:
    async with Subclass() as group:
        assert_type(group, Subclass)


async def returns_from_within() -> int:
    """A group swallows no error of its block, so this needs no second return."""
    async with tonnage.TaskGroup():
        return 1


async def timeouts() -> int:
    assert_type(tonnage.timeout(1), tonnage.Timeout)
    assert_type(tonnage.timeout(None), tonnage.Timeout)
    assert_type(tonnage.timeout_at(0.5), tonnage.Timeout)
    async with tonnage.timeout_at(None) as deadline:
        assert_type(deadline, tonnage.Timeout)
        assert_type(deadline.when(), float | None)
        assert_type(deadline.expired(), bool)
        assert_type(deadline.reschedule(2), None)
        deadline.reschedule(None)
        return 1


async def refused(group: tonnage.TaskGroup) -> None:
    tonnage.TaskGroup("name")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.TaskGroup(on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    group.create_task(count)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    group.create_task(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # A future is no coroutine.
    future = asyncio.get_running_loop().create_future()
    group.create_task(future)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    group.create_task(count(), "name")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    group.create_task(count(), daemon=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    group.create_task(count(), context=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await group.start(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await group.start(len)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await group.start(serve("localhost"))  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    group.active = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with group:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


def refused_status(number: tonnage.TaskStatus[int], nothing: tonnage.TaskStatus[None]) -> None:
    number.started("80")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number.started()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    nothing.started(1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def refused_timeouts() -> None:
    tonnage.timeout()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tonnage.timeout("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with tonnage.timeout(1):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
