"""The context of a task: a task is in it while it runs, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def set_and_look(name: str, turns: int = 5) -> list[str]:
    variable.set(name)
    seen = []
    for _ in range(turns):
        await asyncio.sleep(0)
        seen.append(variable.get())
    return seen


def test_tasks_in_turn_keep_their_own_contexts(loop: Loop) -> None:
    async def main() -> list[list[str]]:
        return await asyncio.gather(*[set_and_look(name) for name in "abc"])

    assert loop.run_until_complete(main()) == [[name] * 5 for name in "abc"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task(context=) is new in 3.11")
def test_two_tasks_in_one_context_share_what_they_set(loop: Loop) -> None:
    context = contextvars.copy_context()
    first = loop.create_task(set_and_look("first", 2), context=context)
    second = loop.create_task(set_and_look("second", 3), context=context)
    loop.run_until_complete(asyncio.gather(first, second))
    assert (first.result(), second.result()) == (["second"] * 2, ["second"] * 3)
    assert context[variable] == "second"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task(context=) is new in 3.11")
def test_context_of_a_task_can_be_entered_between_its_steps(loop: Loop) -> None:
    context = contextvars.copy_context()
    seen: list[str] = []

    async def main() -> None:
        variable.set("task")
        for _ in range(3):
            loop.call_soon(lambda: seen.append(context.run(variable.get)), context=contextvars.Context())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    loop.run_until_complete(loop.create_task(main(), context=context))
    assert seen == ["task"] * 3


def test_callback_between_two_steps_is_not_in_the_context_of_the_task(loop: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        variable.set("task")
        for _ in range(3):
            contextvars.Context().run(loop.call_soon, lambda: seen.append(variable.get()))
            contextvars.Context().run(loop.call_later, 0, lambda: seen.append(variable.get()))
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            assert variable.get() == "task"

    loop.run_until_complete(main())
    assert seen == ["unset"] * 6


@pytest.mark.parametrize("ends", ["stop", "exit", "error"])
def test_no_context_is_left_entered_when_the_loop_stops(loop: Loop, ends: str) -> None:
    class Leave(SystemExit):
        pass

    async def main() -> None:
        variable.set("task")
        await asyncio.sleep(0)
        if ends == "stop":
            loop.stop()
            await asyncio.sleep(0)
        elif ends == "exit":
            raise Leave
        else:
            raise ValueError

    variable.set("outside")
    task = loop.create_task(main())
    with contextlib.suppress(Leave, ValueError):
        loop.run_forever() if ends == "stop" else loop.run_until_complete(task)
    assert variable.get() == "outside"
    if ends == "stop":
        loop.run_until_complete(task)
    assert variable.get() == "outside"
    variable.set("unset")
    assert task.done()
    with contextlib.suppress(Leave, ValueError):
        task.result()


def test_what_goes_with_a_task_that_ended_goes_outside_of_its_context(loop: Loop) -> None:
    seen: list[str] = []

    class Result:
        def __del__(self) -> None:
            seen.append(variable.get())

    async def main() -> Result:
        variable.set("task")
        await asyncio.sleep(0)
        return Result()

    async def watch() -> None:
        loop.create_task(main())
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(watch())
    assert seen == ["unset"]


def test_what_a_task_waited_for_goes_in_its_own_context(loop: Loop) -> None:
    seen: list[str] = []

    class Result:
        def __del__(self) -> None:
            seen.append(variable.get())
            variable.set("finalizer")

    @types.coroutine
    def wait() -> Any:
        future = loop.create_future()
        future._asyncio_future_blocking = True
        loop.call_soon(future.set_result, Result())
        kept = [future]
        del future
        # Nobody but the task has it now.
        yield kept.pop()

    async def first() -> str:
        variable.set("first")
        for _ in range(4):
            await asyncio.sleep(0)
        return variable.get()

    async def second() -> None:
        variable.set("second")
        await wait()

    async def main() -> str:
        return (await asyncio.gather(first(), second()))[0]

    assert loop.run_until_complete(main()) == "first"
    assert seen in (["second"], ["unset"])


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="a task is the current one until asyncio is told of another"
)
def test_task_that_failed_is_finalized_while_no_task_runs(loop: Loop, reports: list[dict[str, Any]]) -> None:
    running: list[Any] = []

    def note(loop: Loop, context: dict[str, Any]) -> None:
        running.append(asyncio.current_task(loop))

    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        loop.create_task(fail())
        loop.create_task(asyncio.sleep(0))
        await asyncio.sleep(0.01)

    loop.set_exception_handler(note)
    loop.run_until_complete(main())
    assert running == [None]
