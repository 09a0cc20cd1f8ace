"""Run CPython's own test_asyncio on tonnage, on each CPython present.

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
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


def built(version: str, python: Path) -> Path | None:
    """Return the interpreter to run the suite with, or None if the extension does not build."""
    try:
        return build.develop(version, python)
    except SystemExit:
        Result(GROUP, f"CPython {version}", failed=1, note="the extension does not build").save()
        return None


def conformance(version: str, interpreter: Path, arguments: list[str]) -> None:
    """Run the suite on one CPython; its last line tells the counts."""
    say(f"CPython {version}'s test_asyncio on tonnage")
    started = time.monotonic()
    command = [interpreter, ROOT / "tests" / "conformance" / "run.py", *arguments]
    output, code = captured(command, timeout_s=TIMEOUT_S)
    counts = CLOSING.findall(output)
    passed, failed, skipped = map(int, counts[-1]) if counts else (0, 0, 0)
    note = ""
    if (code or not counts) and not failed:
        failed, note = 1, f"ended with exit code {code}"
    # In one piece, because two suites run at once.
    print(f"== CPython {version}\n{output}", end="", flush=True)
    Result(GROUP, f"CPython {version}", passed, failed, skipped, time.monotonic() - started, note).save()


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
            pool.submit(conformance, version, interpreter, arguments)
    if not options.py and pythons.absent():
        warn(f"not run, because absent: CPython {', '.join(pythons.absent())}")
    return report.show(GROUP)


if __name__ == "__main__":
    sys.exit(main())
