"""System calls of a server per round trip on one connection, counted by strace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from child import Child, ChildError
from network import Case, blaming, start_pair

CASES = (
    "tcp-proto-1K",
    "tcp-streams-1K",
    "tcp-sockets-1K",
    "unix-proto-1K",
    "udp-proto-1K",
    "tls-proto-1K",
    "tls-streams-1K",
    "http-two-writes",
    "http-uvicorn",
    "tcp-connect",
    "tls-connect",
    "tcp-sendfile-1M",
)
"""Which cases are traced. A request of `tcp-sendfile-1M` is a MiB."""

ROUND_TRIPS = 2000


def missing() -> str | None:
    """Say why system calls cannot be counted here, or return None."""
    return None if shutil.which("strace") else "no strace"


def measure(
    cases: Sequence[Case], loops: Sequence[str], client: Path, say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `{case: {loop: {"per_round_trip", "calls": {name: per round trip}}}}`."""
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for case in cases:
        say(f"system calls: {case.name}")
        results[case.name] = {}
        for loop in loops:
            try:
                results[case.name][loop] = count(case, loop, client)
            except ChildError as error:
                results[case.name][loop] = Child.outcome(error)
    return results


def count(case: Case, loop: str, client: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        server, asker = start_pair(stack, replace(case, connections=1), loop, client)
        report = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "strace"
        tracer = subprocess.Popen(
            ["strace", "-c", "-f", "-o", str(report), "-p", str(server.process.pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if "attached" not in said:
            tracer.wait()
            return {"skipped": f"strace: {said.strip()}"}
        round_trips = min(ROUND_TRIPS, case.requests_per_round)
        with blaming(server):
            asker.ask(round_trips)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
        calls = parse(report.read_text())
    total = sum(calls.values())
    each = {name: round(number / round_trips, 2) for name, number in calls.items()}
    return {
        "per_round_trip": round(total / round_trips, 2),
        "calls": {name: rate for name, rate in each.items() if rate},
    }


def parse(report: str) -> dict[str, int]:
    """Return the number of calls by name from strace's summary table."""
    calls: dict[str, int] = {}
    for line in report.splitlines():
        fields = line.split()
        # % time, seconds, usecs/call, calls, [errors], syscall
        if len(fields) in {5, 6} and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls
