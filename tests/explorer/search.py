"""List the plans of a scenario, run each, and keep the first violation of each kind.

Orders are listed by the number of decisions in which they differ from a plain loop's (iterative context
bounding: Musuvathi and Qadeer, PLDI 2007), so the simplest that fails is found first. Then each single
cancel in the plain order, cancels in other orders and other orders after a cancel, each pair, and random
triples in random orders. A list that is longer than its bound is sampled with a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from .drivers import Scenario, Side
from .plan import Plan, Trace

SEED = 20_250_101


class Budget(NamedTuple):
    """How many runs of each sort at most; a primitive has several scenarios, so 2,000 triples or more."""

    orders: int = 300
    cancels_in_orders: int = 500
    orders_after_cancel: int = 500
    pairs: int = 2_500
    triples: int = 1_000


class Found(NamedTuple):
    """How many runs there were of each sort, and the first trace of each kind of violation."""

    orders: int
    singles: int
    pairs: int
    triples: int
    runs: int
    first: dict[str, Trace]
    count: dict[str, int]


class Search:
    """One search: the runs so far, and what they violated."""

    def __init__(self, side: Side, scenario: Scenario) -> None:
        self.side = side
        self.scenario = scenario
        self.chance = random.Random(SEED)
        self.runs = 0
        self.first: dict[str, Trace] = {}
        self.count: dict[str, int] = {}

    def keep(self, trace: Trace) -> Trace:
        self.runs += 1
        for kind in trace.violations:
            self.first.setdefault(kind, trace)
            self.count[kind] = self.count.get(kind, 0) + 1
        return trace

    def run(self, plans: Iterable[Plan], limit: int) -> list[Trace]:
        found = list(plans)
        if len(found) > limit:
            found = self.chance.sample(found, limit)
        return [self.keep(self.side.run(self.scenario, plan)) for plan in found]


def explore(side: Side, scenario: Scenario, budget: Budget) -> Found:
    """Run the scenario in all ways that the budget allows."""
    search = Search(side, scenario)
    plain = search.run([Plan()], 1)
    orders = last = plain
    while last and len(orders) < budget.orders:
        last = search.run(
            (plan for trace in last for plan in trace.with_another_order()), budget.orders - len(orders)
        )
        orders = orders + last
    singles = search.run(plain[0].with_another_cancel(), 10_000)
    in_orders = search.run(
        (plan for trace in orders[1:] for plan in trace.with_another_cancel()), budget.cancels_in_orders
    )
    search.run(
        (plan for trace in singles + in_orders for plan in trace.with_another_order()),
        budget.orders_after_cancel,
    )
    pairs = search.run((plan for trace in singles for plan in trace.with_another_cancel()), budget.pairs)
    length = len(plain[0].alive)
    for _ in range(budget.triples):
        search.keep(side.run(scenario, Plan(), search.chance, length))
    return Found(
        len(orders), len(singles), len(pairs), budget.triples, search.runs, search.first, search.count
    )
