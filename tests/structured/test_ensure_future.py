"""ensure_future and create_task: who makes the task, and what is refused."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Awaitable, value_of
from .implementations import Implementation

Run = Callable[[Any], Any]


def test_a_future_is_returned_itself(api: Implementation, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for future in (loop.create_future(), tonnage.Future(loop=loop), loop.create_task(value_of(1))):
            assert api.ensure_future(future) is future
            assert api.ensure_future(future, loop=loop) is future
            future.cancel()

    run(main())


def test_coroutines_and_awaitables_become_tasks(api: Implementation, run: Run) -> None:
    @types.coroutine
    def generator() -> Any:
        yield
        return 3

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for awaitable, result in (
            (value_of(1), 1),
            (Awaitable(2), 2),
            (generator(), 3),
            (tonnage.sleep(0, 4), 4),
        ):
            task = api.ensure_future(awaitable)
            assert asyncio.isfuture(task)
            assert task.get_loop() is loop
            assert await task == result

    run(main())


def test_what_is_no_awaitable_is_refused(api: Implementation, run: Run) -> None:
    async def main() -> None:
        for wrong in (1, None, [], lambda: None):
            with pytest.raises(
                TypeError, match="^An asyncio.Future, a coroutine or an awaitable is required$"
            ):
                api.ensure_future(wrong)
        with pytest.raises(TypeError):
            api.ensure_future()
        with pytest.raises(TypeError):
            api.ensure_future(value_of, None)

    run(main())


def test_a_future_of_another_loop_is_refused(api: Implementation, run: Run) -> None:
    other = api.loop_factory()
    try:

        async def main() -> None:
            with pytest.raises(
                ValueError, match="^The future belongs to a different loop than the one specified"
            ):
                api.ensure_future(other.create_future(), loop=asyncio.get_running_loop())

        run(main())
    finally:
        other.close()


def test_without_a_loop_the_given_one_makes_the_task(
    api: Implementation, run: Run, loop: asyncio.AbstractEventLoop
) -> None:
    task = api.ensure_future(value_of(1), loop=loop)
    assert run(task) == 1


def test_a_coroutine_for_a_closed_loop_is_closed(api: Implementation, asyncio_since: Any) -> None:
    if not api.is_ours:
        asyncio_since(3, 12)
    closed = api.loop_factory()
    closed.close()
    # No warning that it was never awaited.
    with pytest.raises(RuntimeError, match="loop is closed"):
        api.ensure_future(value_of(1), loop=closed)


def test_create_task_hands_its_options_on(api: Implementation, run: Run) -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def read() -> int:
        return variable.get()

    async def main() -> None:
        task = api.create_task(read(), name="the name")
        assert task.get_name() == "the name"
        assert await task == 0
        assert await api.create_task(coro=read()) == 0
        if sys.version_info >= (3, 11) or api.name == "tonnage":
            context = contextvars.copy_context()
            context.run(variable.set, 5)
            assert await api.create_task(read(), context=context) == 5
        if api.name == "tonnage":
            task = api.create_task(read(), eager_start=True)
            assert task.done()

    run(main())


def test_create_task_refuses_wrong_arguments(api: Implementation, run: Run) -> None:
    async def main() -> None:
        coro = value_of(1)
        for wrong in (
            lambda: api.create_task(),
            lambda: api.create_task(coro, "name"),
            lambda: api.create_task(coro, other=1),
            lambda: api.create_task(1),
        ):
            with pytest.raises(TypeError):
                wrong()
        coro.close()

    run(main())


def test_create_task_needs_a_running_loop(api: Implementation) -> None:
    coro = value_of(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        api.create_task(coro)
    coro.close()


def test_the_attribute_of_the_loop_object_is_called(api: Implementation, run: Run) -> None:
    if api.name == "tonnage-on-uvloop":
        pytest.skip("uvloop's loops take no attributes")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        theirs = loop.create_task
        made = []

        def create_task(coro: Any, **options: Any) -> Any:
            made.append(coro)
            return theirs(coro, **options)

        loop.create_task = create_task  # type: ignore[method-assign, assignment]
        try:
            assert await api.create_task(value_of(1)) == 1
            assert await api.ensure_future(value_of(2)) == 2
        finally:
            del loop.create_task
        assert len(made) == 2

    run(main())
