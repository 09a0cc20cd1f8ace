"""amap: awaited for a list, or drained. Streaming is in `test_amap_stream.py`."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import tonnage

from .conftest import turns
from .implementations import OURS, Implementation

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

Run = Callable[[Any], Any]
VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


class Jobs:
    """Items that are worked on, and how many at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.ended: list[int] = []

    async def work(self, item: int) -> int:
        self.begun.append(item)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await turns(1 + item % 3)
        finally:
            self.running -= 1
            self.ended.append(item)
        return -item


async def double(item: int) -> int:
    await turns(1)
    return 2 * item


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await turns(1)
        yield number


def errors_of(error: BaseException) -> list[str]:
    """The members of a group, for comparison."""
    assert type(error) in (ExceptionGroup, BaseExceptionGroup)
    return [repr(member) for member in error.exceptions]  # type: ignore[attr-defined]


async def error_of(awaitable: Any) -> BaseException:
    try:
        await awaitable
    except BaseException as error:
        return error
    raise AssertionError("did not fail")


# What comes of the items.


def test_results_are_in_the_order_of_the_items(run: Run, nothing_left: None) -> None:
    jobs = Jobs()

    async def main() -> list[int]:
        return await tonnage.amap(jobs.work, range(20), limit=4)

    assert run(main()) == [-item for item in range(20)]
    assert jobs.begun == list(range(20))
    assert jobs.ended != jobs.begun


def test_unordered_results_are_in_the_order_of_their_ends(run: Run) -> None:
    jobs = Jobs()

    async def main() -> list[int]:
        return await tonnage.amap(jobs.work, range(20), limit=4, ordered=False)

    assert run(main()) == [-item for item in jobs.ended]
    assert jobs.ended != jobs.begun


@pytest.mark.parametrize("limit", [1, 2, 7, 50, sys.maxsize, 10**30])
def test_as_many_items_run_at_once_as_the_limit_says(run: Run, limit: int) -> None:
    jobs = Jobs()

    async def main() -> None:
        opened = asyncio.Event()

        async def work(item: int) -> None:
            jobs.running += 1
            jobs.most = max(jobs.most, jobs.running)
            await opened.wait()
            jobs.running -= 1

        task = asyncio.ensure_future(tonnage.amap(work, range(30), limit=limit))
        await turns(40)
        assert jobs.running == min(limit, 30)
        opened.set()
        await task

    run(main())
    assert jobs.most == min(limit, 30)


def test_no_items_give_no_results(run: Run) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, [], limit=3) == []
        assert await tonnage.amap(double, numbers(0), limit=3) == []
        assert await tonnage.amap(double, [], limit=3).drain() == 0

    run(main())


def test_source_may_be_asynchronous(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, numbers(10), limit=3) == [2 * item for item in range(10)]

    run(main())


def test_source_may_be_any_object_that_can_be_iterated(run: Run) -> None:
    class Old:
        def __getitem__(self, index: int) -> int:
            if index == 3:
                raise IndexError
            return index

    async def main() -> None:
        assert await tonnage.amap(double, Old(), limit=3) == [0, 2, 4]  # type: ignore[arg-type, call-overload]
        assert await tonnage.amap(double, {1: "a"}, limit=3) == [2]

    run(main())


def test_item_is_taken_only_when_it_can_be_begun(run: Run) -> None:
    jobs = Jobs()
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(30):
            taken += 1
            assert taken - len(jobs.ended) <= 3
            yield item

    async def main() -> None:
        await tonnage.amap(jobs.work, source(), limit=3)

    run(main())
    assert taken == 30


def test_asynchronous_source_is_advanced_once_at_a_time(run: Run) -> None:
    class Source:
        def __init__(self) -> None:
            self.item = 0
            self.busy = False

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> int:
            assert not self.busy
            self.busy = True
            await turns(2)
            self.busy = False
            if self.item == 12:
                raise StopAsyncIteration
            self.item += 1
            return self.item

    async def main() -> None:
        jobs = Jobs()
        assert await tonnage.amap(jobs.work, Source(), limit=5) == [-item for item in range(1, 13)]

    run(main())


def test_workers_are_few_if_the_items_are(run: Run) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        most = 0

        async def work(item: int) -> None:
            nonlocal most
            await turns(5)
            most = max(most, len(asyncio.all_tasks() - before))

        await tonnage.amap(work, range(3), limit=1000)
        assert 3 <= most <= 7

    run(main())


def test_slow_source_needs_few_workers(run: Run) -> None:
    seen = set()

    async def source() -> AsyncIterator[int]:
        for item in range(20):
            await turns(10)
            yield item

    async def work(item: int) -> None:
        seen.add(asyncio.current_task())
        await turns(1)

    async def main() -> None:
        await tonnage.amap(work, source(), limit=1000)

    run(main())
    assert len(seen) <= 3


