"""Lock: one task at a time, first come, first served."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
import tonnage

from .conftest import Run, settle

pytestmark = pytest.mark.usefixtures("no_leak")


def test_acquire_returns_true_and_locks(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        assert not lock.locked()
        assert await lock.acquire() is True
        assert lock.locked()
        assert lock.release() is None
        assert not lock.locked()

    run(main())


def test_async_with_gives_none_and_holds_the_lock(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        async with lock as entered:
            assert entered is None
            assert lock.locked()
        assert not lock.locked()

    run(main())


def test_async_with_does_not_swallow_and_unlocks(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        with pytest.raises(ZeroDivisionError):
            async with lock:
                raise ZeroDivisionError
        assert not lock.locked()

    run(main())


def test_release_of_a_free_lock_is_an_error(lib: Any) -> None:
    with pytest.raises(RuntimeError, match=r"^Lock is not acquired\.$"):
        lib.Lock().release()


def test_waiters_get_it_in_order(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        lock = lib.Lock()
        order: list[int] = []

        async def use(number: int) -> None:
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(use(number) for number in range(20)))
        assert not lock.locked()
        return order

    assert run(main()) == list(range(20))


def test_async_with_waits_and_gives_none(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()

        async def enter() -> Any:
            async with lock as entered:
                return entered

        task = asyncio.ensure_future(enter())
        await settle()
        assert not task.done()
        lock.release()
        assert await task is None
        assert not lock.locked()

    run(main())


def test_lock_that_was_handed_over_is_not_locked_until_its_owner_runs(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await settle()
        lock.release()
        assert not lock.locked()
        assert await waiting is True
        assert lock.locked()

    run(main())


def test_nobody_comes_between_release_and_the_next_owner(lib: Any, run: Run) -> None:
    async def main() -> list[str]:
        lock = lib.Lock()
        order: list[str] = []

        async def use(name: str) -> None:
            async with lock:
                order.append(name)

        await lock.acquire()
        first = asyncio.ensure_future(use("first"))
        await settle()
        lock.release()
        await use("late")
        await first
        return order

    assert run(main()) == ["first", "late"]


@pytest.mark.parametrize("released_first", [True, False])
def test_cancel_in_the_turn_of_the_release_passes_the_lock_on(
    lib: Any, run: Run, released_first: bool
) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        first, second = (asyncio.ensure_future(lock.acquire()) for _ in range(2))
        await settle()
        if released_first:
            lock.release()
            first.cancel()
        else:
            first.cancel()
            lock.release()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(second, 1) is True
        assert lock.locked()
        lock.release()
        assert not lock.locked()

    run(main())


@pytest.mark.parametrize("released_first", [True, False])
def test_cancel_of_the_only_waiter_frees_the_lock(lib: Any, run: Run, released_first: bool) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await settle()
        if released_first:
            lock.release()
            waiting.cancel()
        else:
            waiting.cancel()
            lock.release()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not lock.locked()
        assert not lock._waiters

    run(main())


@pytest.mark.parametrize("gone", range(4))
def test_cancelled_waiter_leaves_and_the_rest_keep_their_order(lib: Any, run: Run, gone: int) -> None:
    async def main() -> list[int]:
        lock = lib.Lock()
        order: list[int] = []

        async def use(number: int) -> None:
            async with lock:
                order.append(number)

        await lock.acquire()
        tasks = [asyncio.ensure_future(use(number)) for number in range(4)]
        await settle()
        tasks[gone].cancel()
        await settle()
        assert len(lock._waiters) == 3
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not lock.locked()
        return order

    assert run(main()) == [number for number in range(4) if number != gone]


def test_waiters_that_all_gave_up_let_the_next_pass(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(3)]
        await settle()
        for task in tasks:
            task.cancel()
        lock.release()
        assert await lock.acquire() is True
        await asyncio.gather(*tasks, return_exceptions=True)
        assert lock.locked()

    run(main())


def step_to_wait(coroutine: Any) -> Any:
    """Run it to its first wait."""
    return coroutine.send(None)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("ending", ["close", "drop"])
@pytest.mark.parametrize("granted", [True, False])
def test_coroutine_that_goes_while_it_waits_leaves_no_trace(
    lib: Any, run: Run, ending: str, granted: bool
) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        coroutine = lock.acquire()
        step_to_wait(coroutine)
        behind = asyncio.ensure_future(lock.acquire())
        await settle()
        assert len(lock._waiters) == 2
        if granted:
            lock.release()
        if ending == "close":
            coroutine.close()
        del coroutine
        gc.collect()
        if not granted:
            assert len(lock._waiters) == 1
            lock.release()
        assert await asyncio.wait_for(behind, 1) is True
        lock.release()
        assert not lock.locked()

    run(main())


@pytest.mark.usefixtures("ours")
def test_foreign_error_thrown_into_a_granted_waiter_passes_the_lock_on(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        coroutine = lock.acquire()
        step_to_wait(coroutine)
        lock.release()
        behind = lock.acquire()
        step_to_wait(behind)
        with pytest.raises(ZeroDivisionError):
            coroutine.throw(ZeroDivisionError())
        with pytest.raises(StopIteration):
            behind.send(None)
        lock.release()
        assert not lock.locked()

    run(main())


def test_future_that_others_end_is_no_grant(lib: Any, run: Run, kind: Any) -> None:
    if not kind.is_ours:
        pytest.skip("asyncio takes the lock")

    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await settle()
        lock._waiters[0].set_result(True)
        await settle()
        assert not waiting.done()
        assert len(lock._waiters) == 1
        lock.release()
        assert await waiting is True

    run(main())


def test_wait_on_another_loop_is_an_error(lib: Any, kind: Any, loop: asyncio.AbstractEventLoop) -> None:
    lock = lib.Lock()

    async def bind() -> None:
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await settle()
        waiting.cancel()
        await settle()

    async def wait() -> None:
        with pytest.raises(
            RuntimeError, match=r"^<.*Lock object at 0x.* is bound to a different event loop$"
        ):
            await lock.acquire()

    loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(wait())
    finally:
        other.close()
    assert lock._loop is loop


def test_a_subclass_may_ask_for_its_loop(lib: Any, run: Run) -> None:
    async def main() -> None:
        for make in (lib.Lock, lib.Event, lib.Condition, lib.Semaphore):
            made = make()
            assert made._get_loop() is asyncio.get_running_loop()
            assert made._loop is asyncio.get_running_loop()

    run(main())


def test_acquire_of_a_free_lock_needs_no_loop(lib: Any) -> None:
    lock = lib.Lock()
    with pytest.raises(StopIteration) as caught:
        lock.acquire().send(None)
    assert caught.value.value is True
    assert lock.locked()
    assert lock._loop is None


def test_acquire_acts_when_it_is_awaited(lib: Any) -> None:
    lock = lib.Lock()
    coroutine = lock.acquire()
    assert not lock.locked()
    coroutine.close()
    assert not lock.locked()


def test_acquire_that_is_never_awaited_warns(lib: Any) -> None:
    lock = lib.Lock()
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Lock.acquire' was never awaited"):
        lock.acquire()
    assert not lock.locked()


def test_repr_says_how_it_is(lib: Any, run: Run, kind: Any) -> None:
    async def main() -> None:
        lock = lib.Lock()
        name = "tonnage.Lock" if kind.is_ours else "asyncio.locks.Lock"
        assert repr(lock) == f"<{name} object at {id(lock):#x} [unlocked]>"
        await lock.acquire()
        assert repr(lock).endswith(" [locked]>")
        tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(2)]
        await settle()
        assert repr(lock).endswith(" [locked, waiters:2]>")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert repr(lock).endswith(" [locked]>")

    run(main())


@pytest.mark.parametrize("arguments", [{"loop": None}, {"value": 1}])
def test_keyword_arguments_are_refused(lib: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        lib.Lock(**arguments)
    with pytest.raises(TypeError):
        lib.Lock(1)


def test_aexit_needs_its_arguments(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        await lock.acquire()
        with pytest.raises(TypeError):
            await lock.__aexit__()
        assert lock.locked()

    run(main())


def test_subclass_that_overrides_acquire_and_release_is_asked(lib: Any, run: Run) -> None:
    class Counting(lib.Lock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []

        async def acquire(self) -> bool:
            self.calls.append("acquire")
            return bool(await super().acquire())

        def release(self) -> None:
            self.calls.append("release")
            super().release()

    async def main() -> None:
        lock = Counting()
        async with lock as entered:
            assert entered is None
            assert lock.locked()
        assert lock.calls == ["acquire", "release"]
        assert "Counting object at" in repr(lock)
        assert repr(lock).endswith(" [unlocked]>")

    run(main())


def test_method_put_on_the_object_is_asked(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        released = []
        lock.release = lambda: released.append(lock.locked())
        async with lock:
            pass
        assert released == [True]
        del lock.release

    run(main())


def test_takes_attributes_and_weak_references(lib: Any) -> None:
    lock = lib.Lock()
    lock.name = "a"
    reference = weakref.ref(lock)
    assert reference() is lock
    del lock
    gc.collect()
    assert reference() is None


def test_cycle_through_a_waiter_is_collected(lib: Any, kind: Any) -> None:
    if not kind.is_ours:
        pytest.skip("asyncio's future says that it was destroyed")
    loop = kind.loop_factory()

    async def bind() -> weakref.ref[Any]:
        lock = lib.Lock()
        await lock.acquire()
        coroutine = lock.acquire()
        step_to_wait(coroutine)
        lock.itself = (lock, coroutine)
        return weakref.ref(lock)

    reference = loop.run_until_complete(bind())
    loop.close()
    gc.collect()
    assert reference() is None


def test_is_what_patched_asyncio_gives() -> None:
    assert tonnage.Lock is tonnage._tonnage.Lock
    assert tonnage.Lock.__module__ == "tonnage"
