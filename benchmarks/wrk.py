"""The HTTP load generator `wrk`, one short run for each round."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

from child import ChildError, HungError

SECONDS = 1
UNIT_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}
LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
TOTAL = re.compile(r"^\s+(\d+) requests in ([\d.]+)(ms|s)", re.MULTILINE)
FAILURES = re.compile(r"^\s+(?:Socket errors|Non-2xx).*", re.MULTILINE)


def missing() -> str | None:
    """Say why wrk cannot be run here, or return None."""
    return None if shutil.which("wrk") else "no wrk on PATH (the package of Debian is called wrk)"


class Wrk:
    """Stands where the client does: asked for a round, it answers as the client would."""

    def __init__(self, address: str, connections: int, cpu: int) -> None:
        load = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={SECONDS}s", "--latency"]
        self.command = [*load, f"http://{address}/"]
        self.cpu = cpu

    def ask(self, requests: int) -> dict[str, Any]:
        """Run for a second: wrk is told no number of requests."""
        try:
            ran = subprocess.run(
                self.command,
                capture_output=True,
                text=True,
                timeout=SECONDS + 30,
                check=False,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.cpu}),
            )
        except subprocess.TimeoutExpired:
            raise HungError("wrk did not end") from None
        if ran.returncode:
            raise ChildError(f"wrk: {ran.stderr.strip()}")
        return parse(ran.stdout)


def parse(report: str) -> dict[str, Any]:
    """Return what the client of ours would say, from what wrk prints."""
    if failures := FAILURES.search(report):
        raise ChildError(f"wrk: {failures[0].strip()}")
    total = TOTAL.search(report)
    if total is None or total[1] == "0":
        raise ChildError("wrk got no answer")
    latencies = {percent: float(value) * UNIT_NS[unit] for percent, value, unit in LATENCY.findall(report)}
    return {
        "requests": int(total[1]),
        "elapsed_ns": float(total[2]) * UNIT_NS[total[3]],
        "p50_ns": latencies["50"],
        "p99_ns": latencies["99"],
    }
