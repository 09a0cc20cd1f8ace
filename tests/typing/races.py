"""The types of race() and Budget; only type checkers read it."""

from __future__ import annotations

import tonnage
from typing_extensions import assert_type


async def connect(host: str) -> int:
    return len(host)


async def races() -> None:
    assert_type(await tonnage.race(lambda: connect("a"), lambda: connect("b")), int)
    budget = tonnage.Budget(0.1, min_per_second=1, window=60.0)
    assert_type(await tonnage.race(lambda: tonnage.sleep(1, "a"), stagger=0.1, budget=budget), str)
    await tonnage.race(*[lambda: connect("a")], stagger=None, budget=None)


def budgets(budget: tonnage.Budget) -> None:
    budget.deposit()
    assert_type(budget.withdraw(), bool)
