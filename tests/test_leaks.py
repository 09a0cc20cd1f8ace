"""No operation keeps memory, no cycle survives the collector, and the collector may run at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
Operation = Callable[[Loop], Any]
OPERATIONS: dict[str, Operation] = {}
ROUNDS_MAX = 20
TIMES = 200
since_3_11 = sys.version_info >= (3, 11)


def operation(function: Operation) -> Operation:
    OPERATIONS[function.__name__] = function
    return function


async def give(value: Any = None) -> Any:
    return value


async def fail() -> None:
    raise LookupError("lost")


async def park() -> None:
    await asyncio.get_running_loop().create_future()


# Futures


@operation
def future_dropped(loop: Loop) -> None:
    loop.create_future()


@operation
def future_with_result(loop: Loop) -> None:
    loop.create_future().set_result([])


@operation
def future_with_exception(loop: Loop) -> None:
    future = loop.create_future()
    future.set_exception(LookupError("lost"))
    future.exception()


@operation
def future_whose_exception_was_raised(loop: Loop) -> None:
    future = loop.create_future()
    future.set_exception(LookupError("lost"))
    with contextlib.suppress(LookupError):
        future.result()


@operation
def future_cancelled(loop: Loop) -> None:
    loop.create_future().cancel("message")


@operation
def future_with_callbacks(loop: Loop) -> None:
    future = loop.create_future()
    for _ in range(3):
        future.add_done_callback(lambda _: None)
    future.set_result(None)


@operation
def future_with_callbacks_removed(loop: Loop) -> None:
    future = loop.create_future()
    for callback in (print, repr, print):
        future.add_done_callback(callback)
    future.remove_done_callback(print)
    future.remove_done_callback(repr)


@operation
def future_with_attributes(loop: Loop) -> None:
    future: Any = loop.create_future()
    future.add_done_callback(repr)
    _ = (future._callbacks, future._state, future._loop, repr(future))


@operation
def future_stepped_by_hand(loop: Loop) -> None:
    steps = loop.create_future().__await__()
    next(steps)
    with contextlib.suppress(LookupError):
        steps.throw(LookupError())  # type: ignore[union-attr]


@operation
def future_misused(loop: Loop) -> None:
    future = loop.create_future()
    for misuse in (future.result, future.exception, lambda: future.set_exception(3)):  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.InvalidStateError, TypeError):
            misuse()


@operation
def future_of_a_subclass(loop: Loop) -> None:
    class_: Any = SubclassedFuture
    future = class_(loop=loop)
    future.extra = []
    future.set_result(future.extra)


class SubclassedFuture(tonnage.Future[Any]):
    pass


class SubclassedTask(tonnage.Task[Any]):
    pass


@operation
async def future_awaited(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(future.set_result, [])
    await future


@operation
async def future_awaited_by_three(loop: Loop) -> None:
    async def wait() -> None:
        await future

    future = loop.create_future()
    tasks = [loop.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    future.set_result(None)
    for task in tasks:
        await task


@operation
def future_in_a_cycle(loop: Loop) -> None:
    future = loop.create_future()
    future.add_done_callback(lambda _, kept=future: kept)
    holder = [future]
    holder.append(holder)  # type: ignore[arg-type]


# Tasks


@operation
async def task_awaited(loop: Loop) -> None:
    await loop.create_task(give([]))


@operation
async def task_with_name_and_context(loop: Loop) -> None:
    if since_3_11:
        await loop.create_task(give(), name="name", context=contextvars.copy_context())


@operation
async def task_not_awaited(loop: Loop) -> None:
    loop.create_task(give([]))
    await asyncio.sleep(0)


@operation
async def task_that_sleeps(loop: Loop) -> None:
    async def sleep() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    await loop.create_task(sleep())


@operation
async def task_that_fails(loop: Loop) -> None:
    with contextlib.suppress(LookupError):
        await loop.create_task(fail())


@operation
async def task_that_fails_in_a_cycle(loop: Loop) -> None:
    async def cycle() -> None:
        me = asyncio.current_task()
        raise LookupError(me)

    task = loop.create_task(cycle())
    await asyncio.wait([task])
    task.exception()


@operation
async def task_cancelled_before_start(loop: Loop) -> None:
    task = loop.create_task(give())
    task.cancel()
    await asyncio.wait([task])


@operation
async def task_cancelled_while_waiting(loop: Loop) -> None:
    task = loop.create_task(park())
    await asyncio.sleep(0)
    task.cancel("message")
    await asyncio.wait([task])
    with contextlib.suppress(asyncio.CancelledError):
        task.result()


@operation
async def task_cancelled_and_awaited(loop: Loop) -> None:
    task = loop.create_task(park())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@operation
async def task_cancelled_by_itself(loop: Loop) -> None:
    async def leave() -> None:
        task: Any = asyncio.current_task()
        task.cancel()
        await asyncio.sleep(0)

    await asyncio.wait([loop.create_task(leave())])


@operation
async def task_that_refuses_cancellation(loop: Loop) -> None:
    async def stay() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await park()

    task = loop.create_task(stay())
    await asyncio.sleep(0)
    task.cancel()
    await task


@operation
async def task_uncancelled(loop: Loop) -> None:
    task: Any = loop.create_task(give())
    task.cancel()
    task.uncancel()
    await task


@operation
async def task_that_awaits_a_task(loop: Loop) -> None:
    async def outer() -> None:
        await loop.create_task(give())

    await loop.create_task(outer())


@operation
async def task_that_yields_nonsense(loop: Loop) -> None:
    class Strange:
        def __await__(self) -> Iterator[Any]:
            yield 3

    with contextlib.suppress(RuntimeError):
        await loop.create_task(await_it(Strange()))


async def await_it(awaitable: Any) -> Any:
    return await awaitable


@operation
async def task_that_awaits_itself(loop: Loop) -> None:
    async def wait() -> None:
        task: Any = asyncio.current_task()
        await task

    await asyncio.wait([loop.create_task(wait())])


@operation
async def task_of_a_subclass(loop: Loop) -> None:
    task = SubclassedTask(give([]), loop=loop)
    task.extra = task  # type: ignore[attr-defined]
    await task


@operation
async def task_refused(loop: Loop) -> None:
    with contextlib.suppress(TypeError):
        loop.create_task(3)  # type: ignore[arg-type]


@operation
async def task_looked_at(loop: Loop) -> None:
    task: Any = loop.create_task(park())
    await asyncio.sleep(0)
    _ = (repr(task), task._fut_waiter, task.get_coro(), task.get_stack(), task.get_name(), hash(task))
    task.set_name("name")
    task.cancel()
    await asyncio.wait([task])


@operation
async def task_started_eagerly(loop: Loop) -> None:
    await tonnage.Task(give([]), loop=loop, eager_start=True)


@operation
async def task_started_eagerly_that_waits(loop: Loop) -> None:
    future = loop.create_future()
    task = tonnage.Task(await_it(future), loop=loop, eager_start=True)
    future.set_result(None)
    await task


@operation
async def task_started_eagerly_that_fails(loop: Loop) -> None:
    task = tonnage.Task(fail(), loop=loop, eager_start=True)
    task.exception()


@operation
async def task_factory(loop: Loop) -> None:
    loop.set_task_factory(lambda loop, coro, **kwargs: tonnage.Task(coro, loop=loop, **kwargs))
    task = loop.create_task(give())
    loop.set_task_factory(None)
    await task


@operation
async def all_tasks(loop: Loop) -> None:
    asyncio.all_tasks()
    asyncio.current_task()


@operation
async def task_that_awaits_a_duck(loop: Loop) -> None:
    class Duck:
        _asyncio_future_blocking: Any = False

        def get_loop(self) -> Loop:
            return loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            loop.call_soon(callback, self, context=context)

        def result(self) -> list[Any]:
            return []

        def __await__(self) -> Iterator[Any]:
            self._asyncio_future_blocking = True
            yield self

    await loop.create_task(await_it(Duck()))


# asyncio's structures


@operation
async def gather(loop: Loop) -> None:
    await asyncio.gather(give(), give([]), asyncio.sleep(0))


@operation
async def gather_that_fails(loop: Loop) -> None:
    with contextlib.suppress(LookupError):
        await asyncio.gather(fail(), asyncio.sleep(0))


@operation
async def gather_with_exceptions(loop: Loop) -> None:
    await asyncio.gather(fail(), give(), return_exceptions=True)


@operation
async def gather_cancelled(loop: Loop) -> None:
    gathered = asyncio.gather(park(), park())
    await asyncio.sleep(0)
    gathered.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gathered


@operation
async def wait_first(loop: Loop) -> None:
    slow = loop.create_task(park())
    await asyncio.wait([slow, loop.create_task(give())], return_when=asyncio.FIRST_COMPLETED)
    slow.cancel()
    await asyncio.wait([slow])


@operation
async def wait_for(loop: Loop) -> None:
    await asyncio.wait_for(asyncio.sleep(0), 60)


@operation
async def wait_for_too_long(loop: Loop) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(park(), 0.0001)


@operation
async def timeout(loop: Loop) -> None:
    async with tonnage.timeout(60):
        await asyncio.sleep(0)


@operation
async def timeout_that_expires(loop: Loop) -> None:
    with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
        async with tonnage.timeout(0):
            await park()


@operation
async def move_on(loop: Loop) -> None:
    async with tonnage.move_on_after(60):
        await asyncio.sleep(0)


@operation
async def move_on_that_expires(loop: Loop) -> None:
    async with tonnage.move_on_after(0):
        await park()


@operation
async def deadlines_left_in_any_order(loop: Loop) -> None:
    blocks = [tonnage.timeout(60) for _ in range(3)]
    for block in blocks:
        await block.__aenter__()
    for block in blocks:
        await block.__aexit__(None, None, None)


@operation
async def deadline_never_left(loop: Loop) -> None:
    await tonnage.move_on_after(None).__aenter__()
    await tonnage.timeout(None).__aenter__()


@operation
async def deadline_inherited(loop: Loop) -> None:
    async with tonnage.timeout(60), tonnage.TaskGroup() as tasks:
        tasks.create_task(give())
        await asyncio.gather(give())


@operation
async def shielded(loop: Loop) -> None:
    task: Any = asyncio.current_task()
    if isinstance(task, tonnage.Task):
        async with tonnage.shield_scope(60), tonnage.shield_scope(60):
            task.cancel("message")
            await asyncio.sleep(0)
            task.uncancel()


@operation
async def shielded_and_cancelled(loop: Loop) -> None:
    async def child() -> None:
        async with tonnage.shield_scope(60):
            task.cancel("message")
            await asyncio.sleep(0)
        await park()

    task: asyncio.Task[None] = tonnage.Task(child(), loop=loop)
    with contextlib.suppress(asyncio.CancelledError):
        await task


@operation
async def shield_never_left(loop: Loop) -> None:
    task: asyncio.Task[Any] = tonnage.Task(tonnage.shield_scope(60).__aenter__(), loop=loop)
    await task


@operation
async def group(loop: Loop) -> None:
    async with tonnage.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(asyncio.sleep(0))


@operation
async def group_that_fails(loop: Loop) -> None:
    with contextlib.suppress(BaseException):
        async with tonnage.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(park())


@operation
async def group_cancelled(loop: Loop) -> None:
    async def main() -> None:
        async with tonnage.TaskGroup() as tasks:
            tasks.create_task(park())

    task = loop.create_task(main())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


@operation
async def shield_cancelled(loop: Loop) -> None:
    inner = loop.create_task(asyncio.sleep(0))
    outer = asyncio.shield(inner)
    outer.cancel()
    await inner


@operation
async def as_completed(loop: Loop) -> None:
    for done in asyncio.as_completed([give(), asyncio.sleep(0)]):
        await done


@operation
async def queue(loop: Loop) -> None:
    items: asyncio.Queue[Any] = asyncio.Queue(1)

    async def produce() -> None:
        for _ in range(3):
            await items.put([])

    task = loop.create_task(produce())
    for _ in range(3):
        await items.get()
    await task


@operation
async def lock(loop: Loop) -> None:
    held = asyncio.Lock()

    async def work() -> None:
        async with held:
            await asyncio.sleep(0)

    await asyncio.gather(work(), work(), work())


@operation
async def semaphore_cancelled(loop: Loop) -> None:
    slots = asyncio.Semaphore(0)
    task = loop.create_task(slots.acquire())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


@operation
async def event(loop: Loop) -> None:
    flag = asyncio.Event()
    task = loop.create_task(flag.wait())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    flag.set()
    await task


@operation
async def condition(loop: Loop) -> None:
    changed = asyncio.Condition()

    async def wait() -> None:
        async with changed:
            await changed.wait()

    task = loop.create_task(wait())
    await asyncio.sleep(0)
    async with changed:
        changed.notify()
    await task


@operation
async def async_generator_lost(loop: Loop) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async for _ in numbers():
        break
    await asyncio.sleep(0)


# Handles and the loop


@operation
def handle(loop: Loop) -> None:
    loop.call_soon(repr, [])


@operation
def handle_with_context(loop: Loop) -> None:
    loop.call_soon(repr, 1, context=contextvars.copy_context())


@operation
def handle_cancelled(loop: Loop) -> None:
    loop.call_soon(print, []).cancel()


@operation
def handle_from_a_thread(loop: Loop) -> None:
    loop.call_soon_threadsafe(repr, [])


@operation
def handle_looked_at(loop: Loop) -> None:
    found: Any = loop.call_soon(repr, [])
    _ = (repr(found), found._callback, found._args, found._context, found._cancelled)


@operation
def handle_that_fails(loop: Loop) -> None:
    loop.call_soon(lambda: 1 / 0)


@operation
def timer(loop: Loop) -> None:
    loop.call_later(0, repr, [])


@operation
def timer_cancelled(loop: Loop) -> None:
    loop.call_later(3600, repr, []).cancel()


@operation
def timer_in_a_cycle(loop: Loop) -> None:
    holder: list[Any] = []
    holder.append(loop.call_later(3600, repr, holder))
    holder[0].cancel()


@operation
def reader(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    loop.add_writer(ours, print)
    loop.remove_reader(ours)
    loop.remove_writer(ours)
    ours.close()
    theirs.close()


@operation
def reader_that_reads(loop: Loop) -> None:
    reading, writing = os.pipe()
    loop.add_reader(reading, lambda: (os.read(reading, 1), loop.remove_reader(reading), os.close(reading)))
    os.write(writing, b"x")
    turn(loop)
    os.close(writing)


@operation
async def executor(loop: Loop) -> None:
    await loop.run_in_executor(None, repr, [])


@operation
async def coroutine_from_a_thread(loop: Loop) -> None:
    result = asyncio.run_coroutine_threadsafe(give([]), loop)
    await asyncio.wrap_future(result)


@operation
def another_loop(loop: Loop) -> None:
    other = tonnage.new_event_loop()
    other.run_until_complete(asyncio.sleep(0))
    other.call_later(3600, print)
    other.call_soon(print)
    other.close()


@operation
def another_loop_that_is_lost(loop: Loop) -> None:
    other: Any = tonnage.new_event_loop()
    other.itself = other
    other.create_future().add_done_callback(lambda _: other)
    other.close()


@operation
def exception_handler(loop: Loop) -> None:
    loop.call_exception_handler({"message": "text"})


def turn(loop: Loop) -> None:
    """Let the loop run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def perform(loop: Loop, act: Operation, times: int) -> None:
    for _ in range(times):
        found = act(loop)
        if isinstance(found, Coroutine):
            loop.run_until_complete(found)
        turn(loop)
    del found
    turn(loop)


