"""RateLimiter: so many in a time, of which some may come at once."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
import tonnage

from .conftest import JumpingLoop, Run, Waiters, outcome, settle, simulated


@simulated
def test_after_the_burst_comes_the_rate(run: Run, loop: JumpingLoop) -> None:
    async def main() -> list[float]:
        limiter = tonnage.RateLimiter(10, burst=3)
        began = loop.time()
        times = []
        for _ in range(6):
            async with limiter:
                times.append(loop.time() - began)
        return times

    assert run(main()) == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])


@simulated
def test_who_waits_is_woken_when_his_token_is_due(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, per=2, burst=4)
        began = loop.time()
        with await limiter.acquire(4):
            pass
        ends = {}

        async def take(name: str, tokens: int) -> None:
            await limiter.acquire(tokens)
            ends[name] = loop.time() - began

        await asyncio.gather(take("a", 1), take("b", 3), take("c", 1))
        assert ends == pytest.approx({"a": 2, "b": 8, "c": 10})

    run(main())


@simulated
def test_what_was_saved_up_is_a_burst_at_most(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(10, burst=2)
        await asyncio.sleep(100)
        for _ in range(2):
            limiter.acquire_nowait()
        with pytest.raises(tonnage.Overloaded):
            limiter.acquire_nowait()
        assert limiter.stats().in_use == 2
        await asyncio.sleep(0.1)
        assert limiter.stats().in_use == 1
        limiter.acquire_nowait()

    run(main())


@simulated
def test_a_request_with_a_higher_priority_comes_first(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1)
        waiters = Waiters(limiter)
        await waiters.add("first")
        for name, options in [
            ("a1", {"key": "a"}),
            ("a2", {"key": "a"}),
            ("b1", {"key": "b"}),
            ("high", {"priority": 1}),
        ]:
            await waiters.add(name, **options)  # type: ignore[arg-type]
        await asyncio.gather(*waiters.tasks.values())
        assert waiters.served == ["first", "high", "a1", "b1", "a2"]

    run(main())


def test_nothing_comes_faster_on_a_real_clock(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1000, burst=2)
        began = time.monotonic()
        await asyncio.gather(*(limiter.acquire() for _ in range(12)))
        # A millisecond is what a step of uvloop's clock may be.
        assert time.monotonic() - began >= 0.009

    run(main())


@simulated
def test_who_need_not_wait_is_told_when(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(2, burst=2, name="api")
        limiter.acquire_nowait(2)
        with pytest.raises(tonnage.Overloaded) as caught:
            limiter.acquire_nowait(2)
        error = caught.value
        assert (error.reason, error.limiter) == ("full", "api")
        assert error.retry_after == pytest.approx(1.0)
        assert str(error) == (
            "limiter 'api' is full: its burst of 2 is used up, 2 wanted, 0 waiting; try again in 1.000 s, "
            "or await acquire()"
        )
        waiting = asyncio.ensure_future(limiter.acquire())
        await settle()
        with pytest.raises(tonnage.Overloaded) as caught:
            limiter.acquire_nowait(2)
        assert caught.value.retry_after == pytest.approx(1.5)
        await asyncio.sleep(1.5)
        limiter.acquire_nowait(2)
        await waiting

    run(main())


@simulated
def test_who_would_wait_longer_than_max_wait_is_refused_at_once(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, max_wait=2, name="api")
        began = loop.time()
        waiters = Waiters(limiter)
        for name in range(3):
            await waiters.add(name)
        with pytest.raises(tonnage.Overloaded) as caught:
            await limiter.acquire()
        error = caught.value
        assert loop.time() == began
        assert error.reason == "delay"
        assert error.retry_after == pytest.approx(1.0)
        assert str(error) == (
            "limiter 'api' would keep the request waiting for 3.000 s, more than its max_wait of 2 s; try "
            "again in 1.000 s or raise max_wait"
        )
        await asyncio.sleep(error.retry_after)
        await limiter.acquire()
        assert loop.time() - began == pytest.approx(3.0)
        await asyncio.gather(*waiters.tasks.values())

    run(main())


@simulated
def test_who_is_overtaken_is_refused_after_max_wait(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, max_wait=1.5)
        began = loop.time()
        limiter.acquire_nowait()
        low = asyncio.ensure_future(outcome(limiter.acquire()))
        await settle()
        high = asyncio.ensure_future(limiter.acquire(priority=1))
        error = await low
        assert (error.reason, loop.time() - began) == ("delay", pytest.approx(1.5))
        assert high.done()
        await limiter.acquire()
        assert loop.time() - began == pytest.approx(2.0)

    run(main())


@simulated
def test_a_line_that_is_full_says_when_it_may_be_tried_again(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, max_waiting=1, name="api")
        waiters = Waiters(limiter)
        await waiters.add("a")
        await waiters.add("b")
        with pytest.raises(tonnage.Overloaded) as caught:
            await limiter.acquire()
        assert (caught.value.reason, caught.value.retry_after) == ("full", pytest.approx(2.0))
        assert str(caught.value).startswith(
            "limiter 'api' is full: its burst of 1 is used up, 1 of 1 waiting"
        )
        await asyncio.gather(*waiters.tasks.values())

    run(main())


@simulated
def test_a_cancelled_wait_costs_no_token(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1)
        began = loop.time()
        waiters = Waiters(limiter)
        for name in "abcd":
            await waiters.add(name)
        waiters.tasks["b"].cancel()
        await settle()
        await waiters.tasks["c"]
        assert loop.time() - began == pytest.approx(1.0)
        await waiters.tasks["d"]
        assert loop.time() - began == pytest.approx(2.0)
        assert limiter.stats().admitted == 3

    run(main())


@simulated
def test_a_cancel_in_the_turn_of_the_grant_gives_the_token_to_the_next(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1)
        waiters = Waiters(limiter)
        for name in "abc":
            await waiters.add(name)
        began = loop.time()
        # In the same turn: it has the token, and has not run.
        loop.call_at(began + 1 + 1e-10, waiters.tasks["b"].cancel)
        await waiters.tasks["c"]
        assert waiters.served == ["a", "c"]
        assert loop.time() - began == pytest.approx(1.0)

    run(main())


def test_a_block_holds_nothing_and_a_permit_is_released_once(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, burst=5)
        async with limiter as permit, limiter:
            assert limiter.stats().borrowers == ()
        permit.release()
        with pytest.raises(RuntimeError, match="released already"):
            permit.release()
        assert limiter.stats().in_use > 0
        # Dropped without a warning.
        await limiter.acquire()

    run(main())


@pytest.mark.parametrize(
    ("rate", "burst"), [((10,), 10), ((100, 60), 1), ((300, 60), 5), ((0.1,), 1), ((1e30,), 2**64 - 1)]
)
def test_the_burst_is_what_comes_in_a_second(rate: Any, burst: int) -> None:
    limiter = tonnage.RateLimiter(*rate)
    assert limiter.burst == burst
    assert limiter.rate == rate[0]
    assert limiter.per == (rate[1] if len(rate) > 1 else 1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rate": 0}, "rate must be a finite number above 0, got 0"),
        ({"rate": -1}, "rate must be a finite number above 0, got -1"),
        ({"rate": math.nan}, "rate must be a finite number above 0, got nan"),
        ({"rate": math.inf}, "rate must be a finite number above 0, got inf"),
        ({"rate": 1, "per": 0}, "per must be a finite number above 0, got 0"),
        ({"rate": 1, "burst": 0}, "burst must be 1 or more, got 0"),
        ({"rate": 1, "max_wait": -0.1}, "max_wait must be 0 or more seconds"),
    ],
)
def test_what_it_cannot_be_made_with_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tonnage.RateLimiter(**arguments)


def test_more_than_the_burst_can_never_come_at_once(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.RateLimiter(1, burst=5, name="api")
        with pytest.raises(ValueError, match="tokens must be 5 or less, the burst of limiter 'api', got 6"):
            await limiter.acquire(6)

    run(main())


def test_extreme_rates_work(run: Run) -> None:
    async def main() -> None:
        fast = tonnage.RateLimiter(1e300, 1e-300)
        for _ in range(100):
            await fast.acquire(10**9)
        slow = tonnage.RateLimiter(1e-300, 1e300)
        slow.acquire_nowait()
        with pytest.raises(tonnage.Overloaded) as caught:
            slow.acquire_nowait()
        assert caught.value.retry_after > 1e8

    run(main())