def test_function_may_return_any_awaitable(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    def make(item: int) -> Any:
        if item == 0:
            future = loop.create_future()
            loop.call_soon(future.set_result, "future")
            return future
        if item == 1:
            return loop.create_task(tonnage.sleep(0, "task"))
        return Awaitable() if item == 2 else tonnage.sleep(0, "coroutine")

    async def main() -> Any:
        return await tonnage.amap(make, range(4), limit=2)

    assert run(main()) == ["future", "task", "awaited", "coroutine"]


def test_function_need_not_wait(run: Run) -> None:
    async def at_once(item: int) -> int:
        return item + 1

    async def main() -> None:
        assert await tonnage.amap(at_once, range(100_000), limit=10) == list(range(1, 100_001))

    run(main())


def test_pairs_have_the_item_and_its_result(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, [3, 4], limit=3).pairs() == [(3, 6), (4, 8)]
        assert await tonnage.amap(double, [3], limit=3).pairs().pairs() == [(3, (3, 6))]

    run(main())


def test_drain_counts_the_items(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        assert await tonnage.amap(double, range(17), limit=3).drain() == 17
        assert await tonnage.amap(double, numbers(5), limit=3).pairs().drain() == 5

    run(main())


def test_map_can_be_waited_for_as_any_awaitable(run: Run) -> None:
    async def main() -> None:
        maps = [tonnage.amap(double, [item], limit=1) for item in range(3)]
        assert await tonnage.gather(*maps) == [[0], [2], [4]]
        assert await tonnage.wait_for(tonnage.amap(double, [1], limit=1), 60) == [2]
        assert await tonnage.wait_for(tonnage.amap(double, [1], limit=1).drain(), 60) == 1

    run(main())


# Contexts and tasks.


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


def test_cancel_right_before_the_end_of_an_item_is_the_item_s(run: Run) -> None:
    begun = []

    async def work(item: int) -> None:
        begun.append(item)
        await turns(1)
        if item == 3:
            task: Any = asyncio.current_task()
            task.cancel()

    async def main() -> None:
        error = await error_of(tonnage.amap(work, range(10), limit=1))
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
        error = await error_of(tonnage.amap(work, range(4), limit=1, timeout=0.01))
        assert errors_of(error) == ["TimeoutError()"]
        results = await tonnage.amap(work, range(4), limit=2, timeout=0.01, return_exceptions=True)
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


def test_map_that_is_cancelled_before_it_begins_starts_nothing(run: Run) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        task = asyncio.ensure_future(tonnage.amap(double, range(4), limit=2).drain())
        task.cancel()
        assert type(await error_of(task)) is asyncio.CancelledError
        assert asyncio.all_tasks() == before

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


# How it is used.


def test_map_is_used_once(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        used = tonnage.amap(double, [1], limit=1)
        assert await used == [2]
        for again in (lambda: used, used.drain, used.__aenter__):
            assert "call amap() again" in str(await error_of(again()))  # type: ignore[operator]
        with pytest.raises(RuntimeError, match=r"call amap\(\) again"):
            used.pairs()
        paired = tonnage.amap(double, [1], limit=1)
        assert await paired.pairs() == [(1, 2)]
        assert "call amap() again" in str(await error_of(paired))
        running = tonnage.amap(lambda _: tonnage.sleep(0, await_again(running)), [1], limit=1)
        await running

    def await_again(running: Any) -> None:
        with pytest.raises(RuntimeError, match=r"call amap\(\) again"):
            running.__await__().send(None)

    run(main())


def test_unused_map_is_dropped_silently(run: Run, nothing_left: None) -> None:
    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tonnage.amap(double, numbers(3), limit=1)
            gc.collect()

    run(main())


def test_map_cannot_be_iterated_by_itself(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"use 'async with amap\(\.\.\.\) as results"):
            async for _ in tonnage.amap(double, [1], limit=1):
                pass

    run(main())


def test_bad_arguments_are_refused_at_once() -> None:
    amap: Any = tonnage.amap
    for args, options, text in (
        ((double, [1]), {}, "missing required argument 'limit'"),
        ((double, [1]), {"limit": None}, "needs a limit, got None"),
        ((double, [1]), {"limit": "3"}, "limit must be an int, got '3'"),
        ((double, [1]), {"limit": True}, "limit must be an int, got True"),
        ((5, [1]), {"limit": 1}, "needs a function, got 5"),
        ((double, 5), {"limit": 1}, "needs an iterable or an async iterable, got int"),
        ((double, [1]), {"limit": 1, "buffersize": 1.5}, "buffersize must be an int, got 1.5"),
        ((double, [1]), {"limit": 1, "unknown": 1}, "unexpected keyword argument 'unknown'"),
        ((double, [1], 3), {}, "takes at most 2 positional arguments"),
    ):
        with pytest.raises(TypeError, match=text.replace("(", r"\(")):
            amap(*args, **options)
    for options, text in (
        ({"limit": 0}, "limit must be 1 or more, got 0"),
        ({"limit": 1, "buffersize": -1}, "buffersize must be 0 or more, got -1"),
        ({"limit": 1, "timeout": float("nan")}, "Invalid timeout: NaN"),
    ):
        with pytest.raises(ValueError, match=text):
            amap(double, [1], **options)


def test_map_outside_of_a_task_is_refused() -> None:
    waiting = tonnage.amap(double, [1], limit=1).__await__()
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(waiting)


def test_repr_says_of_what_it_is_and_how_far() -> None:
    created = tonnage.amap(double, [1], limit=1)
    assert repr(created) == f"<AsyncMap of {double!r} created>"
    created.pairs()
    assert repr(created) == "<AsyncMap used>"


def test_task_factory_that_fails_ends_the_map(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    jobs = Jobs()
    allowed = 2

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        nonlocal allowed
        allowed -= 1
        if allowed < 0:
            raise LookupError("no more tasks")
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        loop.set_task_factory(factory)
        error = await error_of(tonnage.amap(jobs.work, range(9), limit=9))
        assert set(errors_of(error)) == {"LookupError('no more tasks')"}
        error = await error_of(tonnage.amap(jobs.work, range(9), limit=9))
        assert repr(error) == "LookupError('no more tasks')"
        loop.set_task_factory(None)
        assert jobs.running == 0

    run(main())


def test_cycle_through_a_map_is_collected(run: Run, nothing_left: None) -> None:
    class Holder:
        map: Any

    async def main() -> None:
        holder = Holder()
        holder.map = tonnage.amap(lambda item: double(holder.map), [holder], limit=1)
        await turns(1)

    run(main())
