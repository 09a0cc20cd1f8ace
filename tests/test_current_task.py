"""Which task runs, as asyncio says it: whoever asks, by whatever way, and whenever it is asked first."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
Ask = Callable[[Loop], Any]


def look_up(loop: Loop) -> Any:
    tasks: dict[Loop, Any] = asyncio.tasks._current_tasks  # type: ignore[attr-defined]
    try:
        return tasks[loop]
    except KeyError:
        return None


def get(loop: Loop) -> Any:
    return asyncio.tasks._current_tasks.get(loop)  # type: ignore[attr-defined]


def on_another_thread(loop: Loop) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.current_task(loop)))
    thread.start()
    thread.join()
    return found[0]


WAYS: dict[str, Ask] = {
    "by default": lambda _: asyncio.current_task(),
    "of the loop": asyncio.current_task,
    "on another thread": on_another_thread,
}
if sys.version_info < (3, 14):
    WAYS["in the dictionary"] = look_up
    WAYS["by get"] = get


@pytest.fixture(params=list(WAYS))
def ask(request: pytest.FixtureRequest) -> Ask:
    return WAYS[request.param]


def told(loop: Loop) -> bool:
    """Has asyncio's dictionary an entry of the loop? Nobody is asked."""
    return any(known is loop for known in list(asyncio.tasks._current_tasks))  # type: ignore[attr-defined]


def test_task_is_the_current_one_in_each_step(loop: Loop, run: Run, ask: Ask) -> None:
    async def main() -> None:
        me = asyncio.current_task()
        for _ in range(3):
            assert ask(loop) is me
            await asyncio.sleep(0)

    run(main())


def test_first_question_comes_after_many_switches(loop: Loop, run: Run, ask: Ask) -> None:
    async def child(steps: int) -> tuple[Any, Any]:
        for _ in range(steps):
            await asyncio.sleep(0)
        return ask(loop), ask(loop)

    async def main() -> None:
        tasks = [loop.create_task(child(steps)) for steps in (5, 3, 8)]
        for task in tasks:
            assert await task == (task, task)

    run(main())


def test_each_task_sees_itself_when_all_ask_in_one_turn(loop: Loop, run: Run, ask: Ask) -> None:
    async def child() -> Any:
        before = ask(loop)
        await asyncio.sleep(0)
        return before, ask(loop)

    async def main() -> None:
        tasks = [loop.create_task(child()) for _ in range(4)]
        for task in tasks:
            assert await task == (task, task)

    run(main())


def test_callback_between_tasks_sees_none(loop: Loop, run: Run, ask: Ask) -> None:
    seen: list[Any] = []

    async def main() -> None:
        for question_in_step in (False, True, False):
            if question_in_step:
                assert ask(loop) is asyncio.current_task()
            loop.call_soon(lambda: seen.append(ask(loop)))
            await asyncio.sleep(0)

    run(main())
    assert seen == [None] * 3


@pytest.mark.parametrize("turns", [0, 1])
def test_what_goes_with_a_finished_task_sees_none(loop: Loop, run: Run, ask: Ask, turns: int) -> None:
    class Result:
        def __del__(self) -> None:
            seen.append(ask(loop))

    async def child() -> Result:
        for _ in range(turns):
            await asyncio.sleep(0)
        return Result()

    async def main() -> None:
        for _ in range(4):
            # Nobody keeps it, and other tasks run before and after it.
            loop.create_task(child())
            await asyncio.sleep(0)
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        assert len(seen) >= 3
        assert ask(loop) is asyncio.current_task()

    seen: list[Any] = []
    run(main())
    assert seen == [None] * 4


@pytest.mark.parametrize("way", ["weak reference", "class", "attribute"])
def test_what_ends_with_a_task_without_a_result_sees_none(loop: Loop, run: Run, ask: Ask, way: str) -> None:
    class Ending:
        def __del__(self) -> None:
            seen.append(ask(loop))

    class Mine(tonnage.Task if isinstance(loop, tonnage.EventLoop) else asyncio.Task):  # type: ignore[misc]
        if way == "class":

            def __del__(self) -> None:
                super().__del__()
                seen.append(ask(loop))

    async def main() -> None:
        for _ in range(4):
            task = Mine(asyncio.sleep(0), loop=loop)
            if way == "weak reference":
                weakref.finalize(task, lambda: seen.append(ask(loop)))
            if way == "attribute":
                task.ending = Ending()
            del task
            await asyncio.sleep(0)
        for _ in range(2):
            await asyncio.sleep(0)

    seen: list[Any] = []
    run(main())
    assert seen == [None] * 4


