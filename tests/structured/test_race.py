"""race: the first to succeed wins, and nothing of the others is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import Awaitable, turns
from .implementations import OURS, Implementation

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Run = Callable[[Any], Any]
# Longer than any test: what waits so long is started for another reason.
LATER = 3600


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, as asyncio has nothing like it."""
    implementation: Implementation = request.param
    return implementation


class Field:
    """Makes racers, and knows what became of them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def racer(
        self, name: str, after: int = 1, error: BaseException | None = None, *, clean_up: int = 0
    ) -> Callable[[], Any]:
        async def run() -> str:
            self.started.append(name)
            try:
                await turns(after)
                if error is not None:
                    raise error
                return name
            finally:
                await turns(clean_up)
                self.ended.append(name)

        return run

    def sleeper(self, name: str, *, clean_up: int = 0) -> Callable[[], Any]:
        return self.racer(name, 1_000_000, clean_up=clean_up)


@pytest.fixture
def field() -> Field:
    return Field()


async def error_of(awaitable: Any) -> BaseException:
    try:
        await awaitable
    except BaseException as error:
        return error
    raise AssertionError("did not fail")


# Who wins.


def test_first_to_succeed_wins_and_losers_are_waited_for(run: Run, field: Field, nothing_left: None) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        racers = [field.sleeper("slow", clean_up=5), field.racer("fast", 2), field.racer("third", 4)]
        assert await tonnage.race(*racers) == "fast"
        assert sorted(field.ended) == ["fast", "slow", "third"]
        assert asyncio.all_tasks() == before

    run(main())


def test_of_those_that_succeed_in_one_turn_the_first_wins(run: Run, field: Field) -> None:
    async def main() -> None:
        assert await tonnage.race(field.racer("a", 2), field.racer("b", 2), field.racer("c", 2)) == "a"

    run(main())


def test_failures_do_not_count_if_somebody_wins(run: Run, field: Field, reports: list[Any]) -> None:
    async def main() -> None:
        racers = [field.racer("a", 1, LookupError()), field.racer("b", 3), field.racer("c", 3, ValueError())]
        assert await tonnage.race(*racers) == "b"

    run(main())
    assert reports == []


def test_race_of_one_is_an_await(run: Run, field: Field) -> None:
    async def main() -> None:
        assert await tonnage.race(field.racer("only")) == "only"
        error = LookupError("only")
        assert await error_of(tonnage.race(field.racer("only", 1, error))) is error

    run(main())


def test_functions_may_return_any_awaitable(run: Run, loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        future = loop.create_future()
        loop.call_soon(future.set_result, "future")
        assert await tonnage.race(lambda: future) == "future"
        assert await tonnage.race(lambda: future, lambda: tonnage.sleep(LATER, "never")) == "future"
        assert await tonnage.race(lambda: Awaitable("awaited")) == "awaited"
        assert await tonnage.race(lambda: tonnage.sleep(0, "coroutine")) == "coroutine"
        pending = loop.create_future()
        assert await tonnage.race(lambda: pending, lambda: tonnage.sleep(0, "won")) == "won"
        assert pending.cancelled()

    run(main())


# Failure.


def test_all_errors_leave_in_the_order_of_the_functions(run: Run, field: Field, nothing_left: None) -> None:
    async def main() -> None:
        racers = [field.racer("a", 3, LookupError("a")), field.racer("b", 1, ValueError("b"))]
        error = await error_of(tonnage.race(*racers))
        assert type(error) is ExceptionGroup
        assert error.message == "all functions of race() have failed"
        assert repr(error.exceptions) == "(LookupError('a'), ValueError('b'))"

    run(main())


def test_function_that_raises_or_returns_no_awaitable_has_failed(run: Run, field: Field) -> None:
    def refuse() -> Any:
        raise LookupError("refused")

    async def main() -> None:
        assert await tonnage.race(refuse, field.racer("b"), stagger=LATER) == "b"
        assert repr(await error_of(tonnage.race(refuse))) == "LookupError('refused')"
        error = await error_of(tonnage.race(dict))
        assert str(error) == ("race() needs functions that return awaitables; <class 'dict'> returned dict")

    run(main())


def test_racer_that_ends_cancelled_has_failed(run: Run, field: Field) -> None:
    async def main() -> None:
        cancelled = asyncio.CancelledError("by itself")
        racers = [field.racer("a", 1, cancelled), field.racer("b")]
        assert await tonnage.race(*racers, stagger=LATER) == "b"
        error = await error_of(tonnage.race(racers[0], field.racer("c", 1, LookupError("c"))))
        assert repr(error) == "LookupError('c')"
        assert type(await error_of(tonnage.race(racers[0], racers[0]))) is asyncio.CancelledError
        await turns(1)

    run(main())


def test_loser_that_fails_when_it_is_cancelled_is_reported(
    run: Run, field: Field, reports: list[dict[str, Any]]
) -> None:
    async def stubborn() -> None:
        try:
            await tonnage.sleep(LATER)
        finally:
            raise LookupError("clean-up")

    async def main() -> None:
        assert await tonnage.race(stubborn, field.racer("b")) == "b"

    run(main())
    (report,) = reports
    assert report["message"] == "A function of race() failed when it was cancelled"
    assert repr(report["exception"]) == "LookupError('clean-up')"


def test_loser_that_succeeds_nevertheless_has_lost(run: Run, field: Field) -> None:
    async def stubborn() -> str:
        try:
            await tonnage.sleep(LATER)
        except asyncio.CancelledError:
            await turns(3)
        return "late"

    async def main() -> None:
        assert await tonnage.race(stubborn, field.racer("b")) == "b"

    run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at_once", [False, True])
def test_what_ends_the_program_wins(
    run: Run, loop: asyncio.AbstractEventLoop, field: Field, kind: type[BaseException], *, at_once: bool
) -> None:
    seen = []

    def fail() -> Any:
        if at_once:
            raise kind("now")
        return field.racer("end", 2, kind("now"))()

    async def main() -> None:
        seen.append(await error_of(tonnage.race(field.sleeper("a", clean_up=3), fail)))

    task = loop.create_task(main())
    if not at_once:
        with pytest.raises(kind):
            run(task)
    run(task)
    assert type(seen[0]) is kind
    assert field.ended == ([] if at_once else ["end", "a"])


# Staggered starts.


def test_next_starts_after_the_delay(run: Run, field: Field) -> None:
    async def main() -> None:
        assert (
            await tonnage.race(field.sleeper("a"), field.sleeper("b"), field.racer("c"), stagger=0.001) == "c"
        )
        assert field.started == ["a", "b", "c"]

    run(main())


def test_winner_before_the_delay_is_alone(run: Run, field: Field) -> None:
    async def main() -> None:
        assert await tonnage.race(field.racer("a", 5), field.racer("b"), stagger=LATER) == "a"
        assert field.started == ["a"]

    run(main())


def test_next_starts_at_once_after_a_failure(run: Run, field: Field, nothing_left: None) -> None:
    async def main() -> None:
        racers = [
            field.racer("a", 2, LookupError("a")),
            field.racer("b", 2, LookupError("b")),
            field.racer("c"),
            field.racer("d"),
        ]
        assert await tonnage.race(*racers, stagger=LATER) == "c"
        assert field.started == ["a", "b", "c"]
        error = await error_of(tonnage.race(*racers[:2], stagger=LATER))
        assert repr(error.exceptions) == "(LookupError('a'), LookupError('b'))"  # type: ignore[attr-defined]

    run(main())


def test_stagger_of_nothing_starts_one_each_turn(run: Run, field: Field) -> None:
    async def main() -> None:
        racers = [field.sleeper("a"), field.sleeper("b"), field.racer("c"), field.racer("d", 50)]
        assert await tonnage.race(*racers, stagger=0) == "c"
        assert field.started[:3] == ["a", "b", "c"]

    run(main())


# Budgets.


def test_each_start_after_the_first_asks_the_budget(run: Run, field: Field) -> None:
    async def main() -> None:
        budget = tonnage.Budget(0.5, min_per_second=0)
        budget.deposit()
        # The race pays for the second half.
        racers = [field.sleeper("a"), field.racer("b", 3), field.racer("c")]
        assert await tonnage.race(*racers, budget=budget) == "b"
        assert field.started == ["a", "b"]
        assert not budget.withdraw()

    run(main())


def test_budget_that_refuses_ends_the_hedging(run: Run, field: Field) -> None:
    calls = []

    class Refusing(tonnage.Budget):
        def deposit(self) -> None:
            calls.append("deposit")

        def withdraw(self) -> bool:
            calls.append("withdraw")
            return False

    async def main() -> None:
        racers = [field.racer("a", 1, LookupError("a")), field.racer("b"), field.racer("c")]
        error: Any = await error_of(tonnage.race(*racers, stagger=LATER, budget=Refusing()))
        assert repr(error) == "LookupError('a')"
        assert error.__notes__ == ["race(): the budget has refused to start 2 more"]
        assert field.started == ["a"]
        assert await tonnage.race(field.racer("d", 30), field.racer("e"), stagger=0, budget=Refusing()) == "d"

    run(main())
    assert calls == ["deposit", "withdraw"] * 2


def test_budget_that_fails_ends_the_race(run: Run, field: Field) -> None:
    class Broken(tonnage.Budget):
        def withdraw(self) -> bool:
            raise LookupError("budget")

    async def main() -> None:
        before = asyncio.all_tasks()
        error = await error_of(
            tonnage.race(field.sleeper("a", clean_up=2), field.racer("b"), budget=Broken())
        )
        assert repr(error) == "LookupError('budget')"
        assert asyncio.all_tasks() == before

    run(main())


# Cancellation.


def test_cancel_of_the_caller_ends_all_racers_first(run: Run, field: Field, nothing_left: None) -> None:
    async def main() -> None:
        for count in range(8):
            field.started.clear()
            field.ended.clear()
            racers = [field.sleeper("a", clean_up=3), field.sleeper("b"), field.sleeper("c")]
            task = asyncio.ensure_future(tonnage.race(*racers, stagger=0))
            await turns(count)
            task.cancel("enough")
            error = await error_of(task)
            assert type(error) is asyncio.CancelledError
            assert sorted(field.started) == sorted(field.ended)

    run(main())


def test_cancel_while_the_losers_end_is_not_lost(run: Run, field: Field) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(tonnage.race(field.sleeper("a", clean_up=9), field.racer("b")))
        await turns(6)
        assert field.ended == ["b"]
        task.cancel()
        assert type(await error_of(task)) is asyncio.CancelledError
        assert field.ended == ["b", "a"]

    run(main())


def test_race_that_is_closed_cancels_the_racers(run: Run, field: Field) -> None:
    async def main() -> None:
        coro: Any = tonnage.race(field.sleeper("a"), field.sleeper("b"))

        async def step() -> None:
            coro.send(None)

        await asyncio.ensure_future(step())
        await turns(2)
        coro.close()
        await turns(3)
        assert field.ended == ["a", "b"]

    run(main())


# How it is called.


def test_bad_arguments_are_refused_at_once() -> None:
    race: Any = tonnage.race
    with pytest.raises(ValueError, match="at least one function"):
        race()
    for stagger in (-1, float("nan")):
        with pytest.raises(ValueError, match="stagger must be 0 or more"):
            race(dict, stagger=stagger)
    for args, options, text in (
        ((5,), {}, "needs functions that return awaitables, got 5"),
        ((dict,), {"budget": 3}, "budget must be a Budget, got 3"),
        ((dict,), {"other": 3}, "unexpected keyword argument 'other'"),
        ((dict,), {"stagger": "soon"}, "must be real number"),
    ):
        with pytest.raises(TypeError, match=text):
            race(*args, **options)


def test_options_may_be_none(run: Run, field: Field) -> None:
    async def main() -> None:
        assert await tonnage.race(field.racer("a"), stagger=None, budget=None) == "a"

    run(main())


def test_eager_tasks_make_no_difference(run: Run, loop: asyncio.AbstractEventLoop, field: Field) -> None:
    if not isinstance(loop, tonnage.EventLoop):
        pytest.skip("eager tasks are tested on our loop")
    loop.set_task_factory(tonnage.eager_task_factory)

    async def at_once() -> str:
        return "at once"

    async def main() -> None:
        assert await tonnage.race(at_once, field.racer("b")) == "at once"
        assert field.started == []
        assert await tonnage.race(field.sleeper("a"), field.racer("b")) == "b"

    run(main())


def test_unawaited_race_warns() -> None:
    with pytest.warns(RuntimeWarning, match="coroutine 'race' was never awaited"):
        tonnage.race(dict)  # type: ignore[arg-type, unused-coroutine]
