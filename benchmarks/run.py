"""Measure event loops against each other; README.md beside this file has the method.

python benchmarks/run.py
python benchmarks/run.py --only tg_batch,sleep0 --loops asyncio,tonnage --rounds 30
python benchmarks/run.py --only 'tcp-*-1K,memory' --json out.json
python benchmarks/run.py --instructions --only tg_batch
python benchmarks/run.py --loops asyncio,asyncio+tonnage,uvloop,uvloop+tonnage
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
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
from loops import DEFAULT_LOOPS, LOOPS, differ_in_loop
from operations import OPERATIONS

SYSTEM_CALL_CASES = ("tcp-proto-1K", "tcp-streams-1K", "tcp-sockets-1K", "http-uvicorn")
INSTRUCTION_OPERATIONS = ("tg_batch", "sleep0", "callsoon", "future", "await_task", "timeout", "timer")


def say(text: str) -> None:
    """Tell the person who waits; the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure event loops against each other.",
        epilog=f"Names: {', '.join([*OPERATIONS, 'memory', 'calls', 'jobs', *network.CASES])}.",
    )
    parser.add_argument("--only", metavar="NAMES", help="names or patterns such as tg_*, comma-separated")
    parser.add_argument("--loops", default=",".join(DEFAULT_LOOPS), help=f"of {', '.join(LOOPS)}")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each operation (default: 25)")
    parser.add_argument("--quick", action="store_true", help="3 rounds: to see that it runs, not to judge")
    parser.add_argument("--instructions", action="store_true", help="count instructions instead")
    parser.add_argument("--client", type=Path, metavar="FILE", help="a built load_client (default: build it)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 3
    return arguments


def present_loops(names: Iterable[str], skipped: list[str]) -> list[str]:
    """Return the loops that work here; name the others in `skipped`, and aloud."""
    present = []
    for name in names:
        if name not in LOOPS:
            sys.exit(f"run.py: no loop is called {name!r}; there are {', '.join(LOOPS)}")
        reason = LOOPS[name].missing()
        if reason is None:
            present.append(name)
        else:
            skipped.append(f"{name}: {reason}")
            say(f"SKIPPED {skipped[-1]}")
    return present


def select(names: Iterable[str], only: str | None) -> list[str]:
    if only is None:
        return list(names)
    patterns = only.split(",")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def measure_network(
    results: dict[str, Any], loops: list[str], arguments: argparse.Namespace, skipped: list[str]
) -> None:
    cases = [network.CASES[name] for name in select(network.CASES, arguments.only)]
    calls = [
        replace(network.CASES[name], connections=1)
        for name in SYSTEM_CALL_CASES
        if select(["calls"], arguments.only)
    ]
    if not cases and not calls:
        return
    client: Path | None
    try:
        client = arguments.client or network.build_client()
    except subprocess.CalledProcessError as error:
        client = None
        say(f"network: {error}")
    if client is None:
        skipped.append("network: the client cannot be built (is cargo installed?)")
        say(f"SKIPPED {skipped[-1]}")
        return
    if cases:
        results["network"] = network.measure(cases, loops, arguments.rounds, client, say)
    if calls:
        reason = system_calls.missing()
        if reason is None:
            results["system_calls"] = system_calls.measure(calls, loops, client, say)
        else:
            skipped.append(f"system calls: {reason}")
            say(f"SKIPPED {skipped[-1]}")


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
    loops = present_loops(arguments.loops.split(","), skipped)
    results: dict[str, Any] = {
        "machine": machine.describe(loops, machine.raise_priority()),
        "loops": loops,
        "rounds": arguments.rounds,
        "skipped": skipped,
    }
    if arguments.instructions:
        measure_instructions(results, loops, arguments.only)
    else:
        operations = [OPERATIONS[name] for name in select(OPERATIONS, arguments.only)]
        if operations:
            results["operations"] = scheduling.measure(operations, loops, arguments.rounds, say)
        if select(["memory"], arguments.only):
            say("memory")
            results["memory"] = waiting_memory.measure(loops)
        if select(["jobs"], arguments.only):
            results["jobs"] = jobs.measure(list(jobs.WAYS), min(arguments.rounds, jobs.ROUNDS), say)
        measure_network(results, differ_in_loop(loops), arguments, skipped)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print(table.render(results))


if __name__ == "__main__":
    main()
