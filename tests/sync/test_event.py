"""Event: a flag that tasks wait for."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from .conftest import Run, outcome, settle

pytestmark = pytest.mark.usefixtures("no_leak")


def test_set_wakes_all_and_stays_set(lib: Any, run: Run) -> None:
    async def main() -> None:
        event = lib.Event()
        assert event.is_set() is False
        tasks = [asyncio.ensure_future(event.wait()) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in tasks)
        assert event.set() is None
        assert event.is_set() is True
        assert await asyncio.gather(*tasks) == [True] * 3
        assert await event.wait() is True
        assert not event._waiters

    run(main())


def test_tasks_wake_in_order(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        event = lib.Event()
        order: list[int] = []

        async def wait(number: int) -> None:
            await event.wait()
            order.append(number)

        tasks = [asyncio.ensure_future(wait(number)) for number in range(10)]
        await settle()
        event.set()
        await asyncio.gather(*tasks)
        return order

    assert run(main()) == list(range(10))


def test_wait_on_a_set_event_needs_no_turn(lib: Any) -> None:
    event = lib.Event()
    event.set()
    with pytest.raises(StopIteration) as caught:
        event.wait().send(None)
    assert caught.value.value is True


def test_clear_after_set_does_not_take_back_who_was_woken(lib: Any, run: Run) -> None:
    async def main() -> None:
        event = lib.Event()
        woken = asyncio.ensure_future(event.wait())
        await settle()
        event.set()
        assert event.clear() is None
        late = asyncio.ensure_future(event.wait())
        assert await woken is True
        await settle()
        assert not late.done()
        event.set()
        assert await late is True

    run(main())


@pytest.mark.parametrize("set_first", [True, False])
def test_cancel_in_the_turn_of_set_leaves_no_trace(lib: Any, run: Run, set_first: bool) -> None:
    async def main() -> None:
        event = lib.Event()
        first, second = (asyncio.ensure_future(event.wait()) for _ in range(2))
        await settle()
        if set_first:
            event.set()
            first.cancel()
        else:
            first.cancel()
            event.set()
        assert await outcome(first) is asyncio.CancelledError
        assert await second is True
        assert not event._waiters

    run(main())


@pytest.mark.usefixtures("ours")
def test_coroutine_that_is_dropped_while_it_waits_leaves_no_trace(lib: Any, run: Run) -> None:
    async def main() -> None:
        event = lib.Event()
        coroutine = event.wait()
        coroutine.send(None)
        assert len(event._waiters) == 1
        del coroutine
        gc.collect()
        assert not event._waiters
        event.set()

    run(main())


def test_wait_on_another_loop_is_an_error(lib: Any, kind: Any, loop: asyncio.AbstractEventLoop) -> None:
    event = lib.Event()

    async def bind() -> None:
        waiting = asyncio.ensure_future(event.wait())
        await settle()
        waiting.cancel()
        await settle()

    async def wait() -> None:
        with pytest.raises(
            RuntimeError, match=r"^<.*Event object at 0x.* is bound to a different event loop$"
        ):
            await event.wait()

    loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(wait())
    finally:
        other.close()


def test_set_on_a_closed_loop_reports_it_and_is_set(lib: Any, kind: Any) -> None:
    event = lib.Event()
    other = kind.loop_factory()

    async def bind() -> Any:
        waiting = asyncio.ensure_future(event.wait())
        await settle()
        return waiting

    waiting = other.run_until_complete(bind())
    other.close()
    with pytest.raises(RuntimeError, match=r"Event loop is closed"):
        event.set()
    assert event.is_set()
    waiting._log_destroy_pending = False
    waiting.get_coro().close()


def test_repr_says_how_it_is(lib: Any, run: Run, kind: Any) -> None:
    async def main() -> None:
        event = lib.Event()
        name = "tonnage.Event" if kind.is_ours else "asyncio.locks.Event"
        assert repr(event) == f"<{name} object at {id(event):#x} [unset]>"
        waiting = asyncio.ensure_future(event.wait())
        await settle()
        assert repr(event).endswith(" [unset, waiters:1]>")
        event.set()
        await waiting
        assert repr(event).endswith(" [set]>")

    run(main())


def test_wrong_arguments(lib: Any) -> None:
    with pytest.raises(TypeError):
        lib.Event(1)
    with pytest.raises(TypeError):
        lib.Event(loop=None)
    with pytest.raises(TypeError):
        lib.Event().wait(1)
    with pytest.raises(TypeError):
        lib.Event().set(1)


def test_subclass_attributes_and_weak_references(lib: Any) -> None:
    class Named(lib.Event):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    event = Named("ready")
    assert "Named object at" in repr(event)
    reference = weakref.ref(event)
    del event
    gc.collect()
    assert reference() is None
