"""One step of a make target: say it, run it, count it.

Every tool in this folder prints what it does through `say`, runs programs
through `run`, and leaves its counts in `.build/results`, where `report.py`
adds them up. Needs nothing but the standard library of Python 3.10.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
RESULTS = BUILD / "results"


@dataclasses.dataclass
class Result:
    """What one step found. `group` is the make target, `name` the line of the table."""

    group: str
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""

    def save(self) -> None:
        """Keep the result for `report.py`."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{self.group}-{self.name.replace(' ', '_').replace('/', '_')}.json"
        path.write_text(json.dumps(dataclasses.asdict(self)))


def forget(group: str) -> None:
    """Remove the results of an earlier run of `group`."""
    for path in RESULTS.glob(f"{group}-*.json"):
        path.unlink()


def saved(group: str | None = None) -> list[Result]:
    """Return the results kept so far, oldest first."""
    paths = sorted(RESULTS.glob(f"{group or '*'}-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [Result(**json.loads(path.read_text())) for path in paths]


# Ends through the `except` of `run`, so that what runs below us ends too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def say(text: str) -> None:
    """Say in one line what happens next."""
    print(f"== {text}", flush=True)


def warn(text: str) -> None:
    """Say loudly what is missing."""
    print(f"!! {text}", file=sys.stderr, flush=True)


def stop(text: str) -> None:
    """End the program because something that it cannot do without is missing."""
    warn(text)
    raise SystemExit(2)


def captured(command: list[str | Path], *, timeout_s: float) -> tuple[str, int]:
    """Run a program, and return what it printed and its exit code: 124 if it took too long.

    For programs of which two run at once, so that each one's output can be shown in one piece.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return f"{error}\n", 124
    return done.stdout, done.returncode


def run(
    command: list[str | Path],
    *,
    timeout_s: float,
    environment: dict[str, str | None] | None = None,
    quiet: bool = False,
    folder: Path = ROOT,
    log: Path | None = None,
) -> int:
    """Run a program in the repository's root, or in `folder`, and return its exit code.

    Its output goes to ours, or to the file `log`, or, with `quiet`, is shown only when it fails.
    A program that outlives `timeout_s` is killed and counts as failed (124).
    A variable in `environment` whose value is None is removed.
    """
    merged = {**os.environ, **(environment or {})}
    with contextlib.nullcontext() if log is None else log.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env={name: value for name, value in merged.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else file,
            stderr=subprocess.STDOUT if quiet or file else None,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except BaseException as error:
        # The whole session, so that no server or worker of it stays behind.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        warn(f"killed after {timeout_s:.0f} s: {' '.join(str(part) for part in command)}")
        sys.stdout.write(output or "")
        return 124
    if quiet and process.returncode:
        sys.stdout.write(output)
        sys.stdout.flush()
    return process.returncode


def check(
    group: str, name: str, command: list[str | Path], *, timeout_s: float = 900, **options: object
) -> bool:
    """Run `command` as one check that passes or fails, and keep the result."""
    say(name)
    started = time.monotonic()
    code = run(command, timeout_s=timeout_s, **options)  # type: ignore[arg-type]
    note = "" if code == 0 else f"exit code {code}"
    Result(group, name, int(code == 0), int(code != 0), 0, time.monotonic() - started, note).save()
    return code == 0
