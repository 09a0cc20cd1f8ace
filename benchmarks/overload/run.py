"""Overload a real server, with no limit and with adaptive ones, and write docs/overload.md and its plot.

    python tools/run_release.py benchmarks/overload/run.py      # about two minutes
    python benchmarks/overload/run.py --page /tmp/overload.md   # with any interpreter that has tonnage

Server and client run in a process each, on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from page import write

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "overload.md"
WAYS = ["no limit", "Gradient", "AIMD"]
RUN_TIMEOUT_S = 120
STOP_TIMEOUT_S = 10


@contextlib.contextmanager
def running_server(way: str) -> Iterator[int]:
    """Run the server in a process of its own, and yield its port."""
    command = [sys.executable, str(HERE / "server.py"), "--way", way]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(way: str) -> list[dict[str, Any]]:
    """Overload one server, and return what became of each second's requests."""
    with running_server(way) as port:
        command = [sys.executable, str(HERE / "client.py"), str(port)]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=RUN_TIMEOUT_S, check=True)
    seconds: list[dict[str, Any]] = json.loads(done.stdout)
    return seconds


def main() -> None:
    """Run all ways, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--page", type=Path, default=PAGE, help="the page to write (default: docs/overload.md)"
    )
    options = parser.parse_args()
    results = {}
    for way in WAYS:
        print(f"== {way}", flush=True)
        results[way] = measure(way)
    python = f"CPython {platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"
    print(write(options.page, results, python))


if __name__ == "__main__":
    main()
