"""The list of tests that are known to fail, each with the reason why it cannot judge us.

`expected/3.X.json` maps the name of a test to its reason, which begins with the letter of a
category. The list only shrinks: a listed test that passes is an error, until it is removed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from process import Outcome

FOLDER = Path(__file__).with_name("expected")
CATEGORIES = {
    "W": "reads, sets or calls a private of asyncio's Python implementation",
    "M": "replaces a name inside a module of asyncio that a foreign class does not call",
    "S": "replaces a method of the loop, and expects another method to call it",
    "V": "never uses the foreign object",
    "O": "asserts what an old version did, and newer versions of asyncio changed",
    "N": "depends on the machine, and fails there on asyncio's own loop too",
}
# For example: "W: calls loop._run_once" or "O until 3.13.3: create_task() refuses eager_start".
_REASON = re.compile(r"([A-Z])(?: until (\d+)\.(\d+)\.(\d+))?: \S.*")


def read_list(version: tuple[int, int] = sys.version_info[:2]) -> dict[str, str]:
    """Return the reasons by test name that hold for this interpreter.

    Raises:
        ValueError: A reason has no known category.
    """
    path = FOLDER / f"{version[0]}.{version[1]}.json"
    if not path.exists():
        return {}
    reasons: dict[str, str] = json.loads(path.read_text())
    holding = {}
    for test, reason in reasons.items():
        parsed = _REASON.fullmatch(reason)
        if parsed is None or parsed[1] not in CATEGORIES:
            known = ", ".join(CATEGORIES)
            raise ValueError(
                f"{path.name}: {test}: write the reason as 'C: why' or 'C until 3.X.Y: why' "
                f"with C one of {known}; got {reason!r}"
            )
        until = tuple(int(number) for number in parsed.groups()[1:] if number)
        if not until or sys.version_info[:3] < until:
            holding[test] = reason
    return holding


def verdict(outcome: Outcome, reason: str | None) -> str:
    """Return `passed`, `failed`, `skipped`, `expected` or `stale` (listed, but it passes)."""
    if outcome.status == "skip":
        return "skipped"
    if outcome.is_failure:
        return "failed" if reason is None else "expected"
    # What depends on the machine may pass on another one.
    if reason is None or reason.startswith("N"):
        return "passed"
    return "stale"
