"""Runs a program whose system calls fail, by strace, and tells how it went."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ENDS_WITHIN_S = 25
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """A program that has ended."""

    code: int
    out: str
    err: str
    calls: int
    """How often the system call was made."""
    injected: int
    """How often it failed because we wanted so."""

    @property
    def told(self) -> dict[str, Any]:
        """What the program printed in its last line."""
        return json.loads(self.out.splitlines()[-1])


@cache
def missing() -> str | None:
    """Return why nothing can be injected here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=uname:error=EPERM", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return None if done.returncode == 0 else f"strace does not work here: {done.stderr.strip()[:200]}"


def run(
    program: str, arguments: dict[str, Any], system_call: str, fault: str, *, together: bool = False
) -> Run:
    """Run a program of this folder, with `fault` injected into each of its `system_call`.

    Each send is a call of its own, which can fail, unless what is sent `together` may leave by one.
    """
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as trace:
        strace = ["strace", "-f", "-qq", "-o", trace.name, "-e", f"trace={system_call}", "-e"]
        python = [sys.executable, "-W", "error", str(FOLDER / program), json.dumps(arguments)]
        done = subprocess.run(
            [*strace, f"inject={system_call}:{fault}", *python],
            capture_output=True,
            text=True,
            timeout=ENDS_WITHIN_S,
            check=False,
            env=os.environ | ({} if together else {"TONNAGE_IO_URING": "0"}),
        )
        lines = trace.read().splitlines()
    calls = [line for line in lines if re.search(rf"\b({system_call.replace(',', '|')})\(", line)]
    injected = [line for line in lines if line.endswith("(INJECTED)")]
    return Run(done.returncode, done.stdout, done.stderr, len(calls), len(injected))
