"""Budget: retries and hedges as a share of the requests. Its times are tested in Rust."""

from __future__ import annotations

import time
from typing import Any

import pytest
import tonnage


def withdrawn(budget: tonnage.Budget) -> int:
    count = 0
    while budget.withdraw():
        count += 1
    return count


def test_requests_pay_for_their_share_of_retries() -> None:
    budget = tonnage.Budget(0.25, min_per_second=0)
    allowed = []
    for _ in range(8):
        budget.deposit()
        allowed.append(budget.withdraw())
    assert allowed == [False, False, False, True] * 2


def test_some_retries_are_there_without_any_request() -> None:
    assert withdrawn(tonnage.Budget()) == 100
    assert withdrawn(tonnage.Budget(min_per_second=3, window=2)) == 6
    assert withdrawn(tonnage.Budget(0, min_per_second=0)) == 0


def test_deposit_expires_with_the_window() -> None:
    budget = tonnage.Budget(1, min_per_second=0, window=0.02)
    budget.deposit()
    time.sleep(0.03)
    assert not budget.withdraw()


def test_numbers_that_make_no_sense_are_refused() -> None:
    kind: Any = tonnage.Budget
    for options, text in (
        ({"ratio": -0.1}, "ratio must be a finite number, 0 or more, got -0.1"),
        ({"min_per_second": float("inf")}, "min_per_second must be a finite number, 0 or more, got inf"),
        ({"ratio": float("nan")}, "ratio must be a finite number"),
        ({"window": 0}, "window must be above 0 and at most 1e9 seconds, got 0"),
        ({"window": 1e12}, "window must be above 0 and at most 1e9 seconds"),
    ):
        with pytest.raises(ValueError, match=text):
            kind(**options)
    for args, options in (((0.1, 10), {}), ((), {"ratio": "much"}), ((), {"other": 1})):
        with pytest.raises(TypeError):
            kind(*args, **options)


def test_repr_says_how_many_retries_there_may_be() -> None:
    assert repr(tonnage.Budget(min_per_second=1)) == "<Budget available=10>"


def test_subclass_may_decide_otherwise() -> None:
    class Never(tonnage.Budget):
        def withdraw(self) -> bool:
            return False

    budget = Never(0.5)
    budget.deposit()
    assert not budget.withdraw()
