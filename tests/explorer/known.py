"""What asyncio itself violates, and on which versions of CPython.

The table is strict both ways: on these versions the search must find exactly these kinds of violation,
on all others none. What is not marked `ours` must not happen on tonnage's primitives on any version.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

Version = tuple[int, ...]


class Known(NamedTuple):
    """A kind of violation of one scenario."""

    scenario: str
    kind: str
    on: Callable[[Version], bool]
    why: str
    # tonnage follows asyncio here on purpose.
    ours: bool = False


KNOWN = [
    Known(
        "gather_that_fails_for_who_goes_on",
        "swallowed cancel",
        lambda _: True,
        "gather() gives its waiter the error of a child that failed in the turn of the cancel",
        ours=True,
    ),
]


def expected(scenario: str, *, on_asyncio: bool) -> set[str]:
    """Return the kinds of violation that this scenario must show on the running version."""
    version = sys.version_info[:3]
    return {
        known.kind
        for known in KNOWN
        if known.scenario == scenario and known.on(version) and (on_asyncio or known.ours)
    }
