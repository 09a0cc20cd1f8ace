"""A process with one event loop, kept alive so that rounds of all loops interleave.

It reads one JSON object a line, and answers with one. `{"operation", "count",
"repeats"}` runs the operation that often and answers with the least CPU time of
the process in nanoseconds. While it waits for a line it uses no CPU.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from time import process_time_ns

from loops import LOOPS
from operations import OPERATIONS, Operation


async def timed(operation: Operation, names: object, count: int) -> int:
    started = process_time_ns()
    await operation.run(names, count)  # type: ignore[arg-type]
    return process_time_ns() - started


def main() -> None:
    choice = LOOPS[sys.argv[1]]
    names = choice.names()
    loop = choice.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        request = json.loads(line)
        operation = OPERATIONS[request["operation"]]
        missing = operation.missing(names)
        if missing:
            answer: dict[str, object] = {
                "skipped": f"no {', '.join(missing)} in {choice.names_module} of this Python"
            }
        else:
            gc.collect()
            least = min(
                loop.run_until_complete(timed(operation, names, request["count"]))
                for _ in range(request["repeats"])
            )
            answer = {"cpu_ns": least}
        print(json.dumps(answer), flush=True)
    loop.close()


if __name__ == "__main__":
    main()
