"""What asyncio gets wrong on which versions, shown to happen, and shown not to happen on tonnage.

Each test provokes one hazard and returns whether it happened. On asyncio it must happen exactly on the
minor versions that the test names, as measured on 3.10.13, 3.11.7, 3.12.1, 3.13.0 and 3.14.10; another
micro version may have been repaired, but must not have caught it. On tonnage it never happens.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import pytest
import tonnage

MEASURED = {(3, 10, 13), (3, 11, 7), (3, 12, 1), (3, 13, 0), (3, 14, 10)}
ALWAYS = range(10, 100)
NEVER = range(0)


class Side(NamedTuple):
    """Whose names are used, on whose loop."""

    names: Any
    loop: asyncio.AbstractEventLoop
    reports: list[dict[str, Any]]

    def needs(self, *names: str) -> None:
        for name in names:
            if not hasattr(self.names, name):
                pytest.skip(f"{self.names.__name__} has no {name} here")

    def expect(self, hazard: Callable[[Side], Coroutine[Any, Any, bool]], on: range) -> None:
        """Run the hazard; on asyncio it must happen on these minor versions, on tonnage never."""
        happened = self.loop.run_until_complete(hazard(self))
        if self.names is tonnage:
            assert not happened, "the hazard of asyncio happens on tonnage"
        elif sys.version_info[:3] in MEASURED:
            assert happened == (sys.version_info.minor in on)
        else:
            assert not happened or sys.version_info.minor in on


@pytest.fixture(params=["asyncio", "tonnage"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    names: Any = {"asyncio": asyncio, "tonnage": tonnage}[request.param]
    loop = tonnage.new_event_loop() if names is tonnage else asyncio.SelectorEventLoop()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, report: reports.append(report))
    yield Side(names, loop, reports)
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    # A vanished task reports itself; that is the hazard.
    assert not [report for report in reports if "was destroyed" not in report["message"]]
    reports.clear()
    gc.collect()


async def switch(times: int = 1) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def fail() -> None:
    raise LookupError("lost")


async def end(task: asyncio.Task[Any]) -> BaseException | None:
    """Wait for the task; return what it raised."""
    await asyncio.wait([task])
    try:
        task.result()
    except BaseException as error:
        return error
    return None


def expect_one(group: Any) -> None:
    assert [type(error) for error in group.exceptions] == [LookupError]


# Tasks that vanish


def test_task_that_nobody_references_vanishes(side: Side) -> None:
    async def hazard(side: Side) -> bool:
        async def park() -> None:
            await side.loop.create_future()

        task = weakref.ref(side.loop.create_task(park()))
        await switch(2)
        gc.collect()
        await switch()
        return task() is None

    side.expect(hazard, on=ALWAYS)


def test_inner_task_of_a_cancelled_shield_vanishes(side: Side) -> None:
    async def hazard(side: Side) -> bool:
        inner: list[Any] = []

        async def park() -> None:
            inner.append(weakref.ref(asyncio.current_task()))  # type: ignore[arg-type]
            await side.loop.create_future()

        async def outer() -> None:
            await side.names.shield(park())

        task = side.loop.create_task(outer())
        await switch(3)
        task.cancel()
        await end(task)
        del task
        gc.collect()
        await switch()
        return inner[0]() is None

    side.expect(hazard, on=ALWAYS)


# A result and a cancel in one turn


def test_item_is_lost_when_its_getter_is_cancelled_in_that_turn(side: Side) -> None:
    async def hazard(side: Side) -> bool:
        items = side.names.Queue()
        getters = [side.loop.create_task(items.get()) for _ in range(2)]
        await switch(2)
        items.put_nowait("item")
        getters[0].cancel()
        assert isinstance(await end(getters[0]), asyncio.CancelledError)
        await switch(3)
        return not getters[1].done()

    side.expect(hazard, on=NEVER)


def test_room_is_lost_when_its_putter_is_cancelled_in_that_turn(side: Side) -> None:
    async def hazard(side: Side) -> bool:
        items = side.names.Queue(1)
        items.put_nowait("first")
        putters = [side.loop.create_task(items.put(number)) for number in range(2)]
        await switch(2)
        items.get_nowait()
        putters[0].cancel()
        assert isinstance(await end(putters[0]), asyncio.CancelledError)
        await switch(3)
        return not putters[1].done() or items.get_nowait() != 1

    side.expect(hazard, on=NEVER)


@pytest.mark.parametrize("primitive", ["Lock", "Semaphore", "BoundedSemaphore"])
def test_permit_is_lost_when_its_taker_is_cancelled_in_that_turn(side: Side, primitive: str) -> None:
    async def hazard(side: Side) -> bool:
        permits = getattr(side.names, primitive)()
        await permits.acquire()
        takers = [side.loop.create_task(permits.acquire()) for _ in range(2)]
        await switch(2)
        permits.release()
        takers[0].cancel()
        assert isinstance(await end(takers[0]), asyncio.CancelledError)
        await switch(3)
        if not takers[1].done():
            return True
        permits.release()
        return bool(permits.locked())

    side.expect(hazard, on=NEVER)


def test_notification_is_lost_when_its_receiver_is_cancelled(side: Side) -> None:
    """gh-112202."""

    async def hazard(side: Side) -> bool:
        changed = side.names.Condition()

        async def wait() -> None:
            async with changed:
                await changed.wait()

        waiting = [side.loop.create_task(wait()) for _ in range(2)]
        await switch(2)
        async with changed:
            changed.notify()
            waiting[0].cancel()
        assert isinstance(await end(waiting[0]), asyncio.CancelledError)
        await switch(5)
        return not waiting[1].done()

    side.expect(hazard, on=range(10, 13))


def test_child_is_orphaned_when_its_starter_is_cancelled_in_that_turn(side: Side) -> None:
    """`started(value)` and the cancel of who waits for it meet: the child still belongs to the group."""
    side.needs("TaskGroup")
    if not hasattr(side.names.TaskGroup, "start"):
        pytest.skip("its TaskGroup starts no child that says when it is ready")

    async def hazard(side: Side) -> bool:
        ready: list[Callable[[str], None]] = []
        ended: list[str] = []

        async def serve(task_status: Any) -> None:
            ready.append(task_status.started)
            try:
                await side.loop.create_future()
            finally:
                ended.append("served")

        async def starter() -> None:
            async with side.names.TaskGroup() as tasks:
                await tasks.start(serve)

        task = side.loop.create_task(starter())
        while not ready:
            await switch()
        ready[0]("up")
        task.cancel()
        assert isinstance(await end(task), asyncio.CancelledError)
        return ended != ["served"]

    side.expect(hazard, on=NEVER)


def test_wait_for_returns_though_it_was_cancelled_in_that_turn(side: Side) -> None:
    """gh-86296."""

    async def hazard(side: Side) -> bool:
        result = side.loop.create_future()
        task = side.loop.create_task(side.names.wait_for(result, 60))
        await switch(2)
        result.set_result("value")
        task.cancel()
        return not isinstance(await end(task), asyncio.CancelledError)

    side.expect(hazard, on=range(10, 12))


# Groups


def test_nested_group_loses_a_cancel_from_outside(side: Side) -> None:
    """gh-116720: a child of the inner group fails in the turn in which a child of the outer does."""
    side.needs("TaskGroup")

    async def hazard(side: Side) -> bool:
        went_on: list[str] = []

        async def work() -> None:
            async with side.names.TaskGroup() as outer:
                try:
                    async with side.names.TaskGroup() as inner:
                        inner.create_task(fail())
                        outer.create_task(fail())
                        await switch(10)
                except Exception as error:
                    expect_one(error)
                await switch(3)
                went_on.append("after the inner group")

        error = await end(side.loop.create_task(work()))
        expect_one(error)
        return bool(went_on)

    side.expect(hazard, on=range(11, 13))


def test_failed_group_loses_a_cancel_from_outside(side: Side) -> None:
    """gh-116720: its task is cancelled while the group waits for the other children to end."""
    side.needs("TaskGroup")

    async def hazard(side: Side) -> bool:
        async def slow() -> None:
            try:
                await side.loop.create_future()
            finally:
                await switch(5)

        async def work() -> None:
            try:
                async with side.names.TaskGroup() as tasks:
                    tasks.create_task(slow())
                    await switch()
                    tasks.create_task(fail())
                    await side.loop.create_future()
            except Exception as error:
                expect_one(error)
            await switch(3)

        task = side.loop.create_task(work())
        await switch(5)
        assert task.cancel()
        return not isinstance(await end(task), asyncio.CancelledError)

    side.expect(hazard, on=range(11, 13))


def test_failed_group_leaves_its_own_cancel_behind(side: Side) -> None:
    """The group cancels its task while it waits in its end already, and does not take that back."""
    side.needs("TaskGroup")

    async def hazard(side: Side) -> bool:
        async def work() -> int:
            try:
                async with side.names.TaskGroup() as tasks:
                    tasks.create_task(fail())
            except Exception as error:
                expect_one(error)
            return int(asyncio.current_task().cancelling())  # type: ignore[union-attr, attr-defined]

        return await side.loop.create_task(work()) != 0

    side.expect(hazard, on=range(11, 13))


def test_failing_child_that_starts_eagerly_leaks_a_cancel(side: Side) -> None:
    """gh-128588."""
    side.needs("TaskGroup", "eager_task_factory")

    async def hazard(side: Side) -> bool:
        async def work() -> None:
            try:
                async with side.names.TaskGroup() as tasks:
                    tasks.create_task(fail())
            except Exception as error:
                expect_one(error)
            await switch()

        task = side.loop.create_task(work())
        side.loop.set_task_factory(side.names.eager_task_factory)
        try:
            return isinstance(await end(task), asyncio.CancelledError)
        finally:
            side.loop.set_task_factory(None)

    side.expect(hazard, on=range(12, 13))


# Timeouts


def test_timeout_in_a_suspended_generator_cancels_its_caller(side: Side) -> None:
    """The caller's own sleep is not the generator's to cancel; the block ends when it is resumed."""
    side.needs("timeout")

    async def hazard(side: Side) -> bool:
        async def numbers() -> AsyncIterator[int]:
            async with side.names.timeout(0.01):
                yield 1
                await asyncio.sleep(60)

        source = numbers()
        assert await source.__anext__() == 1
        try:
            await asyncio.sleep(0.03)
        except asyncio.CancelledError:
            await source.aclose()  # type: ignore[attr-defined]
            return True
        with pytest.raises(TimeoutError):
            await source.__anext__()
        return False

    side.expect(hazard, on=range(11, 100))
