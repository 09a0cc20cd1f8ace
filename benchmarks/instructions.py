"""Instructions per operation, counted by valgrind's callgrind.

A count does not depend on what else the machine does, so CI can watch it. Each
operation runs twice in processes of their own, once N and once 2N times; the
difference over N leaves out start-up, warm-up and shutdown. The same difference
for each function shows where an operation's instructions go.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from child import HERE
from operations import OPERATIONS, Operation

FUNCTIONS_SHOWN = 25
COMPRESSED = re.compile(r"\((\d+)\)(?: (.*))?")


def missing() -> str | None:
    """Say why instructions cannot be counted here, or return None."""
    return None if shutil.which("valgrind") else "no valgrind"


def measure(
    operations: Sequence[Operation], loops: Sequence[str], say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `{operation: {loop: {"instructions", "functions": [[name, instructions]]}}}`."""
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for operation in operations:
        results[operation.name] = {}
        for loop in loops:
            say(f"instructions: {operation.name} on {loop}")
            results[operation.name][loop] = count(operation, loop)
    return results


def count(operation: Operation, loop: str) -> dict[str, Any]:
    rounds = max(1, 2000 // operation.count)
    try:
        once, twice = (functions(operation, loop, rounds * factor) for factor in (1, 2))
    except subprocess.SubprocessError as error:
        return {"failed": str(error)}
    times = rounds * operation.count
    twice.subtract(once)
    dearest = [[name, round(cost / times, 1)] for name, cost in twice.most_common(FUNCTIONS_SHOWN)]
    return {"instructions": round(twice.total() / times), "functions": dearest}


def functions(operation: Operation, loop: str, rounds: int) -> Counter[str]:
    """Return the instructions of each function in a process that runs the operation `rounds` times."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "callgrind"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={report}",
            "--compress-pos=no",
            sys.executable,
            str(HERE / "instructions.py"),
            loop,
            operation.name,
            str(rounds),
        ]
        # One order of dictionaries and sets in both runs.
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            raise subprocess.SubprocessError(done.stderr.strip().splitlines()[-1])
        return parse(report.read_text())


def parse(report: str) -> Counter[str]:
    """Sum callgrind's self cost by `object:function`.

    Names are compressed: `fn=(3) name` defines, `fn=(3)` refers. The line after
    `calls=` is what the callee cost, and is left out.
    """
    costs: Counter[str] = Counter()
    names: dict[tuple[str, str], str] = {}
    current = {"ob": "?", "fn": "?"}
    is_call_cost = False
    for line in report.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in {"ob", "fn", "cob", "cfn", "cfi", "cfl", "fl", "fi", "fe"}:
            name = expand(names, key, value)
            if key in current:
                current[key] = name
        elif key == "calls":
            is_call_cost = True
        elif line[:1].isdigit():
            if not is_call_cost:
                costs[f"{Path(current['ob']).name}:{current['fn']}"] += int(line.split()[1])
            is_call_cost = False
    return costs


def expand(names: dict[tuple[str, str], str], key: str, value: str) -> str:
    """Return the full name, and remember it where it is defined."""
    kind = {"ob": "ob", "cob": "ob", "fn": "fn", "cfn": "fn"}.get(key, "file")
    found = COMPRESSED.fullmatch(value)
    if found is None:
        return value
    number, name = found.groups()
    if name is not None:
        names[kind, number] = name
    return names.get((kind, number), value)


def main() -> None:
    """Run one operation under valgrind: `instructions.py LOOP OPERATION ROUNDS`."""
    import asyncio

    from loops import LOOPS

    choice, operation, rounds = LOOPS[sys.argv[1]], OPERATIONS[sys.argv[2]], int(sys.argv[3])
    loop = choice.new_event_loop()
    asyncio.set_event_loop(loop)
    names = choice.names()

    async def repeat() -> None:
        for _ in range(rounds + 1):
            await operation.run(names, operation.count)

    loop.run_until_complete(repeat())
    loop.close()


if __name__ == "__main__":
    main()
