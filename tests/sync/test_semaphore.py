"""Semaphore and BoundedSemaphore: a number of tasks at a time, first come, first served."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Run, settle

pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture(params=["Semaphore", "BoundedSemaphore"])
def semaphore(lib: Any, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both classes, where they agree."""
    return getattr(lib, request.param)


def test_as_many_as_it_has_slots_pass(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> None:
        gate = semaphore(2)
        assert await gate.acquire() is True
        assert not gate.locked()
        assert await gate.acquire() is True
        assert gate.locked()
        waiting = asyncio.ensure_future(gate.acquire())
        await settle()
        assert not waiting.done()
        assert gate.release() is None
        assert await waiting is True
        gate.release()
        gate.release()
        assert not gate.locked()

    run(main())


def test_async_with_gives_none_and_holds_a_slot(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> None:
        gate = semaphore()
        async with gate as entered:
            assert entered is None
            assert gate.locked()
        assert not gate.locked()

    run(main())


def test_never_more_than_its_slots_run(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> int:
        gate = semaphore(3)
        running, most = 0, 0
        choice = random.Random(1)

        async def use() -> None:
            nonlocal running, most
            async with gate:
                running += 1
                most = max(most, running)
                await settle(choice.randrange(4))
                running -= 1

        tasks = [asyncio.ensure_future(use()) for _ in range(50)]
        await settle(3)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate._value == 3
        assert not gate.locked()
        return most

    assert run(main()) == 3


def test_bounded_semaphore_is_not_released_more_often_than_acquired(lib: Any, run: Run) -> None:
    async def main() -> None:
        gate = lib.BoundedSemaphore(1)
        with pytest.raises(ValueError, match=r"^BoundedSemaphore released too many times$"):
            gate.release()
        async with gate:
            pass
        with pytest.raises(ValueError, match=r"^BoundedSemaphore released too many times$"):
            gate.release()
        assert gate._bound_value == 1

    run(main())


def test_semaphore_grows_when_it_is_released(lib: Any) -> None:
    gate = lib.Semaphore(0)
    assert gate.locked()
    gate.release()
    gate.release()
    assert gate._value == 2
    assert not gate.locked()


def test_negative_value_is_an_error(semaphore: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"^Semaphore initial value must be >= 0$"):
        semaphore(-1)


def test_strange_values(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> None:
        for endless in (float("inf"), 10**30, 2**63 - 1):
            gate = semaphore(endless)
            await gate.acquire()
            assert not gate.locked()
        assert semaphore(True)._value == 1
        with pytest.raises(TypeError):
            semaphore("1")
        with pytest.raises(TypeError):
            semaphore(1, 2)
        with pytest.raises(TypeError):
            semaphore(loop=None)
        assert semaphore(value=4)._value == 4

    run(main())


def test_waiters_get_it_in_order(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> list[int]:
        gate = semaphore(2)
        order: list[int] = []

        async def use(number: int) -> None:
            async with gate:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(use(number) for number in range(20)))
        return order

    assert run(main()) == list(range(20))


def test_who_comes_does_not_pass_a_woken_task(lib: Any, run: Run, oracle_since: Callable[..., None]) -> None:
    oracle_since(3, 11)

    async def main() -> list[str]:
        gate = lib.Semaphore(0)
        order: list[str] = []

        async def use(name: str) -> None:
            await gate.acquire()
            order.append(name)

        first = asyncio.ensure_future(use("first"))
        await settle()
        gate.release()
        gate.release()
        # The first task has its slot, but has not run yet: the second slot is free, and guarded by it.
        assert gate.locked()
        assert gate._value == 1
        await use("late")
        await first
        return order

    assert run(main()) == ["first", "late"]


@pytest.mark.parametrize("released_first", [True, False])
def test_cancel_in_the_turn_of_the_release_passes_the_slot_on(
    semaphore: Callable[..., Any], run: Run, released_first: bool, oracle_since: Callable[..., None]
) -> None:
    oracle_since(3, 11)

    async def main() -> None:
        gate = semaphore(1)
        await gate.acquire()
        first, second = (asyncio.ensure_future(gate.acquire()) for _ in range(2))
        await settle()
        if released_first:
            gate.release()
            first.cancel()
        else:
            first.cancel()
            gate.release()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(second, 1) is True
        assert gate._value == 0
        gate.release()
        assert gate._value == 1
        assert not gate.locked()

    run(main())


def test_cancelled_granted_task_lets_those_behind_it_have_all_free_slots(
    lib: Any, run: Run, oracle_since: Callable[..., None]
) -> None:
    oracle_since(3, 11)

    async def main() -> None:
        gate = lib.Semaphore(0)
        first = asyncio.ensure_future(gate.acquire())
        await settle()
        for _ in range(3):
            gate.release()
        behind = [asyncio.ensure_future(gate.acquire()) for _ in range(4)]
        first.cancel()
        await settle()
        assert [task.done() for task in behind] == [True, True, True, False]
        behind[3].cancel()
        await settle()
        assert first.cancelled()
        assert gate._value == 0

    run(main())


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("granted", [True, False])
def test_coroutine_that_is_dropped_while_it_waits_leaves_no_trace(
    semaphore: Callable[..., Any], run: Run, granted: bool
) -> None:
    async def main() -> None:
        gate = semaphore(1)
        await gate.acquire()
        coroutine = gate.acquire()
        coroutine.send(None)
        if granted:
            gate.release()
        del coroutine
        gc.collect()
        if not granted:
            gate.release()
        assert gate._value == 1
        assert not gate.locked()
        assert not gate._waiters

    run(main())


def test_wait_on_another_loop_is_an_error(
    semaphore: Callable[..., Any], kind: Any, loop: asyncio.AbstractEventLoop
) -> None:
    gate = semaphore(0)

    async def bind() -> None:
        waiting = asyncio.ensure_future(gate.acquire())
        await settle()
        waiting.cancel()
        await settle()

    async def wait() -> None:
        with pytest.raises(RuntimeError, match=r"is bound to a different event loop$"):
            await gate.acquire()

    loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(wait())
    finally:
        other.close()


def test_repr_says_how_it_is(semaphore: Callable[..., Any], run: Run) -> None:
    async def main() -> None:
        gate = semaphore(2)
        assert f"{semaphore.__name__} object at 0x" in repr(gate)
        assert repr(gate).endswith(" [unlocked, value:2]>")
        await gate.acquire()
        await gate.acquire()
        assert repr(gate).endswith(" [locked]>")
        waiting = asyncio.ensure_future(gate.acquire())
        await settle()
        assert repr(gate).endswith(" [locked, waiters:1]>")
        waiting.cancel()
        await settle()

    run(main())


def test_second_init_serves_those_who_wait(semaphore: Callable[..., Any], kind: Any, run: Run) -> None:
    if not kind.is_ours:
        pytest.skip("asyncio forgets who waits")

    async def main() -> None:
        gate = semaphore(0)
        waiting = asyncio.ensure_future(gate.acquire())
        await settle()
        gate.__init__(2)
        assert await waiting is True
        assert gate._value == 1

    run(main())


def test_subclass_that_overrides_release_is_asked(semaphore: Callable[..., Any], run: Run) -> None:
    class Counting(semaphore):  # type: ignore[misc, valid-type]
        released = 0

        def release(self) -> None:
            self.released += 1
            super().release()

    async def main() -> None:
        gate = Counting(1)
        async with gate:
            pass
        assert gate.released == 1
        assert isinstance(gate, semaphore)  # type: ignore[arg-type]

    run(main())


def test_bounded_semaphore_is_a_semaphore(lib: Any) -> None:
    assert issubclass(lib.BoundedSemaphore, lib.Semaphore)


def test_takes_attributes_and_weak_references(semaphore: Callable[..., Any]) -> None:
    gate = semaphore()
    gate.name = "a"
    reference = weakref.ref(gate)
    del gate
    gc.collect()
    assert reference() is None
