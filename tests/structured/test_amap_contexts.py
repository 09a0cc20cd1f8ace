"""amap: the context and the task that an item runs in."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import tonnage

from .conftest import turns
from .implementations import OURS, Implementation
from .jobs import Jobs, error_of, errors_of, numbers

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")
Run = Callable[[Any], Any]


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


def test_each_item_has_a_context_of_its_own(run: Run) -> None:
    async def work(item: int) -> str:
        before = VARIABLE.get()
        VARIABLE.set(str(item))
        await turns(1 + item % 2)
        assert VARIABLE.get() == str(item)
        return before

    async def main() -> None:
        VARIABLE.set("caller")
        prepared = tonnage.amap(work, range(10), limit=3)
        VARIABLE.set("later")
        assert await prepared == ["caller"] * 10
        assert VARIABLE.get() == "later"

    run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_items_see_what_the_source_has_set(run: Run, is_async: bool) -> None:
    def source() -> Iterator[int]:
        for item in range(5):
            assert VARIABLE.get() == (str(item - 1) if item else "unset")
            VARIABLE.set(str(item))
            yield item

    async def asynchronous() -> AsyncIterator[int]:
        for item in source():
            await turns(1)
            yield item

    async def work(item: int) -> str:
        VARIABLE.set(VARIABLE.get() + "!")
        await turns(1)
        return VARIABLE.get()

    async def main() -> Any:
        return await tonnage.amap(work, asynchronous() if is_async else source(), limit=2)

    assert run(main()) == [f"{item}!" for item in range(5)]


def test_tasks_that_an_item_starts_are_in_its_context(run: Run) -> None:
    async def look() -> str:
        return VARIABLE.get()

    async def work(item: int) -> str:
        VARIABLE.set(str(item))
        await turns(1)
        return await asyncio.ensure_future(look())

    async def main() -> Any:
        return await tonnage.amap(work, range(4), limit=2)

    assert run(main()) == ["0", "1", "2", "3"]


def test_current_task_is_the_worker(run: Run) -> None:
    seen = []

    async def work(item: int) -> None:
        await turns(1)
        seen.append(asyncio.current_task())

    async def main() -> None:
        await tonnage.amap(work, range(10), limit=1)
        assert len(set(seen)) == 1
        assert seen[0] is not asyncio.current_task()

    run(main())


def test_timeouts_and_groups_work_in_an_item(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    if sys.version_info < (3, 11) and not isinstance(loop, tonnage.EventLoop):
        pytest.skip("asyncio's tasks do not count cancels here")

    async def fail() -> None:
        raise LookupError("child")

    async def work(item: int) -> str:
        if item % 3 == 0:
            try:
                async with tonnage.timeout(0.001):
                    await tonnage.sleep(60)
            except TimeoutError:
                return "late"
        if item % 3 == 1:
            with pytest.raises(ExceptionGroup):
                async with tonnage.TaskGroup() as group:
                    group.create_task(fail())
                    await tonnage.sleep(60)
            return "failed"
        await turns(2)
        return "done"

    async def main() -> Any:
        return await tonnage.amap(work, range(9), limit=2)

    assert run(main()) == ["late", "failed", "done"] * 3


def test_timeout_of_a_generator_that_has_yielded_spares_the_item(run: Run, api: Implementation) -> None:
    if "uvloop" in api.name:
        pytest.skip("uvloop does not tell whether there are generators")

    async def ticks() -> AsyncIterator[int]:
        async with tonnage.timeout(0.001):
            while True:
                yield 1

    async def work(item: int) -> str:
        generator = ticks()
        async for _ in generator:
            await tonnage.sleep(0.02)
            break
        await generator.aclose()  # type: ignore[attr-defined]
        return "undisturbed"

    async def main() -> Any:
        return await tonnage.amap(work, [1], limit=1)

    assert run(main()) == ["undisturbed"]


def test_workers_know_the_task_that_waits(run: Run, api: Implementation) -> None:
    if not api.has_call_graph:
        pytest.skip("these tasks have no call graph")

    async def main() -> None:
        me = asyncio.current_task()

        async def work(item: int) -> None:
            await turns(1)
            worker: Any = asyncio.current_task()
            assert worker._asyncio_awaited_by == {me}

        await tonnage.amap(work, range(9), limit=3)

    run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_eager_tasks_make_no_difference(run: Run, loop: asyncio.AbstractEventLoop, *, is_async: bool) -> None:
    if isinstance(loop, tonnage.EventLoop):
        loop.set_task_factory(tonnage.eager_task_factory)
    elif sys.version_info >= (3, 12) and isinstance(loop, asyncio.SelectorEventLoop):
        loop.set_task_factory(asyncio.eager_task_factory)
    else:
        pytest.skip("this loop has no eager tasks here")
    jobs = Jobs()

    async def fail(item: int) -> None:
        raise LookupError(item)

    async def main() -> None:
        source: Any = numbers(5000) if is_async else range(5000)
        assert await tonnage.amap(jobs.work, source, limit=3000) == [-item for item in range(5000)]
        assert set(errors_of(await error_of(tonnage.amap(fail, [1, 2, 3], limit=1)))) == {"LookupError(1)"}

    run(main())
