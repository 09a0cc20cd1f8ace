"""Permits: what is acquired is given back once, whoever does it, and whatever happens."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
import tonnage

from .conftest import Run, outcome, settle


def test_a_permit_is_released_once(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)
        permit = await limiter.acquire(2)
        assert limiter.borrowed_tokens == 2
        permit.release()
        assert limiter.borrowed_tokens == 0
        with pytest.raises(RuntimeError, match="the permit was released already"):
            permit.release()
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_permit_is_released_by_its_block(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        with pytest.raises(LookupError), await limiter.acquire() as permit:
            assert limiter.borrowed_tokens == 1
            raise LookupError
        assert limiter.borrowed_tokens == 0
        with pytest.raises(RuntimeError):
            permit.release()
        with await limiter.acquire() as permit:
            permit.release()
        assert limiter.borrowed_tokens == 0

    run(main())


def test_an_unknown_outcome_releases_nothing(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        permit = limiter.acquire_nowait()
        for nonsense in ("OK", None, 1):
            with pytest.raises(ValueError, match="outcome must be 'ok', 'dropped' or 'ignore', got"):
                permit.release(nonsense)  # type: ignore[arg-type]
        permit.release(outcome="ignore")
        assert limiter.borrowed_tokens == 0

    run(main())


def test_blocks_of_one_task_nest(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(9)
        async with limiter as outer:
            free = limiter.acquire_nowait(3)
            async with limiter as inner:
                assert inner is not outer
                assert limiter.borrowed_tokens == 5
            assert limiter.borrowed_tokens == 4
        assert limiter.borrowed_tokens == 3
        free.release()
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_block_whose_permit_was_released_early_does_not_release_another(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(9)
        async with limiter:
            async with limiter as inner:
                inner.release()
                assert limiter.borrowed_tokens == 1
            assert limiter.borrowed_tokens == 1
            async with limiter:
                limiter.release()
                assert limiter.borrowed_tokens == 1
            assert limiter.borrowed_tokens == 1
        assert limiter.borrowed_tokens == 0

    run(main())


def test_blocks_of_many_tasks_are_told_apart(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(50)

        async def work(depth: int) -> None:
            async with limiter:
                await settle(depth % 3)
                if depth:
                    await work(depth - 1)
                await settle(depth % 2)

        await asyncio.gather(*(work(depth) for depth in range(8)))
        assert limiter.borrowed_tokens == 0
        assert limiter.stats().borrowers == ()

    run(main())


def test_another_task_may_leave_a_block_whose_task_has_ended(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        block: Any = limiter
        await asyncio.ensure_future(block.__aenter__())
        assert limiter.borrowed_tokens == 1
        await block.__aexit__(None, None, None)
        assert limiter.borrowed_tokens == 0
        with pytest.raises(RuntimeError, match="the current task is in no block of limiter"):
            await block.__aexit__(None, None, None)

    run(main())


def test_an_error_leaves_a_block_and_its_tokens_come_back(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        for error in (LookupError(), asyncio.CancelledError(), tonnage.Overloaded(), ConnectionError()):
            with pytest.raises(type(error)):
                async with limiter:
                    raise error
            assert limiter.borrowed_tokens == 0

    run(main())


def test_a_permit_may_be_released_by_another_task(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        permit = await limiter.acquire()

        async def release() -> None:
            permit.release()

        await asyncio.ensure_future(release())
        assert limiter.borrowed_tokens == 0
        with pytest.raises(RuntimeError, match="isn't holding"):
            limiter.release()

    run(main())


# Permits that are lost


def test_a_permit_that_is_lost_outside_of_a_task_gives_its_tokens_back_at_once(loop: Any) -> None:
    limiter = tonnage.CapacityLimiter(1, name="db")
    with pytest.warns(ResourceWarning, match="a permit of limiter 'db' was never released"):
        limiter.acquire_nowait()
    assert limiter.borrowed_tokens == 0


def test_a_permit_that_a_task_loses_comes_back_when_the_task_ends(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2, name="db")

        async def lose() -> None:
            await limiter.acquire()
            await limiter.acquire()
            limiter.release()
            assert limiter.borrowed_tokens == 1

        with pytest.warns(ResourceWarning, match="a permit of limiter 'db' was never released") as caught:
            await asyncio.gather(lose())
        assert len(caught) == 1
        assert limiter.borrowed_tokens == 0
        assert limiter.stats().borrowers == ()

    run(main())


def test_a_permit_that_is_lost_after_its_task_ended_comes_back_at_once(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)

        async def take() -> tonnage.Permit:
            return await limiter.acquire()

        permit = await asyncio.ensure_future(take())
        assert limiter.borrowed_tokens == 1
        # The step in which it came still has the task, and with it the result.
        await settle()
        with pytest.warns(ResourceWarning, match="never released"):
            del permit
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_lost_permit_serves_the_next(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)

        async def take() -> tonnage.Permit:
            return await limiter.acquire()

        permit = await asyncio.ensure_future(take())
        waiting = asyncio.ensure_future(outcome(limiter.acquire()))
        await settle()
        with pytest.warns(ResourceWarning, match="never released"):
            del permit
        (await waiting).release()

    run(main())


def test_cycles_through_limiters_and_permits_die(run: Run) -> None:
    class Kept(tonnage.CapacityLimiter):
        pass

    async def main() -> list[weakref.ref[Any]]:
        gone = []
        for limiter in (Kept(3), tonnage.CapacityLimiter(3), tonnage.RateLimiter(9)):
            limiter.itself = limiter  # type: ignore[union-attr]
            limiter.permit = limiter.acquire_nowait(key=limiter)  # type: ignore[union-attr]
            limiter.permit.release()  # type: ignore[union-attr]
            limiter.block = limiter.acquire()  # type: ignore[union-attr]
            limiter.block.close()  # type: ignore[union-attr]
            gone.append(weakref.ref(limiter))
        return gone

    gone = run(main())
    gc.collect()
    assert [it() for it in gone] == [None, None, None]


def test_a_limiter_dies_with_those_who_wait_for_it(loop: Any) -> None:
    limiter = tonnage.CapacityLimiter(1)
    gone = weakref.ref(limiter)

    async def wait(limiter: tonnage.CapacityLimiter) -> None:
        async with limiter:
            coroutine: Any = limiter.acquire(key=limiter)
            coroutine.send(None)
            limiter.waiting = coroutine  # type: ignore[attr-defined]

    loop.run_until_complete(wait(limiter))
    del limiter
    gc.collect()
    assert gone() is None
