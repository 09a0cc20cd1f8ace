"""The list of tests that are known to fail, each with the reason why it cannot judge us.

`expected/3.X.json` maps the name of a test to its reason, which begins with the letter of a
category. `structured-3.X.json` adds what fails only with the structured classes in place, and
`newest-3.X.json` is for the files of a newer CPython. The lists only shrink: a listed test that
passes is an error, until it is removed.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from process import Outcome
from substitution import PARTS

FOLDER = Path(__file__).with_name("expected")
CATEGORIES = {
    "W": "reads, sets or calls a private of asyncio's Python implementation",
    "M": "replaces a name inside a module of asyncio that a foreign class does not call",
    "S": "replaces a method of the loop, and expects another method to call it",
    "V": "never uses the foreign object",
    "O": "asserts what an old version did, and newer versions of asyncio changed",
    "I": "needs a newer interpreter, or what an older one's asyncio lacks and we do not replace",
    "N": "depends on the machine, and fails there on asyncio's own loop too",
}
# For example: "W: calls loop._run_once" or "O until 3.13.3: create_task() refuses eager_start".
_REASON = re.compile(r"([A-Z])(?: until (\d+)\.(\d+)\.(\d+))?: \S.*")


def reasons(parts: list[str], suite: str) -> tuple[dict[str, str], set[str]]:
    """Return the reasons that hold for a run, and which of its listed tests must fail.

    Raises:
        ValueError: A reason has no known category.
    """
    if suite:
        newest = _read_list("newest-")
        return newest, set(newest) if set(parts) == set(PARTS) else set()
    found = _read_list("")
    if "structured" not in parts:
        # One part alone may pass more.
        return found, set(found) if {"loop", "tasks"} <= set(parts) else set()
    structured = _read_list("structured-")
    return {**found, **structured}, set(structured)


def _read_list(kind: str) -> dict[str, str]:
    """Return the reasons by test name that hold for this interpreter."""
    path = FOLDER / f"{kind}{sys.version_info[0]}.{sys.version_info[1]}.json"
    if not path.exists():
        return {}
    listed: dict[str, str] = json.loads(path.read_text())
    holding = {}
    for test, reason in listed.items():
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
    # What depends on the machine may pass on another one; what an interpreter lacks, a later release
    # of the same version may have.
    if reason is None or reason.startswith(("I", "N")):
        return "passed"
    return "stale"