@pytest.mark.parametrize("name", ["time", "call_soon", "call_later", "call_at", "create_task"])
def test_who_asks_first_after_a_method_of_the_loop_was_replaced_finds_the_task(
    loop: Loop, ask: Ask, name: str
) -> None:
    async def main() -> tuple[Any, Any]:
        method = getattr(loop, name)
        setattr(loop, name, lambda *args, **kwargs: method(*args, **kwargs))
        before = ask(loop)
        await asyncio.sleep(0)
        return before, ask(loop)

    task = loop.create_task(main())
    assert loop.run_until_complete(task) == (task, task)
    assert ask is WAYS["by default"] or ask(loop) is None


def test_no_task_runs_between_two_runs(loop: Loop, run: Run, ask: Ask) -> None:
    async def main() -> Any:
        return ask(loop)

    for _ in range(2):
        assert asyncio.current_task(loop) is None
        assert run(main()) is not None
        if ask is not WAYS["by default"]:
            assert ask(loop) is None


def test_task_of_asyncio_sees_itself(loop: Loop, run: Run, ask: Ask) -> None:
    async def child() -> Any:
        await asyncio.sleep(0)
        return ask(loop)

    async def main() -> None:
        theirs = asyncio.Task(child(), loop=loop)
        ours = loop.create_task(child())
        assert await theirs is theirs
        assert await ours is ours
        assert ask(loop) is asyncio.current_task()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio starts eagerly since 3.12")
def test_task_of_asyncio_that_starts_inside_a_step_sees_itself(loop: Loop, run: Run, ask: Ask) -> None:
    async def child() -> tuple[Any, Any]:
        before = ask(loop)
        await asyncio.sleep(0)
        return before, ask(loop)

    async def main() -> None:
        theirs = asyncio.Task(child(), loop=loop, eager_start=True)  # type: ignore[call-arg]
        assert ask(loop) is asyncio.current_task()
        assert await theirs == (theirs, theirs)

    run(main())


@pytest.mark.parametrize("asks_inside", [False, True])
@pytest.mark.parametrize("asks_before", [False, True])
def test_eager_start_gives_the_step_back_to_its_task(ask: Ask, asks_before: bool, asks_inside: bool) -> None:
    async def child() -> Any:
        return ask(tonnage.get_running_loop()) if asks_inside else None

    async def main() -> None:
        loop = tonnage.get_running_loop()
        if asks_before:
            ask(loop)
        task = tonnage.Task(child(), loop=loop, eager_start=True)
        assert task.done()
        assert task.result() in (None, task)
        assert (task.result() is task) is asks_inside
        me = ask(loop)
        assert me is not task
        await asyncio.sleep(0)
        assert ask(loop) is me

    tonnage.run(main())


def test_loop_with_a_hash_of_its_own_tells_as_well(ask: Ask) -> None:
    class Loop(tonnage.EventLoop):
        def __hash__(self) -> int:
            return 7

    async def main() -> None:
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        assert me is not None
        await asyncio.sleep(0)
        assert ask(loop) is me

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_hash_of_a_loop_is_that_of_its_identity(loop: Loop, run: Run) -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return hash(loop)

    assert run(main()) == hash(loop) == object.__hash__(loop)


@pytest.fixture
def ours() -> Iterator[Loop]:
    loop = tonnage.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has no such dictionary since 3.14")
def test_dictionary_is_written_only_when_somebody_asks(ours: Loop) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        assert not told(ours)
        me = asyncio.current_task()
        assert told(ours)
        ours.call_soon(lambda: seen.append(told(ours)))
        await asyncio.sleep(0)
        assert not told(ours)
        assert asyncio.current_task() is me

    seen: list[bool] = []
    ours.run_until_complete(main())
    assert seen == [False]
    assert not told(ours)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10's own tasks do not count their cancellations")
@pytest.mark.parametrize("asked_first", [False, True])
def test_blocks_meet_tasks_of_asyncios_python_class(monkeypatch: Any, asked_first: bool) -> None:
    """3.14 keeps them apart, so who uses that class puts another function in the place of `current_task`."""

    async def work() -> str:
        async with tonnage.timeout(10), tonnage.TaskGroup():
            return await tonnage.wait_for(give(), 10)

    async def give() -> str:
        await asyncio.sleep(0)
        return "given"

    loop = asyncio.new_event_loop()
    try:
        if asked_first:
            assert loop.run_until_complete(work()) == "given"
        ask = getattr(asyncio.tasks, "_py_current_task", asyncio.current_task)
        monkeypatch.setattr(asyncio.tasks, "current_task", ask)
        task: Any = asyncio.tasks._PyTask(work(), loop=loop)  # type: ignore[attr-defined]
        assert loop.run_until_complete(task) == "given"
    finally:
        loop.close()
