"""CapacityLimiter: a number of tokens that are lent, and come back."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import pytest
import tonnage

from .conftest import Run, Waiters, outcome, settle


def test_as_many_as_it_has_tokens_pass(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)
        first, second = await limiter.acquire(), limiter.acquire_nowait()
        assert (limiter.borrowed_tokens, limiter.available_tokens) == (2, 0)
        waiting = asyncio.ensure_future(limiter.acquire())
        await settle()
        assert not waiting.done()
        assert limiter.stats().waiting == 1
        first.release()
        third = await waiting
        for permit in (second, third):
            permit.release()
        assert (limiter.borrowed_tokens, limiter.available_tokens) == (0, 2)

    run(main())


def test_never_more_than_its_tokens_are_lent(run: Run) -> None:
    async def main() -> int:
        limiter = tonnage.CapacityLimiter(5)
        lent, most = 0, 0
        choice = random.Random(1)

        async def work() -> None:
            nonlocal lent, most
            tokens = choice.randint(1, 5)
            with await limiter.acquire(tokens):
                lent += tokens
                most = max(most, lent)
                await settle(choice.randint(0, 3))
                lent -= tokens

        await asyncio.gather(*(work() for _ in range(100)))
        assert limiter.borrowed_tokens == 0
        return most

    assert run(main()) == 5


def test_a_free_token_is_taken_without_a_switch(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        switched = asyncio.ensure_future(settle(1))
        async with limiter:
            assert not switched.done()
            permit = limiter.acquire()
            assert limiter.borrowed_tokens == 1
        assert not switched.done()
        (await permit).release()
        assert not switched.done()
        await switched

    run(main())


def test_acquire_acts_when_it_is_awaited(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        coroutine = limiter.acquire()
        assert limiter.borrowed_tokens == 0
        (await coroutine).release()

    run(main())


def test_raising_the_total_lets_waiters_in_and_lowering_it_takes_nothing_back(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        waiters = Waiters(limiter)
        for name in "abcd":
            await waiters.add(name)
        assert waiters.served == ["a"]
        limiter.total_tokens = 3
        await settle()
        assert waiters.served == ["a", "b", "c"]
        limiter.total_tokens = 1
        assert (limiter.borrowed_tokens, limiter.available_tokens) == (3, -2)
        await waiters.release("a", "b")
        assert waiters.served == ["a", "b", "c"]
        await waiters.release("c")
        assert waiters.served == ["a", "b", "c", "d"]
        await waiters.serve_all()

    run(main())


def test_a_request_above_a_lowered_total_is_served_when_nothing_else_is_lent(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(4)
        waiters = Waiters(limiter)
        await waiters.add("small")
        await waiters.add("large", 4)
        await waiters.add("behind")
        limiter.total_tokens = 2
        await settle()
        assert waiters.served == ["small"]
        await waiters.release("small")
        assert waiters.served == ["small", "large"]
        with pytest.raises(ValueError, match=r"tokens must be 2 or less, the total of limiter .*, got 4"):
            await limiter.acquire(4)
        await waiters.serve_all()
        assert waiters.served == ["small", "large", "behind"]

    run(main())


def test_without_an_end_all_pass(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(math.inf)
        assert limiter.total_tokens == limiter.available_tokens == math.inf
        with await limiter.acquire(2**70):
            async with limiter:
                assert limiter.stats().limit == math.inf
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_wait_for_tokens_that_can_never_be_there_is_refused(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(20, name="db", per_key=3)
        with pytest.raises(ValueError, match="tokens must be 20 or less, the total of limiter 'db', got 21"):
            await limiter.acquire(21)
        with pytest.raises(
            ValueError, match="tokens must be 3 or less, what one key may have of limiter 'db'"
        ):
            limiter.acquire_nowait(4, key="k")
        with pytest.raises(ValueError, match="tokens must be 1 or more, got 0"):
            await limiter.acquire(0)
        with pytest.raises(ValueError, match="tokens must be 1 or more, got -5"):
            limiter.acquire_nowait(-5)
        with pytest.raises(TypeError, match=r"tokens must be an int, got 1\.5"):
            await limiter.acquire(1.5)  # type: ignore[arg-type]
        assert limiter.stats().admitted == limiter.borrowed_tokens == 0

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"total_tokens": 0}, ValueError, "total_tokens must be 1 or more, got 0"),
        ({"total_tokens": -(2**80)}, ValueError, "total_tokens must be 1 or more, got"),
        ({"total_tokens": 1.5}, TypeError, r"total_tokens must be an int or math\.inf, got 1\.5"),
        ({"total_tokens": True}, TypeError, "total_tokens must be an int, got True"),
        ({"total_tokens": None}, TypeError, "total_tokens must be an int, got None"),
        ({"total_tokens": 1, "per_key": 0}, ValueError, "per_key must be 1 or more, got 0"),
        ({"total_tokens": 1, "max_waiting": -1}, ValueError, "max_waiting must be 0 or more, got -1"),
        ({"total_tokens": 1, "max_wait": -1}, ValueError, "max_wait must be 0 or more seconds, got -1"),
        (
            {"total_tokens": 1, "max_wait": math.nan},
            ValueError,
            "max_wait must be 0 or more seconds, got nan",
        ),
        ({"total_tokens": 1, "target_delay": "1"}, TypeError, "must be real number"),
        ({"total_tokens": 1, "name": 1}, TypeError, "name must be a str, got 1"),
    ],
)
def test_what_it_cannot_be_made_with_is_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        tonnage.CapacityLimiter(**arguments)


def test_the_total_cannot_be_set_to_nonsense() -> None:
    limiter = tonnage.CapacityLimiter(3)
    for nonsense in (0, -1):
        with pytest.raises(ValueError, match="total_tokens must be 1 or more"):
            limiter.total_tokens = nonsense
    with pytest.raises(TypeError):
        limiter.total_tokens = 2.5
    assert limiter.total_tokens == 3


# trio's names


def test_release_gives_back_what_the_current_task_has_acquired(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(2)
        await limiter.acquire()
        assert limiter.borrowed_tokens == 1
        other = asyncio.ensure_future(outcome(release_in_a_task(limiter)))
        assert "this borrower isn't holding any of this CapacityLimiter's tokens" in str(await other)
        limiter.release()
        assert limiter.borrowed_tokens == 0
        with pytest.raises(RuntimeError, match="isn't holding any"):
            limiter.release()

    run(main())


async def release_in_a_task(limiter: tonnage.CapacityLimiter) -> None:
    limiter.release()


def test_release_takes_the_newest_first(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(9)
        first = await limiter.acquire(2)
        second = await limiter.acquire(5)
        limiter.release()
        assert limiter.borrowed_tokens == 2
        with pytest.raises(RuntimeError, match="released already"):
            second.release()
        limiter.release()
        with pytest.raises(RuntimeError, match="released already"):
            first.release()

    run(main())


def test_tokens_are_lent_to_any_object(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(3)
        await limiter.acquire_on_behalf_of("someone")
        limiter.acquire_on_behalf_of_nowait(None)
        assert limiter.stats().borrowers == ("someone", None)
        for holder in ("some" + "one", None):
            with pytest.raises(RuntimeError, match="this borrower is already holding one of this"):
                await limiter.acquire_on_behalf_of(holder)
            with pytest.raises(RuntimeError, match="this borrower is already holding one of this"):
                limiter.acquire_on_behalf_of_nowait(holder)
        with pytest.raises(TypeError, match="unhashable"):
            await limiter.acquire_on_behalf_of([])
        assert limiter.borrowed_tokens == 2
        limiter.release_on_behalf_of("someone")
        limiter.release_on_behalf_of(None)
        for holder in ("someone", None):
            with pytest.raises(RuntimeError, match="this borrower isn't holding any of this"):
                limiter.release_on_behalf_of(holder)
        assert limiter.borrowed_tokens == 0

    run(main())


def test_a_task_is_a_borrower_whoever_asked_for_it(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(3)
        me = asyncio.current_task()
        await limiter.acquire_on_behalf_of(me)
        limiter.release()
        limiter.acquire_on_behalf_of_nowait(me)
        limiter.release_on_behalf_of(me)
        async with limiter:
            with pytest.raises(RuntimeError, match="already holding"):
                limiter.acquire_on_behalf_of_nowait(me)
            assert limiter.stats().borrowers == (me,)
        permit = limiter.acquire_nowait()
        limiter.release_on_behalf_of(me)
        with pytest.raises(RuntimeError, match="released already"):
            permit.release()

    run(main())


def test_who_waits_for_a_borrower_counts_until_the_wait_is_cancelled(run: Run) -> None:
    async def main() -> None:
        limiter = tonnage.CapacityLimiter(1)
        async with limiter:
            waiting = asyncio.ensure_future(limiter.acquire_on_behalf_of("x"))
            await settle()
            with pytest.raises(RuntimeError, match="already holding"):
                await limiter.acquire_on_behalf_of("x")
            with pytest.raises(RuntimeError, match="isn't holding"):
                limiter.release_on_behalf_of("x")
            waiting.cancel()
            await settle()
            with pytest.raises(tonnage.Overloaded):
                limiter.acquire_on_behalf_of_nowait("x")
        await limiter.acquire_on_behalf_of("x")
        limiter.release_on_behalf_of("x")

    run(main())
