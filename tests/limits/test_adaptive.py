"""AdaptiveLimiter: as many at once as its algorithm says, which is told how each permit ended."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import tonnage

from .conftest import Run, simulated


class Told(NamedTuple):
    """One call of `update`."""

    now: float
    latency: float
    in_flight: int
    dropped: bool


class Fake:
    """An algorithm that says what the test wants."""

    def __init__(self, limit: Any = 20) -> None:
        self.limit = limit
        self.told: list[Told] = []

    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> Any:
        self.told.append(Told(now, latency, in_flight, dropped))
        if isinstance(self.limit, type):
            raise self.limit
        return self.limit


async def use(limiter: tonnage.Limiter, error: BaseException | None = None) -> None:
    """Hold one token for an instant."""
    async with limiter:
        await tonnage.sleep(0)
        if error:
            raise error


# What the algorithm is told.


@simulated
def test_algorithm_is_told_time_latency_and_what_is_in_flight(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake)

    async def hold(seconds: float) -> None:
        async with limiter:
            await asyncio.sleep(seconds)

    async def main() -> None:
        await asyncio.gather(hold(0.25), hold(0.5), hold(1.0))

    run(main())
    assert [(told.now, told.latency) for told in fake.told] == [
        pytest.approx((1000 + latency, latency)) for latency in (0.25, 0.5, 1.0)
    ]
    assert [told.in_flight for told in fake.told] == [3, 2, 1]
    assert not any(told.dropped for told in fake.told)


@simulated
def test_latency_begins_with_the_permit_and_not_with_the_wait(run: Run) -> None:
    fake = Fake(1)
    limiter = tonnage.AdaptiveLimiter(fake, initial=1, max_waiting=None)

    async def hold() -> None:
        async with limiter:
            await asyncio.sleep(0.5)

    async def main() -> None:
        await asyncio.gather(hold(), hold(), hold())

    run(main())
    assert [told.latency for told in fake.told] == [pytest.approx(0.5)] * 3
    assert [told.in_flight for told in fake.told] == [1, 1, 1]


def test_permit_of_many_tokens_counts_as_many(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake)

    async def main() -> None:
        five = await limiter.acquire(5)
        two = limiter.acquire_nowait(2)
        five.release()
        two.release()

    run(main())
    assert [told.in_flight for told in fake.told] == [7, 2]


def test_loop_that_is_late_is_taken_out_of_the_latency() -> None:
    fake = Fake()

    async def main() -> None:
        limiter = tonnage.AdaptiveLimiter(fake)
        loop = asyncio.get_running_loop()
        await use(limiter)
        for blocked in (0.0, 0.05):
            done = loop.create_future()
            async with limiter:
                when = loop.time() + 0.01
                loop.call_at(when, time.sleep, blocked)
                loop.call_at(when, done.set_result, None)
                await done

    tonnage.run(main())
    _, free, late = fake.told
    assert 0.01 <= free.latency < 0.04
    assert 0.01 <= late.latency < 0.04
    assert late.now - free.now > 0.06


def test_work_within_one_turn_of_the_loop_counts() -> None:
    fake = Fake()

    async def main() -> None:
        async with tonnage.AdaptiveLimiter(fake):
            time.sleep(0.01)

    tonnage.run(main())
    assert fake.told[0].latency >= 0.01


# Outcomes.


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError,
        asyncio.TimeoutError,
        tonnage.TimeoutError,
        ConnectionError,
        ConnectionResetError,
        tonnage.Overloaded,
    ],
)
def test_exception_that_says_overload_is_a_drop(run: Run, error: type[Exception]) -> None:
    fake = Fake()

    async def main() -> None:
        with pytest.raises(error):
            await use(tonnage.AdaptiveLimiter(fake), error())

    run(main())
    assert [told.dropped for told in fake.told] == [True]


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
def test_other_exceptions_tell_nothing(run: Run, error: type[BaseException]) -> None:
    fake = Fake(1)
    limiter = tonnage.AdaptiveLimiter(fake)

    async def main() -> None:
        with pytest.raises(error):
            await use(limiter, error())

    run(main())
    assert (fake.told, limiter.limit, limiter.stats().in_use) == ([], 20, 0)


def test_cancelled_block_tells_nothing_whatever_is_a_drop(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake, dropped=(BaseException,))

    async def hold() -> None:
        async with limiter:
            await asyncio.sleep(10)

    async def main() -> None:
        task = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(ValueError, match="no"):
            await use(limiter, ValueError("no"))

    run(main())
    assert [told.dropped for told in fake.told] == [True]
    assert limiter.stats().in_use == 0


def test_drops_are_what_the_program_says(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake, dropped=(LookupError,))

    async def main() -> None:
        for error in (KeyError(), TimeoutError(), LookupError()):
            with pytest.raises(type(error)):
                await use(limiter, error)
        with pytest.raises(IndexError), await limiter.acquire():
            raise IndexError

    run(main())
    assert [told.dropped for told in fake.told] == [True, True, True]


def test_permit_tells_the_outcome(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake)

    async def main() -> None:
        for outcome in ("ok", "dropped", "ignore"):
            (await limiter.acquire()).release(outcome)  # type: ignore[arg-type]
        async with limiter as permit:
            permit.release("dropped")

    run(main())
    assert [told.dropped for told in fake.told] == [False, True, True]
    assert limiter.stats().in_use == 0


def test_permit_can_be_released_by_a_thread(run: Run) -> None:
    fake = Fake()

    async def main() -> None:
        permit = await tonnage.AdaptiveLimiter(fake).acquire()
        thread = threading.Thread(target=permit.release)
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)

    run(main())
    assert [told.in_flight for told in fake.told] == [1]


def test_permit_that_is_dropped_tells_nothing(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake, name="search")

    async def main() -> None:
        with pytest.warns(ResourceWarning, match="a permit of limiter 'search' was never released"):
            await limiter.acquire()

    run(main())
    assert (fake.told, limiter.stats().in_use) == ([], 0)


# The limit.


def test_limit_begins_with_20_and_nobody_waits(run: Run) -> None:
    limiter = tonnage.AdaptiveLimiter(Fake(), name="search")

    async def main() -> None:
        permits = [await limiter.acquire() for _ in range(20)]
        with pytest.raises(tonnage.Overloaded, match="limiter 'search' is full: 20 of 20 tokens") as refused:
            await limiter.acquire()
        assert refused.value.reason == "full"
        for permit in permits:
            permit.release()

    assert limiter.limit == 20
    run(main())


def test_limit_is_what_the_algorithm_says_between_min_and_max(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake, min=5, max=50, initial=10)
    limits = [limiter.limit]

    async def main() -> None:
        for fake.limit in (20, 3, 0, -7, -(10**30), 50, 51, 10**30, 12):
            await use(limiter)
            limits.append(limiter.limit)

    run(main())
    assert limits == [10, 20, 5, 5, 5, 5, 50, 50, 50, 12]
    assert limiter.stats().limit == 12


def test_raised_limit_lets_in_those_who_wait(run: Run) -> None:
    fake = Fake(3)
    limiter = tonnage.AdaptiveLimiter(fake, initial=1, max_waiting=10)

    async def main() -> None:
        first = await limiter.acquire()
        others = [asyncio.ensure_future(limiter.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        first.release()
        await asyncio.sleep(0.001)
        assert [other.done() for other in others] == [True, True, True, False, False]
        for other in others:
            (await other).release()

    run(main())


def test_lowered_limit_takes_nothing_back(run: Run) -> None:
    fake = Fake(2)
    limiter = tonnage.AdaptiveLimiter(fake, initial=4)

    async def main() -> None:
        permits = [await limiter.acquire() for _ in range(4)]
        for permit in permits[:2]:
            permit.release()
            with pytest.raises(tonnage.Overloaded):
                limiter.acquire_nowait()
        permits[2].release()
        limiter.acquire_nowait().release()
        permits[3].release()

    run(main())


def test_request_may_be_for_more_than_the_limit_but_not_than_its_maximum(run: Run) -> None:
    fake = Fake(2)
    limiter = tonnage.AdaptiveLimiter(fake, initial=2, max=8, max_waiting=1, name="search")

    async def main() -> None:
        with pytest.raises(ValueError, match="tokens must be 8 or less, .* of limiter 'search', got 9"):
            await limiter.acquire(9)
        one = await limiter.acquire()
        many = asyncio.ensure_future(limiter.acquire(8))
        await asyncio.sleep(0)
        assert not many.done()
        one.release()
        (await many).release()

    run(main())


# Errors of the algorithm.


@pytest.mark.parametrize("limit", [ZeroDivisionError, 12.5, None, True, asyncio.CancelledError])
def test_error_of_the_algorithm_is_reported_and_the_limit_stays(
    run: Run, reports: list[dict[str, Any]], limit: object
) -> None:
    fake = Fake(limit)
    limiter = tonnage.AdaptiveLimiter(fake, initial=7, name="search")

    async def main() -> None:
        for _ in range(2):
            await use(limiter)

    run(main())
    assert [report["message"] for report in reports] == [
        "Fake.update() failed; limiter 'search' keeps its limit of 7"
    ] * 2
    expected = limit if isinstance(limit, type) else TypeError
    assert {type(report["exception"]) for report in reports} == {expected}
    assert (limiter.limit, limiter.stats().in_use) == (7, 0)


def test_exit_of_the_algorithm_leaves_the_loop_and_the_token_comes_back(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fake = Fake(KeyboardInterrupt)
    limiter = tonnage.AdaptiveLimiter(fake)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(use(limiter))
    assert limiter.stats().in_use == 0


def test_algorithm_may_use_its_limiter(run: Run) -> None:
    class Nested(Fake):
        def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> Any:
            super().update(now, latency, in_flight, dropped)
            if len(self.told) < 5:
                limiter.acquire_nowait().release()
            return 10 + len(self.told)

    fake = Nested()
    limiter = tonnage.AdaptiveLimiter(fake)
    run(use(limiter))
    assert len(fake.told) == 5
    assert [told.in_flight for told in fake.told] == [1, 2, 3, 4, 5]
    assert limiter.stats().in_use == 0


# What it is made with.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min": 0}, "min must be 1 or more, got 0"),
        ({"max": 0}, "max must be 1 or more, got 0"),
        ({"min": 5, "max": 4}, r"max must be min \(5\) or more, got 4"),
        ({"initial": 0}, "initial must be 1 or more, got 0"),
        ({"min": 5, "initial": 4}, r"initial must be from min to max \(5 to 1000\), got 4"),
        ({"max": 10, "initial": 11}, r"initial must be from min to max \(1 to 10\), got 11"),
        ({"max_waiting": -1}, "max_waiting must be 0 or more, got -1"),
        ({"max_wait": -1}, "max_wait must be 0 or more seconds, got -1"),
        ({"target_delay": -0.5}, r"target_delay must be 0 or more seconds, got -0\.5"),
    ],
)
def test_number_out_of_its_range_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        tonnage.AdaptiveLimiter(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"algorithm": object()}, r"algorithm must have a method update\(\), got <object"),
        ({"min": 1.5}, r"min must be an int, got 1\.5"),
        ({"dropped": [ValueError]}, "dropped must be a tuple of exception classes, got "),
        ({"dropped": (ValueError, 5)}, "dropped must be a tuple of exception classes, got "),
        ({"dropped": (int,)}, "dropped must be a tuple of exception classes, got "),
        ({"name": 5}, "name must be a str, got 5"),
        ({"limit": 5}, "unexpected keyword argument 'limit'"),
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        tonnage.AdaptiveLimiter(**options)


def test_initial_limit_is_20_or_the_nearest_that_is_allowed() -> None:
    assert tonnage.AdaptiveLimiter(max=10).limit == 10
    assert tonnage.AdaptiveLimiter(min=30).limit == 30
    assert tonnage.AdaptiveLimiter(min=2000).limit == 2000


@pytest.mark.parametrize("make", [tonnage.Gradient, lambda: tonnage.AIMD(1)])
def test_algorithm_of_ours_is_good_for_one_limiter(make: Callable[[], tonnage.LimitAlgorithm]) -> None:
    algorithm = make()
    tonnage.AdaptiveLimiter(algorithm)
    with pytest.raises(ValueError, match="has a limiter already; give each AdaptiveLimiter its own"):
        tonnage.AdaptiveLimiter(algorithm)


def test_limiter_is_a_limiter_and_a_decorator(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake, name="search")
    assert isinstance(limiter, tonnage.Limiter)
    assert repr(limiter) == "<tonnage.AdaptiveLimiter 'search' [0 of 20 tokens in use, 0 waiting]>"

    @limiter
    async def search(word: str) -> str:
        return word

    assert run(search("found")) == "found"
    assert len(fake.told) == 1


def test_limiter_and_algorithm_in_a_cycle_are_collected(run: Run) -> None:
    fake = Fake()
    limiter = tonnage.AdaptiveLimiter(fake)
    fake.limiter = limiter  # type: ignore[attr-defined]
    run(use(limiter))
    gone = weakref.ref(limiter), weakref.ref(fake)
    del limiter, fake
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


# With the algorithms of ours.


def test_gradient_begins_with_a_probe_within_the_limiter_s_range(run: Run) -> None:
    limiter = tonnage.AdaptiveLimiter(initial=30)
    run(use(limiter))
    assert limiter.limit == 3
    limiter = tonnage.AdaptiveLimiter(tonnage.Gradient(probe_limit=2), min=8)
    run(use(limiter))
    assert limiter.limit == 8


def test_probe_ends_though_nothing_comes_back(run: Run) -> None:
    """Calls that last hold the lowered limit: those who wait are let in when the probe has had its time."""
    limiter = tonnage.AdaptiveLimiter(tonnage.Gradient(probe_every=0.12), initial=6, max_waiting=1)

    async def main() -> None:
        lasting = [await limiter.acquire() for _ in range(4)]
        await use(limiter)
        assert limiter.limit == 3
        began = time.monotonic()
        (await limiter.acquire()).release("ignore")
        assert time.monotonic() - began >= 0.015
        assert limiter.limit == 6
        for permit in lasting:
            permit.release("ignore")

    run(main())


def test_probe_ends_for_who_comes_and_may_not_wait(run: Run) -> None:
    limiter = tonnage.AdaptiveLimiter(tonnage.Gradient(probe_every=0.06), initial=6)

    async def main() -> None:
        lasting = [await limiter.acquire() for _ in range(4)]
        await use(limiter)
        with pytest.raises(tonnage.Overloaded):
            await limiter.acquire()
        await asyncio.sleep(0.015)
        (await limiter.acquire()).release("ignore")
        for permit in lasting:
            permit.release("ignore")

    run(main())


def test_subclass_of_an_algorithm_is_asked_by_name_and_knows_the_range(run: Run) -> None:
    class Halved(tonnage.Gradient):
        def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
            return super().update(now, latency, in_flight, dropped) // 2

    limiter = tonnage.AdaptiveLimiter(Halved(probe_limit=10), min=2, max=8, initial=8)
    run(use(limiter))
    assert limiter.limit == 4


@simulated
@pytest.mark.parametrize("make", [tonnage.Gradient, lambda: tonnage.AIMD(0.1)])
def test_service_of_ten_slots_is_used_and_its_line_stays_short(
    run: Run, make: Callable[[], tonnage.LimitAlgorithm]
) -> None:
    """Ten slots of 50 ms can serve 200 a second; 300 come."""
    limiter = tonnage.AdaptiveLimiter(make())
    slots = asyncio.Semaphore(10)
    served: list[float] = []

    async def request() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with limiter, slots:
                await asyncio.sleep(0.05)
        except tonnage.Overloaded:
            return
        served.append(loop.time() - began)

    async def main() -> None:
        requests = []
        for _ in range(300 * 10):
            requests.append(asyncio.ensure_future(request()))
            await asyncio.sleep(1 / 300)
        await asyncio.gather(*requests)

    run(main())
    assert len(served) >= 0.9 * 2000
    assert sorted(served)[len(served) * 9 // 10] <= 0.15
    assert 10 <= limiter.limit <= 30
