"""Each scenario in every order of ready things, with a cancel at every await: nothing is lost.

asyncio's own primitives run as the oracle: they must violate exactly what `known.py` says for the running
version, and tonnage's must not. A failure prints the plan and one line that replays it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from . import scenarios  # noqa: F401
from .drivers import SIDES, Permuted, Side
from .known import KNOWN, mismatch
from .report import failure
from .scenario import SCENARIOS
from .search import Budget, explore
from .world import World

BUDGETS = {
    "asyncio": Budget(),
    "tonnage": Budget(),
    "mixed": Budget(orders=150, cancels_in_orders=200, orders_after_cancel=200, pairs=300, triples=400),
    "native": Budget(),
}
# 3.10's own task counts no cancels, so there these work with tonnage's tasks only.
COUNTING = {"TaskGroup", "timeout", "timeout_at", "wait_for", "move_on_after"}
# What asyncio's own task cannot do at all.
DEFERRING = {"shield_scope"}


@pytest.fixture
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    made = SIDES[request.param]()
    yield made
    made.close()
    gc.collect()
    # The tasks and the primitives of a run are one cycle, and die together. A reference or two may be given
    # back at the next call of PyO3 only.
    live = len(World.live)
    World.live.clear()
    assert live <= 5, "runs that cannot be freed"


def skip_if_absent(side: Side, name: str) -> None:
    found = SCENARIOS[name]
    if not found.runs_on(side.names):
        pytest.skip(f"{side.names.__name__} lacks {found.needs or name} here")
    roots = {path.partition(".")[0] for path in found.needs}
    if side.label == "mixed" and sys.version_info < (3, 11) and roots & COUNTING:
        pytest.skip("asyncio's task cannot count its cancels")
    if side.label == "mixed" and roots & DEFERRING:
        pytest.skip("asyncio's task cannot defer its cancels")


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES, indirect=True)
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_nothing_is_lost_in_any_order(name: str, side: Side) -> None:
    skip_if_absent(side, name)
    found = explore(side, SCENARIOS[name].build, BUDGETS[side.label])
    print(
        f"{name} on {side.label}: {found.orders} orders, {found.singles} single cancels, "
        f"{found.pairs} pairs, {found.triples} triples, {found.runs} runs"
    )
    wrong = mismatch(name, side.label, set(found.first))
    assert not wrong, f"{wrong}\n{failure(name, side.label, found)}"
    # A search of a single order would prove nothing.
    permuted = isinstance(side, Permuted)
    assert found.orders >= (20 if permuted else 3), found
    assert found.singles >= (8 if permuted else 5), found
    assert found.pairs >= (15 if permuted else 6), found


def test_known_violations_name_scenarios() -> None:
    assert {name for known in KNOWN for name in known.scenarios} <= set(SCENARIOS)
