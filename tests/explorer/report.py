"""Say which plan violated what, how often, and how to run it again."""

from __future__ import annotations

from .drivers import SIDES
from .plan import Plan
from .scenario import SCENARIOS
from .search import SEED, Found


def failure(scenario: str, side: str, found: Found) -> str:
    """Describe the first violation of each kind, one line to replay each."""
    lines = [f"{scenario} on {side}: {found.runs} runs, seed {SEED}"]
    for kind, trace in found.first.items():
        lines += [
            f"{kind}, in {found.count[kind]} runs; in the first: {trace.violations[kind]}",
            f"  choices {trace.plan.choices}, cancels {trace.plan.cancels}",
            f"  replay: PYTHONPATH=tests python -m explorer {scenario} {side} {trace.plan}",
        ]
    return "\n".join(lines)


def replay(scenario: str, side_label: str, plan: Plan) -> list[str]:
    """Run one plan, and return its story and its violations."""
    side = SIDES[side_label]()
    side.story = story = []
    try:
        trace = side.run(SCENARIOS[scenario].build, plan)
    finally:
        side.close()
    return [*story, *(f"violated: {kind}: {detail}" for kind, detail in trace.violations.items())]
