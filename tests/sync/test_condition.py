"""Condition: tasks that hold a lock, and wait for another to say that something changed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Run, outcome, settle

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture(params=["none", "own", "asyncio", "subclass", "foreign"])
def condition(lib: Any, request: pytest.FixtureRequest) -> Callable[[], Any]:
    """What makes a condition: with its own lock, ours, asyncio's, a subclass's, and one of another kind."""

    class Subclass(lib.Lock):  # type: ignore[misc]
        pass

    class Foreign:
        def __init__(self) -> None:
            self.inner = lib.Lock()
            self.locked = self.inner.locked
            self.release = self.inner.release

        async def acquire(self) -> bool:
            await asyncio.sleep(0)
            return bool(await self.inner.acquire())

    locks: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "own": lib.Lock,
        "asyncio": asyncio.Lock,
        "subclass": Subclass,
        "foreign": Foreign,
    }
    return lambda: lib.Condition(locks[request.param]())


async def start_waiting(cond: Any, count: int, order: list[Any] | None = None) -> list[asyncio.Task[Any]]:
    async def wait(number: int) -> Any:
        async with cond:
            result = await cond.wait()
            assert cond.locked()
            if order is not None:
                order.append(number)
            return result

    tasks = [asyncio.create_task(wait(number)) for number in range(count)]
    await settle(20)
    return tasks


async def end(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    for task in tasks:
        task.cancel()
    return [await outcome(task) for task in tasks]


def test_notify_wakes_as_many_in_order(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        order: list[int] = []
        tasks = await start_waiting(cond, 5, order)
        assert len(cond._waiters) == 5
        async with cond:
            assert cond.notify(2) is None
            assert order == []
        await settle(20)
        assert order == [0, 1]
        async with cond:
            cond.notify()
        await settle(20)
        assert order == [0, 1, 2]
        async with cond:
            cond.notify_all()
        assert await asyncio.gather(*tasks) == [True] * 5
        assert order == [0, 1, 2, 3, 4]
        assert not cond.locked()

    run(main())


def test_wait_and_notify_need_the_lock(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        with pytest.raises(RuntimeError, match=r"^cannot wait on un-acquired lock$"):
            await cond.wait()
        with pytest.raises(RuntimeError, match=r"^cannot notify on un-acquired lock$"):
            cond.notify()
        with pytest.raises(RuntimeError, match=r"^cannot notify on un-acquired lock$"):
            cond.notify_all()
        with pytest.raises(RuntimeError, match=r"^Lock is not acquired\.$"):
            cond.release()

    run(main())


def test_acquire_release_and_locked_are_the_lock_s(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        assert await cond.acquire() is True
        assert cond.locked()
        assert cond._lock.locked()
        cond.release()
        assert not cond.locked()
        async with cond as entered:
            assert entered is None
            assert cond._lock.locked()

    run(main())


def test_wait_for_gives_what_the_predicate_gave(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        answers = iter([0, "", [1]])
        calls = 0

        def predicate() -> Any:
            nonlocal calls
            assert cond.locked()
            calls += 1
            return next(answers)

        async def wait() -> Any:
            async with cond:
                return await cond.wait_for(predicate)

        task = asyncio.create_task(wait())
        for _ in range(2):
            await settle(20)
            assert not task.done()
            async with cond:
                cond.notify()
        assert await task == [1]
        assert calls == 3

    run(main())


def test_error_of_the_predicate_comes_out_with_the_lock_held(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        answers = [False]

        async def wait() -> None:
            async with cond:
                with pytest.raises(IndexError):
                    await cond.wait_for(lambda: answers.pop())
                assert cond.locked()

        task = asyncio.create_task(wait())
        await settle(20)
        async with cond:
            cond.notify()
        await task
        assert not cond.locked()

    run(main())


def test_cancelled_wait_holds_the_lock_again(condition: Callable[[], Any], run: Run) -> None:
    async def main() -> None:
        cond = condition()
        held = []

        async def wait() -> None:
            async with cond:
                try:
                    await cond.wait()
                finally:
                    held.append(cond.locked())

        task = asyncio.create_task(wait())
        await settle(20)
        await cond.acquire()
        task.cancel()
        await settle(20)
        # It waits for the lock, whatever happens.
        assert not task.done()
        task.cancel()
        await settle(20)
        assert not task.done()
        cond.release()
        assert await outcome(task) is asyncio.CancelledError
        assert held == [True]
        assert not cond.locked()
        assert not cond._waiters

    run(main())


@pytest.mark.parametrize("notified_first", [True, False])
def test_notification_of_a_cancelled_task_goes_to_another(
    condition: Callable[[], Any], run: Run, notified_first: bool, oracle_since: Callable[..., None]
) -> None:
    oracle_since(3, 13)

    async def main() -> None:
        cond = condition()
        tasks = await start_waiting(cond, 2)
        async with cond:
            if notified_first:
                cond.notify()
                tasks[0].cancel()
            else:
                tasks[0].cancel()
                cond.notify()
        assert await outcome(tasks[0]) is asyncio.CancelledError
        assert await asyncio.wait_for(tasks[1], 1) is True
        assert not cond.locked()

    run(main())


def test_cancel_while_it_acquires_the_lock_again_passes_the_notification_on(
    condition: Callable[[], Any], run: Run, oracle_since: Callable[..., None]
) -> None:
    oracle_since(3, 13)

    async def main() -> None:
        cond = condition()
        tasks = await start_waiting(cond, 2)
        await cond.acquire()
        cond.notify()
        await settle(20)
        tasks[0].cancel("why")
        await settle(20)
        cond.release()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert await asyncio.wait_for(tasks[1], 1) is True

    run(main())


@pytest.mark.usefixtures("ours")
def test_cancel_without_notification_wakes_nobody(lib: Any, run: Run) -> None:
    async def main() -> None:
        cond = lib.Condition()
        tasks = await start_waiting(cond, 2)
        tasks[0].cancel()
        await settle()
        assert tasks[0].cancelled()
        assert len(cond._waiters) == 1
        await end(tasks)

    run(main())


def test_timeout_of_a_wait_keeps_the_lock(lib: Any, run: Run) -> None:
    async def main() -> None:
        cond = lib.Condition()
        async with cond:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(cond.wait(), 0.001)
            assert cond.locked()

    run(main())


@pytest.mark.usefixtures("ours")
def test_closed_wait_takes_the_free_lock_for_the_block_around_it(lib: Any, run: Run) -> None:
    async def main() -> None:
        cond = lib.Condition()
        coroutine = waiting_in_a_block(cond)
        coroutine.send(None)
        assert not cond.locked()
        coroutine.close()
        assert not cond.locked()
        assert not cond._waiters

    run(main())


async def waiting_in_a_block(cond: Any) -> None:
    async with cond:
        await cond.wait()


async def waiting_by_hand(cond: Any) -> None:
    await cond.acquire()
    try:
        await cond.wait()
    finally:
        cond.release()


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("waiting", [waiting_in_a_block, waiting_by_hand])
@pytest.mark.parametrize("reacquires", [False, True])
def test_closed_wait_does_not_release_the_lock_of_another(
    lib: Any, run: Run, waiting: Callable[[Any], Any], reacquires: bool
) -> None:
    async def main() -> None:
        cond = lib.Condition()
        coroutine = waiting(cond)
        coroutine.send(None)
        others = await start_waiting(cond, 1)
        await cond.acquire()
        if reacquires:
            cond.notify()
        coroutine.close()
        assert cond.locked()
        cond.release()
        assert not cond.locked() or reacquires
        if not reacquires:
            async with cond:
                cond.notify()
        assert await asyncio.wait_for(others[0], 1) is True
        assert not cond.locked()
        with pytest.raises(RuntimeError):
            cond.release()

    run(main())


def test_lock_without_the_methods_is_refused(lib: Any) -> None:
    with pytest.raises(AttributeError):
        lib.Condition(object())


def test_wrong_arguments(lib: Any, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            lib.Condition(loop=None)
        with pytest.raises(TypeError):
            lib.Condition(None, None)
        cond = lib.Condition(lock=None)
        with pytest.raises(TypeError):
            cond.wait_for()
        async with cond:
            with pytest.raises(TypeError):
                await cond.wait_for(1)
            cond.notify(0)
            cond.notify(-1)
            cond.notify(10**30)
            cond.notify(n=1)

    run(main())


@pytest.mark.usefixtures("ours")
def test_condition_that_is_not_initialised_says_so(lib: Any) -> None:
    cond = lib.Condition.__new__(lib.Condition)
    with pytest.raises(RuntimeError, match=r"^Condition object is not initialized\.$"):
        cond.locked()


def test_wait_on_another_loop_is_an_error(lib: Any, kind: Any, loop: asyncio.AbstractEventLoop) -> None:
    cond = lib.Condition()

    async def bind() -> None:
        await end(await start_waiting(cond, 1))

    async def wait() -> None:
        async with cond:
            with pytest.raises(RuntimeError, match=r"is bound to a different event loop$"):
                await cond.wait()
            assert cond.locked()

    loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(wait())
    finally:
        other.close()


def test_repr_says_how_it_is(lib: Any, run: Run, kind: Any) -> None:
    async def main() -> None:
        cond = lib.Condition()
        name = "tonnage.Condition" if kind.is_ours else "asyncio.locks.Condition"
        assert repr(cond) == f"<{name} object at {id(cond):#x} [unlocked]>"
        tasks = await start_waiting(cond, 2)
        assert repr(cond).endswith(" [unlocked, waiters:2]>")
        await cond.acquire()
        assert repr(cond).endswith(" [locked, waiters:2]>")
        cond.release()
        await end(tasks)

    run(main())


def test_wait_for_asks_a_subclass_s_wait(lib: Any, run: Run) -> None:
    class Counting(lib.Condition):  # type: ignore[misc]
        waits = 0

        async def wait(self) -> bool:
            self.waits += 1
            return bool(await super().wait())

    async def main() -> None:
        cond = Counting()
        answers = [True, False]

        async def wait() -> bool:
            async with cond:
                return bool(await cond.wait_for(answers.pop))

        task = asyncio.create_task(wait())
        await settle()
        async with cond:
            cond.notify()
        assert await task is True
        assert cond.waits == 1

    run(main())


def test_two_conditions_share_a_lock(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        first, second = lib.Condition(lock), lib.Condition(lock)
        waiting_first, waiting_second = await start_waiting(first, 1), await start_waiting(second, 1)
        async with lock:
            first.notify()
        assert await waiting_first[0] is True
        assert not waiting_second[0].done()
        async with first:
            second.notify()
        assert await waiting_second[0] is True

    run(main())


def test_cycle_through_the_lock_is_collected(lib: Any) -> None:
    lock = lib.Lock()
    cond = lib.Condition(lock)
    lock.condition = cond
    reference = weakref.ref(cond)
    del lock, cond
    gc.collect()
    assert reference() is None


def test_is_what_the_extension_gives() -> None:
    assert tonnage.Condition is tonnage._tonnage.Condition
