"""Processes that a benchmark starts, talks to in lines, and ends."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).resolve().parent


class ChildError(Exception):
    """A process of the benchmark ended, or said something else than was asked."""

    verdict = "failed"


class NotSupportedError(ChildError):
    """The loop says that it does not implement this."""

    verdict = "none"


class CrashedError(ChildError):
    """The process ended on its own."""

    verdict = "crashed"


class HungError(ChildError):
    """The process did not answer in time."""

    verdict = "hung"


def die_with_parent() -> None:
    """Let the kernel end this process when the benchmark is interrupted."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Child:
    """A process that answers each line of JSON with a line of JSON."""

    def __init__(self, command: Sequence[str], patience_s: float | None = None) -> None:
        self.command = list(command)
        self.name = " ".join(Path(argument).name for argument in command)
        self.patience_s = patience_s
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )

    @classmethod
    def python(cls, script: str, *arguments: str, patience_s: float | None = None) -> Child:
        """Start a script of this folder with the interpreter that runs the benchmark."""
        return cls([sys.executable, str(HERE / script), *arguments], patience_s)

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise CrashedError(self._obituary()) from None

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience_s)
        if not ready:
            raise HungError(f"{self.name} did not answer in {self.patience_s:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise CrashedError(self._obituary())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ChildError(f"{self.name} said {line!r}") from None
        if "skipped" in answer:
            raise NotSupportedError(answer["skipped"])
        return answer

    def ask(self, request: object) -> dict[str, Any]:
        self.send(json.dumps(request))
        return self.receive()

    def cpu_ns(self) -> int:
        """Return the CPU time of all its threads, those that ended included."""
        # The kernel's encoding of another process's CPU clock: clock_getcpuclockid(3).
        per_process_scheduler_clock = 2
        return time.clock_gettime_ns((~self.process.pid << 3) | per_process_scheduler_clock)

    @staticmethod
    def outcome(error: ChildError) -> dict[str, str]:
        """Say how a measurement ended that has no number: in one word, and why."""
        kind = "skipped" if isinstance(error, NotSupportedError) else "failed"
        return {kind: str(error), "verdict": error.verdict}

    def ended_within(self, seconds: float) -> bool:
        """Say whether the process has ended on its own, or does so in this time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def bind_to_cpu(self, cpu: int) -> None:
        """Have all its threads, and what they start from here on, run on one CPU."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cpu})

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _obituary(self) -> str:
        code = self.process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{self.name} ended {how}"
