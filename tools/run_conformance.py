"""Run CPython's own test_asyncio on tonnage, on each CPython present.

Usage: run_conformance.py [--py 3.13] [arguments for tests/conformance/run.py]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import build
import pythons
import report
from steps import ROOT, Result, forget, say, warn

GROUP = "conformance"
TIMEOUT_S = 1800
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)


def conformance(version: str, python: Path, arguments: list[str]) -> None:
    """Run the suite on one CPython; its last line tells the counts."""
    started = time.monotonic()
    name = f"CPython {version}"
    try:
        interpreter = build.develop(version, python)
    except SystemExit:
        Result(GROUP, name, failed=1, note="the extension does not build").save()
        return
    say(f"CPython {version}'s test_asyncio on tonnage")
    if "-j" not in arguments:
        arguments = ["-j", "2", *arguments]
    lines: list[str] = []
    command = [interpreter, ROOT / "tests" / "conformance" / "run.py", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        deadline = threading.Timer(TIMEOUT_S, process.kill)
        deadline.start()
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
        code = process.wait()
        deadline.cancel()
    counts = CLOSING.findall("".join(lines))
    passed, failed, skipped = map(int, counts[-1]) if counts else (0, 0, 0)
    note = ""
    if code and not failed:
        failed, note = 1, f"ended with exit code {code}"
    Result(GROUP, name, passed, failed, skipped, time.monotonic() - started, note).save()


def main() -> int:
    """Run the suite everywhere, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run CPython's test_asyncio on tonnage.")
    parser.add_argument("--py", default="", help="only these Pythons, for example 3.13")
    options, arguments = parser.parse_known_args()
    forget(GROUP)
    for version, python in pythons.present(options.py).items():
        if version in pythons.BUILT_ONLY and not options.py:
            continue
        conformance(version, python, arguments)
    if not options.py and pythons.absent():
        warn(f"not run, because absent: CPython {', '.join(pythons.absent())}")
    return report.show(GROUP)


if __name__ == "__main__":
    sys.exit(main())
