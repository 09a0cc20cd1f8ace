"""Run one file of CPython's test_asyncio, and write what happens as lines of JSON to a pipe.

`run.py` starts this in a process of its own for each file, and again if a test ended the process.
A line is written before a test starts, so that `run.py` knows which one to blame.

The substitution happens when this file is imported, not in `main`: a child process that a test
spawns with multiprocessing imports this file again, and must get the same loop.
"""

from __future__ import annotations

import faulthandler
import fnmatch
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
import types
import unittest
import warnings
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import borrowed
import mocks
import selection
import substitution

DETAIL_MAX = 4000
# A test that is known to fail, and hangs, is not waited for as long as one that should pass.
LISTED_TIMEOUT_S = 10.0

job: dict[str, Any] = json.loads(sys.argv[1])
implementation: types.ModuleType | None = None
if job["implementation"]:
    implementation = importlib.import_module(job["implementation"])
    substitution.substitute(implementation, job["parts"])
    mocks.carry_over(job["implementation"])
if job["suite"]:
    borrowed.use(job["suite"])


class Reporter(unittest.TestResult):
    """Writes each event of a run to the pipe, with one outcome a test."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe
        self._test: str | None = None
        self._outcome = ("pass", "")
        self._started_s = 0.0

    def write(self, event: str, **fields: object) -> None:
        line = json.dumps({"event": event, **fields}) + "\n"
        os.write(self._pipe, line.encode())

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        if self._outcome[0] in ("fail", "error") or job["file"] == "test_subprocess":
            # What a test left open is no warning of the next one: a failed one, and test_kill_issue43884.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gc.collect()
        self._test = selection.test_name(test)
        self._outcome = ("pass", "")
        self._started_s = time.monotonic()
        self.write("start", test=self._test)
        # Its thread needs no GIL, so it also ends a test that hangs in native code.
        is_listed = self._test in job["listed"]
        timeout_s = min(job["timeout_s"], LISTED_TIMEOUT_S) if is_listed else job["timeout_s"]
        faulthandler.dump_traceback_later(timeout_s, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        faulthandler.cancel_dump_traceback_later()
        status, detail = self._outcome
        seconds = round(time.monotonic() - self._started_s, 3)
        self.write("end", test=self._test, status=status, detail=detail, seconds=seconds)
        self._test = None
        super().stopTest(test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._record(test, "error", _text(err))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        self._record(test, "fail", _text(err))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._record(test, "fail", _text(err))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self._record(test, "skip", reason)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._record(test, "fail", "CPython expects this test to fail")

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        pass

    def _record(self, test: unittest.TestCase, status: str, detail: str) -> None:
        if self._test is None:
            # A fixture of a class or module; or, on 3.12.1, a skipped test that never started.
            self.write("end", test=selection.test_name(test), status=status, detail=detail)
        elif self._outcome[0] == "pass":
            self._outcome = (status, detail)


def _text(err: Any) -> str:
    return "".join(traceback.format_exception(*err))[-DETAIL_MAX:]


def chosen_tests(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """Return the tests of `suite` that this job asks for, in their order."""
    chosen = []
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            chosen += chosen_tests(test)
            continue
        name = selection.test_name(test)
        patterns = job["patterns"]
        if name in job["done"] or selection.is_left_out(name, job["suite"]):
            continue
        if not patterns or any(p in name or fnmatch.fnmatchcase(name, p) for p in patterns):
            chosen.append(test)
    return chosen


def run_file(reporter: Reporter) -> None:
    """Load the file of this job, and run its tests."""
    try:
        module = importlib.import_module(selection.module_name(job["file"]))
    except unittest.SkipTest as reason:
        reporter.write("end", test=job["file"], status="skip", detail=str(reason))
        return
    except Exception:
        detail = traceback.format_exc()[-DETAIL_MAX:]
        reporter.write("end", test=job["file"], status="error", detail=detail)
        return
    if implementation is not None and "loop" in job["parts"]:
        substitution.substitute_in_classes(module, substitution.loop_class(implementation))
    suite = unittest.TestSuite(chosen_tests(unittest.TestLoader().loadTestsFromModule(module)))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        suite.run(reporter)


def main() -> None:
    """Run the job, and leave without waiting for threads that a test left behind."""
    # A run in the background inherits an ignored SIGINT, and the tests of Ctrl-C would hang.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    support: Any = importlib.import_module("test.support")
    support.use_resources = ["cpu", "largefile", "walltime"]
    os.set_inheritable(job["pipe"], False)
    reporter = Reporter(job["pipe"])
    run_file(reporter)
    reporter.write("finish")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
