"""asyncio's own primitives do on our loop, with our tasks, what they do on asyncio's, turn by turn.

Each scenario runs on both loops by the same plans: no cancel, each single one, some pairs and triples,
some other orders. Who is alive at each turn, how each actor ends and what is violated must be the same.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import tonnage

from . import scenarios  # noqa: F401
from .drivers import Turned
from .plan import Plan, Trace
from .scenario import SCENARIOS
from .search import SEED

Pair = tuple[Turned, Turned]
ORDERS = 25
PAIRS = 80
TRIPLES = 40
# Our tasks count cancellations as 3.13's do on each version, and these primitives ask for the count.
COUNTING = {"TaskGroup", "timeout", "timeout_at"}


@pytest.fixture
def sides() -> Iterator[Pair]:
    """The same names on asyncio's loop and on ours."""
    found = (
        Turned("asyncio", asyncio, asyncio.SelectorEventLoop()),  # type: ignore[arg-type]
        Turned("tonnage", asyncio, tonnage.new_event_loop()),  # type: ignore[arg-type]
    )
    yield found
    for side in found:
        side.close()


def record(side: Turned, name: str, plan: Plan) -> tuple[Trace, list[Any]]:
    trace = side.run(SCENARIOS[name].build, plan)
    assert side.world is not None
    counts = [getattr(actor.task, "cancelling", int)() for actor in side.world.actors]
    if sys.version_info < (3, 11):
        counts = []  # asyncio's tasks do not count.
    seen = [trace.chosen, trace.options, trace.alive, sorted(trace.violations), side.world.outcomes(), counts]
    return trace, seen


def compare(sides: Pair, name: str, plan: Plan) -> Trace:
    (trace, theirs), (_, ours) = (record(side, name, plan) for side in sides)
    assert ours == theirs, plan
    return trace


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_our_loop_and_tasks_do_what_asyncios_do(sides: Pair, name: str) -> None:
    scenario = SCENARIOS[name]
    if not scenario.runs_on(asyncio):
        pytest.skip(f"asyncio lacks {scenario.needs or name} here")
    roots = {path.partition(".")[0] for path in scenario.needs}
    if sys.version_info < (3, 13) and roots & COUNTING:
        pytest.skip("asyncio's tasks count cancellations otherwise here")
    chance = random.Random(SEED)

    def some(plans: Iterator[Plan], limit: int) -> list[Trace]:
        found = list(plans)
        return [compare(sides, name, plan) for plan in chance.sample(found, min(limit, len(found)))]

    plain = compare(sides, name, Plan())
    some(plain.with_another_order(), ORDERS)
    singles = some(plain.with_another_cancel(), 1_000)
    pairs = some((plan for trace in singles for plan in trace.with_another_cancel()), PAIRS)
    some((plan for trace in pairs for plan in trace.with_another_cancel()), TRIPLES)
    assert len(singles) >= 5
