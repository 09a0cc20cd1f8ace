"""Cycles, and structures so deep that recursion would overflow the stack."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
DEEP = 100_000


def turn(loop: Loop, times: int = 1) -> None:
    """Let the loop run what is ready."""
    for _ in range(times):
        loop.call_soon(loop.stop)
        loop.run_forever()


def test_cycle_of_three_tasks_can_be_collected_with_the_loop(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, report: reports.append(report["message"]))
    tasks: list[Any] = []

    async def wait(number: int) -> None:
        await tasks[(number + 1) % 3]

    tasks.extend(loop.create_task(wait(number)) for number in range(3))
    turn(loop, 3)
    assert not any(task.done() for task in tasks)
    with pytest.raises(RecursionError):
        tasks[0].cancel()
    references = [weakref.ref(task) for task in tasks]
    tasks.clear()
    loop.close()
    gc.collect()
    assert not any(reference() for reference in references)
    assert reports == ["Task was destroyed but it is pending!"] * 3


def test_task_that_returns_itself(loop: Loop, run: Run) -> None:
    async def main() -> Any:
        return asyncio.current_task()

    task = loop.create_task(main())
    assert run(task) is task
    reference = weakref.ref(task)
    del task
    gc.collect()
    assert reference() is None


def test_future_that_is_its_own_result(loop: Loop) -> None:
    future = loop.create_future()
    future.set_result(future)
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def chain(loop: Loop, length: int) -> tuple[asyncio.Future[Any], list[asyncio.Task[Any]]]:
    """Make tasks that each await the one before."""

    async def wait(before: Any) -> Any:
        return await before

    first: Any = loop.create_future()
    tasks: list[asyncio.Task[Any]] = []
    for _ in range(length):
        tasks.append(loop.create_task(wait(tasks[-1] if tasks else first)))
    turn(loop, 2)
    return first, tasks


@pytest.mark.slow
def test_deep_chain_of_tasks_gives_its_result(loop: Loop, run: Run) -> None:
    first, tasks = chain(loop, DEEP)
    first.set_result("through")
    assert run(tasks[-1]) == "through"


@pytest.mark.slow
def test_deep_chain_of_tasks_can_be_cancelled(loop: Loop, run: Run, asyncio_since: Any) -> None:
    # asyncio raises RecursionError.
    asyncio_since()
    first, tasks = chain(loop, DEEP)
    assert tasks[-1].cancel("deep")
    assert first.cancelled()
    with pytest.raises(asyncio.CancelledError):
        run(tasks[-1])
    assert all(task.cancelled() for task in tasks)


@pytest.mark.slow
def test_deep_chain_of_pending_tasks_dies_with_its_loop(loop_factory: Callable[[], Loop]) -> None:
    loop = loop_factory()
    lost: list[str] = []
    loop.set_exception_handler(lambda _, report: lost.append(report["message"]))
    chain(loop, DEEP)
    loop.close()
    gc.collect()
    assert lost == ["Task was destroyed but it is pending!"] * DEEP


@pytest.mark.slow
@pytest.mark.parametrize("link", ["result", "callback", "exception", "task", "attribute", "handle"])
def test_deep_chain_of_objects_can_be_dropped(loop: Loop, run: Run, link: str) -> None:
    async def give(value: Any) -> Any:
        return value

    last: Any = loop.create_future()
    last.set_result(None)
    for _ in range(DEEP):
        if link == "task":
            value, last = last, loop.create_task(give(last))
            run(last)
            continue
        if link == "handle":
            last = loop.call_later(3600, print, last)
            continue
        value, last = last, loop.create_future()
        if link == "result":
            last.set_result(value)
        elif link == "callback":
            last.add_done_callback(value.result)
        elif link == "exception":
            last.set_exception(LookupError(value))
            last.exception()
        else:
            future: Any = last
            future.add_done_callback(lambda _, value=value: value)
    value = None
    del last
    gc.collect()


@pytest.mark.slow
def test_deep_nesting_of_awaits_ends(loop: Loop, run: Run) -> None:
    async def nest(depth: int) -> int:
        return await nest(depth - 1) + 1 if depth else await end()

    async def end() -> int:
        await asyncio.sleep(0)
        return 0

    assert run(nest(500)) == 500
    with pytest.raises(RecursionError):
        run(nest(DEEP))


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in 3.11")
@pytest.mark.parametrize("end", ["return", "cancel"])
def test_deep_nesting_of_groups_ends(loop: Loop, run: Run, end: str) -> None:
    reached: list[int] = []

    async def nest(depth: int) -> None:
        async with asyncio.TaskGroup() as group:
            if depth:
                group.create_task(nest(depth - 1))
            else:
                reached.append(depth)
                if end == "cancel":
                    outermost.cancel()
                    await loop.create_future()

    outermost = loop.create_task(nest(DEEP // 5))
    if end == "return":
        run(outermost)
    else:
        with pytest.raises(asyncio.CancelledError):
            run(outermost)
    assert reached == [0]


@pytest.mark.slow
def test_deep_repr_ends(loop: Loop) -> None:
    first, tasks = chain(loop, 5000)
    with contextlib.suppress(RecursionError):
        assert repr(tasks[-1]).startswith("<Task pending")
    first.set_result(None)
    loop.run_until_complete(tasks[-1])


@pytest.mark.slow
def test_hundred_thousand_callbacks_of_one_future_run_in_order(loop: Loop) -> None:
    future = loop.create_future()
    seen: list[int] = []
    for number in range(DEEP):
        future.add_done_callback(lambda _, number=number: seen.append(number))
    future.set_result(None)
    turn(loop, 2)
    assert seen == list(range(DEEP))


def test_tasks_that_start_eagerly_inside_each_other_end_in_recursion_error() -> None:
    program = """
        import asyncio, tonnage

        async def nest(depth):
            if depth:
                await tonnage.Task(nest(depth - 1), loop=loop, eager_start=True)

        loop = tonnage.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        try:
            loop.run_until_complete(nest(100_000))
        except RecursionError:
            print("RecursionError")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == "RecursionError\n"
