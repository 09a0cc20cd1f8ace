"""Run CPython's own test_asyncio on tonnage, on each CPython present.

On each: its own files, on tonnage's loop, Task and Future; those of its files that test the
structured classes, on ours of these too; and the same files of the newest CPython.

Usage: run_conformance.py [--py 3.13] [arguments for tests/conformance/run.py]
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import pythons
import report
from steps import ROOT, Result, captured, forget, say, warn

GROUP = "conformance"
TIMEOUT_S = 1800
# The version whose semantics tonnage has everywhere.
NEWEST = "3.15"
# Arguments that choose a suite; with them there is no other.
CHOOSING = ("--suite", "--parts", "--stock", "--impl")
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


def built(version: str, python: Path) -> Path | None:
    """Return the interpreter to run the suite with, or None if the extension does not build."""
    try:
        return build.develop(version, python)
    except SystemExit:
        Result(GROUP, f"CPython {version}", failed=1, note="the extension does not build").save()
        return None


def conformance(name: str, interpreter: Path, arguments: list[str]) -> None:
    """Run one suite on one CPython; its last line tells the counts."""
    say(f"{name}: test_asyncio on tonnage")
    started = time.monotonic()
    command = [interpreter, ROOT / "tests" / "conformance" / "run.py", *arguments]
    output, code = captured(command, timeout_s=TIMEOUT_S)
    counts = CLOSING.findall(output)
    passed, failed, skipped = map(int, counts[-1]) if counts else (0, 0, 0)
    note = ""
    if (code or not counts) and not failed:
        failed, note = 1, f"ended with exit code {code}"
    # In one piece, because two suites run at once.
    print(f"== {name}\n{output}", end="", flush=True)
    Result(GROUP, name, passed, failed, skipped, time.monotonic() - started, note).save()


def suites(version: str, arguments: list[str]) -> dict[str, list[str]]:
    """Return the arguments for `run.py` of each suite that one CPython runs, by its name."""
    name = f"CPython {version}"
    if any(argument.startswith(CHOOSING) for argument in arguments):
        return {name: arguments}
    chosen = {
        name: arguments,
        f"{name}, structured": [*arguments, "--parts", "loop,tasks,structured"],
    }
    newest = pythons.find(NEWEST)
    if newest is not None and version != NEWEST:
        chosen[f"{name}, files of {NEWEST}"] = [*arguments, "--suite", str(newest)]
    return chosen


def main() -> int:
    """Run the suite everywhere, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run CPython's test_asyncio on tonnage.")
    parser.add_argument("--py", default="", help="only these Pythons, for example 3.13")
    options, arguments = parser.parse_known_args()
    forget(GROUP)
    if "-j" not in arguments:
        arguments = ["-j", "2", *arguments]
    ready = {
        version: interpreter
        for version, python in pythons.present(options.py).items()
        if options.py or version not in pythons.BUILT_ONLY
        if (interpreter := built(version, python))
    }
    # The suite mostly waits, so two of them share a small machine well.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for version, interpreter in ready.items():
            for name, chosen in suites(version, arguments).items():
                pool.submit(conformance, name, interpreter, chosen)
    if pythons.find(NEWEST) is None:
        warn(f"CPython {NEWEST} is absent: its files are not run on older versions")
    if not options.py and pythons.absent():
        warn(f"not run, because absent: CPython {', '.join(pythons.absent())}")
    return report.show(GROUP)


if __name__ == "__main__":
    sys.exit(main())
