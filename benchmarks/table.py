"""The text tables of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from goals import SYSTEM_CALLS_PER_ROUND_TRIP, WAITING_TASK_BYTES, network_goals, operation_goals
from operations import OPERATIONS

PEERS = ("asyncio", "uvloop")
LOOPS_OF_OTHERS = "Loops of others with tonnage's own names"
KINDS = {
    "A program that swaps the loop only": {"tonnage": PEERS},
    "A program that uses tonnage's own names": {"tonnage-native": PEERS},
    LOOPS_OF_OTHERS: {"asyncio+tonnage": ("asyncio",), "uvloop+tonnage": ("uvloop",)},
}
"""The tables of operations: which loops of ours each compares, and with which of others."""

OURS = tuple(loop for ours in KINDS.values() for loop in ours)
NOTE = "These are scheduling costs: a program that waits for a network gains less."


def render(results: Mapping[str, Any]) -> str:
    """Return all tables of `results` (the JSON of a run) as text."""
    loops = results["loops"]
    parts = [machine_line(results["machine"])]
    if operations := results.get("operations"):
        parts.append(f"CPU time per operation, ns. {NOTE}")
        for heading, rows in operation_tables(operations, loops):
            parts.append(f"{heading}\n{grid(rows)}")
    if network := results.get("network"):
        parts.append("CPU time of the server per request, µs (10 connections; x1: one)")
        parts.append(grid(value_table(network, results["network_loops"], "us", network_goals)))
        if served := http_cases(network):
            parts.append("Latency of 99 of 100 requests, µs, in the best round (10 connections)")
            parts.append(grid(plain_table(served, results["network_loops"], "p99_us")))
    if calls := results.get("system_calls"):
        parts.append(f"System calls per round trip, 1 connection (goal {SYSTEM_CALLS_PER_ROUND_TRIP:g})")
        parts.append(grid(plain_table(calls, results["network_loops"], "per_round_trip")))
    if memory := results.get("memory"):
        parts.append(f"Bytes per waiting task with its future, 100,000 of them (goal {WAITING_TASK_BYTES})")
        parts.append(grid(memory_table(memory, loops)))
    if jobs := results.get("jobs"):
        parts.append("200,000 jobs of sleep(0), 20 at once, for each way to bound them")
        parts.append(grid(jobs_table(jobs)))
    if counts := results.get("instructions"):
        if "skipped" in counts:
            parts.append(f"Instructions per operation: skipped: {counts['skipped']}")
        else:
            parts.append("Instructions per operation")
            parts.append(grid(plain_table(counts, loops, "instructions")))
            parts.extend(function_profiles(counts))
    parts.extend(f"skipped: {reason}" for reason in results.get("skipped", []))
    parts.extend(failures(results))
    return "\n\n".join(parts)


def machine_line(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    built = ", ".join(f"{name} built for {profile}" for name, profile in machine["build_profiles"].items())
    optimized = "optimized" if machine["python_optimized"] else "not profile-optimized"
    return (
        f"{machine['date']}: CPython {machine['python']} ({optimized}), {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['kernel']}, nice {machine['nice']}, "
        f"load {machine['load_average'][0]}\n{versions}{'; ' if built else ''}{built}"
    )


def operation_tables(
    measured: Mapping[str, Mapping[str, Mapping[str, Any]]], loops: Sequence[str]
) -> Iterator[tuple[str, list[list[str]]]]:
    """Make one table for each kind of program that was measured, with its heading."""
    others = [loop for loop in loops if loop not in OURS]
    kinds = {heading: [loop for loop in loops if loop in kind] for heading, kind in KINDS.items()}
    kinds = {heading: ours for heading, ours in kinds.items() if ours}
    for heading, ours in kinds.items() if kinds else [("Loops of others", [])]:
        names = list(measured)
        if heading == LOOPS_OF_OTHERS:
            # Where an operation uses no name but the loop's, both would be the same.
            names = [name for name in names if OPERATIONS[name].uses() - {"get_running_loop"}]
        chosen = {name: measured[name] for name in names}
        yield heading, value_table(chosen, [*others, *ours], "ns", operation_goals)


def value_table(
    measured: Mapping[str, Mapping[str, Mapping[str, Any]]],
    loops: Sequence[str],
    key: str,
    goals_of: Callable[[str, str], Mapping[str, float]],
) -> list[list[str]]:
    """Make rows of values, of ratios to each peer, and of goals."""
    ours = [(our, peers) for kind in KINDS.values() for our, peers in kind.items() if our in loops]
    pairs = [(our, peer) for our, peers in ours for peer in peers if peer in loops]
    rows = [["", *loops, *(f"vs {peer}" for _, peer in pairs), "goal"]]
    for name, by_loop in measured.items():
        row = [name, *(shown(by_loop.get(loop, {}), key) for loop in loops)]
        row.extend(ratio_text(by_loop, our, peer, key) for our, peer in pairs)
        verdicts = [v for our, _ in ours for v in verdicts_of(by_loop, our, goals_of(our, name), key)]
        rows.append([*row, ", ".join(verdicts)])
    return rows


def http_cases(network: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the results of HTTP servers: these are the cases whose latency is shown too."""
    return {case: by_loop for case, by_loop in network.items() if case.startswith(("http-", "wrk-"))}


