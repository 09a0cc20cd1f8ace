"""Runs `fetch_all.py` once for each way and each loop, in a process each, and prints one table.

Standard output gets the table. The progress bar is the child's, on standard error, if that is a
terminal. However this ends, no process stays behind.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from cost import Cost
from descriptors import make_room
from file_server import running_server
from file_tree import list_paths

PROGRAM = str(Path(__file__).with_name("fetch_all.py"))
RUN_TIMEOUT_S = 120
TITLES = ("", "fetched", "errors", "seconds", "good/s", "cpu s", "peak MB", "worst lag")
WIDTHS = (17, 8, 8, 9, 8, 8, 9, 12)


def compare(options: argparse.Namespace, ways: tuple[str, ...]) -> int:
    """Run each of the `ways` on each loop that was asked for, and return the exit code.

    It is 0 if the bounded ways fetched everything on every loop: to lose files all at once is what
    the demo is about.
    """
    commands = loop_commands(options.compare)
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    paths = list_paths(options.root, options.files)
    if missing := make_room(len(paths)):
        raise SystemExit(missing)
    try:
        with running_server(options.root, options.capacity) as url:
            print_head(options, len(paths))
            costs = [cost for command in commands for cost in run_loop(command, ways, options, url)]
    except KeyboardInterrupt:
        print(
            "\r\x1b[K" * sys.stderr.isatty() + "interrupted: the server and the client are stopped",
            file=sys.stderr,
        )
        return 130
    print_findings(options, costs)
    return 1 if any(cost.lost for cost in costs if cost.way != "all-at-once") else 0


def loop_commands(both: bool) -> list[list[str]]:
    """Return how to start the program on each loop."""
    if not both:
        # As this process was started, so `tonnage run` stays in front if it was there.
        script = [position for position, word in enumerate(sys.orig_argv) if word.endswith("fetch_all.py")]
        words = sys.orig_argv[1 : script[0] + 1] if script else [PROGRAM]
        return [[sys.executable, *words]]
    on_tonnage = [sys.executable, "-m", "tonnage", "run", PROGRAM]
    check = subprocess.run([sys.executable, "-c", "import tonnage"], capture_output=True, text=True)
    if check.returncode:
        reason = check.stderr.strip().rpartition("\n")[2]
        raise SystemExit(f"cannot import tonnage ({reason}): run `make build`, or leave out --compare")
    return [[sys.executable, PROGRAM], on_tonnage]


def run_loop(command: list[str], ways: tuple[str, ...], options: argparse.Namespace, url: str) -> list[Cost]:
    """Run each way, print its row as soon as it is known, and return the costs."""
    costs: list[Cost] = []
    for way in ways:
        cost = run_way_apart(command, way, options, url)
        if not costs:
            print(bold(f"on {cost.loop}"))
        print_row(cost)
        costs.append(cost)
    return costs


def run_way_apart(command: list[str], way: str, options: argparse.Namespace, url: str) -> Cost:
    """Run one way in a process of its own, and return what it has cost."""
    words = [*command, "--way", way, "--url", url]
    words += ["--at-once", str(options.at_once), "--root", str(options.root)]
    if options.files is not None:
        words += ["--files", str(options.files)]
    # In a session of its own, Ctrl-C reaches only us, and the child cannot answer with a traceback.
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=RUN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{way} did not end within {RUN_TIMEOUT_S} s: {' '.join(words)}") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise SystemExit(f"{way} ended with exit code {process.returncode}: {' '.join(words)}")
    fields: dict[str, Any] = json.loads(output)
    return Cost(**fields)


def _exit_on_sigterm(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


# What is printed.


def print_head(options: argparse.Namespace, count: int) -> None:
    """Say what is about to happen, and name the columns."""
    size = sum(os.path.getsize(options.root / path) for path in list_paths(options.root, options.files))
    say(
        f"{count:,} files, {size / 1e6:,.1f} MB, from an aiohttp server that takes {options.capacity} at once"
    )
    say(f"Python {platform.python_version()}; the bounded ways ask for {options.at_once} at once")
    print()
    print(bold(_columns(TITLES)), flush=True)


def print_row(cost: Cost) -> None:
    """Print one way's row, and below it each kind of error."""
    cells = (
        "  " + cost.way,
        f"{cost.fetched:,}",
        f"{cost.lost:,}",
        f"{cost.seconds:,.2f}",
        f"{cost.fetched / cost.seconds:,.0f}",
        f"{cost.cpu_seconds:,.2f}",
        f"{cost.peak_memory_bytes / 1e6:,.0f}",
        f"{cost.worst_lag_s * 1e3:,.0f} ms",
    )
    print(_columns(cells))
    for reason, count in cost.errors.items():
        print(red(f"    {count:,} x {reason}"))
    sys.stdout.flush()


def print_findings(options: argparse.Namespace, costs: list[Cost]) -> None:
    """Say in sentences what the table shows, with the numbers of this run."""
    print()
    for cost in costs:
        if cost.lost:
            share = cost.lost / cost.files
            say(f"{cost.way} on {cost.loop} lost {cost.lost:,} of {cost.files:,} files ({share:.0%}).")
    if not any(cost.lost for cost in costs if cost.way != "all-at-once"):
        say(f"Bounded to {options.at_once} at once, every file arrived, and is the same as on disk.")
    for cost in costs:
        other = next(other for other in costs if other.way == cost.way)
        if cost.way == "workers" and other is not cost:
            say(_against(cost, other))
    print()
    say(
        "good/s counts requests that brought the right file; cpu s is the client's own; lag is how late "
        f"a 10 ms timer came. Client and server share {os.cpu_count()} cores, and the server is the same in "
        "every row, so its speed is the ceiling of good/s. One run each: `make bench` measures with care."
    )


def _against(cost: Cost, other: Cost) -> str:
    return (
        f"{cost.way} on {cost.loop} took {cost.seconds:.2f} s and {cost.cpu_seconds:.2f} s of CPU, "
        f"on {other.loop} {other.seconds:.2f} s and {other.cpu_seconds:.2f} s."
    )


def _columns(cells: tuple[str, ...]) -> str:
    columns = zip(cells[1:], WIDTHS[1:], strict=True)
    return cells[0].ljust(WIDTHS[0]) + "".join(cell.rjust(width) for cell, width in columns)


def say(text: str) -> None:
    """Print whole sentences, in lines as wide as the table."""
    print(textwrap.fill(text, sum(WIDTHS)))


def bold(text: str) -> str:
    """Return `text`, bold if standard output is a terminal that wants colour."""
    return _styled(text, "1")


def red(text: str) -> str:
    """Return `text`, red if standard output is a terminal that wants colour."""
    return _styled(text, "31")


def _styled(text: str, code: str) -> str:
    wants_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{code}m{text}\x1b[0m" if wants_colour else text
