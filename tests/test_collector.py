"""The garbage collector: loops with work left die, and finalisers may use the loop at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import socket
import threading
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop


async def give(value: Any = None) -> Any:
    return value


async def park() -> None:
    await asyncio.get_running_loop().create_future()


def turn(loop: Loop) -> None:
    """Let the loop run what is ready."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.fixture
def ours() -> Iterator[Loop]:
    """A loop of tonnage that says nothing of errors."""
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_loop_that_was_closed_with_work_left_dies() -> None:
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    reference = weakref.ref(loop)
    loop.create_task(park())
    turn(loop)
    loop.call_later(3600, print, loop)
    loop.call_soon(print, loop)
    loop.create_future().add_done_callback(lambda _, loop=loop: loop)
    loop.close()
    del loop
    gc.collect()
    assert reference() is None


def test_finaliser_in_a_collection_during_a_step_may_use_the_loop(ours: Loop) -> None:
    seen: list[Any] = []

    class Late:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            seen.append(asyncio.current_task(ours))
            ours.call_soon(seen.append, "called")
            future = ours.create_future()
            future.add_done_callback(lambda _: seen.append("done"))
            future.set_result(None)
            ours.create_task(give())
            for task in asyncio.all_tasks(ours):
                task.get_name()

    async def main() -> None:
        Late()
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)

    ours.run_until_complete(main())
    assert isinstance(seen[0], asyncio.Task)
    assert seen[1:] == ["called", "done"]


def test_frozen_objects_can_still_die(ours: Loop) -> None:
    future = ours.create_future()
    task = ours.create_task(park())
    turn(ours)
    gc.freeze()
    try:
        references = [weakref.ref(future), weakref.ref(task)]
        task.cancel()
        turn(ours)
        del future, task
        assert not any(reference() for reference in references)
    finally:
        gc.unfreeze()
        # What was frozen before the tests is again.
        gc.collect()
        gc.freeze()


def test_objects_that_die_in_another_thread_are_freed(ours: Loop) -> None:
    held: list[Any] = [ours.create_future() for _ in range(1000)]
    held.extend(ours.call_later(3600, print) for _ in range(1000))
    for found in held[1000:]:
        found.cancel()
    references = [weakref.ref(found) for found in held]
    del found
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert not any(reference() for reference in references)


class Weakly(asyncio.Protocol):
    """A protocol that can be referred to weakly."""


def drop_all(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


def test_transport_that_outlives_its_loop_lets_go_of_its_protocol_at_once(loop_factory: Any) -> None:
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport, protocol = loop.run_until_complete(loop.create_connection(Weakly, sock=ours))
    seen = weakref.ref(protocol)
    loop.close()
    kept = [transport, protocol, loop]
    del transport, protocol, loop
    with pytest.warns(ResourceWarning):
        drop_all(kept)
    assert seen() is None
    theirs.close()


class ReturnsWhenCancelled(Coroutine[Any, Any, Any]):
    """A coroutine that answers an exception with a result."""

    def __await__(self) -> Any:
        return self

    def send(self, _value: Any) -> Any:
        raise StopIteration(None)

    def throw(self, *_exception: Any) -> Any:
        raise StopIteration(None)


def test_our_tasks_on_a_foreign_loop_keep_no_errors() -> None:
    async def cancel_some() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            task = tonnage.Task(ReturnsWhenCancelled(), loop=loop)
            task.cancel()
            await asyncio.wait([task])

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(cancel_some())
    loop.close()
    kept = [found for found in gc.get_objects() if isinstance(found, StopIteration | asyncio.CancelledError)]
    assert len(kept) < 10


@pytest.mark.parametrize("limit", [None, 1])
def test_finaliser_in_a_collection_while_a_task_is_made_may_use_its_group(
    ours: Loop, limit: int | None
) -> None:
    made: list[asyncio.Task[str]] = []
    threshold = gc.get_threshold()

    class Late:
        def __init__(self, group: Any) -> None:
            self.group, self.cycle = group, self

        def __del__(self) -> None:
            made.append(self.group.create_task(give("late")))

    async def main() -> list[str]:
        gc.collect()
        async with tonnage.TaskGroup(limit=limit) as group:
            tasks = [group.create_task(give("first"))]
            for place in range(20):
                Late(group)
                coro = give(str(place))
                gc.set_threshold(1)
                try:
                    tasks.append(group.create_task(coro))
                finally:
                    gc.set_threshold(*threshold)
                gc.collect()
        return [task.result() for task in tasks]

    assert ours.run_until_complete(main()) == ["first", *map(str, range(20))]
    assert [task.result() for task in made] == ["late"] * 20


def test_loop_that_stopped_with_tasks_that_wait_dies() -> None:
    async def main() -> list[weakref.ref[Any]]:
        async def wait() -> None:
            await park()

        async def gathered() -> None:
            await asyncio.gather(wait(), wait())

        tasks = [asyncio.create_task(wait()), asyncio.create_task(gathered())]
        await asyncio.sleep(0)
        return [weakref.ref(task) for task in (*tasks, *asyncio.all_tasks())]

    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    references = [weakref.ref(loop), *loop.run_until_complete(main())]
    assert len(references) > 3
    kept = [loop]
    del loop
    with pytest.warns(ResourceWarning):
        drop_all(kept)
    assert not any(reference() for reference in references)


CYCLE: contextvars.ContextVar[Any] = contextvars.ContextVar("CYCLE")


async def return_itself() -> Any:
    return [asyncio.current_task()]


async def know_itself() -> None:
    await asyncio.sleep(0)
    CYCLE.set(asyncio.current_task())


async def fail_with_itself() -> None:
    try:
        raise ValueError(asyncio.current_task())
    finally:
        await asyncio.sleep(0)


@pytest.mark.parametrize("child", [return_itself, know_itself, fail_with_itself])
@pytest.mark.parametrize("how", ["create_task", "gather", "group"])
def test_task_that_has_ended_as_part_of_a_cycle_dies(ours: Loop, child: Any, how: str) -> None:
    async def main() -> list[weakref.ref[Any]]:
        async def run() -> Any:
            references.append(weakref.ref(asyncio.current_task()))
            return await child()

        references: list[weakref.ref[Any]] = []
        match how:
            case "create_task":
                tasks = [asyncio.create_task(run()) for _ in range(3)]
                await asyncio.wait(tasks)
            case "gather":
                await asyncio.gather(run(), run(), return_exceptions=True)
            case _:
                with contextlib.suppress(Exception):
                    async with tonnage.TaskGroup() as group:
                        group.create_task(run())
        return references

    references = ours.run_until_complete(main())
    assert references
    gc.collect()
    assert not any(reference() for reference in references)


def test_task_that_its_finaliser_hands_out_can_die_later(ours: Loop) -> None:
    kept: list[Any] = []
    ours.set_exception_handler(lambda _, details: kept.append(details["future"]))

    async def main() -> None:
        async def fail() -> None:
            raise ValueError

        asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    ours.run_until_complete(main())
    gc.collect()
    (task,) = kept
    kept.clear()
    task.itself = task
    reference = weakref.ref(task)
    del task
    gc.collect()
    assert reference() is None
