"""TaskGroup and timeout: asyncio 3.15's semantics, on every version."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

Run = Callable[[Any], Any]


@pytest.fixture
def run() -> Run:
    """Run a coroutine on tonnage; a task left over or a report fails the test."""

    def run_and_check(main: Any) -> Any:
        reports: list[Any] = []

        async def checked() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
            try:
                return await main
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}

        result = tonnage.run(checked())
        assert not reports
        return result

    return run_and_check


async def forever() -> None:
    await asyncio.Event().wait()


async def fail(error: BaseException | type[BaseException]) -> None:
    raise error


def cancelling() -> int:
    task: Any = asyncio.current_task()
    return task.cancelling()


# ---------------------------------------------------------------- TaskGroup


def test_group_waits_for_its_tasks(run: Run) -> None:
    async def main() -> list[int]:
        async with tonnage.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert run(main()) == [0, 1, 2]


def test_task_of_a_group_can_start_another(run: Run) -> None:
    done = []

    async def child(group: Any, depth: int) -> None:
        await asyncio.sleep(0)
        if depth:
            group.create_task(child(group, depth - 1))
        done.append(depth)

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            group.create_task(child(group, 3))

    run(main())
    assert done == [3, 2, 1, 0]


def test_create_task_takes_name_and_context(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    context = contextvars.Context()
    context.run(variable.set, "in context")

    async def child() -> tuple[str, str]:
        task: Any = asyncio.current_task()
        return task.get_name(), variable.get()

    async def main() -> Any:
        async with tonnage.TaskGroup() as group:
            task = group.create_task(child(), name="named", context=context)
        return task.result()

    assert run(main()) == ("named", "in context")


def test_failing_task_cancels_its_siblings_and_the_body(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                sibling = group.create_task(forever())
                group.create_task(fail(LookupError("lost")))
                await forever()
        assert [repr(error) for error in caught.value.exceptions] == ["LookupError('lost')"]
        assert caught.value.message == "unhandled errors in a TaskGroup"
        assert caught.value.__cause__ is None
        assert sibling.cancelled()
        assert cancelling() == 0

    run(main())


def test_errors_of_the_body_and_of_all_tasks_leave_together(run: Run) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await forever()
        finally:
            raise KeyError

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
                await asyncio.sleep(0)
                raise ValueError
        assert [type(error) for error in caught.value.exceptions] == [KeyError, ValueError]

    run(main())


def test_cancelled_child_does_not_fail_the_group(run: Run) -> None:
    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            child = group.create_task(forever())
            sibling = group.create_task(asyncio.sleep(0, "sibling"))
            await asyncio.sleep(0)
            child.cancel()
        assert child.cancelled()
        assert sibling.result() == "sibling"

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_base_error_of_the_body_leaves_bare(run: Run, error: type[BaseException]) -> None:
    async def main() -> None:
        with pytest.raises(error):
            async with tonnage.TaskGroup() as group:
                child = group.create_task(forever())
                await asyncio.sleep(0)
                raise error
        assert child.cancelled()

    run(main())


def test_generator_exit_of_the_body_leaves_bare(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(GeneratorExit):
            async with tonnage.TaskGroup():
                raise GeneratorExit

    run(main())


def test_base_exception_of_a_task_leaves_in_a_group(run: Run) -> None:
    class Special(BaseException):
        pass

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                group.create_task(fail(Special()))
        assert type(caught.value.exceptions[0]) is Special

    run(main())


def test_cancellation_from_outside_passes_through(run: Run) -> None:
    async def parent() -> None:
        async with tonnage.TaskGroup() as group:
            group.create_task(forever())
            await forever()

    async def main() -> None:
        task = asyncio.create_task(parent())
        await asyncio.sleep(0)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task
        assert task.cancelled()

    run(main())


def test_cancellation_from_outside_while_the_group_waits_passes_through(run: Run) -> None:
    async def parent() -> None:
        async with tonnage.TaskGroup() as group:
            group.create_task(forever())

    async def main() -> None:
        task = asyncio.create_task(parent())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_inner_group_does_not_lose_the_outer_cancellation(run: Run) -> None:
    # CPython issue 116720.
    async def main() -> None:
        reached = []
        with pytest.raises(ExceptionGroup):
            async with tonnage.TaskGroup() as outer:
                outer.create_task(fail(LookupError()))
                try:
                    async with tonnage.TaskGroup() as inner:
                        inner.create_task(fail(ValueError()))
                except ExceptionGroup:
                    pass
                await asyncio.sleep(0)
                reached.append(True)
        assert not reached
        assert cancelling() == 0

    run(main())


def test_group_cannot_be_entered_twice(run: Run) -> None:
    async def main() -> None:
        group = tonnage.TaskGroup()
        async with group:
            with pytest.raises(RuntimeError, match="^TaskGroup <TaskGroup entered> has already"):
                async with group:
                    pass

    run(main())


@pytest.mark.parametrize("phase", ["has not been entered", "is finished", "is shutting down"])
def test_inactive_group_refuses_a_task_and_closes_its_coroutine(run: Run, phase: str) -> None:
    async def refused(group: Any) -> None:
        coro = forever()
        with pytest.raises(RuntimeError, match=f"^TaskGroup <TaskGroup.*> {phase}$"):
            group.create_task(coro)
        assert coro.cr_frame is None

    async def main() -> None:
        group = tonnage.TaskGroup()
        if phase == "has not been entered":
            return await refused(group)
        try:
            async with group:
                if phase == "is shutting down":
                    group.create_task(fail(LookupError()))
                    try:
                        await forever()
                    finally:
                        await refused(group)
        except ExceptionGroup:
            pass
        if phase == "is finished":
            await refused(group)
        return None

    run(main())


@pytest.mark.parametrize("where", ["before entry", "body", "child", "after exit", "twice"])
def test_cancelled_group_ends_without_an_error(run: Run, where: str) -> None:
    reached = []

    async def cancel_from_child(group: Any) -> None:
        group.cancel()

    async def main() -> None:
        group: Any = tonnage.TaskGroup()
        if where == "before entry":
            group.cancel()
        async with group:
            if where == "child":
                group.create_task(cancel_from_child(group))
            elif where != "before entry":
                group.create_task(forever())
            if where in {"body", "twice"}:
                group.cancel()
            if where == "twice":
                group.cancel()
            if where != "after exit":
                await forever()
                reached.append(True)
            else:
                group.cancel()
        if where == "after exit":
            group.cancel()
        assert cancelling() == 0
        await asyncio.sleep(0)

    run(main())
    assert not reached


def test_cancelled_group_still_raises_the_errors_of_its_tasks(run: Run) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await forever()
        finally:
            raise LookupError

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
                await asyncio.sleep(0)
                group.cancel()  # type: ignore[attr-defined, unused-ignore]
        assert [type(error) for error in caught.value.exceptions] == [LookupError]

    run(main())


def test_group_shows_its_state(run: Run) -> None:
    async def main() -> None:
        group = tonnage.TaskGroup()
        assert repr(group) == "<TaskGroup>"
        with pytest.raises(ExceptionGroup):
            async with group:
                assert repr(group) == "<TaskGroup entered>"
                group.create_task(forever())
                assert repr(group) == "<TaskGroup tasks=1 entered>"
                group.create_task(fail(LookupError()))
                try:
                    await forever()
                finally:
                    assert repr(group) == "<TaskGroup tasks=1 errors=1 cancelling>"
        assert repr(group) == "<TaskGroup cancelling>"

    run(main())


def test_error_of_a_group_makes_no_cycle(run: Run) -> None:
    class LostError(Exception):
        pass

    async def lose() -> None:
        raise LostError

    async def main() -> weakref.ref[Any]:
        try:
            async with tonnage.TaskGroup() as group:
                group.create_task(lose())
        except ExceptionGroup as group_error:
            return weakref.ref(group_error.exceptions[0])
        raise AssertionError

    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()


on_3_10 = pytest.mark.skipif(
    sys.version_info >= (3, 11), reason="asyncio's own tasks count their cancellations since 3.11"
)


def run_on_asyncio(main: Any) -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


@on_3_10
def test_task_of_the_standard_library_is_refused_on_3_10() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"run the program with tonnage.run\(\)$"):
            async with tonnage.TaskGroup():
                pass

    run_on_asyncio(main())


@on_3_10
def test_timeout_works_in_a_task_that_does_not_count() -> None:
    async def main() -> None:
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(0):
                await forever()

    run_on_asyncio(main())


# ---------------------------------------------------------------- timeout


def test_timeout_cancels_the_block_and_raises(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(builtins.TimeoutError) as caught:
            async with tonnage.timeout(0.001) as timeout:
                await forever()
        assert isinstance(caught.value, asyncio.TimeoutError)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert timeout.expired()
        assert repr(timeout) == "<Timeout [expired]>"
        assert cancelling() == 0

    run(main())


@pytest.mark.parametrize("delay", [None, 60])
def test_timeout_that_is_not_reached_does_nothing(run: Run, delay: float | None) -> None:
    async def main() -> None:
        async with tonnage.timeout(delay) as timeout:
            await asyncio.sleep(0)
        assert not timeout.expired()
        assert repr(timeout) == "<Timeout [finished]>"

    run(main())


def test_timeout_at_takes_the_loop_s_time(run: Run) -> None:
    async def main() -> None:
        deadline = asyncio.get_running_loop().time() + 60
        async with tonnage.timeout_at(deadline) as timeout:
            assert timeout.when() == deadline
            assert repr(timeout) == f"<Timeout [active] when={round(deadline, 3)}>"

    run(main())


@pytest.mark.parametrize("delay", [0, -1])
def test_timeout_in_the_past_expires_at_the_next_switch(run: Run, delay: float) -> None:
    async def main() -> None:
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(delay):
                await asyncio.sleep(0)
                await forever()

    run(main())


def test_timeout_can_be_moved(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tonnage.timeout(0) as timeout:
            timeout.reschedule(loop.time() + 60)
            await asyncio.sleep(0)
            timeout.reschedule(None)
            assert timeout.when() is None
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(None) as timeout:
                timeout.reschedule(loop.time() + 0.001)
                await forever()

    run(main())


def test_timeout_that_is_due_can_still_be_moved(run: Run) -> None:
    """It stands among what is ready in the same turn as the task that moves it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        mover: asyncio.Future[None] = loop.create_future()
        due = loop.time() + 0.001
        loop.call_at(due, mover.set_result, None)
        async with tonnage.timeout(60) as timeout:
            loop.call_at(due, lambda: timeout.reschedule(loop.time() + 60))
            timeout.reschedule(due)
            while loop.time() < due:
                pass
            await mover
            await asyncio.sleep(0)
            timeout.reschedule(0)
            timeout.reschedule(None)
            await asyncio.sleep(0)
        assert not timeout.expired()
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(None) as timeout:
                timeout.reschedule(loop.time() + 60)
                timeout.reschedule(0)
                timeout.reschedule(60)
                timeout.reschedule(0)
                await forever()

    run(main())


