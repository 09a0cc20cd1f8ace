"""Write the tables of a run into the docs: `report.py RESULTS.json docs/benchmarks.md`.

The page keeps its own text; what stands between the two marker comments is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from goals import SYSTEM_CALLS_PER_ROUND_TRIP, WAITING_TASK_BYTES, network_goals
from operations import OPERATIONS
from table import (
    NOTE,
    http_cases,
    jobs_table,
    machine_line,
    memory_table,
    operation_tables,
    plain_table,
    value_table,
)

BEGIN = "<!-- benchmark results: begin -->"
END = "<!-- benchmark results: end -->"


def section(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    return "\n\n".join(parts(results))


def parts(results: Mapping[str, Any]) -> Iterator[str]:
    loops = results["loops"]
    yield machine_line(results["machine"]).replace("\n", ". ") + "."
    if operations := results.get("operations"):
        yield "## Scheduling operations"
        yield f"CPU time per operation in nanoseconds, minimum of {rounds_of(operations)} rounds. {NOTE}"
        for heading, rows in operation_tables(operations, loops):
            yield f"### {heading}"
            yield markdown(rows, describe_operation)
    if network := results.get("network"):
        yield "## Servers"
        yield "CPU time of the server per request in microseconds, 10 connections (`x1`: one)."
        yield markdown(value_table(network, results["network_loops"], "us", network_goals))
        if served := http_cases(network):
            yield (
                "Latency of 99 of 100 requests in microseconds, in the best round; the client keeps "
                "one request in flight on each of 10 connections."
            )
            yield markdown(plain_table(served, results["network_loops"], "p99_us"))
    if calls := results.get("system_calls"):
        yield "## System calls"
        yield f"Calls per round trip on one connection; the goal is {SYSTEM_CALLS_PER_ROUND_TRIP:g}."
        yield markdown(plain_table(calls, results["network_loops"], "per_round_trip"))
    if memory := results.get("memory"):
        yield "## Memory"
        yield (
            "Resident bytes for each of 100,000 waiting tasks, with its coroutine and its future; "
            f"the goal is {WAITING_TASK_BYTES}."
        )
        yield markdown(memory_table(memory, loops))
    if jobs := results.get("jobs"):
        yield "## Many jobs, 20 at once"
        yield "200,000 jobs of `sleep(0)`, for each way to bound them. `benchmarks/jobs.py` has them all."
        yield markdown(jobs_table(jobs))
    counts = results.get("instructions")
    if counts and "skipped" not in counts:
        yield "## Instructions per operation"
        yield markdown(plain_table(counts, loops, "instructions"), describe_operation)


def rounds_of(operations: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> int:
    """Count the rounds that were measured: the files that are merged may differ in it."""
    results = (result for by_loop in operations.values() for result in by_loop.values())
    return max((len(result.get("rounds_ns", [])) for result in results), default=0)


def describe_operation(name: str) -> str:
    return f"`{name}`: {OPERATIONS[name].summary}"


def markdown(rows: Sequence[Sequence[str]], describe: Any = str) -> str:
    header, *body = rows
    lines = [line(header), "|---|" + "---:|" * (len(header) - 1)]
    lines.extend(line([describe(row[0]), *row[1:]]) for row in body)
    return "\n".join(lines)


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def replace_section(page: str, text: str) -> str:
    """Return `page` with `text` between the markers, which are added at its end if absent."""
    marked = f"{BEGIN}\n\n{text}\n\n{END}"
    if BEGIN not in page:
        return f"{page.rstrip()}\n\n{marked}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + marked + after


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: report.py RESULTS.json... PAGE.md")
    *sources, target = map(Path, sys.argv[1:])
    results: dict[str, Any] = {}
    for source in sources:
        results |= json.loads(source.read_text())
    page = target.read_text() if target.exists() else "# Benchmarks\n"
    target.write_text(replace_section(page, section(results)))


if __name__ == "__main__":
    main()
