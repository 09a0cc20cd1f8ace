"""The demo of `make demo` runs, tells the truth, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("aiohttp", reason="aiohttp has no wheel for this Python")

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAM = str(EXAMPLES / "fetch_all.py")
SMALL = ["--files", "50", "--quick", "--capacity", "16", "--at-once", "8"]

ON_ASYNCIO = [sys.executable, PROGRAM]
ON_TONNAGE = [sys.executable, "-m", "tonnage", "run", PROGRAM]

on_each_loop = pytest.mark.parametrize(
    ("command", "loop_name"),
    [
        pytest.param(ON_ASYNCIO, "asyncio", id="asyncio"),
        pytest.param(ON_TONNAGE, "tonnage", id="tonnage"),
    ],
)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def rows(table: str) -> list[tuple[str, str, int, int]]:
    """Return (loop, way, fetched, errors) of each row of the table."""
    found = []
    loop_name = ""
    for line in table.splitlines():
        words = line.replace(",", "").split()
        if line.startswith("on "):
            loop_name = words[1]
        elif words and words[0] in {"all-at-once", "semaphore", "workers"} and words[1].isdigit():
            found.append((loop_name, words[0], int(words[1]), int(words[2])))
    return found


@pytest.mark.slow
@on_each_loop
def test_bounded_ways_fetch_every_file(command: list[str], loop_name: str) -> None:
    result = run([*command, *SMALL])

    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""  # No progress bar where there is no terminal.
    by_way = {way: (loop, fetched, errors) for loop, way, fetched, errors in rows(result.stdout)}
    assert by_way["semaphore"] == (loop_name, 50, 0)
    assert by_way["workers"] == (loop_name, 50, 0)
    loop, fetched, errors = by_way["all-at-once"]
    assert (loop, fetched + errors) == (loop_name, 50)


@pytest.mark.slow
def test_compare_shows_both_loops() -> None:
    result = run([*ON_ASYNCIO, "--compare", *SMALL])

    assert result.returncode == 0, result.stdout + result.stderr
    assert [loop for loop, *_ in rows(result.stdout)] == ["asyncio"] * 3 + ["tonnage"] * 3


@pytest.mark.slow
@on_each_loop
def test_file_that_changed_on_the_way_is_an_error(command: list[str], loop_name: str, tmp_path: Path) -> None:
    served = tmp_path / "served"
    expected = tmp_path / "expected"
    for root, content in ((served, b"as served"), (expected, b"as known!")):
        root.mkdir()
        (root / "same").write_bytes(b"the same")
        (root / "changed").write_bytes(content)
    server = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "file_server.py"), "--root", str(served)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        result = run([*command, "--way", "workers", "--url", url, "--root", str(expected)])

    cost = json.loads(result.stdout)
    assert cost["loop"] == loop_name
    assert cost["errors"] == {"content differs from the file on disk": 1}
    assert (cost["fetched"], cost["files"]) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@on_each_loop
def test_signal_leaves_no_process_behind(
    command: list[str], loop_name: str, signal_number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with demo:
        assert demo.stdout is not None
        # The head is printed when the server runs; the client is started right after it.
        demo.stdout.readline()
        started = psutil.Process(demo.pid).children(recursive=True)
        if signal_number == signal.SIGINT:
            os.killpg(demo.pid, signal.SIGINT)  # Ctrl-C reaches the whole foreground group.
        else:
            demo.send_signal(signal_number)
        demo.communicate(timeout=60)

    assert demo.returncode == 128 + signal_number
    assert started
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_compare_without_tonnage_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tonnage.py").write_text("raise ImportError('not built')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [*ON_ASYNCIO, "--compare"], capture_output=True, text=True, timeout=30, check=False, env=environment
    )

    assert result.returncode == 1
    assert "cannot import tonnage (ImportError: not built): run `make build`" in result.stderr