@pytest.fixture
def ours() -> Iterator[Loop]:
    """A loop of tonnage that says nothing of errors."""
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_there_are_enough_operations() -> None:
    assert len(OPERATIONS) >= 60


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_keeps_no_memory(name: str, ours: Loop) -> None:
    act = OPERATIONS[name]
    times = 20 if name.startswith("another_loop") else TIMES
    perform(ours, act, times)
    growth = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS_MAX):
            before = sys.getallocatedblocks()
            perform(ours, act, times)
            gc.collect()
            growth.append(sys.getallocatedblocks() - before)
            if len(growth) >= 3 and min(growth) <= 0:
                break
    finally:
        gc.enable()
    # A block for each iteration would be kept in each round; a cache, as CPython's of methods, fills up.
    assert min(growth) <= 0, growth


def test_counts_of_the_immortal_ones_do_not_drift(ours: Loop) -> None:
    if sys.version_info >= (3, 12):
        pytest.skip("None is immortal since 3.12")
    for act in OPERATIONS.values():
        perform(ours, act, 5)
    before = [sys.getrefcount(value) for value in (None, True, False, ())]
    for act in OPERATIONS.values():
        perform(ours, act, 5)
    after = [sys.getrefcount(value) for value in (None, True, False, ())]
    assert all(abs(new - old) < 500 for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("name", OPERATIONS)
def test_collector_may_run_at_each_allocation(name: str, ours: Loop) -> None:
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        perform(ours, OPERATIONS[name], 3)
    finally:
        gc.set_threshold(*old)


def alive() -> dict[str, int]:
    """Count the objects of tonnage that the collector knows."""
    counts: dict[str, int] = {}
    for found in gc.get_objects():
        kind = type(found)
        if str(kind.__module__).startswith("tonnage") and not isinstance(found, (type, BaseException)):
            counts[kind.__qualname__] = counts.get(kind.__qualname__, 0) + 1
    return counts


def test_nothing_of_tonnage_outlives_its_loop() -> None:
    gc.collect()
    before = alive()
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    for act in OPERATIONS.values():
        perform(loop, act, 2)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    del loop
    gc.collect()
    after = alive()
    assert {name: count for name, count in after.items() if count > before.get(name, 0)} == {}
