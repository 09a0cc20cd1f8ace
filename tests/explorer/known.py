"""What asyncio itself violates, and on which versions of CPython.

The table is strict both ways on the versions that were measured: the search must find exactly these kinds
of violation there. On another micro version of the same minor ones asyncio may have been repaired. With
tonnage's primitives and tasks none of them happens on any version.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

MEASURED = {(3, 10, 13), (3, 11, 7), (3, 12, 1), (3, 13, 0), (3, 14, 10)}
Minors = frozenset[tuple[int, int]]


def minors(first: int, last: int) -> Minors:
    return frozenset((3, minor) for minor in range(first, last + 1))


class Known(NamedTuple):
    """Kinds of violation that some scenarios share, and their reason."""

    why: str
    scenarios: tuple[str, ...]
    kinds: frozenset[str]
    on: Minors
    # Where it happens besides on asyncio: "mixed" if it is asyncio's task that does it.
    sides: frozenset[str] = frozenset({"asyncio"})


KNOWN = [
    Known(
        "wait_for() that completes in the turn of a cancel returns, and the cancel is gone (gh-86296)",
        ("wait_for", "wait_for_in_the_last_moment", "wait_for_lock", "wait_for_item"),
        frozenset({"swallowed cancel"}),
        minors(10, 11),
    ),
    Known(
        "a waiter that was notified and then cancelled does not hand the notification on (gh-112202)",
        ("condition",),
        frozenset({"stuck"}),
        minors(10, 12),
    ),
    Known(
        "a group with an error forgets a cancel from outside, or leaves its own behind (gh-116720)",
        (
            "group_with_a_failing_child",
            "group_with_failing_children",
            "group_in_group_of_one_task",
            "failing_groups_of_one_task",
        ),
        frozenset({"swallowed cancel", "unbalanced"}),
        minors(11, 12),
    ),
    Known(
        "a group whose body has failed forgets a cancel from outside (gh-116720)",
        ("group_with_a_failing_body",),
        frozenset({"swallowed cancel"}),
        minors(11, 12),
    ),
    Known(
        "gather() gives its waiter the error of a child that failed in the turn of the cancel instead",
        ("gather_that_fails_for_who_goes_on",),
        frozenset({"swallowed cancel"}),
        minors(10, 99),
        frozenset({"asyncio", "mixed"}),
    ),
]


def mismatch(scenario: str, side: str, found: set[str]) -> str:
    """Say how what was found differs from the table for the running version; "" if it does not."""
    version = sys.version_info[:3]
    known_here: set[str] = set()
    for known in KNOWN:
        if scenario in known.scenarios and version[:2] in known.on and side in known.sides:
            known_here.update(known.kinds)
    wanted = known_here if version in MEASURED else set()
    extra, missing = found - known_here, wanted - found
    lines = [f"not in known.py: {', '.join(sorted(extra))}"] if extra else []
    lines += [f"in known.py, but not found: {', '.join(sorted(missing))}"] if missing else []
    return "\n".join(lines)
