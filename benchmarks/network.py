"""CPU time of a server process per request, each loop in turn, minimum of rounds.

Server and client are processes of their own, and the client is not in Python
(`load_client`). The server's CPU clock is read just before and just after each
run of the client, so that what the client costs is not in it.

Both run on one CPU. On two, a server that wakes a sleeping client pays for waking
the other CPU, and whether the scheduler puts them on one or on two changes from
round to round: the same loop then costs 2.7 or 4 µs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import HERE, Child, ChildError

CONNECTIONS = 10
KIB = 1024
REPOSITORY = HERE.parent


@dataclass(frozen=True)
class Case:
    """One kind of server and of request, named `transport-server[-size][-xCONNECTIONS]`."""

    name: str
    request: tuple[str, str]
    requests_per_round: int
    connections: int = CONNECTIONS

    def client_command(self, client: Path, address: str) -> list[str]:
        return [str(client), "--address", address, "--connections", str(self.connections), *self.request]


def all_cases() -> dict[str, Case]:
    cases = []
    for server in ("tcp-proto", "tcp-streams", "tcp-buffered", "tcp-sockets", "unix-proto", "unix-streams"):
        for kib, requests in ((1, 5000), (10, 5000), (100, 1500)):
            cases.append(Case(f"{server}-{kib}K", ("--echo", str(kib * KIB)), requests))
    cases.extend(
        Case(f"{server}-1K-x1", ("--echo", str(KIB)), 3000, connections=1)
        for server in ("tcp-proto", "tcp-streams")
    )
    cases.extend(Case(f"http-{server}", ("--http", "/"), 1500) for server in ("uvicorn", "aiohttp"))
    return {case.name: case for case in cases}


CASES = all_cases()


def build_client() -> Path | None:
    """Build the client, and return its path; None without cargo."""
    if shutil.which("cargo") is None:
        return None
    build = ["cargo", "build", "--quiet", "--release", "--package", "load_client"]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    describe = ["cargo", "metadata", "--no-deps", "--format-version=1"]
    described = subprocess.run(describe, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return Path(json.loads(described.stdout)["target_directory"]) / "release" / "load_client"


def measure(
    cases: Sequence[Case], loops: Sequence[str], rounds: int, client: Path, say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return microseconds of server CPU per request: `{case: {loop: {"us": …}}}`."""
    return {case.name: measure_case(case, loops, rounds, client, say) for case in cases}


def measure_case(
    case: Case, loops: Sequence[str], rounds: int, client: Path, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    say(f"network: {case.name}")
    results: dict[str, dict[str, Any]] = {loop: {} for loop in loops}
    with ExitStack() as stack:
        pairs: dict[str, tuple[Child, Child]] = {}
        for loop in loops:
            try:
                pairs[loop] = start_pair(stack, case, loop, client)
            except ChildError as error:
                fail(case, loop, results, error, say)
        for _ in range(rounds):
            for loop in list(pairs):
                try:
                    run_once(case, *pairs[loop], results[loop])
                except ChildError as error:
                    fail(case, loop, results, error, say)
                    del pairs[loop]
    return results


def start_pair(stack: ExitStack, case: Case, loop: str, client: Path) -> tuple[Child, Child]:
    """Start a server, and a client that is connected to it and warmed up."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    server = stack.enter_context(Child.python("server.py", loop, case.name, f"{folder}/socket"))
    address = server.receive()["address"]
    asker = stack.enter_context(Child(case.client_command(client, address)))
    asker.receive()
    cpu = max(os.sched_getaffinity(0))
    for child in (server, asker):
        os.sched_setaffinity(child.process.pid, {cpu})
    asker.ask(max(case.requests_per_round // 5, case.connections))
    return server, asker


def run_once(case: Case, server: Child, asker: Child, result: dict[str, Any]) -> None:
    before = server.cpu_ns()
    answer = asker.ask(case.requests_per_round)
    per_request = (server.cpu_ns() - before) / case.requests_per_round / 1000
    rate = answer["requests"] / answer["elapsed_ns"] * 1e9
    result.setdefault("rounds_us", []).append(round(per_request, 2))
    result["us"] = min(result["rounds_us"])
    result["requests_per_s"] = round(max(rate, result.get("requests_per_s", 0)))
    result["p50_us"] = round(min(answer["p50_ns"] / 1000, result.get("p50_us", 1e9)), 1)
    result["p99_us"] = round(min(answer["p99_ns"] / 1000, result.get("p99_us", 1e9)), 1)


def fail(
    case: Case, loop: str, results: dict[str, dict[str, Any]], error: ChildError, say: Callable[[str], None]
) -> None:
    say(f"network: {loop} has no {case.name}: {error}")
    results[loop] = Child.outcome(error)
