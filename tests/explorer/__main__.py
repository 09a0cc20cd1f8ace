"""Run one plan of one scenario again: SCENARIO SIDE CHOICES CANCELS, as a failure prints them."""

from __future__ import annotations

import sys

from . import scenarios  # noqa: F401
from .plan import Plan
from .report import replay


def main() -> int:
    """Print what happens; return 1 if something is violated, 2 without the four words."""
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    scenario, side, choices, cancels = sys.argv[1:]
    lines = replay(scenario, side, Plan.parse(choices, cancels))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