def failures(results: Mapping[str, Any]) -> Iterator[str]:
    """Say why each cell has no number whose loop does not say itself that it cannot do this."""
    for what in ("operations", "network", "system_calls"):
        for name, by_loop in results.get(what, {}).items():
            for loop, result in by_loop.items():
                if "failed" in result:
                    yield f"{what}: {name} {result['verdict']} on {loop}: {result['failed']}"


def ratio(by_loop: Mapping[str, Mapping[str, Any]], our: str, peer: str, key: str) -> float | None:
    ours, theirs = by_loop.get(our, {}).get(key), by_loop.get(peer, {}).get(key)
    return theirs / ours if ours and theirs else None


def ratio_text(by_loop: Mapping[str, Mapping[str, Any]], our: str, peer: str, key: str) -> str:
    found = ratio(by_loop, our, peer, key)
    return "–" if found is None else f"{found:.2f}"


def verdicts_of(
    by_loop: Mapping[str, Mapping[str, Any]], our: str, goals: Mapping[str, float], key: str
) -> Iterator[str]:
    for peer, goal in goals.items():
        found = ratio(by_loop, our, peer, key)
        if found is not None:
            yield f"{goal:g}x {peer}: {'met' if found >= goal else 'NOT MET'}"


def plain_table(
    measured: Mapping[str, Mapping[str, Mapping[str, Any]]], loops: Sequence[str], key: str
) -> list[list[str]]:
    rows = [["", *loops]]
    for name, by_loop in measured.items():
        rows.append([name, *(shown(by_loop.get(loop, {}), key) for loop in loops)])
    return rows


def memory_table(
    measured: Mapping[str, Mapping[str, Mapping[str, Any]]], loops: Sequence[str]
) -> list[list[str]]:
    keys = {"bytes": "bytes", "bytes at most": "peak_bytes", "gc.collect() meanwhile, ms": "collect_ms"}
    rows = [["", *loops]]
    for kind, by_loop in measured.items():
        for label, key in keys.items():
            rows.append([f"{kind}: {label}", *(shown(by_loop.get(loop, {}), key) for loop in loops)])
    return rows


def jobs_table(measured: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    keys = {"µs a job": "us", "MB more": "megabytes", "worst lag, ms": "lag_ms"}
    rows = [["", *keys]]
    rows.extend([name, *(shown(result, key) for key in keys.values())] for name, result in measured.items())
    return rows


def shown(result: Mapping[str, Any], key: str) -> str:
    if "failed" in result or "skipped" in result:
        return str(result.get("verdict", "none"))
    value = result.get(key)
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"
    return str(value)


def function_profiles(counts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Show where the instructions of our own operations go."""
    for name, by_loop in counts.items():
        for our in OURS:
            found = by_loop.get(our, {}).get("functions")
            if found:
                lines = [f"  {cost:>9.1f}  {function}" for function, cost in found]
                heading = f"{name} on {our}: dearest functions, instructions per operation"
                yield "\n".join([heading, *lines])


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right, but text goals to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 or rows[0][column] == "goal" else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def summaries(names: Sequence[str]) -> str:
    """Describe operations, one a line."""
    return "\n".join(f"{name}: {OPERATIONS[name].summary}" for name in names if name in OPERATIONS)
