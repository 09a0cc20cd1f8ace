"""Which loop our native code takes for the running one: always what asyncio says at that moment."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import tonnage

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def running() -> asyncio.AbstractEventLoop | None:
    """The loop that a lock of ours would belong to."""
    try:
        return tonnage.Lock()._get_loop()  # type: ignore[attr-defined, no-any-return]
    except RuntimeError:
        return None


def both() -> asyncio.AbstractEventLoop | None:
    """What asyncio and our native code agree about; both are asked twice, as the answer may be noted."""
    found = running()
    assert found is asyncio._get_running_loop()
    assert running() is found
    return found


@contextmanager
def marked_as_running(loop: asyncio.AbstractEventLoop | None) -> Iterator[None]:
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


async def look() -> asyncio.AbstractEventLoop | None:
    first = both()
    await asyncio.sleep(0)
    assert both() is first
    return first


def test_loop_is_running_while_it_runs_and_no_longer(loop: asyncio.AbstractEventLoop) -> None:
    assert both() is None
    for _ in range(2):
        assert loop.run_until_complete(look()) is loop
        assert both() is None


def test_loop_that_a_callback_stopped_is_not_running(loop: asyncio.AbstractEventLoop) -> None:
    found = []

    def stop() -> None:
        found.append(both())
        loop.stop()

    loop.call_soon(stop)
    loop.run_forever()
    assert found == [loop]
    assert both() is None


def test_loop_that_an_exception_left_is_not_running(loop: asyncio.AbstractEventLoop) -> None:
    def leave() -> None:
        assert both() is loop
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert both() is None


def test_program_may_say_that_no_loop_runs(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert both() is loop
        with marked_as_running(None):
            assert both() is None
        assert both() is loop

    loop.run_until_complete(main())


def test_program_may_say_that_another_loop_runs(
    loop: asyncio.AbstractEventLoop, loop_factory: NewLoop
) -> None:
    async def main() -> None:
        other = loop_factory()
        assert both() is loop
        with marked_as_running(other):
            assert both() is other
        assert both() is loop
        other.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("inner_factory", [asyncio.SelectorEventLoop, tonnage.new_event_loop])
def test_loop_that_runs_inside_a_callback_is_the_running_one(
    loop: asyncio.AbstractEventLoop, inner_factory: NewLoop
) -> None:
    # In a callback, not in a task: from 3.14 on a thread has one current task, whatever loop runs in it.
    def callback() -> None:
        inner = inner_factory()
        assert both() is loop
        with marked_as_running(None):
            assert inner.run_until_complete(look()) is inner
            assert both() is None
        assert both() is loop
        inner.close()

    loop.call_soon(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert both() is None


def test_each_thread_has_its_own_running_loop(loop_factory: NewLoop) -> None:
    turns = 20
    meeting = threading.Barrier(3)
    wrong: list[object] = []

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(turns):
            meeting.wait()
            if await look() is not loop:
                wrong.append(loop)

    def work() -> None:
        loop = loop_factory()
        try:
            loop.run_until_complete(main(loop))
            if both() is not None:
                wrong.append(None)
        finally:
            loop.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(turns):
        meeting.wait()
        if both() is not None:
            wrong.append(None)
    for thread in threads:
        thread.join()
    assert not wrong


def test_loop_is_not_kept_alive_by_having_run(loop_factory: NewLoop) -> None:
    loop = loop_factory()
    loop.run_until_complete(look())
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


def test_loop_is_not_kept_alive_by_being_said_to_run(loop_factory: NewLoop) -> None:
    loop = loop_factory()
    with marked_as_running(loop):
        assert both() is loop
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
