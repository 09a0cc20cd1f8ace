"""Measure event loops against each other; README.md beside this file has the method.

python benchmarks/run.py
python benchmarks/run.py --only tg_batch,sleep0 --loops asyncio,tonnage --rounds 30
python benchmarks/run.py --only 'tcp-*-1K,memory' --json out.json
python benchmarks/run.py --only network,calls
python benchmarks/run.py --instructions --only tg_batch
python benchmarks/run.py --loops asyncio,asyncio+tonnage,uvloop,uvloop+tonnage
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import instructions
import jobs
import machine
import network
import scheduling
import system_calls
import table
import waiting_memory
from loops import DEFAULT_LOOPS, LOOPS, NETWORK_LOOPS, differ_in_loop, differ_in_names
from operations import OPERATIONS

INSTRUCTION_OPERATIONS = ("tg_batch", "sleep0", "callsoon", "future", "await_task", "timeout", "timer")


GROUPS = ("operations", "network")


def say(text: str) -> None:
    """Tell the person who waits; the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure event loops against each other.",
        epilog=f"Names: {', '.join([*OPERATIONS, 'memory', 'calls', 'jobs', *network.CASES])}. "
        f"Groups of them: {', '.join(GROUPS)}.",
    )
    parser.add_argument("--only", metavar="NAMES", help="names or patterns such as tg_*, comma-separated")
    parser.add_argument(
        "--loops",
        metavar="NAMES",
        help=f"of {', '.join(LOOPS)} (default: {', '.join(DEFAULT_LOOPS)}; "
        f"for servers: {', '.join(NETWORK_LOOPS)})",
    )
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each operation (default: 25)")
    parser.add_argument("--quick", action="store_true", help="3 rounds: to see that it runs, not to judge")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead")
    parser.add_argument("--client", type=Path, metavar="FILE", help="a built load_client (default: build it)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 3
    return arguments


def skip(skipped: list[str], what: str, reason: str) -> None:
    """Remember what is not measured, and say so."""
    skipped.append(f"{what}: {reason}")
    say(f"SKIPPED {skipped[-1]}")


def present_loops(names: Iterable[str], skipped: list[str]) -> list[str]:
    """Return the loops that work here; name the others in `skipped`, and aloud."""
    present = []
    for name in dict.fromkeys(names):
        if name not in LOOPS:
            sys.exit(f"run.py: no loop is called {name!r}; there are {', '.join(LOOPS)}")
        reason = LOOPS[name].missing()
        if reason is None:
            present.append(name)
        else:
            skip(skipped, name, reason)
    return present


def select(names: Iterable[str], only: str | None, group: str = "") -> list[str]:
    """Return those of `names` that are asked for, by name, by pattern or with their group."""
    patterns = only.split(",") if only is not None else [group]
    if group in patterns:
        return list(names)
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def present_cases(names: Iterable[str], skipped: list[str]) -> list[network.Case]:
    """Return the cases that can be measured here; name the others in `skipped`, and aloud."""
    present = []
    for case in (network.CASES[name] for name in names):
        reason = network.missing(case)
        if reason is None:
            present.append(case)
        else:
            skip(skipped, case.name, reason)
    return present


def measure_network(
    results: dict[str, Any], loops: list[str], arguments: argparse.Namespace, skipped: list[str]
) -> None:
    cases = present_cases(select(network.CASES, arguments.only, "network"), skipped)
    traced = present_cases(system_calls.CASES if select(["calls"], arguments.only) else (), skipped)
    if arguments.quick:
        cases = [network.quick(case) for case in cases]
    if not cases and not traced:
        return
    client: Path | None
    try:
        client = arguments.client or network.build_client()
    except subprocess.CalledProcessError as error:
        client = None
        say(f"network: {error}")
    if client is None:
        skip(skipped, "network", "the client cannot be built (is cargo installed?)")
        return
    results["network_loops"] = loops
    if cases:
        results["network"] = network.measure(cases, loops, arguments.rounds, client, say)
    if traced:
        reason = system_calls.missing()
        if reason is None:
            results["system_calls"] = system_calls.measure(traced, loops, client, say)
        else:
            skip(skipped, "system calls", reason)


def measure_instructions(results: dict[str, Any], loops: list[str], only: str | None) -> None:
    reason = instructions.missing()
    if reason is not None:
        results["instructions"] = {"skipped": reason}
        return
    names = select(OPERATIONS, only) if only else INSTRUCTION_OPERATIONS
    results["instructions"] = instructions.measure([OPERATIONS[name] for name in names], loops, say)


def main() -> None:
    arguments = parse_arguments()
    skipped: list[str] = []
    asked_for = arguments.loops.split(",") if arguments.loops else None
    wanted_network = [
        *select(network.CASES, arguments.only, "network"),
        *select(["calls"], arguments.only),
    ]
    more = NETWORK_LOOPS if wanted_network and not arguments.instructions else ()
    wanted = asked_for or [name for name in LOOPS if name in {*DEFAULT_LOOPS, *more}]
    found = present_loops(wanted, skipped)
    loops = differ_in_names([name for name in found if asked_for or name in DEFAULT_LOOPS])
    network_loops = differ_in_loop([name for name in found if asked_for or name in NETWORK_LOOPS])
    results: dict[str, Any] = {
        "machine": machine.describe(found, machine.raise_priority()),
        "loops": loops,
        "rounds": arguments.rounds,
        "skipped": skipped,
    }
    if arguments.instructions:
        measure_instructions(results, loops, arguments.only)
    else:
        operations = [OPERATIONS[name] for name in select(OPERATIONS, arguments.only, "operations")]
        if operations:
            results["operations"] = scheduling.measure(operations, loops, arguments.rounds, say)
        if select(["memory"], arguments.only):
            say("memory")
            results["memory"] = waiting_memory.measure(loops)
        if select(["jobs"], arguments.only):
            results["jobs"] = jobs.measure(list(jobs.WAYS), min(arguments.rounds, jobs.ROUNDS), say)
        measure_network(results, network_loops, arguments, skipped)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(table.render(results))


if __name__ == "__main__":
    main()
