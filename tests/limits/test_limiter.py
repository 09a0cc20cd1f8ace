"""What all limiters have: statistics, decorators, loops and threads."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import JumpingLoop, Run, Waiters, outcome, settle, simulated


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="Limiter is abstract; make a CapacityLimiter or a RateLimiter"):
        tonnage.Limiter()
    assert issubclass(tonnage.CapacityLimiter, tonnage.Limiter)
    assert issubclass(tonnage.RateLimiter, tonnage.Limiter)
    with pytest.raises(TypeError):
        tonnage.Permit()


def test_what_was_never_initialised_says_so() -> None:
    class Hasty(tonnage.CapacityLimiter):
        def __init__(self) -> None:
            pass

    limiter = Hasty()
    calls: list[Callable[[], Any]] = [
        limiter.acquire_nowait,
        limiter.close,
        limiter.stats,
        limiter.release,
        lambda: limiter.total_tokens,
        lambda: limiter.acquire_on_behalf_of_nowait(1),
    ]
    for call in calls:
        with pytest.raises(RuntimeError):
            call()
    assert "not initialized" in repr(limiter)


def test_it_is_initialised_once() -> None:
    limiter = tonnage.CapacityLimiter(1)
    with pytest.raises(RuntimeError, match="CapacityLimiter object is already initialized"):
        limiter.__init__(2)  # type: ignore[misc]
    assert limiter.total_tokens == 1


def test_a_subclass_in_python_works(run: Run) -> None:
    class Database(tonnage.CapacityLimiter):
        def __init__(self) -> None:
            super().__init__(3, name="database")
            self.queries = 0

    async def main() -> None:
        database = Database()
        async with database:
            database.queries += 1
            assert repr(database).endswith("Database 'database' [1 of 3 tokens in use, 0 waiting]>")

    run(main())


def test_names_are_made_for_who_has_none() -> None:
    first, second = tonnage.CapacityLimiter(1), tonnage.RateLimiter(1)
    assert first.name.startswith("CapacityLimiter-")
    assert second.name.startswith("RateLimiter-")
    assert first.name != tonnage.CapacityLimiter(1).name
    assert repr(first) == f"<tonnage.CapacityLimiter '{first.name}' [0 of 1 tokens in use, 0 waiting]>"
    second.close()
    assert repr(second) == f"<tonnage.RateLimiter '{second.name}' [burst of 1, 0 waiting, closed]>"


@simulated
def test_statistics_are_of_one_moment(run: Run, loop: JumpingLoop) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2, max_waiting=1)
        before = limiter.stats()
        waiters = Waiters(limiter)
        async with limiter:
            await waiters.add("a")
            await waiters.add("b")
            await outcome(limiter.acquire())
            stats = limiter.stats()
            assert (stats.limit, stats.in_use, stats.waiting, stats.admitted) == (2, 2, 1, 2)
            assert stats.borrowers == (asyncio.current_task(), waiters.tasks["a"])
            await asyncio.sleep(0.25)
        await waiters.tasks["b"]
        after = limiter.stats()
        assert dict(after.refused) == {"full": 1, "delay": 0, "deadline": 0, "closed": 0}
        assert [(bound, count) for bound, count in after.wait_seconds if count] == [(0.0, 2), (0.3, 1)]
        assert after.wait_seconds[-1][0] == float("inf")
        assert before.admitted == 0
        assert (after.in_use, after.waiting, after.admitted) == (2, 0, 3)
        assert repr(before) == (
            "LimiterStats(limit=2.0, in_use=0, waiting=0, admitted=0, refused={'full': 0, 'delay': 0, "
            "'deadline': 0, 'closed': 0}, borrowers=())"
        )
        with pytest.raises(AttributeError):
            after.waiting = 3  # type: ignore[misc]
        with pytest.raises(TypeError):
            after.refused["full"] = 0  # type: ignore[index]
        await waiters.serve_all()

    run(main())


# Decorators


def test_a_decorated_function_keeps_its_signature_and_holds_a_token(run: Run) -> None:
    limiter = tonnage.CapacityLimiter(1)

    @limiter
    async def add(left: int, *, right: int = 2) -> int:
        """Add two numbers."""
        assert limiter.borrowed_tokens == 1
        await settle(1)
        return left + right

    assert inspect.iscoroutinefunction(add)
    assert str(inspect.signature(add)) == "(left: 'int', *, right: 'int' = 2) -> 'int'"
    assert (add.__name__, add.__doc__) == ("add", "Add two numbers.")

    async def main() -> None:
        assert await asyncio.gather(add(1), add(2, right=3)) == [3, 5]
        calls = [asyncio.ensure_future(outcome(add(number))) for number in range(3)]
        await settle(1)
        calls[0].cancel()
        calls[1].cancel()
        results = [await call for call in calls]
        assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, int]
        assert limiter.borrowed_tokens == limiter.stats().waiting == 0

    run(main())


def test_methods_and_objects_can_be_decorated(run: Run) -> None:
    limiter = tonnage.CapacityLimiter(1)

    class Service:
        @limiter
        async def call(self) -> str:
            return type(self).__name__

    class Call:
        async def __call__(self) -> int:
            return limiter.borrowed_tokens

    async def pair(left: int, right: int) -> tuple[int, int]:
        return left, right

    async def main() -> None:
        assert await Service().call() == "Service"
        assert await limiter(Call())() == 1
        assert await limiter(functools.partial(pair, 1))(2) == (1, 2)
        with pytest.raises(ZeroDivisionError):
            await limiter(fail)()
        assert limiter.borrowed_tokens == 0

    run(main())


async def fail() -> None:
    raise ZeroDivisionError


def test_what_is_not_async_cannot_be_decorated() -> None:
    limiter = tonnage.CapacityLimiter(1)

    def plain() -> None:
        pass

    async def generator() -> Any:
        yield 1

    for wrong in (plain, generator, 3, None, tonnage.sleep):
        with pytest.raises(TypeError, match="a limiter decorates async functions, got"):
            limiter(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        limiter()  # type: ignore[call-arg]


# Loops and threads


def run_new(factory: Callable[[], asyncio.AbstractEventLoop], coroutine: Any) -> Any:
    loop = factory()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


def test_one_limiter_serves_one_loop_after_the_other(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    limiter = tonnage.CapacityLimiter(1)
    rate = tonnage.RateLimiter(1000, burst=1)

    async def main() -> None:
        waiters = Waiters(limiter)
        for name in "abc":
            await waiters.add(name)
        await waiters.serve_all()
        for _ in range(3):
            await rate.acquire()

    for _ in range(3):
        run_new(loop_factory, main())


def test_those_who_wait_on_a_closed_loop_do_not_stand_in_the_way(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    limiter = tonnage.CapacityLimiter(1, max_wait=100)
    permit = limiter.acquire_nowait()
    waiting: list[Any] = []

    async def leave_behind() -> None:
        waiting.append(limiter.acquire())
        waiting[0].send(None)

    run_new(loop_factory, leave_behind())
    permit.release()

    async def main() -> None:
        async with limiter:
            assert limiter.stats().waiting == 0
            waiters = Waiters(limiter)
            await waiters.add("a")
        await waiters.serve_all()

    run_new(loop_factory, main())
    waiting[0].close()
    assert limiter.borrowed_tokens == 0


def test_a_second_loop_may_not_wait_beside_the_first(
    run: Run, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    limiter = tonnage.CapacityLimiter(1)

    async def other() -> None:
        with pytest.raises(tonnage.Overloaded):
            limiter.acquire_nowait()
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            await limiter.acquire()
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            async with limiter:
                pass

    async def main() -> None:
        async with limiter:
            waiting = asyncio.ensure_future(limiter.acquire())
            await settle()
            thread = threading.Thread(target=run_new, args=(loop_factory, other()))
            thread.start()
            thread.join()
        (await waiting).release()

    run(main())


def test_another_thread_may_release(run: Run) -> None:
    limiter = tonnage.CapacityLimiter(1)

    async def main() -> None:
        for _ in range(20):
            permit = await limiter.acquire()
            waiting = asyncio.ensure_future(limiter.acquire())
            await settle()
            thread = threading.Thread(target=permit.release)
            thread.start()
            (await waiting).release()
            thread.join()

    run(main())


def test_a_thread_without_a_loop_takes_what_is_free() -> None:
    limiter = tonnage.CapacityLimiter(1)
    with limiter.acquire_nowait(), pytest.raises(tonnage.Overloaded):
        limiter.acquire_nowait()
    coroutine: Any = limiter.acquire()
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    caught.value.value.release()
    with limiter.acquire_nowait():
        coroutine = limiter.acquire()
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)
    assert limiter.borrowed_tokens == 0
