"""Run the tests: the core crate's with cargo, the package's with pytest on each CPython.

Usage: run_tests.py [--py 3.13] [--pytest-args "-k name"]
Ends with a table and a line `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import environments
import pythons
import report
from steps import BUILD, ROOT, Result, captured, forget, run, say, warn

GROUP = "test"
CARGO_TIMEOUT_S = 1200
PYTEST_TIMEOUT_S = 1500


def cargo() -> None:
    """Run the tests of the core crate, which need no interpreter."""
    pythons.require_cargo()
    say("cargo test: the core crate")
    started = time.monotonic()
    command = ["cargo", "test", "--quiet", "--package", "tonnage-core"]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=CARGO_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        output, code = f"{error}\n", 124
    counts = re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", output)
    passed, failed, skipped = (sum(int(row[column]) for row in counts) for column in range(3))
    note = ""
    if code:
        sys.stdout.write(output)
        note = f"cargo ended with exit code {code}"
        failed = max(failed, 1)
    Result(GROUP, "core crate", passed, failed, skipped, time.monotonic() - started, note).save()


def built(version: str, python: Path) -> Path | None:
    """Return the interpreter to test with, or None if the extension does not build."""
    try:
        return build.develop(version, python)
    except SystemExit:
        Result(GROUP, f"CPython {version}", failed=1, note="the extension does not build").save()
        return None


def pytest(version: str, interpreter: Path, arguments: list[str]) -> None:
    """Run the package's tests on one CPython."""
    started = time.monotonic()
    say(f"pytest on CPython {version}")
    xml = BUILD / f"pytest-{version}.xml"
    BUILD.mkdir(exist_ok=True)
    xml.unlink(missing_ok=True)
    # So many failures have one cause; waiting for the rest would only take time.
    options = ["-q", "-p", "no:cacheprovider", "--maxfail=40", f"--junitxml={xml}"]
    command: list[str | Path] = [interpreter, "-m", "pytest", *options, *arguments]
    output, code = captured(command, timeout_s=PYTEST_TIMEOUT_S)
    # In one piece, because two run at once.
    print(f"== CPython {version}\n{output}", end="", flush=True)
    result = _read(xml, f"CPython {version}")
    if code and not result.failed:
        # A crash of the interpreter, an internal error of pytest, or no tests at all.
        result.failed = 1
        result.note = f"pytest ended with exit code {code}"
    result.seconds = time.monotonic() - started
    result.save()


def smoke(version: str, python: Path) -> None:
    """Build for one CPython, and run one coroutine there."""
    started = time.monotonic()
    name = f"CPython {version} builds"
    program = "import asyncio, tonnage; tonnage.run(asyncio.sleep(0.01))"
    try:
        code = run([build.develop(version, python), "-c", program], timeout_s=60)
    except SystemExit:
        code = 1
    Result(GROUP, name, int(code == 0), int(code != 0), 0, time.monotonic() - started).save()


def _read(xml: Path, name: str) -> Result:
    try:
        suites = list(ET.parse(xml).getroot().iter("testsuite"))
    except (OSError, ET.ParseError):
        return Result(GROUP, name)
    totals = {
        key: sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    }
    failed = totals["failures"] + totals["errors"]
    return Result(
        GROUP, name, max(totals["tests"] - failed - totals["skipped"], 0), failed, totals["skipped"]
    )


def main() -> int:
    """Run everything, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run tonnage's tests.")
    parser.add_argument("--py", default="", help="only these Pythons, for example 3.13")
    parser.add_argument("--pytest-args", default="", help="handed to pytest")
    options = parser.parse_args()
    forget(GROUP)
    arguments = shlex.split(options.pytest_args)
    if not arguments:
        cargo()
    environments.servers()
    ready: dict[str, Path] = {}
    for version, python in pythons.present(options.py).items():
        if version in pythons.BUILT_ONLY and not options.py:
            smoke(version, python)
        elif interpreter := built(version, python):
            ready[version] = interpreter
    # The tests mostly wait, for programs and for each other, so two Pythons share a small machine well.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda item: pytest(*item, arguments), ready.items()))
    if not options.py and pythons.absent():
        warn(f"not tested, because absent: CPython {', '.join(pythons.absent())}")
    return report.show(GROUP)


if __name__ == "__main__":
    sys.exit(main())
