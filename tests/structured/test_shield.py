"""shield: what reaches the inner future, and what does not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns, value_of
from .implementations import Implementation

Run = Callable[[Any], Any]


def test_result_and_exception_come_through(api: Implementation, run: Run) -> None:
    async def main() -> None:
        assert await api.shield(value_of(1)) == 1
        error = ValueError("it")
        with pytest.raises(ValueError, match="it") as caught:
            await api.shield(fail(error))
        assert caught.value is error

    run(main())


def test_a_future_that_is_done_is_returned_itself(api: Implementation, run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        assert api.shield(future) is future

    run(main())


def test_the_inner_task_runs_on_when_the_waiting_task_is_cancelled(api: Implementation, run: Run) -> None:
    async def main() -> None:
        inner = asyncio.ensure_future(value_of("done", after=6))

        async def wait() -> None:
            await api.shield(inner)

        task = asyncio.ensure_future(wait())
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not inner.done()
        assert await inner == "done"

    run(main())


def test_an_inner_cancel_cancels_the_outer(api: Implementation, run: Run) -> None:
    async def main() -> None:
        inner = asyncio.get_running_loop().create_future()
        outer = api.shield(inner)
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert outer.cancelled()

    run(main())


def test_inner_and_outer_are_cancelled_in_one_turn(api: Implementation, run: Run) -> None:
    async def main() -> None:
        for first in ("inner", "outer"):
            inner = asyncio.get_running_loop().create_future()
            outer = api.shield(inner)
            both = [inner, outer] if first == "inner" else [outer, inner]
            for future in both:
                future.cancel()
            await turns()
            assert inner.cancelled()
            assert outer.cancelled()

    run(main())


def test_no_callback_is_left_behind_either_way(api: Implementation, run: Run, asyncio_since: Any) -> None:
    if not api.is_ours:
        asyncio_since(3, 13)

    async def main() -> None:
        inner = asyncio.get_running_loop().create_future()
        for _ in range(3):
            outer = api.shield(inner)
            outer.cancel()
            await turns()
            assert not inner._callbacks
            assert not outer._callbacks
        outer = api.shield(inner)
        inner.set_result(1)
        assert await outer == 1
        assert not outer._callbacks

    run(main())


def test_a_late_exception_of_the_inner_future_is_its_own(
    api: Implementation, run: Run, reports: list[dict[str, Any]], asyncio_since: Any
) -> None:
    if not api.is_ours:
        asyncio_since(3, 15)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for retrieve in (True, False):
            inner = loop.create_future()
            outer = api.shield(inner)
            outer.cancel()
            await turns()
            inner.set_exception(ValueError("late"))
            await turns()
            assert reports == []
            if retrieve:
                inner.exception()
        del inner, outer
        gc.collect()

    run(main())
    gc.collect()
    [report] = reports
    assert report["message"] == "Future exception was never retrieved"
    reports.clear()


def test_an_outer_future_that_was_ended_by_others_stays_as_it_is(api: Implementation, run: Run) -> None:
    if not api.is_ours:
        pytest.skip("asyncio reports an InvalidStateError")

    async def main() -> None:
        inner = asyncio.get_running_loop().create_future()
        outer = api.shield(inner)
        outer.set_result("early")
        await turns()
        inner.set_result("late")
        await turns()
        assert outer.result() == "early"

    run(main())


def test_shields_of_futures_of_other_implementations(api: Implementation, run: Run) -> None:
    class Other(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for kind in (Other, tonnage.Future):
            inner = kind(loop=loop)
            outer = api.shield(inner)
            loop.call_soon(inner.set_result, 1)
            assert await outer == 1
            inner = kind(loop=loop)
            outer = api.shield(inner)
            outer.cancel()
            await turns()
            assert not inner.done()
            assert not inner._callbacks
            inner.cancel()

    run(main())


def test_a_shield_of_a_gather_and_a_gather_of_shields(api: Implementation, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = loop.create_future(), loop.create_future()
        parent = api.gather(one, other)
        outer = api.shield(parent)
        await turns()
        outer.cancel()
        await turns()
        assert outer.cancelled()
        one.set_result(1)
        other.set_result(2)
        assert await parent == [1, 2]

        one, other = loop.create_future(), loop.create_future()
        parent = api.gather(api.shield(one), api.shield(other))
        parent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await parent
        assert not one.done()
        assert not other.done()
        one.cancel()
        other.cancel()

    run(main())


def test_the_inner_task_knows_who_waits(api: Implementation, run: Run) -> None:
    if not api.has_call_graph:
        pytest.skip("these tasks have no call graph")

    async def main() -> None:
        inner = asyncio.ensure_future(turns(9))

        async def wait() -> None:
            await api.shield(inner)

        task = asyncio.ensure_future(wait())
        await turns(2)
        assert inner._asyncio_awaited_by == {task}
        task.cancel()
        await turns(2)
        assert not inner._asyncio_awaited_by
        await inner

    run(main())


def test_wrong_arguments_are_refused_with_the_same_words(api: Implementation, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="^An asyncio.Future, a coroutine or an awaitable is required$"):
            api.shield(1)
        with pytest.raises(TypeError):
            api.shield()

    run(main())


def test_ten_thousand_shields_in_each_other(api: Implementation, run: Run) -> None:
    async def main() -> None:
        for end in ("set_result", "cancel"):
            last = asyncio.get_running_loop().create_future()
            outer: Any = last
            for _ in range(10_000):
                outer = api.shield(outer)
            getattr(last, end)(None)
            if end == "cancel":
                with pytest.raises(asyncio.CancelledError):
                    await outer
            else:
                assert await outer is None

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_two_futures_that_are_forgotten_die(api: Implementation, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for inner in (loop.create_future(), tonnage.Future(loop=loop)):
            api.shield(inner)

    run(main())
