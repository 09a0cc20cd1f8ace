"""`async with` of a lock or semaphore that must wait: a coroutine, and the future that it waits by."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import weakref
from typing import Any

import pytest
import tonnage

from .conftest import Kind, Run, outcome, settle

pytestmark = pytest.mark.usefixtures("no_leak")

NAMES = ["Lock", "Semaphore", "BoundedSemaphore"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The class of the gate that is tested."""
    return str(request.param)


async def held(lib: Any, name: str) -> Any:
    """A gate whose one slot the caller has."""
    gate = getattr(lib, name)()
    await gate.acquire()
    return gate


def is_free(gate: Any) -> bool:
    return not gate.locked() and not gate._waiters


async def pass_through(gate: Any, order: list[Any] | None = None, number: Any = None) -> None:
    async with gate:
        if order is not None:
            order.append(number)
        await asyncio.sleep(0)


def test_before_it_is_awaited_it_is_a_coroutine_and_no_future(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        assert asyncio.iscoroutine(entering)
        assert inspect.isawaitable(entering)
        assert not asyncio.isfuture(entering)
        assert not isinstance(entering, asyncio.Future)
        assert "coroutine" in repr(entering)
        entering.close()
        assert not gate._waiters

    run(main())


@pytest.mark.parametrize("how", ["create_task", "ensure_future", "gather", "wait_for", "shield", "timeout"])
def test_it_can_be_handed_to_whoever_takes_coroutines(lib: Any, name: str, run: Run, how: str) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        if how == "create_task":
            waiting = asyncio.create_task(gate.__aenter__())
        elif how == "timeout":
            waiting = asyncio.create_task(pass_on(lib, gate))
        elif how == "wait_for":
            waiting = asyncio.create_task(lib.wait_for(gate.__aenter__(), 10))
        else:
            waiting = getattr(lib, how)(gate.__aenter__())
        await settle()
        assert len(gate._waiters) == 1
        gate.release()
        assert await waiting in (None, [None])
        assert gate.locked()
        gate.release()
        assert is_free(gate)

    async def pass_on(lib: Any, gate: Any) -> None:
        await lib.shield(gate.__aenter__())

    run(main())


def test_what_it_yields_is_the_future_of_its_loop(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        future = entering.send(None)
        assert asyncio.isfuture(future)
        assert isinstance(future, asyncio.Future)
        assert future.get_loop() is asyncio.get_running_loop()
        assert future._asyncio_future_blocking is True
        assert not future.done()
        assert "Future" in repr(future)
        assert "pending" in repr(future)
        assert list(gate._waiters) == [future]
        gate.release()
        assert future.result() is True
        with pytest.raises(StopIteration) as stopped:
            entering.send(None)
        assert stopped.value.value is None
        gate.release()
        assert is_free(gate)

    run(main())


def test_task_that_waits_shows_by_what(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        if hasattr(task, "_fut_waiter"):
            assert task._fut_waiter is gate._waiters[0]
        assert "wait_for=<Future pending" in repr(task)
        gate.release()
        await task
        assert is_free(gate)

    run(main())


def test_awaited_again_it_is_an_error(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        asyncio.get_running_loop().call_soon(gate.release)
        await entering
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await entering
        gate.release()
        assert is_free(gate)

    run(main())


def test_never_awaited_it_warns(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            gate.__aenter__()
        assert not gate._waiters

    run(main())


@pytest.mark.parametrize("ending", ["drop", "close", "throw", "cancel"])
def test_who_goes_while_it_waits_leaves_the_line(lib: Any, name: str, run: Run, ending: str) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        future = entering.send(None)
        behind = asyncio.create_task(pass_through(gate))
        await settle()
        assert len(gate._waiters) == 2
        if ending == "close":
            entering.close()
        elif ending == "throw":
            with pytest.raises(ZeroDivisionError):
                entering.throw(ZeroDivisionError())
        elif ending == "cancel":
            future.cancel("enough")
            with pytest.raises(asyncio.CancelledError, match="enough"):
                entering.send(None)
        del future, entering
        assert len(gate._waiters) == 1
        gate.release()
        await behind
        assert is_free(gate)

    run(main())


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("ending", ["drop", "close", "throw"])
def test_who_goes_with_a_slot_passes_it_on(lib: Any, name: str, run: Run, ending: str) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        entering.send(None)
        behind = asyncio.create_task(pass_through(gate))
        await settle()
        gate.release()
        assert len(gate._waiters) == 1
        if ending == "close":
            entering.close()
        elif ending == "throw":
            with pytest.raises(ZeroDivisionError):
                entering.throw(ZeroDivisionError())
        del entering
        assert not gate._waiters
        await behind
        assert is_free(gate)

    run(main())


@pytest.mark.parametrize("waiting", [1, 3])
@pytest.mark.parametrize("released_first", [True, False])
def test_cancel_in_the_turn_of_the_release_loses_no_slot(
    lib: Any, name: str, run: Run, waiting: int, released_first: bool
) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        order: list[int] = []
        tasks = [asyncio.create_task(pass_through(gate, order, number)) for number in range(waiting)]
        await settle()
        if released_first:
            gate.release()
        tasks[0].cancel("enough")
        if not released_first:
            gate.release()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await asyncio.gather(*tasks[1:])
        assert order == list(range(1, waiting))
        assert is_free(gate)

    run(main())


def test_cancel_right_after_the_slot_was_taken_gives_it_back(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        gate.release()
        await settle(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_free(gate)

    run(main())


@pytest.mark.usefixtures("ours")
def test_future_that_others_end_is_no_slot(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        order: list[int] = []
        tasks = [asyncio.create_task(pass_through(gate, order, number)) for number in range(3)]
        await settle()
        for _ in range(2):
            gate._waiters[0].set_result(True)
            await settle()
            assert not order
            assert len(gate._waiters) == 3
        gate.release()
        await asyncio.gather(*tasks)
        assert sorted(order) == [0, 1, 2]
        assert is_free(gate)

    run(main())


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("ending", ["cancel", "close", "drop", "throw"])
def test_it_can_end_while_it_waits_a_second_time(lib: Any, name: str, run: Run, ending: str) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        entering.send(None).set_result(None)
        future = entering.send(None)
        assert list(gate._waiters) == [future]
        if ending == "cancel":
            future.cancel()
            assert await outcome(entering) is asyncio.CancelledError
        elif ending == "close":
            entering.close()
        elif ending == "throw":
            with pytest.raises(ZeroDivisionError):
                entering.throw(ZeroDivisionError())
        del entering, future
        assert not gate._waiters
        gate.release()
        assert is_free(gate)

    run(main())


def test_error_that_others_set_is_raised_where_it_waits(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        gate._waiters[0].set_exception(ZeroDivisionError())
        assert await outcome(task) is ZeroDivisionError
        assert not gate._waiters
        gate.release()
        assert is_free(gate)

    run(main())


def test_resumed_too_early_it_fails_as_a_future_does(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        future = entering.send(None)
        future._asyncio_future_blocking = False
        assert entering.send(None) is future
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            entering.send(None)
        assert not gate._waiters
        gate.release()
        assert is_free(gate)

    run(main())


@pytest.mark.parametrize("step", ["before", "after"])
def test_others_may_await_the_future(lib: Any, name: str, run: Run, step: str) -> None:
    """As what drives coroutines by hand does, inside a task."""

    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        future = entering.send(None)
        future._asyncio_future_blocking = False
        if step == "before":
            asyncio.get_running_loop().call_soon(gate.release)
        else:
            gate.release()
        assert await future is True
        with pytest.raises(StopIteration):
            entering.send(None)
        assert gate.locked()
        gate.release()
        assert is_free(gate)

    run(main())


@pytest.mark.parametrize("task_class", ["_PyTask", "_CTask"])
def test_tasks_of_asyncio_wait_by_it(lib: Any, name: str, run: Run, task_class: str) -> None:
    async def main() -> None:
        make = getattr(asyncio.tasks, task_class)
        event_loop = asyncio.get_running_loop()
        gate = await held(lib, name)
        order: list[int] = []
        tasks = [make(pass_through(gate, order, number), loop=event_loop) for number in range(4)]
        await settle()
        assert len(gate._waiters) == 4
        tasks[2].cancel()
        gate.release()
        tasks[0].cancel()
        assert await asyncio.gather(*tasks, return_exceptions=True) is not None
        assert [task.cancelled() for task in tasks] == [True, False, True, False]
        assert order == [1, 3]
        assert is_free(gate)

    run(main())


def test_callbacks_of_the_future_are_called(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        told: list[Any] = []
        gate._waiters[0].add_done_callback(lambda future: told.append(future.result()))
        gate.release()
        await task
        assert told == [True]

    run(main())


def test_debug_mode_changes_nothing(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        gate = await held(lib, name)
        tasks = [asyncio.create_task(pass_through(gate)) for _ in range(2)]
        await settle()
        assert gate._waiters[0]._source_traceback
        tasks[0].cancel()
        gate.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert is_free(gate)

    run(main())


def test_debug_mode_may_come_while_it_waits(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        order: list[Any] = []
        tasks = [asyncio.create_task(pass_through(gate, order, number)) for number in range(3)]
        await settle()
        asyncio.get_running_loop().set_debug(True)
        gate.release()
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2]
        assert is_free(gate)

    run(main())


def test_who_waits_in_a_block_and_in_acquire_stands_in_one_line(lib: Any, name: str, run: Run) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        order: list[Any] = []

        async def acquire(number: int) -> None:
            await gate.acquire()
            order.append(number)
            gate.release()

        tasks = [
            asyncio.create_task(pass_through(gate, order, number) if number % 3 else acquire(number))
            for number in range(9)
        ]
        await settle()
        assert len(gate._waiters) == 9
        tasks[3].cancel()
        tasks[4].cancel()
        gate.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 2, 5, 6, 7, 8]
        assert is_free(gate)

    run(main())


def test_future_that_others_refer_to_is_let_go(lib: Any, name: str, run: Run) -> None:
    """Weak references, and what a program has put into its attributes."""

    class Kept:
        pass

    async def main() -> None:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        told: list[Any] = []
        future = gate._waiters[0]
        gone = weakref.ref(future, told.append)
        future.kept = Kept()
        kept = weakref.ref(future.kept)
        del future
        gate.release()
        await task
        assert gone() is None
        assert told == [gone]
        assert kept() is None

    run(main())


def test_loop_that_is_closed_is_an_error_of_the_release(lib: Any, name: str, kind: Kind) -> None:
    async def main() -> Any:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        await settle()
        return gate, task

    event_loop = kind.loop_factory()
    gate, task = event_loop.run_until_complete(main())
    event_loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        gate.release()
    assert not task.done()


def test_gate_of_another_loop_is_refused(
    lib: Any, name: str, kind: Kind, loop: asyncio.AbstractEventLoop
) -> None:
    async def bind() -> Any:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        await settle()
        task.cancel()
        await outcome(task)
        return gate

    async def enter(gate: Any) -> None:
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            await gate.__aenter__()
        assert not gate._waiters

    gate = loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(enter(gate))
    finally:
        other.close()


@pytest.mark.parametrize("by", ["attribute", "callback"])
def test_cycle_through_it_is_collected(lib: Any, name: str, run: Run, by: str) -> None:
    async def main() -> None:
        gate = await held(lib, name)
        entering = gate.__aenter__()
        future = entering.send(None)
        if by == "attribute":
            gate.waiting = entering
        else:
            future.add_done_callback(functools.partial(str, entering))
            gate.kept = future
        gone = weakref.ref(gate)
        del gate, entering, future
        gc.collect()
        assert gone() is None

    run(main())


def test_task_that_is_lost_while_it_waits_is_collected(lib: Any, name: str, kind: Kind) -> None:
    """The loop goes with all that it keeps."""

    async def main() -> Any:
        gate = await held(lib, name)
        task = asyncio.create_task(pass_through(gate))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        await settle()
        return weakref.ref(gate), weakref.ref(task)

    event_loop = kind.loop_factory()
    gate, task = event_loop.run_until_complete(main())
    event_loop.close()
    del event_loop
    gc.collect()
    assert gate() is None
    assert task() is None


def test_many_tasks_pass_one_after_another(lib: Any, name: str, run: Run) -> None:
    """More than are kept for the next ones, and while the collector runs."""

    async def main() -> None:
        gate = await held(lib, name)
        order: list[int] = []
        tasks = [asyncio.create_task(pass_through(gate, order, number)) for number in range(600)]
        await settle()
        gc.collect()
        for task in tasks[1::3]:
            task.cancel()
        gate.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [number for number in range(600) if number % 3 != 1]
        assert is_free(gate)

    run(main())


def test_condition_waits_for_its_lock_likewise(lib: Any, run: Run) -> None:
    async def main() -> None:
        lock = lib.Lock()
        condition = lib.Condition(lock)
        await lock.acquire()
        tasks = [asyncio.create_task(pass_through(condition)) for _ in range(2)]
        await settle()
        assert len(lock._waiters) == 2
        tasks[0].cancel()
        lock.release()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert is_free(lock)

    run(main())


def test_loop_whose_scheduling_is_overridden_is_asked() -> None:
    scheduled: list[Any] = []

    class Watching(tonnage.EventLoop):
        def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
            scheduled.append(callback)
            return super().call_soon(callback, *args, context=context)

    async def main() -> None:
        gate = await held(tonnage, "Lock")
        task = asyncio.create_task(pass_through(gate))
        await settle()
        scheduled.clear()
        gate.release()
        assert scheduled
        await task

    event_loop = Watching()
    try:
        event_loop.run_until_complete(main())
    finally:
        event_loop.close()


@pytest.mark.parametrize("waiting", [1, 3])
def test_loop_that_goes_while_tasks_wait_leaves_nothing(name: str, waiting: int) -> None:
    """Its end ends the tasks, and with them those who stand in the line."""

    async def main() -> None:
        gate = await held(tonnage, name)
        for _ in range(waiting):
            loops[0].create_task(pass_through(gate))
        await settle()

    def let_go() -> None:
        loops.clear()
        gc.collect()

    loops = [tonnage.new_event_loop()]
    loops[0].set_exception_handler(lambda _, context: None)
    before = tonnage._tonnage._live_objects()["Entering"]
    loops[0].run_until_complete(main())
    gone = weakref.ref(loops[0])
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        let_go()
    assert gone() is None
    assert tonnage._tonnage._live_objects()["Entering"] == before


@pytest.mark.parametrize("others", [0, 2])
def test_waiter_that_somebody_else_ends_takes_no_slot_of_others(
    lib: Any, name: str, run: Run, others: int
) -> None:
    if lib is asyncio and name != "Lock":
        pytest.skip("asyncio's own loses the slot")

    async def take(gate: Any) -> None:
        await gate.acquire()
        await asyncio.sleep(0)
        gate.release()

    async def main() -> None:
        gate = await held(lib, name)
        tasks = [asyncio.create_task(take(gate))]
        tasks += [asyncio.create_task(pass_through(gate)) for _ in range(others)]
        await settle()
        next(iter(gate._waiters)).set_result(True)
        gate.release()
        await asyncio.wait(tasks, timeout=5)
        assert all(task.done() and not task.exception() for task in tasks)
        assert is_free(gate)
        await asyncio.wait_for(gate.acquire(), 5)
        gate.release()

    run(main())
