"""Tasks that start at once: Python 3.12's eager start, with the guards of 3.15, on every version."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def start(loop: Loop, loop_factory: Any) -> Callable[..., Any]:
    """Create a task that starts eagerly, of the class that belongs to the loop."""
    if loop_factory is tonnage.new_event_loop:
        return lambda coro, **kwargs: tonnage.Task(coro, loop=loop, eager_start=True, **kwargs)
    if sys.version_info < (3, 12):
        pytest.skip("asyncio starts eagerly since 3.12")
    return lambda coro, **kwargs: asyncio.Task(coro, loop=loop, eager_start=True, **kwargs)


async def give(value: Any) -> Any:
    return value


async def fail(error: BaseException) -> None:
    raise error


async def wait(future: Any) -> Any:
    return await future


def test_eager_task_runs_before_its_constructor_returns(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        task = start(give("value"))
        assert task.done()
        assert task.result() == "value"
        assert await task == "value"

    run(main())


def test_eager_task_that_waits_goes_on_later(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> str:
        future = loop.create_future()
        task = start(wait(future))
        assert not task.done()
        assert task in asyncio.all_tasks()
        future.set_result("later")
        return str(await task)

    assert run(main()) == "later"


def test_eager_task_that_fails_keeps_its_exception(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        error = LookupError("lost")
        task = start(fail(error))
        assert task.done()
        assert task.exception() is error

    run(main())


def test_eager_task_that_is_cancelled_at_once_is_cancelled(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        task = start(fail(asyncio.CancelledError("why")))
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task

    run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exit_leaves_the_constructor_of_an_eager_task(
    loop: Loop, run: Run, start: Any, reports: list[Any], kind: type[BaseException]
) -> None:
    async def main() -> str:
        try:
            start(fail(kind()))
        except kind:
            return "left"
        return "stayed"

    assert run(main()) == "left"


def test_eager_task_is_the_current_one_while_it_starts(loop: Loop, run: Run, start: Any) -> None:
    async def child() -> Any:
        return asyncio.current_task()

    async def main() -> None:
        me = asyncio.current_task()
        task = start(child())
        assert task.result() is task
        assert asyncio.current_task() is me
        await asyncio.sleep(0)
        assert asyncio.current_task() is me

    run(main())


def test_current_task_is_restored_after_a_failed_start(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        start(fail(LookupError())).exception()
        assert asyncio.current_task() is me
        with pytest.raises(TypeError):
            start(3)
        assert asyncio.current_task() is me

    run(main())


def test_eager_starts_nest(loop: Loop, run: Run, start: Any) -> None:
    async def nest(depth: int) -> list[str]:
        me = asyncio.current_task()
        below = start(nest(depth - 1)).result() if depth else []
        assert asyncio.current_task() is me
        return [me.get_name(), *below] if me else []

    async def main() -> list[str]:
        return list(start(nest(20)).result())

    names = run(main())
    assert len(set(names)) == 21


def test_eager_task_without_a_running_loop_starts_later(loop: Loop, start: Any, run: Run) -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append("started")

    task = start(child())
    assert seen == []
    run(task)
    assert seen == ["started"]


def test_eager_task_runs_in_its_own_context(loop: Loop, run: Run, start: Any) -> None:
    async def child() -> str:
        before = variable.get()
        variable.set("child")
        await asyncio.sleep(0)
        return before + variable.get()

    async def main() -> str:
        variable.set("main")
        task = start(child())
        assert variable.get() == "main"
        return str(await task)

    assert run(main()) == "mainchild"


def test_eager_task_may_run_in_a_context_given(loop: Loop, run: Run, start: Any) -> None:
    async def child() -> None:
        variable.set("child")

    async def main() -> None:
        context = contextvars.copy_context()
        await start(child(), context=context)
        assert context[variable] == "child"

    run(main())


def test_eager_task_can_be_cancelled_while_it_waits(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        task = start(wait(loop.create_future()))
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        assert task.cancelled()

    run(main())


def test_eager_task_that_cancels_itself_before_it_waits_is_cancelled(
    loop: Loop, run: Run, start: Any
) -> None:
    async def child() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await loop.create_future()

    async def main() -> None:
        task = start(child())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_eager_task_that_cancels_its_parent(loop: Loop, run: Run, start: Any) -> None:
    async def child(parent: Any) -> None:
        parent.cancel("by the child")

    async def main() -> str:
        start(child(asyncio.current_task()))
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            return str(error.args)
        return "not cancelled"

    assert run(main()) == "('by the child',)"


def test_eager_task_that_ended_is_in_no_list(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        task = start(give(1))
        assert task not in asyncio.all_tasks()

    run(main())


def test_eager_task_that_ended_dies_at_once(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> None:
        reference = weakref.ref(start(give(1)))
        assert reference() is None
        failed = start(fail(LookupError()))
        failed.exception()
        reference = weakref.ref(failed)
        del failed
        gc.collect()
        assert reference() is None

    run(main())


def test_done_callbacks_of_an_eager_task_run_later(loop: Loop, run: Run, start: Any) -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        task = start(give(1))
        task.add_done_callback(lambda _: seen.append("done"))
        seen.append("added")
        await asyncio.sleep(0)
        return seen

    assert run(main()) == ["added", "done"]


def test_stack_of_an_eager_task_that_ended_is_empty(
    loop: Loop, run: Run, start: Any, asyncio_since: Callable[..., None]
) -> None:
    # CPython 3.12.1 itself crashes in `get_coro()`.
    asyncio_since(3, 13)

    async def main() -> None:
        task = start(give(1))
        assert task.get_stack() == []
        assert task.get_coro() is None
        assert repr(task) == f"<Task finished name={task.get_name()!r} result=1>"

    run(main())


# The task factory


@pytest.fixture
def eager(loop: Loop, loop_factory: Any) -> None:
    """Let the loop start all tasks eagerly."""
    if loop_factory is tonnage.new_event_loop:
        loop.set_task_factory(tonnage.eager_task_factory)
    elif sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    else:
        pytest.skip("asyncio starts eagerly since 3.12")


@pytest.mark.usefixtures("eager")
def test_factory_starts_tasks_eagerly(loop: Loop, run: Run) -> None:
    async def main() -> None:
        task = loop.create_task(give("value"), name="named")
        assert task.done()
        assert task.get_name() == "named"
        assert asyncio.ensure_future(give(1)).done()

    run(main())


@pytest.mark.usefixtures("eager")
def test_gather_of_eager_tasks_that_ended(loop: Loop, run: Run) -> None:
    async def main() -> Any:
        return await asyncio.gather(give(1), give(2), asyncio.sleep(0, 3))

    assert run(main()) == [1, 2, 3]


@pytest.mark.usefixtures("eager")
def test_group_of_eager_tasks(loop: Loop, run: Run, loop_factory: Any) -> None:
    group_class: Any = tonnage.TaskGroup if loop_factory is tonnage.new_event_loop else asyncio.TaskGroup

    async def main() -> list[int]:
        async with group_class() as group:
            tasks = [group.create_task(give(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert run(main()) == [0, 1, 2]


@pytest.mark.usefixtures("eager")
def test_group_whose_eager_child_fails_at_once(
    loop: Loop, run: Run, loop_factory: Any, asyncio_since: Any
) -> None:
    asyncio_since(3, 13)
    group_class: Any = tonnage.TaskGroup if loop_factory is tonnage.new_event_loop else asyncio.TaskGroup

    async def main() -> Any:
        try:
            async with group_class() as group:
                group.create_task(fail(LookupError("lost")))
                await loop.create_future()
        except BaseException as error:
            return error
        return None

    error = run(main())
    assert [type(inner) for inner in error.exceptions] == [LookupError]


def test_factory_of_another_class_makes_that_class(loop: Loop, run: Run, asyncio_since: Any) -> None:
    asyncio_since(3, 12)

    class Mine(tonnage.Task[Any]):
        pass

    async def main() -> None:
        loop.set_task_factory(tonnage.create_eager_task_factory(Mine))
        task = loop.create_task(give(1))
        assert type(task) is Mine
        assert task.done()
        loop.set_task_factory(None)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio starts eagerly since 3.12")
@pytest.mark.parametrize("delay", [0.001, 0.0])
@pytest.mark.parametrize("block", ["wait_for", "timeout", "move_on_after", "TaskGroup"])
def test_blocks_in_an_eager_task_of_asyncios_are_that_tasks(block: str, delay: float) -> None:
    """It runs inside a task of ours, and only asyncio is told."""

    async def work() -> Any:
        try:
            if block == "wait_for":
                await tonnage.wait_for(asyncio.sleep(10), delay)
            elif block == "TaskGroup":
                async with tonnage.TaskGroup() as group:
                    group.create_task(fail(ValueError()))
                    await asyncio.sleep(10)
            else:
                async with getattr(tonnage, block)(delay):
                    await asyncio.sleep(10)
        except (asyncio.TimeoutError, ExceptionGroup):
            return "ended"
        return "ended"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.Task(work(), loop=loop, eager_start=True)
        assert await task == "ended"
        loop.set_task_factory(asyncio.eager_task_factory)
        assert await loop.create_task(work()) == "ended"

    tonnage.run(main())
