"""`python -m asyncio ps PID` (3.14 and later): which tasks it sees on our loop."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="python -m asyncio ps is new in 3.14")

PROGRAM = """
    import asyncio, subprocess, sys, tonnage, os

    def c_tasks(loop, coro, **kwargs):
        return asyncio.Task(coro, loop=loop, **kwargs)

    async def main():
        if sys.argv[1] == "asyncio":
            asyncio.get_running_loop().set_task_factory(c_tasks)
        task = asyncio.create_task(asyncio.sleep(60), name="the-waiting-one")
        await asyncio.sleep(0)
        command = [sys.executable, "-m", "asyncio", "ps", str(os.getpid())]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        task.cancel()
        print(done.stdout, done.stderr)

    tonnage.run(main())
"""


def ps(tasks: str) -> str:
    """Return what ps prints of a program with one task that waits."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), tasks]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    if "permission" in done.stdout.lower():
        pytest.skip(
            f"reading the memory of another process is not allowed here: {done.stdout.strip()[-200:]}"
        )
    return done.stdout


def test_ps_shows_asyncios_tasks_on_our_loop() -> None:
    assert "the-waiting-one" in ps("asyncio")


def test_ps_does_not_show_our_tasks() -> None:
    # Documented in docs/identity.md; when a CPython learns to see foreign tasks, that page is to change.
    assert "the-waiting-one" not in ps("tonnage")
