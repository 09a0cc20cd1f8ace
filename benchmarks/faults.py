"""Make servers of each loop suffer, and write docs/faults.md.

    python tools/run_release.py benchmarks/faults.py            # some ten minutes
    python benchmarks/faults.py --only descriptors,burst --page /tmp/faults.md

It needs strace, room for 20,000 open files, and 2 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import fault_cases as cases
import machine
from loops import DEFAULT_LOOPS, LOOPS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "faults.md"
BEGIN, END = "<!-- fault results: begin -->", "<!-- fault results: end -->"
COLUMNS = ["asyncio", "uvloop", "rloop", "tonnage"]
TASKS = 1_000_000

Case = Callable[[str], str]
CASES: dict[str, tuple[str, Case]] = {
    "descriptors": ("out of descriptors: 60 clients, room for 10", cases.descriptors),
    "eintr": ("every third epoll_wait interrupted (EINTR)", cases.interrupted),
    "enobufs": ("no buffers for one send (ENOBUFS)", cases.no_buffers),
    "enomem": ("no memory for the fifth epoll_ctl (ENOMEM): 20 clients", cases.no_memory),
    "burst": (
        "8,000 connections, 4,000 at once, protocols: longest lag of the loop; memory and CPU of each",
        lambda loop: cases.burst(loop, "protocol"),
    ),
    "streams": ("the same with streams", lambda loop: cases.burst(loop, "streams")),
    "parked": (
        "1,000,000 tasks wait for an asyncio.Event: memory; CPU to start + cancel it; with the collector",
        lambda loop: cases.parked(loop, TASKS),
    ),
    "parked-native": (
        "all that with tonnage.Event",
        lambda loop: cases.parked("tonnage-native", TASKS) if loop == "tonnage" else "–",
    ),
}


def write(page: Path, section: str) -> None:
    """Replace the table of the page; its text stays."""
    text = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}")


def describe(loops: list[str]) -> str:
    found = machine.describe(
        [name for name in loops if LOOPS[name].missing() is None], machine.raise_priority()
    )
    versions = ", ".join(f"{module} {number}" for module, number in found["versions"].items())
    load = found["load_average"][0]
    return (
        f"{found['date']}: CPython {found['python']}, {versions}; {found['kernel']}, {found['cores']} cores "
        f"of {found['cpu']}; load average {load} at the start."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="NAMES", help=f"of {', '.join(CASES)}, comma-separated")
    parser.add_argument("--loops", default=",".join(COLUMNS), help=f"of {', '.join(DEFAULT_LOOPS)}")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write (default: docs/faults.md)")
    options = parser.parse_args()
    if cases.missing_strace():
        sys.exit("faults.py: strace injects the faults, and is not here")
    loops = options.loops.split(",")
    lines = [describe(loops), "", f"| what happens | {' | '.join(loops)} |", "|---|" + "---|" * len(loops)]
    for name in options.only.split(",") if options.only else CASES:
        title, case = CASES[name]
        cells = []
        for loop in loops:
            reason = LOOPS[loop].missing()
            cells.append(case(loop) if reason is None else "not installed")
            print(f"{name}, {loop}: {cells[-1]}", file=sys.stderr, flush=True)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    section = "\n".join(lines)
    write(options.page, section)
    print(section)


if __name__ == "__main__":
    main()