def test_timeout_can_be_moved_by_keyword(run: Run) -> None:
    async def main() -> None:
        async with tonnage.timeout(delay=60) as timeout:
            timeout.reschedule(when=None)
            assert timeout.when() is None
        with pytest.raises(TypeError):
            timeout.reschedule(delay=1)  # type: ignore[call-arg]

    run(main())


def test_timeout_refuses_to_be_moved_outside_of_its_block(run: Run) -> None:
    async def main() -> None:
        timeout = tonnage.timeout(60)
        with pytest.raises(RuntimeError, match="^Timeout has not been entered$"):
            timeout.reschedule(1)
        async with timeout:
            pass
        with pytest.raises(RuntimeError, match="^Cannot change state of finished Timeout$"):
            timeout.reschedule(1)
        with pytest.raises(RuntimeError, match="^Timeout has already been entered$"):
            async with timeout:
                pass

    run(main())


def test_cancellation_from_outside_is_not_a_timeout(run: Run) -> None:
    async def child() -> None:
        async with tonnage.timeout(60):
            await forever()

    async def main() -> None:
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_cancellation_beside_a_timeout_stays_a_cancellation(run: Run) -> None:
    async def child() -> None:
        async with tonnage.timeout(0):
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
            await forever()

    async def main() -> None:
        task = asyncio.create_task(child())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_outer_timeout_does_not_take_the_inner_one_s(run: Run) -> None:
    async def main() -> str:
        async with tonnage.timeout(60) as outer:
            try:
                async with tonnage.timeout(0.001) as inner:
                    await forever()
            except builtins.TimeoutError:
                return f"{inner.expired()} {outer.expired()}"
        return "neither"

    assert run(main()) == "True False"


def test_error_raised_because_of_a_timeout_says_so(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LookupError) as caught:
            async with tonnage.timeout(0.001):
                try:
                    await forever()
                finally:
                    raise LookupError
        assert isinstance(caught.value.__context__, builtins.TimeoutError)
        assert isinstance(caught.value.__context__.__cause__, asyncio.CancelledError)

    run(main())


def test_timeout_cancels_a_group(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(0.001), tonnage.TaskGroup() as group:
                child = group.create_task(forever())
        assert child.cancelled()

    run(main())
