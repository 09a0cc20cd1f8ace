"""Run the tests of one file in processes of their own, until each has an outcome.

A test that hangs is ended after a time and recorded as `timeout`; a test that ends its process is
recorded as `crash`. The file goes on in a new process with the tests that have no outcome yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
LOG_MAX = 6000
# A worker ends a test that hangs by itself; this much later, the worker itself is taken for hung.
GRACE_S = 30.0
RESTARTS_MAX = 60


@dataclasses.dataclass(frozen=True)
class Job:
    """What to run, and on which implementation (none: asyncio's own)."""

    implementation: str
    parts: list[str]
    patterns: list[str]
    timeout_s: float
    # Tests that are known to fail, some of them by hanging.
    listed: list[str] = dataclasses.field(default_factory=list)
    # The folder of another CPython's test_asyncio; empty: this one's own.
    suite: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a test ended: pass, fail, error, skip, timeout or crash."""

    status: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_failure(self) -> bool:
        return self.status not in ("pass", "skip")


def run_file(file: str, job: Job) -> dict[str, Outcome]:
    """Run the tests of `file`, and return the outcome of each by its name."""
    outcomes: dict[str, Outcome] = {}
    for _ in range(RESTARTS_MAX):
        before = len(outcomes)
        worker = _Worker(file, job, outcomes)
        if worker.run():
            return outcomes
        if worker.test is not None:
            outcomes[worker.test] = worker.blame()
        elif len(outcomes) > before:
            last = list(outcomes)[-1]
            outcomes[f"{last} (after it)"] = worker.blame()
        else:
            outcomes[file] = worker.blame()
            return outcomes
    message = f"{RESTARTS_MAX} tests ended their process; the rest of the file was not run"
    outcomes[file] = Outcome("crash", message)
    return outcomes


class _Worker:
    """One process, and what it said before it ended."""

    def __init__(self, file: str, job: Job, outcomes: dict[str, Outcome]) -> None:
        self._settings: dict[str, Any] = {
            **dataclasses.asdict(job),
            "file": file,
            "done": sorted(outcomes),
        }
        self._timeout_s = job.timeout_s + GRACE_S
        self._outcomes = outcomes
        self._killed = False
        self._exit_code = 0
        self.test: str | None = None
        self.log = ""

    def run(self) -> bool:
        """Return whether the worker came to the end of the file."""
        reading, writing = os.pipe()
        self._settings["pipe"] = writing
        with (
            tempfile.TemporaryFile() as log,
            tempfile.TemporaryDirectory(prefix="conformance-") as folder,
        ):
            process = subprocess.Popen(
                [sys.executable, str(WORKER), json.dumps(self._settings)],
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
            os.close(writing)
            finished = self._follow(process, reading)
            # The group also holds the children that tests left behind.
            _kill_group(process.pid)
            self._exit_code = process.wait()
            log.seek(0)
            self.log = log.read().decode(errors="replace").strip()[-LOG_MAX:]
        return finished

    def blame(self) -> Outcome:
        """Return the outcome of the test during or after which the process ended."""
        if self._killed or "Timeout (" in self.log:
            return Outcome("timeout", f"{self.log}\nit hung")
        last = self.log.rpartition("\n")[2]
        return Outcome("crash", f"{self.log}\nit ended the process, exit code {self._exit_code}: {last}")

    def _follow(self, process: subprocess.Popen[bytes], reading: int) -> bool:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def pump() -> None:
            with open(reading, errors="replace") as pipe:
                for line in pipe:
                    lines.put(line)

        threading.Thread(target=pump, daemon=True).start()
        silent_s = 0
        while True:
            # Asked first: what an ended process wrote is in the pipe already, and is read below.
            ended = process.poll() is not None
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                silent_s += 1
                if ended:
                    return False
                if silent_s > self._timeout_s:
                    self._killed = True
                    return False
                continue
            silent_s = 0
            event = json.loads(line)
            if event["event"] == "finish":
                return True
            if event["event"] == "start":
                self.test = event["test"]
            else:
                self.test = None
                self._outcomes[event["test"]] = Outcome(
                    event["status"], event["detail"], event.get("seconds", 0.0)
                )


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
