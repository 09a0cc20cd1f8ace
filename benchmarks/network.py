"""CPU time of a server process per request, each loop in turn, minimum of rounds.

Server and client are processes of their own, and the client is not in Python
(`load_client`, or `wrk`). The server's CPU clock is read just before and just after
each run of the client, so that what the client costs is not in it. In the cases of
processes, the one that is measured has no client: it is told a number, and starts
processes or talks to one so many times.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import certificate
import wrk
from child import HERE, Child, ChildError, CrashedError

CONNECTIONS = 10
KIB = 1024
PATIENCE_S = 60.0
"""A server or a client that says nothing for so long has hung: a round takes less than a second."""

REPOSITORY = HERE.parent


class Asker(Protocol):
    """What makes a server work, and says how long each request took."""

    def ask(self, requests: int) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Case:
    """One kind of server and of request, named `transport-server[-size][-xCONNECTIONS]`."""

    name: str
    request: tuple[str, ...]
    requests_per_round: int
    connections: int = CONNECTIONS

    def is_of(self, *kinds: str) -> bool:
        return self.name.partition("-")[0] in kinds

    def asker(self, stack: ExitStack, server: Child, address: str, folder: Path, client: Path) -> Asker:
        """Start what asks `server`, connected to it."""
        if self.is_of("process"):
            return server
        if self.is_of("wrk"):
            return wrk.Wrk(address, self.connections, the_cpu())
        trust = ["--tls", str(folder / certificate.AUTHORITY)] if self.is_of("tls") else []
        load = ["--connections", str(self.connections), *self.request]
        asker = stack.enter_context(Child([str(client), "--address", address, *trust, *load], PATIENCE_S))
        asker.receive()
        asker.bind_to_cpu(the_cpu())
        return asker


def echo_cases() -> Iterator[Case]:
    plain = ("tcp-proto", "tcp-streams", "tcp-buffered", "tcp-sockets", "unix-proto", "unix-streams")
    requests = {1: 5000, 10: 5000, 100: 1500}
    for server in plain:
        for kib, number in requests.items():
            yield Case(f"{server}-{kib}K", ("--echo", str(kib * KIB)), number)
    for server in ("tcp-proto", "tcp-streams"):
        yield Case(f"{server}-1K-x1", ("--echo", str(KIB)), 3000, connections=1)
    for server in ("tls-proto", "tls-streams"):
        for kib, number in ((1, 3000), (10, 2000), (100, 500)):
            yield Case(f"{server}-{kib}K", ("--echo", str(kib * KIB)), number)
    for kib in (1, 10):
        yield Case(f"udp-proto-{kib}K", ("--echo", str(kib * KIB)), 5000)


def all_cases() -> dict[str, Case]:
    small = ("--echo", "64")
    cases = [
        *echo_cases(),
        Case("tcp-connect", (*small, "--connect-each"), 1000),
        Case("unix-connect", (*small, "--connect-each"), 1000),
        Case("tls-connect", (*small, "--connect-each"), 200),
        Case("tcp-sendfile-1M", ("--download", str(KIB * KIB)), 200),
        Case("process-cat-1K", (), 1000),
        Case("process-spawn", (), 50),
    ]
    for server in ("httptools", "two-writes", "uvicorn", "aiohttp"):
        cases.append(Case(f"http-{server}", ("--http", "/"), 1500))
    cases.extend(Case(f"wrk-{server}", (), 0) for server in ("uvicorn", "aiohttp"))
    return {case.name: case for case in cases}


CASES = all_cases()


def quick(case: Case) -> Case:
    """Return `case` with rounds that are too short to judge."""
    return replace(case, requests_per_round=case.requests_per_round // 10)


def missing(case: Case) -> str | None:
    """Say why `case` cannot be measured here on any loop, or return None."""
    if case.is_of("wrk"):
        return wrk.missing()
    return certificate.missing() if case.is_of("tls") else None


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
        pairs: dict[str, tuple[Child, Asker]] = {}
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
                    pairs.pop(loop)[0].close()
    return results


def start_pair(stack: ExitStack, case: Case, loop: str, client: Path) -> tuple[Child, Asker]:
    """Start a server, and what asks it, which is connected and has warmed it up."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if case.is_of("tls"):
        certificate.make(folder)
    server = Child.python("server.py", loop, case.name, str(folder), patience_s=PATIENCE_S)
    stack.enter_context(server)
    with blaming(server):
        address = server.receive()["address"]
        server.bind_to_cpu(the_cpu())
        asker = case.asker(stack, server, address, folder, client)
        asker.ask(max(case.requests_per_round // 5, case.connections))
    return server, asker


def run_once(case: Case, server: Child, asker: Asker, result: dict[str, Any]) -> None:
    before = server.cpu_ns()
    with blaming(server):
        answer = asker.ask(case.requests_per_round)
    per_request = (server.cpu_ns() - before) / answer["requests"] / 1000
    rate = answer["requests"] / answer["elapsed_ns"] * 1e9
    result.setdefault("rounds_us", []).append(round(per_request, 2))
    result["us"] = min(result["rounds_us"])
    result["requests_per_s"] = round(max(rate, result.get("requests_per_s", 0)))
    result["p50_us"] = round(min(answer["p50_ns"] / 1000, result.get("p50_us", 1e9)), 1)
    result["p99_us"] = round(min(answer["p99_ns"] / 1000, result.get("p99_us", 1e9)), 1)


@contextmanager
def blaming(server: Child) -> Iterator[None]:
    """Ask a server that has ended for its reason, where its client could only say that it is gone."""
    try:
        yield
    except CrashedError as error:
        if server.ended_within(1.0):
            server.receive()
        raise ChildError(str(error)) from None


def the_cpu() -> int:
    """Return the CPU that server and client share."""
    return max(os.sched_getaffinity(0))


def fail(
    case: Case, loop: str, results: dict[str, dict[str, Any]], error: ChildError, say: Callable[[str], None]
) -> None:
    say(f"network: {loop} has no {case.name}: {error}")
    results[loop] = Child.outcome(error)
