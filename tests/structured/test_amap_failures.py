"""amap: what fails, or is cancelled, while it is awaited."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import tonnage

from .conftest import turns
from .implementations import OURS, Implementation
from .jobs import Jobs, double, error_of, errors_of

if sys.version_info < (3, 11):
    pass

Run = Callable[[Any], Any]


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


# Failure.


def test_first_error_cancels_the_rest_and_waits_for_it(run: Run, nothing_left: None) -> None:
    trace = []

    async def work(item: int) -> None:
        try:
            if item == 2:
                await turns(3)
                raise LookupError(item)
            await tonnage.sleep(60)
        finally:
            await turns(item)
            trace.append(item)
            if item == 1:
                raise ValueError("also")

    async def main() -> None:
        error = await error_of(tonnage.amap(work, range(10), limit=4))
        assert str(error).startswith("unhandled errors in amap()")
        assert errors_of(error) == ["LookupError(2)", "ValueError('also')"]
        assert sorted(trace) == [0, 1, 2, 3]

    run(main())


def test_error_of_the_source_is_in_the_group(run: Run, nothing_left: None) -> None:
    jobs = Jobs()

    def source() -> Iterator[int]:
        yield from range(5)
        raise LookupError("source")

    async def asynchronous() -> AsyncIterator[int]:
        for item in range(5):
            yield item
        await turns(1)
        raise LookupError("source")

    async def main() -> None:
        for items in (source(), asynchronous()):
            error = await error_of(tonnage.amap(jobs.work, items, limit=2, return_exceptions=True))  # type: ignore[arg-type, call-overload]
            assert errors_of(error) == ["LookupError('source')"]
            assert jobs.running == 0

    run(main())


def test_source_that_cannot_be_opened_raises_its_own_error(run: Run) -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise LookupError("closed")

    async def main() -> None:
        assert repr(await error_of(tonnage.amap(double, Broken(), limit=2))) == "LookupError('closed')"

    run(main())


def test_function_that_raises_or_returns_no_awaitable_fails_the_item(run: Run) -> None:
    def refuse(item: int) -> Any:
        raise LookupError(item)

    async def main() -> None:
        assert errors_of(await error_of(tonnage.amap(refuse, [7], limit=2))) == ["LookupError(7)"]
        (error,) = (await error_of(tonnage.amap(len, ["ab"], limit=2))).exceptions  # type: ignore[attr-defined, type-var]
        assert str(error) == (
            "amap() needs a function that returns an awaitable; <built-in function len> returned int"
        )

    run(main())


def test_errors_can_be_results(run: Run, nothing_left: None) -> None:
    def work(item: int) -> Any:
        if item == 1:
            raise LookupError("at once")

        async def later() -> int:
            await turns(1)
            if item == 2:
                raise ValueError("later")
            return item

        return later()

    async def main() -> None:
        results = await tonnage.amap(work, range(4), limit=2, return_exceptions=True)
        assert repr(results) == "[0, LookupError('at once'), ValueError('later'), 3]"
        pairs = await tonnage.amap(work, [1], limit=2, return_exceptions=True).pairs()
        assert repr(pairs) == "[(1, LookupError('at once'))]"

    run(main())


@pytest.mark.parametrize("return_exceptions", [False, True])
def test_item_that_ends_cancelled_by_itself_ends_the_map_cancelled(
    run: Run, *, return_exceptions: bool
) -> None:
    jobs = Jobs()

    async def work(item: int) -> Any:
        if item == 2:
            raise asyncio.CancelledError("item 2")
        return await jobs.work(item)

    async def main() -> None:
        task: Any = asyncio.current_task()
        error = await error_of(tonnage.amap(work, range(10), limit=3, return_exceptions=return_exceptions))
        assert type(error) is asyncio.CancelledError
        assert jobs.running == 0
        assert len(jobs.begun) < 9
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0
        await turns(1)

    run(main())


def test_error_wins_over_an_item_that_is_cancelled(run: Run) -> None:
    async def work(item: int) -> None:
        if item == 0:
            await turns(2)
            raise asyncio.CancelledError
        try:
            await turns(5)
        finally:
            raise LookupError(item)

    async def main() -> None:
        assert errors_of(await error_of(tonnage.amap(work, range(2), limit=2))) == ["LookupError(1)"]

    run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_cancel_right_before_the_end_of_an_item_is_the_item_s(run: Run, *, fails: bool) -> None:
    begun = []

    async def work(item: int) -> None:
        begun.append(item)
        await turns(1)
        if item == 3:
            task: Any = asyncio.current_task()
            task.cancel()
            if fails:
                raise LookupError(item)

    async def main() -> None:
        error = await error_of(tonnage.amap(work, range(10), limit=1, return_exceptions=True))
        assert type(error) is asyncio.CancelledError

    run(main())
    assert begun == [0, 1, 2, 3]


def test_item_that_swallows_a_cancel_has_its_result(run: Run) -> None:
    async def work(item: int) -> int:
        task: Any = asyncio.current_task()
        task.cancel()
        try:
            await turns(1)
        except asyncio.CancelledError:
            if hasattr(task, "uncancel"):
                task.uncancel()
        await turns(1)
        return item

    async def main() -> None:
        assert await tonnage.amap(work, range(6), limit=2) == list(range(6))

    run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_bare(
    loop: asyncio.AbstractEventLoop, run: Run, kind: type[BaseException]
) -> None:
    seen: list[BaseException] = []

    async def work(item: int) -> None:
        if item == 1:
            await turns(2)
            raise kind("end")
        try:
            await tonnage.sleep(60)
        finally:
            raise LookupError("hidden")

    async def main() -> None:
        seen.append(await error_of(tonnage.amap(work, range(5), limit=2)))

    task = loop.create_task(main())
    with pytest.raises(kind):
        run(task)
    run(task)
    assert type(seen[0]) is kind
    assert seen[0].__notes__ == ["in the same amap() failed: LookupError('hidden')"]  # type: ignore[attr-defined]


def test_each_item_has_its_own_timeout(run: Run, nothing_left: None) -> None:
    async def work(item: int) -> int:
        await tonnage.sleep(60 if item == 1 else 0)
        return item

    async def main() -> None:
        error = await error_of(tonnage.amap(work, range(4), limit=1, timeout=0.1))
        assert errors_of(error) == ["TimeoutError()"]
        results = await tonnage.amap(work, range(4), limit=2, timeout=0.1, return_exceptions=True)
        assert repr(results) == "[0, TimeoutError(), 2, 3]"
        task: Any = asyncio.current_task()
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0

    run(main())


# Cancellation from outside.


def test_cancel_of_the_caller_ends_the_workers_first(run: Run, nothing_left: None) -> None:
    jobs = Jobs()
    closed = []

    async def source() -> AsyncIterator[int]:
        try:
            for item in range(100):
                yield item
        finally:
            await turns(2)
            closed.append("source")

    async def work(item: int) -> None:
        try:
            jobs.running += 1
            await tonnage.sleep(60)
        finally:
            await turns(3)
            jobs.running -= 1

    async def main() -> None:
        task = asyncio.ensure_future(tonnage.amap(work, source(), limit=5))
        await turns(20)
        assert jobs.running == 5
        task.cancel("enough")
        error = await error_of(task)
        assert type(error) is asyncio.CancelledError
        assert (jobs.running, closed) == (0, ["source"])

    run(main())


def test_error_that_meets_a_cancel_leaves_and_the_cancel_follows(run: Run) -> None:
    seen: list[str] = []

    async def work(item: int) -> None:
        try:
            await tonnage.sleep(60)
        finally:
            raise LookupError(item)

    async def caller() -> None:
        seen.extend(errors_of(await error_of(tonnage.amap(work, range(2), limit=2))))
        await turns(1)
        seen.append("not reached")

    async def main() -> None:
        task = asyncio.ensure_future(caller())
        await turns(5)
        task.cancel()
        assert type(await error_of(task)) is asyncio.CancelledError

    run(main())
    assert seen == ["LookupError(0)", "LookupError(1)"]


def test_timeout_around_a_map_waits_for_the_workers(run: Run, nothing_left: None) -> None:
    jobs = Jobs()

    async def work(item: int) -> None:
        jobs.running += 1
        try:
            await tonnage.sleep(60)
        finally:
            await turns(3)
            jobs.running -= 1

    async def main() -> None:
        error = await error_of(tonnage.wait_for(tonnage.amap(work, range(9), limit=3), 0.001))
        assert repr(error) == "TimeoutError()"
        assert jobs.running == 0

    run(main())


def test_map_that_is_cancelled_before_it_begins_starts_nothing(run: Run) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(tonnage.amap(double, range(4), limit=2).drain())
        task.cancel()
        assert type(await error_of(task)) is asyncio.CancelledError
        assert asyncio.all_tasks() == before

    run(main())


def test_maps_can_be_nested(run: Run, nothing_left: None) -> None:
    jobs = Jobs()

    async def fail(item: int) -> int:
        await turns(3)
        if item == 5:
            raise LookupError(item)
        return await jobs.work(item)

    async def inner(item: int) -> list[int]:
        return await tonnage.amap(fail, range(item), limit=2)

    async def main() -> None:
        assert await tonnage.amap(inner, range(4), limit=2) == [[], [0], [0, -1], [0, -1, -2]]
        error: Any = await error_of(tonnage.amap(inner, [9, 4, 3], limit=3))
        (group,) = error.exceptions
        assert errors_of(group) == ["LookupError(5)"]
        assert jobs.running == 0
        task = asyncio.ensure_future(tonnage.amap(inner, [4, 4, 4], limit=3))
        await turns(7)
        task.cancel()
        assert type(await error_of(task)) is asyncio.CancelledError
        assert jobs.running == 0

    run(main())


def test_source_that_fails_to_close_is_heard(run: Run) -> None:
    async def source() -> AsyncIterator[int]:
        try:
            for item in range(9):
                yield item
        finally:
            raise ValueError("close")

    async def fail(item: int) -> None:
        raise LookupError("item")

    async def main() -> None:
        error = await error_of(tonnage.amap(fail, source(), limit=1))
        assert errors_of(error) == ["LookupError('item')", "ValueError('close')"]

    run(main())
