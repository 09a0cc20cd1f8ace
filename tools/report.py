"""Show what the steps found, as a table and a closing line.

Usage: report.py [GROUP ...] [--failed GROUP ...]
A group named by --failed ended with an error: if none of its steps says so,
it counts as one failure.
"""

from __future__ import annotations

import argparse
import sys

from steps import Result, saved


def show(*groups: str, also_failed: tuple[str, ...] = ()) -> int:
    """Print the table of these groups, and return the exit code."""
    results = [result for group in groups or (None,) for result in saved(group)]
    for group in also_failed:
        if not any(result.failed for result in results if result.group == group):
            results.append(Result(group, "(the step itself)", failed=1, note="ended with an error"))
    width = max((len(result.name) for result in results), default=0)
    print()
    for result in results:
        counts = f"{result.passed:>6} passed {result.failed:>5} failed {result.skipped:>5} skipped"
        line = f"  {result.group:<12} {result.name:<{width}} {counts} {result.seconds:>7.1f} s  {result.note}"
        print(line.rstrip())
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    skipped = sum(result.skipped for result in results)
    print()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return int(failed > 0 or passed == 0)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show what the last steps found.")
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--failed", nargs="*", default=[])
    options = parser.parse_args()
    return show(*options.groups, also_failed=tuple(options.failed))


if __name__ == "__main__":
    sys.exit(main())
