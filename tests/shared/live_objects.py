"""Our objects that are alive, class by class: none outlives the test that made it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import tonnage


def all_let_go() -> Iterator[None]:
    """Yield once, and see that what is made meanwhile is gone afterwards."""
    gc.collect()
    before: dict[str, int] = tonnage._tonnage._live_objects()
    yield
    gc.collect()
    after: dict[str, int] = tonnage._tonnage._live_objects()
    assert {name: after[name] - count for name, count in before.items() if after[name] > count} == {}
