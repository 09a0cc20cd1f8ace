"""`Workers` whose limit is limiters: a call has a permit of each from its beginning to its end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tonnage

WAIT_S = 20


class Gates:
    """Blocking calls that say when they begin, and go on when they are told."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.running = 0
        self.most_running = 0
        self.order = []

    def block(self, number=None):
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.order.append(number)
        self.begun.release()
        assert self.release.wait(WAIT_S)
        with self.lock:
            self.running -= 1
        return number

    async def begin(self, count=1):
        """Wait until so many more calls have begun."""
        for _ in range(count):
            while not self.begun.acquire(blocking=False):
                await asyncio.sleep(0.001)


@pytest.fixture
def gates():
    gates = Gates()
    yield gates
    gates.release.set()


def test_call_has_a_permit_of_each_limiter_until_it_has_ended(run, gates):
    async def main():
        outer, inner = tonnage.CapacityLimiter(5, name="outer"), tonnage.CapacityLimiter(2, name="inner")
        async with tonnage.Workers((outer, inner)) as workers:
            calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(4)]
            await gates.begin(2)
            assert (outer.borrowed_tokens, inner.borrowed_tokens) == (4, 2)
            assert repr(workers) == "<Workers limit='outer', 'inner' running=2 waiting=2>"
            gates.release.set()
            assert await asyncio.gather(*calls) == [0, 1, 2, 3]
        assert (outer.borrowed_tokens, inner.borrowed_tokens) == (0, 0)
        assert gates.most_running == 2

    run(main())


def test_refusal_of_a_limiter_is_raised_to_the_caller(run, gates):
    async def main():
        first, second = tonnage.CapacityLimiter(5), tonnage.CapacityLimiter(1, max_waiting=0)
        async with tonnage.Workers([first, second]) as workers:
            call = asyncio.ensure_future(workers.run(gates.block))
            await gates.begin()
            with pytest.raises(tonnage.Overloaded) as caught:
                await workers.run(int)
            assert (caught.value.reason, first.borrowed_tokens) == ("full", 1)
            gates.release.set()
            await call

    run(main())


@pytest.mark.parametrize("abandon", [False, True])
def test_call_that_is_cancelled_keeps_its_permit_until_it_has_ended(run, gates, abandon):
    async def main():
        limiter = tonnage.CapacityLimiter(1)
        async with tonnage.Workers(limiter, abandon_on_cancel=abandon) as workers:
            call = asyncio.ensure_future(workers.run(gates.block, 1))
            await gates.begin()
            waiting = asyncio.ensure_future(workers.run(gates.block, 2))
            last = asyncio.ensure_future(workers.run(gates.block, 3))
            await asyncio.sleep(0)
            waiting.cancel()
            call.cancel()
            await asyncio.wait([waiting, *([call] if abandon else [])])
            assert (limiter.borrowed_tokens, call.done()) == (1, abandon)
            gates.release.set()
            assert await last == 3
        assert gates.order == [1, 3]
        assert limiter.borrowed_tokens == 0

    run(main())


def test_adaptive_limiter_hears_how_calls_end(run):
    class Told(list):
        def update(self, now, latency, in_flight, dropped):
            self.append(dropped)
            return 5

    def fail(error):
        raise error

    async def main():
        told = Told()
        async with tonnage.Workers(tonnage.AdaptiveLimiter(told)) as workers:
            await workers.run(int)
            for error in (ConnectionError(), LookupError()):
                with pytest.raises(type(error)):
                    await workers.run(fail, error)
        assert told == [False, True]

    run(main())


def test_closing_waits_for_calls_that_wait_for_a_limiter(run, gates):
    async def main():
        limiter = tonnage.CapacityLimiter(1)
        workers = tonnage.Workers(limiter)
        calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(2)]
        await gates.begin()
        closing = asyncio.ensure_future(workers.aclose())
        await asyncio.sleep(0)
        with pytest.raises(tonnage.Overloaded, match="closed|take no more calls"):
            await workers.run(int)
        gates.release.set()
        await closing
        assert await asyncio.gather(*calls) == [0, 1]
        assert limiter.borrowed_tokens == 0

    run(main())


def test_closing_in_time_refuses_calls_that_wait_for_a_limiter(run, gates):
    async def main():
        limiter = tonnage.CapacityLimiter(1)
        workers = tonnage.Workers(limiter)
        async with limiter:
            call = asyncio.ensure_future(workers.run(int))
            await asyncio.sleep(0)
            await workers.aclose(timeout=0.001)
            with pytest.raises(tonnage.Overloaded) as caught:
                await call
            assert caught.value.reason == "closed"
        assert (limiter.borrowed_tokens, limiter.stats().waiting) == (0, 0)

    run(main())


def test_executor_is_handed_what_the_limiter_admits(run):
    async def main():
        limiter = tonnage.CapacityLimiter(2)
        with ThreadPoolExecutor(4) as executor:
            async with tonnage.Workers(limiter, executor=executor) as workers:
                calls = [workers.run(pow, 2, n) for n in range(9)]
                assert await asyncio.gather(*calls) == [2**n for n in range(9)]
            assert limiter.borrowed_tokens == 0
            closed = tonnage.Workers(limiter, executor=executor)
        # The executor is shut down, and takes no call.
        with pytest.raises(RuntimeError):
            await closed.run(int)
        assert limiter.borrowed_tokens == 0
        await closed.aclose()

    run(main())
