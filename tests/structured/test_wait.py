"""wait: what it returns, when, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns, value_of
from .implementations import Implementation

Run = Callable[[Any], Any]


def futures(count: int) -> list[asyncio.Future[Any]]:
    loop = asyncio.get_running_loop()
    return [loop.create_future() for _ in range(count)]


def test_waits_for_all_by_default(api: Implementation, run: Run) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(value_of(count, after=count)) for count in range(4)]
        done, pending = await api.wait(tasks)
        assert done == set(tasks)
        assert pending == set()

    run(main())


def test_waits_for_the_first(api: Implementation, run: Run) -> None:
    async def main() -> None:
        one, two, three = futures(3)
        asyncio.get_running_loop().call_soon(two.set_result, 2)
        done, pending = await api.wait([one, two, three], return_when=asyncio.FIRST_COMPLETED)
        assert done == {two}
        assert pending == {one, three}

    run(main())


def test_waits_for_the_first_exception_and_no_cancel(api: Implementation, run: Run) -> None:
    async def main() -> None:
        good, cancelled, bad, slow = futures(4)
        loop = asyncio.get_running_loop()
        loop.call_soon(good.set_result, 1)
        loop.call_soon(cancelled.cancel)
        task = asyncio.ensure_future(fail(ValueError("it"), after=3))
        done, pending = await api.wait(
            [good, cancelled, bad, slow, task], return_when=asyncio.FIRST_EXCEPTION
        )
        assert done == {good, cancelled, task}
        assert pending == {bad, slow}

    run(main())


def test_first_exception_is_all_where_none_fails(api: Implementation, run: Run) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(value_of(1)), asyncio.ensure_future(value_of(2, after=3))]
        done, pending = await api.wait(tasks, return_when="FIRST_EXCEPTION")
        assert (len(done), len(pending)) == (2, 0)

    run(main())


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_futures_that_are_done_take_a_turn(api: Implementation, run: Run, when: str) -> None:
    async def main() -> None:
        one, two = futures(2)
        one.set_result(1)
        two.set_exception(ValueError())
        others = []
        asyncio.get_running_loop().call_soon(others.append, 1)
        done, pending = await api.wait({one, two}, return_when=when)
        assert done == {one, two}
        assert others == [1]
        assert not pending
        two.exception()

    run(main())


@pytest.mark.parametrize("timeout", [0, -1, 0.0, 0.005])
def test_the_timeout_returns_what_there_is(api: Implementation, run: Run, timeout: float) -> None:
    async def main() -> None:
        one, two = futures(2)
        one.set_result(1)
        done, pending = await api.wait([one, two], timeout=timeout)
        assert done == {one}
        assert pending == {two}
        assert not two._callbacks

    run(main())


def test_nothing_is_left_when_the_wait_is_cancelled(api: Implementation, run: Run) -> None:
    async def main() -> None:
        all_futures = [*futures(2), tonnage.Future(loop=asyncio.get_running_loop())]
        task = asyncio.ensure_future(api.wait(all_futures, timeout=60))
        await turns(2)
        assert all(future._callbacks for future in all_futures)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(future._callbacks for future in all_futures)
        assert not any(future.cancelled() for future in all_futures)

    run(main())


def test_nothing_is_left_when_the_coroutine_is_closed(api: Implementation, run: Run) -> None:
    async def main() -> None:
        [future] = futures(1)
        coro = api.wait([future], timeout=60)
        coro.send(None)
        assert future._callbacks
        coro.close()
        assert not future._callbacks

    run(main())


def test_a_cancel_in_the_turn_of_the_end_wins(api: Implementation, run: Run) -> None:
    async def main() -> None:
        [future] = futures(1)
        task = asyncio.ensure_future(api.wait([future]))
        await turns(2)
        future.set_result(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_future_that_ends_in_the_turn_of_the_timeout(
    api: Implementation, run: Run, loop: asyncio.AbstractEventLoop
) -> None:
    async def main() -> None:
        one, two = futures(2)
        loop.call_later(0.01, one.set_result, 1)
        loop.call_later(0.01, two.set_result, 1)
        waiting = asyncio.ensure_future(api.wait([one, two], timeout=0.01))
        await turns(2)
        time.sleep(0.015)
        done, pending = await waiting
        assert done | pending == {one, two}
        await turns()

    run(main())


def test_duplicates_and_iterables_of_any_kind(api: Implementation, run: Run) -> None:
    async def main() -> None:
        one, two = (asyncio.ensure_future(value_of(number)) for number in (1, 2))
        done, _ = await api.wait([one, two, one])
        assert done == {one, two}
        done, _ = await api.wait(iter([one, two]))
        assert done == {one, two}

    run(main())


def test_futures_of_other_implementations(api: Implementation, run: Run) -> None:
    class Other(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        both: list[Any] = [Other(loop=loop), tonnage.Future(loop=loop)]
        for future in both:
            loop.call_soon(future.set_result, 1)
        done, pending = await api.wait(both)
        assert done == set(both)
        assert not pending

    run(main())


def test_wrong_arguments_are_refused_with_the_same_words(
    api: Implementation, run: Run, asyncio_since: Any
) -> None:
    if not api.is_ours:
        asyncio_since(3, 12)

    async def main() -> None:
        [future] = futures(1)
        coro = value_of(1)
        for wrong, error, text in (
            (lambda: api.wait([]), ValueError, "^Set of Tasks/Futures is empty.$"),
            (lambda: api.wait(future), TypeError, "^expect a list of futures, not (Future|Other)$"),
            (lambda: api.wait(coro), TypeError, "^expect a list of futures, not coroutine$"),
            (lambda: api.wait([future], return_when=-1), ValueError, "^Invalid return_when value: -1$"),
            (lambda: api.wait([future], timeout="1"), TypeError, "."),
            (lambda: api.wait(5), TypeError, "^'int' object is not iterable$"),
            (lambda: api.wait([1]), AttributeError, "'int' object has no attribute 'add_done_callback'"),
            (lambda: api.wait([future, 1]), AttributeError, "no attribute 'add_done_callback'"),
        ):
            with pytest.raises(error, match=text):
                await wrong()
        with pytest.raises(TypeError, match="Passing coroutines is forbidden, use tasks explicitly"):
            await api.wait([coro])
        coro.close()
        with pytest.raises(TypeError):
            api.wait()
        with pytest.raises(TypeError):
            api.wait([future], other=1)
        if api.is_ours:
            assert not future._callbacks

    run(main())


def test_the_futures_know_who_waits(api: Implementation, run: Run) -> None:
    if not api.has_call_graph:
        pytest.skip("these tasks have no call graph")

    async def main() -> None:
        awaited = [asyncio.ensure_future(turns(9)) for _ in range(2)]
        task = asyncio.ensure_future(api.wait(awaited))
        await turns(2)
        assert all(future._asyncio_awaited_by == {task} for future in awaited)
        task.cancel()
        await turns(2)
        assert not any(future._asyncio_awaited_by for future in awaited)
        for future in awaited:
            await future

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_a_wait_that_is_forgotten_dies(api: Implementation, run: Run) -> None:
    async def main() -> None:
        coro = api.wait(futures(2), timeout=60)
        coro.send(None)

    run(main())
