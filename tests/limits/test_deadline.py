"""A limiter refuses at once who cannot be served before his deadline."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import JumpingLoop, Run, simulated


@pytest.fixture(autouse=True)
def counting(loop: Any) -> None:
    """Skip on 3.10's own tasks, in which no timeout works."""
    if sys.version_info < (3, 11) and not isinstance(loop, tonnage.EventLoop):
        pytest.skip("asyncio's task does not count its cancels")


def test_a_rate_refuses_who_would_wait_beyond_his_deadline(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, burst=1, name="quota")
        await limiter.acquire()
        async with tonnage.timeout(0.5):
            with pytest.raises(tonnage.Overloaded, match="beyond the deadline of its task") as caught:
                await limiter.acquire()
        assert (caught.value.reason, caught.value.limiter) == ("deadline", "quota")
        assert caught.value.retry_after == pytest.approx(1, abs=0.5)
        assert limiter.stats().refused["deadline"] == 1

    run(main())


def test_the_deadline_of_an_owner_counts_for_its_children(
    run: Run, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    if loop_factory is not tonnage.new_event_loop:
        pytest.skip("asyncio's own tasks inherit no deadline")

    async def main() -> None:
        limiter = tonnage.RateLimiter(1, burst=1)
        await limiter.acquire()
        async with tonnage.move_on_after(0.5):
            [outcome] = await tonnage.gather(limiter.acquire(), return_exceptions=True)
        assert isinstance(outcome, tonnage.Overloaded)
        assert outcome.reason == "deadline"

    run(main())


def test_a_capacity_refuses_only_whose_deadline_has_passed(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        permit = await limiter.acquire()
        async with tonnage.move_on_after(60) as block:
            waiting = tonnage.ensure_future(limiter.acquire())
            await tonnage.sleep(0)
            permit.release()
            with await waiting:
                block.reschedule(0)
                with pytest.raises(tonnage.Overloaded, match="the deadline of the task has passed") as caught:
                    await limiter.acquire()
                assert caught.value.retry_after is None
        assert limiter.stats().in_use == 0

    run(main())


@simulated
def test_the_refusal_comes_before_any_wait(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, name="api")
        limiter.acquire_nowait()
        began = loop.time()
        with pytest.raises(tonnage.Overloaded) as caught:
            async with tonnage.timeout(0.5):
                await limiter.acquire()
        assert loop.time() == began
        assert caught.value.retry_after == pytest.approx(1.0)
        assert str(caught.value).startswith(
            "limiter 'api' would keep the request waiting for 1.000 s, beyond the deadline of its task"
        )
        async with tonnage.timeout(1.5):
            await limiter.acquire()
        assert loop.time() - began == pytest.approx(1.0)

    run(main())


@simulated
def test_where_nobody_knows_the_wait_the_timeout_ends_it(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            with pytest.raises(asyncio.TimeoutError):
                async with tonnage.timeout(0.5):
                    await limiter.acquire()
        assert limiter.borrowed_tokens == limiter.stats().refused["deadline"] == 0

    run(main())
