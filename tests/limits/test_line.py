"""The line of a limiter: who is served first, and who is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import tonnage

from .conftest import JumpingLoop, Run, Waiters, outcome, settle, simulated


def test_first_come_first_served(run: Run) -> None:
    async def main() -> None:
        waiters = Waiters(tonnage.CapacityLimiter(1))
        for name in range(6):
            await waiters.add(name)
        waiters.tasks[3].cancel()
        await waiters.serve_all()
        assert waiters.served == [0, 1, 2, 4, 5]

    run(main())


def test_nobody_overtakes_who_wants_much(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(4)
        waiters = Waiters(limiter)
        await waiters.add("a")
        await waiters.add("large", 4)
        await waiters.add("small")
        with pytest.raises(tonnage.Overloaded):
            limiter.acquire_nowait()
        assert waiters.served == ["a"]
        waiters.tasks["large"].cancel()
        await settle()
        assert waiters.served == ["a", "small"], "who gives up does not block the others"
        await waiters.serve_all()

    run(main())


def test_a_higher_priority_is_served_first(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)
        waiters = Waiters(limiter)
        await waiters.add("holder", 2)
        await waiters.add("low", priority=-1)
        await waiters.add("large", 2)
        await waiters.add("high", priority=7)
        await waiters.add("high too", priority=7)
        await waiters.serve_all()
        assert waiters.served == ["holder", "high", "high too", "large", "low"]

    run(main())


def test_who_comes_overtakes_only_a_lower_priority(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(3)
        waiters = Waiters(limiter)
        await waiters.add("holder", 2)
        await waiters.add("large", 3, priority=1)
        for priority in (0, 1):
            with pytest.raises(tonnage.Overloaded):
                limiter.acquire_nowait(priority=priority)
        limiter.acquire_nowait(priority=2).release()
        await waiters.serve_all()

    run(main())


def test_keys_are_served_in_turn(run: Run) -> None:
    async def main() -> None:
        waiters = Waiters(tonnage.CapacityLimiter(1))
        for name, key in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("none", None), ("b2", "b")]:
            await waiters.add(name, key=key)
        await waiters.serve_all()
        assert waiters.served == ["a1", "a2", "b1", "none", "a3", "b2"]

    run(main())


def test_a_key_has_no_more_than_its_cap_and_others_pass_it(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(10, per_key=2)
        waiters = Waiters(limiter)
        for name in ("a1", "a2", "a3", "a4"):
            await waiters.add(name, key="a")
        await waiters.add("b1", key="b")
        await waiters.add("none", 4)
        assert waiters.served == ["a1", "a2", "b1", "none"]
        with pytest.raises(tonnage.Overloaded):
            limiter.acquire_nowait(key="a")
        await waiters.release("none", "b1")
        assert waiters.served == ["a1", "a2", "b1", "none"]
        await waiters.release("a1")
        assert waiters.served[4:] == ["a3"]
        await waiters.serve_all()
        assert waiters.served[4:] == ["a3", "a4"]

    run(main())


def test_keys_are_compared_by_value(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(10, per_key=1)
        with limiter.acquire_nowait(key=("tenant", 1)):
            with pytest.raises(tonnage.Overloaded):
                limiter.acquire_nowait(key=("tenant", 1.0))
            limiter.acquire_nowait(key=("tenant", 2)).release()
        with pytest.raises(TypeError, match="unhashable"):
            await limiter.acquire(key=[])
        with pytest.raises(TypeError, match="unhashable"):
            limiter.acquire_nowait(key=[])

    run(main())


def test_a_key_whose_comparison_fails_is_an_error_and_leaves_nothing(run: Run) -> None:
    class Evil:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise LookupError

    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, per_key=1)
        permit = limiter.acquire_nowait(key=Evil())
        for _ in range(2):
            with pytest.raises(LookupError):
                limiter.acquire_nowait(key=Evil())
        permit.release()
        assert limiter.borrowed_tokens == 0

    run(main())


# Bounds


def test_who_would_be_one_too_many_is_refused(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2, max_waiting=1, name="db")
        waiters = Waiters(limiter)
        for name in "abc":
            await waiters.add(name)
        with pytest.raises(tonnage.Overloaded) as caught:
            await limiter.acquire()
        error = caught.value
        assert (error.reason, error.retry_after, error.limiter) == ("full", None, "db")
        assert str(error) == (
            "limiter 'db' is full: 2 of 2 tokens in use, 1 of 1 waiting; try again later or raise max_waiting"
        )
        with pytest.raises(tonnage.Overloaded, match="try again later, or await acquire"):
            limiter.acquire_nowait(2)
        assert limiter.stats().refused["full"] == 2
        await waiters.serve_all()
        async with limiter:
            pass

    run(main())


def test_a_line_of_none_refuses_who_would_wait(run: Run) -> None:
    async def main() -> None:
        for bounds in ({"max_waiting": 0}, {"max_wait": 0}):
            limiter = tonnage.CapacityLimiter(1, **bounds)  # type: ignore[arg-type]
            async with limiter:
                with pytest.raises(tonnage.Overloaded) as caught:
                    async with limiter:
                        pass
                assert caught.value.reason == ("full" if "max_waiting" in bounds else "delay")
            assert limiter.borrowed_tokens == 0

    run(main())


@simulated
def test_who_has_waited_for_max_wait_is_refused(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, max_wait=2.0, name="db")
        async with limiter:
            began = loop.time()
            first = asyncio.ensure_future(outcome(limiter.acquire()))
            await asyncio.sleep(0.5)
            second = asyncio.ensure_future(outcome(limiter.acquire()))
            error = await first
            assert loop.time() - began == pytest.approx(2.0)
            assert isinstance(error, tonnage.Overloaded)
            assert (error.reason, error.retry_after) == ("delay", None)
            assert str(error).startswith(
                "limiter 'db' has kept the request waiting for 2.000 s, and max_wait is 2 s"
            )
        permit = await second
        assert loop.time() - began == pytest.approx(2.0)
        permit.release()
        assert limiter.stats().refused["delay"] == 1

    run(main())


def test_max_wait_on_a_real_clock(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, max_wait=0.005)
        async with limiter:
            with pytest.raises(tonnage.Overloaded) as caught:
                await limiter.acquire()
        assert caught.value.reason == "delay"

    run(main())


@simulated
def test_a_line_that_does_not_drain_refuses_who_waited_too_long(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, target_delay=0.05, name="db")
        outcomes: list[tuple[float, Any]] = []

        async def work() -> None:
            began = loop.time()
            try:
                async with limiter:
                    outcomes.append((loop.time() - began, None))
                    await asyncio.sleep(0.02)
            except tonnage.Overloaded as error:
                outcomes.append((loop.time() - began, error))

        async def load(every: float, count: int) -> None:
            tasks = []
            for _ in range(count):
                tasks.append(asyncio.ensure_future(work()))
                await asyncio.sleep(every)
            await asyncio.gather(*tasks)

        # A burst that drains is served whole.
        await asyncio.gather(*(work() for _ in range(5)))
        assert all(error is None for _, error in outcomes)
        await asyncio.sleep(1)
        outcomes.clear()
        # Three times of what it can do: a third is served, and in time.
        await load(0.02 / 3, 600)
        served = [waited for waited, error in outcomes if error is None]
        refused = [error for _, error in outcomes if error is not None]
        assert 190 <= len(served) <= 230
        assert sorted(served)[len(served) * 9 // 10] <= 0.13
        assert {error.reason for error in refused} == {"delay"}
        assert "is overloaded: the request has waited for" in str(refused[0])
        await asyncio.sleep(1)
        outcomes.clear()
        await load(0.03, 20)
        assert all(error is None for _, error in outcomes)

    run(main())


def test_close_refuses_who_waits_and_who_comes(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, name="db")
        permit = await limiter.acquire()
        waiting = asyncio.ensure_future(outcome(limiter.acquire()))
        await settle()
        limiter.close()
        limiter.close()
        errors = [await waiting, await outcome(limiter.acquire())]
        for call in (limiter.acquire_nowait, lambda: limiter.acquire_on_behalf_of_nowait("x")):
            with pytest.raises(tonnage.Overloaded) as caught:
                call()
            errors.append(caught.value)
        with pytest.raises(tonnage.Overloaded) as caught:
            async with limiter:
                pass
        errors.append(caught.value)
        assert {(error.reason, str(error)) for error in errors} == {
            ("closed", "limiter 'db' is closed; nothing can be acquired")
        }
        permit.release()
        assert (limiter.borrowed_tokens, limiter.stats().refused["closed"]) == (0, 5)

    run(main())


def test_a_cancel_in_the_turn_of_the_close_is_a_cancel(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            waiting = asyncio.ensure_future(limiter.acquire())
            await settle()
            limiter.close()
            waiting.cancel()
            assert isinstance(await outcome(waiting), asyncio.CancelledError)
        assert limiter.borrowed_tokens == 0

    run(main())


# Cancellation


def test_a_cancel_in_the_turn_of_the_release_passes_the_tokens_on(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)
        waiters = Waiters(limiter)
        await waiters.add("holder", 2)
        await waiters.add("cancelled", 2)
        await waiters.add("next")
        waiters.permits.pop("holder").release()
        waiters.tasks["cancelled"].cancel()
        await settle()
        assert waiters.tasks["cancelled"].cancelled()
        assert waiters.served == ["holder", "next"]
        assert limiter.borrowed_tokens == 1
        await waiters.serve_all()

    run(main())


def test_a_cancel_before_the_release_is_passed_over(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        waiters = Waiters(limiter)
        for name in "abc":
            await waiters.add(name)
        waiters.tasks["b"].cancel()
        waiters.permits.pop("a").release()
        await settle()
        assert waiters.served == ["a", "c"]
        assert limiter.stats().admitted == 2
        await waiters.serve_all()

    run(main())


def test_a_timeout_around_the_wait_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1, per_key=1)
        async with limiter:
            for _ in range(3):
                # On a busy machine the deadline may have passed before it asks; then it is refused.
                with pytest.raises((asyncio.TimeoutError, tonnage.Overloaded)):
                    await tonnage.wait_for(limiter.acquire(key="k"), 0.001)
            assert limiter.stats().waiting == 0
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_wait_that_is_closed_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            coroutine: Any = limiter.acquire()
            coroutine.send(None)
            assert limiter.stats().waiting == 1
            coroutine.close()
            assert limiter.stats().waiting == 0

    run(main())


def test_somebody_else_who_ends_the_future_does_not_let_it_pass(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            coroutine: Any = limiter.acquire()
            future = coroutine.send(None)
            future.set_result("nothing")
            again = coroutine.send(None)
            assert again is not future
            assert limiter.stats().waiting == 1
            coroutine.close()

    run(main())
