"""as_completed: the order of completion, by both protocols, and that no cancelled wait loses anything."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Awaitable, fail, turns, value_of
from .implementations import Implementation

Run = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _new_protocol(api: Implementation, asyncio_since: Any) -> None:
    # asyncio's own has both protocols since 3.13.
    if not api.is_ours:
        asyncio_since(3, 13)


async def collect_plain(iterator: Any) -> list[Any]:
    return [await coro for coro in iterator]


async def collect_async(iterator: Any) -> list[Any]:
    return [await future async for future in iterator]


@pytest.mark.parametrize("collect", [collect_plain, collect_async])
def test_results_come_in_the_order_of_completion(api: Implementation, run: Run, collect: Any) -> None:
    async def main() -> Any:
        return await collect(api.as_completed([value_of(1, after=9), value_of(2, after=3), value_of(3)]))

    assert run(main()) == [3, 2, 1]


@pytest.mark.parametrize("collect", [collect_plain, collect_async])
def test_nothing_is_over_at_once(api: Implementation, run: Run, collect: Any) -> None:
    async def main() -> Any:
        return await collect(api.as_completed([], timeout=60))

    assert run(main()) == []


def test_the_asynchronous_iterator_gives_the_futures_themselves(api: Implementation, run: Run) -> None:
    async def main() -> None:
        tasks = [asyncio.ensure_future(value_of(number, after=9 - number)) for number in range(4)]
        found = [task async for task in api.as_completed(tasks)]
        assert found == tasks[::-1]
        assert all(task.done() for task in found)
        async for task in api.as_completed([Awaitable(1)]):
            assert asyncio.isfuture(task)
            assert task.result() == 1

    run(main())


def test_exceptions_come_from_the_coroutine_or_the_future(api: Implementation, run: Run) -> None:
    async def main() -> None:
        [coro] = api.as_completed([fail(ValueError("it"))])
        with pytest.raises(ValueError, match="it"):
            await coro
        async for future in api.as_completed([fail(ValueError("it"))]):
            assert isinstance(future.exception(), ValueError)

    run(main())


def test_duplicates_come_once(api: Implementation, run: Run) -> None:
    async def main() -> Any:
        coro, task = value_of(1), asyncio.ensure_future(value_of(2, after=3))
        return await collect_plain(api.as_completed([coro, task, coro, task]))

    assert run(main()) == [1, 2]


def test_futures_that_were_done_before(api: Implementation, run: Run) -> None:
    async def main() -> Any:
        done = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return await collect_async(api.as_completed([value_of(1), done], timeout=60))

    assert run(main()) == [0, 1]


def test_futures_of_other_implementations(api: Implementation, run: Run) -> None:
    class Other(asyncio.Future):  # type: ignore[type-arg]
        pass

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        one, other = Other(loop=loop), tonnage.Future(loop=loop)
        one.add_done_callback(lambda _: loop.call_soon(other.set_result, 2))
        loop.call_soon(one.set_result, 1)
        return await collect_plain(api.as_completed([other, one]))

    assert run(main()) == [1, 2]


@pytest.mark.parametrize("timeout", [0, 0.005])
def test_the_timeout_is_raised_for_each_that_is_left(api: Implementation, run: Run, timeout: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done, one, other = (loop.create_future() for _ in range(3))
        done.set_result(1)
        outcomes = []
        expected = builtins.TimeoutError if api.is_ours else asyncio.TimeoutError
        for coro in api.as_completed([one, done, other], timeout=timeout):
            try:
                outcomes.append(await coro)
            except expected:
                outcomes.append("timeout")
        assert outcomes == [1, "timeout", "timeout"]
        assert not one.done()
        assert not one._callbacks
        assert not other._callbacks
        with pytest.raises(asyncio.TimeoutError):
            async for _ in api.as_completed([one, other], timeout=timeout):
                pass

    run(main())


def test_the_timeout_is_over_when_all_have_ended(api: Implementation, run: Run) -> None:
    async def main() -> Any:
        return await collect_plain(api.as_completed([value_of(1), value_of(2, after=4)], timeout=60))

    assert run(main()) == [1, 2]


def test_many_wait_at_once_and_each_gets_another(api: Implementation, run: Run) -> None:
    async def main() -> None:
        coros = list(api.as_completed([value_of(number, after=number) for number in range(5)]))
        assert sorted(await asyncio.gather(*coros)) == [0, 1, 2, 3, 4]
        iterator = api.as_completed([value_of(number, after=number) for number in range(5)])
        waits = [iterator.__anext__() for _ in range(5)]
        results = [await future for future in await asyncio.gather(*waits)]
        assert sorted(results) == [0, 1, 2, 3, 4]
        with pytest.raises(StopAsyncIteration):
            await iterator.__anext__()

    run(main())


def test_a_plain_iteration_can_be_resumed_by_an_asynchronous_one(api: Implementation, run: Run) -> None:
    async def main() -> None:
        iterator = api.as_completed([value_of(number, after=number) for number in range(4)])
        found = [await next(iterator)]
        async for future in iterator:
            found.append(await future)
            break
        found += await collect_plain(iterator)
        assert found == [0, 1, 2, 3]
        assert iter(iterator) is iterator
        assert iterator.__aiter__() is iterator
        assert list(iterator) == []

    run(main())


@pytest.mark.parametrize("plain", [True, False])
def test_a_cancelled_wait_gives_its_place_back(
    api: Implementation, run: Run, asyncio_since: Any, plain: bool
) -> None:
    if not api.is_ours:
        asyncio_since(3, 15)

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        iterator = api.as_completed([future])
        waiting = asyncio.ensure_future(next(iterator) if plain else iterator.__anext__())
        await turns(2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        future.set_result("kept")
        found = [await item async for item in iterator]
        assert found == ["kept"]

    run(main())


def test_what_a_cancelled_wait_was_given_goes_to_the_next(
    api: Implementation, run: Run, asyncio_since: Any
) -> None:
    if not api.is_ours:
        asyncio_since(3, 15)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, two = loop.create_future(), loop.create_future()
        iterator = api.as_completed([one, two])
        first, second = (asyncio.ensure_future(iterator.__anext__()) for _ in range(2))
        await turns(2)
        one.set_result(1)
        if not api.is_ours:
            await asyncio.sleep(0)
        first.cancel()
        assert await second is one
        assert first.cancelled()
        two.set_result(2)
        assert await next(iterator) == 2

        # Nobody else waits: it is kept for who comes next, before what came later.
        one, two = loop.create_future(), loop.create_future()
        iterator = api.as_completed([one, two])
        waiting = asyncio.ensure_future(iterator.__anext__())
        await turns(2)
        one.set_result(1)
        two.set_result(2)
        waiting.cancel()
        await turns(3)
        assert [future async for future in iterator] == [one, two]

    run(main())


def test_a_closed_wait_gives_its_place_back(api: Implementation, run: Run, asyncio_since: Any) -> None:
    if not api.is_ours:
        asyncio_since(3, 15)

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        iterator = api.as_completed([future])
        coro = next(iterator)
        coro.send(None)
        coro.close()
        future.set_result(1)
        assert await next(iterator) == 1

    run(main())


def test_wrong_arguments_are_refused_with_the_same_words(api: Implementation, run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        coro = value_of(1)
        for wrong in (future, coro):
            with pytest.raises(
                TypeError, match="^expects an iterable of awaitables, not (Future|coroutine)$"
            ):
                api.as_completed(wrong)
        coro.close()
        with pytest.raises(TypeError, match="^An asyncio.Future, a coroutine or an awaitable is required$"):
            api.as_completed([1])
        with pytest.raises(TypeError, match="^'int' object is not iterable$"):
            api.as_completed(1)
        with pytest.raises(TypeError):
            api.as_completed([], other=1)

    run(main())


def test_the_futures_know_who_asked(api: Implementation, run: Run) -> None:
    if not api.has_call_graph:
        pytest.skip("these tasks have no call graph")

    async def main() -> None:
        me = asyncio.current_task()
        task = asyncio.ensure_future(turns(9))
        iterator = api.as_completed([task], timeout=0.001)
        assert task._asyncio_awaited_by == {me}
        with pytest.raises(asyncio.TimeoutError):
            await next(api.as_completed([asyncio.get_running_loop().create_future()], timeout=0.002))
        del iterator
        assert not task._asyncio_awaited_by
        await task

    run(main())


@pytest.mark.usefixtures("nothing_left")
def test_an_iterator_that_is_forgotten_dies(api: Implementation, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        iterator = api.as_completed([loop.create_future(), tonnage.Future(loop=loop)])
        next(iterator).send(None)

    run(main())
