"""Barrier: a number of tasks that wait for each other."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Run, outcome, settle

pytestmark = pytest.mark.usefixtures("no_leak", "has_barrier")


@pytest.fixture
def has_barrier(oracle_since: Callable[..., None]) -> None:
    """asyncio has the class since 3.11."""
    oracle_since(3, 11)


def start(barrier: Any, count: int) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(barrier.wait()) for _ in range(count)]


def test_all_go_on_when_all_are_there(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(3)
        tasks = start(barrier, 2)
        await settle()
        assert (barrier.n_waiting, barrier.parties, barrier.broken) == (2, 3, False)
        assert not any(task.done() for task in tasks)
        assert await barrier.wait() == 2
        assert await asyncio.gather(*tasks) == [0, 1]
        assert barrier.n_waiting == 0

    run(main())


def test_async_with_gives_the_number(lib: Any, run: Run) -> None:
    async def main() -> list[int]:
        barrier = lib.Barrier(3)

        async def meet() -> int:
            async with barrier as number:
                return int(number)

        return list(await asyncio.gather(*(meet() for _ in range(3))))

    assert sorted(run(main())) == [0, 1, 2]


def test_barrier_of_one_lets_everybody_pass(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(1)
        for _ in range(3):
            assert await barrier.wait() == 0

    run(main())


def test_can_be_used_again(lib: Any, run: Run) -> None:
    order: list[int] = []

    async def main() -> None:
        barrier = lib.Barrier(2)

        async def party() -> None:
            for turn in range(3):
                async with barrier:
                    order.append(turn)

        await asyncio.gather(party(), party())

    run(main())
    assert order == [0, 0, 1, 1, 2, 2]


def test_who_comes_while_it_drains_waits_for_the_next_round(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(2)
        first = start(barrier, 1)
        await settle()
        assert await barrier.wait() == 1
        assert "draining" in repr(barrier)
        assert barrier.n_waiting == 0
        late = start(barrier, 1)
        await settle(10)
        assert first[0].done()
        assert not late[0].done()
        assert barrier.n_waiting == 1
        assert await barrier.wait() == 1
        assert await late[0] == 0

    run(main())


@pytest.mark.parametrize("ending", ["cancel", "cancel in the turn"])
def test_cancelled_wait_leaves_the_barrier(lib: Any, run: Run, ending: str) -> None:
    async def main() -> None:
        barrier = lib.Barrier(2)
        first = start(barrier, 1)[0]
        await settle()
        first.cancel()
        if ending == "cancel":
            assert await outcome(first) is asyncio.CancelledError
            assert barrier.n_waiting == 0
        second = start(barrier, 2)
        await settle(10)
        assert sorted(await asyncio.gather(*second)) == [0, 1]

    run(main())


def test_cancel_of_a_woken_task_lets_the_others_pass(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(3)
        tasks = start(barrier, 2)
        await settle()
        assert await barrier.wait() == 2
        tasks[0].cancel()
        assert await outcome(tasks[0]) is asyncio.CancelledError
        assert await tasks[1] == 1
        await settle()
        assert repr(barrier).endswith("[filling, waiters:0/3]>")

    run(main())


@pytest.mark.parametrize("action", ["reset", "abort"])
def test_reset_and_abort_break_what_waits(lib: Any, run: Run, action: str) -> None:
    async def main() -> None:
        barrier = lib.Barrier(3)
        tasks = start(barrier, 2)
        await settle()
        assert await getattr(barrier, action)() is None
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [tonnage.BrokenBarrierError] * 2
        assert str(results[0]) == "Abort or reset of barrier"
        assert barrier.broken is (action == "abort")
        if barrier.broken:
            with pytest.raises(tonnage.BrokenBarrierError, match="^Barrier aborted$"):
                await barrier.wait()
            await barrier.reset()
        assert barrier.n_waiting == 0
        assert not barrier.broken
        assert sorted(await asyncio.gather(*start(barrier, 3))) == [0, 1, 2]

    run(main())


def test_abort_breaks_who_was_woken_and_has_not_run(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(2)
        first = start(barrier, 1)[0]
        await settle()
        assert await barrier.wait() == 1
        await barrier.abort()
        assert await outcome(first) is tonnage.BrokenBarrierError

    run(main())


def test_who_stands_outside_of_a_barrier_that_is_reset_comes_in(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(2)
        first = start(barrier, 1)[0]
        await settle()
        await barrier.reset()
        assert "resetting" in repr(barrier)
        late = start(barrier, 2)
        assert await outcome(first) is tonnage.BrokenBarrierError
        assert sorted(await asyncio.gather(*late)) == [0, 1]

    run(main())


@pytest.mark.usefixtures("ours")
def test_coroutine_that_is_dropped_while_it_waits_leaves_no_trace(lib: Any, run: Run) -> None:
    async def main() -> None:
        barrier = lib.Barrier(2)
        coroutine = barrier.wait()
        coroutine.send(None)
        assert barrier.n_waiting == 1
        del coroutine
        gc.collect()
        assert barrier.n_waiting == 0

    run(main())


def test_wait_on_another_loop_is_an_error(lib: Any, kind: Any, loop: asyncio.AbstractEventLoop) -> None:
    barrier = lib.Barrier(2)

    async def bind() -> None:
        waiting = start(barrier, 1)[0]
        await settle()
        waiting.cancel()
        await outcome(waiting)

    async def wait() -> None:
        with pytest.raises(RuntimeError, match=r"is bound to a different event loop$"):
            await barrier.wait()

    loop.run_until_complete(bind())
    other = kind.loop_factory()
    try:
        other.run_until_complete(wait())
    finally:
        other.close()
    assert barrier.n_waiting == 0


def test_no_parties_are_refused(lib: Any) -> None:
    for parties in (0, -1):
        with pytest.raises(ValueError, match=r"^parties must be "):
            lib.Barrier(parties)
    with pytest.raises(TypeError):
        lib.Barrier()
    with pytest.raises(TypeError):
        lib.Barrier("1")
    with pytest.raises(TypeError):
        lib.Barrier(1, loop=None)
    assert lib.Barrier(parties=2).parties == 2


def test_properties_cannot_be_set(lib: Any) -> None:
    barrier = lib.Barrier(2)
    for name in ("parties", "n_waiting", "broken"):
        with pytest.raises(AttributeError):
            setattr(barrier, name, 1)


def test_repr_says_how_it_is(lib: Any, run: Run, kind: Any) -> None:
    async def main() -> None:
        barrier = lib.Barrier(3)
        name = "tonnage.Barrier" if kind.is_ours else "asyncio.locks.Barrier"
        assert repr(barrier) == f"<{name} object at {id(barrier):#x} [filling, waiters:0/3]>"
        waiting = start(barrier, 1)[0]
        await settle()
        assert repr(barrier).endswith(" [filling, waiters:1/3]>")
        await barrier.abort()
        assert repr(barrier).endswith(" [broken]>")
        await outcome(waiting)

    run(main())


def test_subclass_that_overrides_wait_is_asked(lib: Any, run: Run) -> None:
    class Counting(lib.Barrier):  # type: ignore[misc]
        waits = 0

        async def wait(self) -> int:
            self.waits += 1
            return int(await super().wait())

    async def main() -> None:
        barrier = Counting(1)
        async with barrier as number:
            assert number == 0
        assert barrier.waits == 1
        reference = weakref.ref(barrier)
        del barrier
        gc.collect()
        assert reference() is None

    run(main())
