"""CPU time of each operation on each loop: interleaved rounds, minimum of rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from typing import Any

from child import Child, ChildError, NotSupportedError
from operations import Operation

Result = dict[str, Any]
LARGE = 2000
"""From this count on, one execution is long enough to be a round of its own."""

ROUNDS_OF_A_PROCESS = 5
"""Then each loop gets a new one: where code and objects lie in it is chance, and worth several percent."""

PATIENCE_S = 120.0
"""A worker that says nothing for so long has hung."""


def measure(
    operations: Sequence[Operation], loops: Sequence[str], rounds: int, say: Callable[[str], None]
) -> dict[str, dict[str, Result]]:
    """Return nanoseconds per operation: `{operation: {loop: {"ns": …}}}`."""
    results: dict[str, dict[str, Result]] = {operation.name: {} for operation in operations}
    for first in range(1, rounds + 1, ROUNDS_OF_A_PROCESS):
        with ExitStack() as stack:
            workers = {loop: start(stack, loop) for loop in loops}
            for number in range(first, min(first + ROUNDS_OF_A_PROCESS, rounds + 1)):
                say(f"operations: round {number} of {rounds}")
                for operation, loop in product(operations, loops):
                    try:
                        run_once(workers[loop], operation, results[operation.name].setdefault(loop, {}))
                    except NotSupportedError as error:
                        results[operation.name][loop] = Child.outcome(error)
                    except ChildError as error:
                        say(f"operations: {loop} failed in {operation.name}: {error}")
                        results[operation.name][loop] = Child.outcome(error)
                        workers[loop].close()
                        workers[loop] = start(stack, loop)
    return results


def start(stack: ExitStack, loop: str) -> Child:
    """Start a process with one loop, which ends with `stack`."""
    return stack.enter_context(Child.python("worker.py", loop, patience_s=PATIENCE_S))


def run_once(worker: Child, operation: Operation, result: Result) -> None:
    """Add one round to `result`, which keeps the least."""
    if "skipped" in result or "failed" in result:
        return
    repeats = 2 if operation.count >= LARGE else 5
    answer = worker.ask({"operation": operation.name, "count": operation.count, "repeats": repeats})
    per_operation = answer["cpu_ns"] / operation.count
    result["ns"] = round(min(per_operation, result.get("ns", per_operation)), 1)
    result.setdefault("rounds_ns", []).append(round(per_operation, 1))
