"""Run CPython's own test_asyncio on tonnage, and compare with the list of expected failures.

    python tests/conformance/run.py [--files test_tasks,test_events] [-k PATTERN] [-v]

It runs the test suite of the interpreter that runs it, which must have tonnage installed, or with
`--suite` that of a newer CPython. The exit code is 0 only if no test failed but those listed in
`expected/`, and none of those passed.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import borrowed
import expected
import selection
import substitution
from process import Job, Outcome, run_file

# These take longest, so they start first.
LONG = ("test_tasks", "test_ssl", "test_events", "test_subprocess", "test_sendfile")
DEFAULT_PARTS = "loop,tasks"
ALL_PARTS = ",".join(substitution.PARTS)
COLUMNS = ("passed", "failed", "stale", "expected", "skipped")
Results = dict[str, dict[str, Outcome]]


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    options = _parser().parse_args()
    implementation = "" if options.stock else options.impl
    suite = str(borrowed.find_suite(options.suite)) if options.suite else ""
    parts = (options.parts or (ALL_PARTS if suite else DEFAULT_PARTS)).split(",")
    reasons, must_fail = expected.reasons(parts, suite) if implementation == "tonnage" else ({}, set())
    job = Job(implementation, parts, options.k, options.timeout, sorted(reasons), suite)
    try:
        files = options.files.split(",") if options.files else selection.applicable_files(parts, suite)
    except ImportError:
        print(
            f"conformance: {sys.executable} came without CPython's test suite; install it "
            "(on Debian the package libpython3-testsuite), or use another interpreter",
            file=sys.stderr,
        )
        return 2
    if implementation:
        # A module that cannot be imported ends the run here, with its own traceback.
        importlib.import_module(implementation)
    print(f"CPython {sys.version.split()[0]}, {suite or 'its test_asyncio'} on {implementation or 'asyncio'}")
    started_s = time.monotonic()
    results: Results = {}
    verdicts: dict[str, str] = {}
    count: collections.Counter[str] = collections.Counter()
    _print_row("file", COLUMNS)
    for file, outcomes in _run_files(files, job, options.j):
        results[file] = outcomes
        found = {test: expected.verdict(outcome, reasons.get(test)) for test, outcome in outcomes.items()}
        found = {test: "passed" if v == "stale" and test not in must_fail else v for test, v in found.items()}
        verdicts.update(found)
        count.update(found.values())
        if outcomes:
            tally = collections.Counter(found.values())
            _print_row(file, [tally[column] for column in COLUMNS])
    _print_row("total", [count[column] for column in COLUMNS])
    if options.json:
        _write_json(Path(options.json), job, results, verdicts)
    _print_failures(results, verdicts, reasons if options.verbose else {}, options.verbose)
    failed = count["failed"] + count["stale"]
    print(f"{count['expected']} failed as expected; {time.monotonic() - started_s:.0f} s")
    print(f"{count['passed']} passed, {failed} failed, {count['skipped']} skipped")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--parts", default="", help="what to put in asyncio's place (default: loop,tasks)")
    add("--suite", default="", metavar="PLACE", help="run the tests of another CPython: it, or its Lib/test")
    add("--files", default="", help="names of test files, with commas; default: all that apply")
    add("-k", action="append", default=[], metavar="PATTERN", help="only tests with this in them")
    add("-j", type=int, default=2, metavar="N", help="files at once (default: 2)")
    add("-v", "--verbose", action="store_true", help="show tracebacks, and why a failure is listed")
    add("--json", default="", metavar="FILE", help="write each test's outcome to FILE")
    add("--timeout", type=float, default=60, metavar="S", help="seconds a test may take")
    add("--stock", action="store_true", help="run on asyncio's own loop, to compare")
    add("--impl", default="tonnage", metavar="MODULE", help="run on another module, to compare")
    return parser


def _run_files(files: list[str], job: Job, at_once: int) -> Iterator[tuple[str, dict[str, Outcome]]]:
    """Yield each file with its outcomes, as they are there."""
    order = sorted(files, key=lambda file: file not in LONG)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(run_file, file, job): file for file in order}
        for done in concurrent.futures.as_completed(running):
            yield running[done], done.result()


def _print_row(name: str, cells: Iterable[object]) -> None:
    print(f"{name:28}" + "".join(f"{cell!s:>10}" for cell in cells), flush=True)


def _print_failures(
    results: Results, verdicts: dict[str, str], reasons: dict[str, str], verbose: bool
) -> None:
    for file in sorted(results):
        for test, outcome in results[file].items():
            verdict = verdicts[test]
            lines = outcome.detail.strip().splitlines() or [""]
            if verdict == "failed":
                print(f"{outcome.status.upper()}: {test}")
                print("    " + ("\n    ".join(lines) if verbose else lines[-1][:200]))
            elif verdict == "stale":
                print(f"PASS: {test}\n    it passes; remove it from the list in expected/")
            elif verdict == "expected" and test in reasons:
                print(f"expected: {test}: {reasons[test]}\n    {lines[-1][:200]}")


def _write_json(path: Path, job: Job, results: Results, verdicts: dict[str, str]) -> None:
    tests = {
        test: {**dataclasses.asdict(outcome), "verdict": verdicts[test]}
        for outcomes in results.values()
        for test, outcome in outcomes.items()
    }
    record = {"python": sys.version, "job": dataclasses.asdict(job), "tests": tests}
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
