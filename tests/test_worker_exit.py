"""The end of a program that has calls in threads: bounded, said, and never a crash. Each test is one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = pytest.mark.slow

PREAMBLE = """
import asyncio, os, sys, threading, time
import tonnage
from tonnage import worker_ends, workers

workers.ABANDONED_S = 0.05
began = threading.Event()

def hang():
    began.set()
    threading.Event().wait()

def compute():
    began.set()
    while True:
        sum(range(100))

async def give_up_on(function):
    task = asyncio.ensure_future(tonnage.to_thread(function))
    while not began.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])

"""

BOUND_S = 15
"""A process needs a second to start where it is slow; one that waits for its threads never ends."""


def run(program: str) -> tuple[int, str, str]:
    """Run the program in a new process; return its exit code, output and errors."""
    began_at = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert time.monotonic() - began_at < BOUND_S
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("factory", ["None", "asyncio.SelectorEventLoop"])
@pytest.mark.parametrize("function", ["hang", "compute"])
def test_abandoned_call_does_not_hold_the_process_and_is_named(function, factory):
    code, output, errors = run(f"""
        tonnage.run(give_up_on({function}), loop_factory={factory})
        print("over")
    """)
    assert (code, output) == (0, "over\n")
    lines = errors.splitlines()
    assert lines[0] == "1 call of Workers 'to_thread' did not end in time, left to themselves:"
    assert lines[1].startswith(f"  {function}, for 0.")
    assert lines[1].endswith(" s in thread tonnage-to_thread-1")
    assert f", in {function}" in lines[2]


def test_abandoned_call_on_a_loop_that_asyncio_runs_does_not_hold_the_process():
    assert run("asyncio.run(give_up_on(hang))") == (0, "", "")


def test_calls_of_a_loop_that_stopped_are_abandoned_with_their_tasks():
    assert run("""
        loop = tonnage.new_event_loop()
        tasks = [loop.create_task(tonnage.to_thread(hang)) for _ in range(60)]
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
    """) == (0, "", "")


def test_call_that_nobody_cancelled_is_waited_for_as_asyncio_does():
    program = """
        def work():
            time.sleep(0.2)
            os.write(1, b"done")
        loop = tonnage.new_event_loop()
        loop.run_in_executor(None, work)
        {ending}
    """
    assert run(program.format(ending="")) == (0, "done", "")
    assert run(program.format(ending="loop.close()")) == (0, "done", "")


def test_such_a_wait_has_an_end():
    assert run("""
        worker_ends.LAST_WAIT_S = 0.05
        loop = tonnage.new_event_loop()
        loop.run_in_executor(None, hang)
    """) == (0, "", "")


def test_lookup_that_hangs_does_not_hold_the_process():
    assert run("""
        import socket
        socket.getaddrinfo = lambda *args: hang()
        async def main():
            try:
                await tonnage.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80), 0.05)
            except asyncio.TimeoutError:
                print("gave up")
        tonnage.run(main())
    """) == (0, "gave up\n", "")


TOUCHING = """
import logging
logging.disable()

def touch(loop, future):
    began.set()
    things = []
    while True:
        things.append([object() for _ in range(10)])
        del things[:-3]
        try:
            loop.call_soon_threadsafe(int)
        except RuntimeError:
            pass
        future.done()

async def main():
    loop = asyncio.get_running_loop()
    pool = tonnage.Workers(8, abandon_on_cancel=True)
    calls = [asyncio.ensure_future(pool.run(touch, loop, loop.create_future())) for _ in range(4)]
    idle = [asyncio.ensure_future(pool.run(int)) for _ in range(4)]
    await asyncio.wait(idle)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    sys.kept = pool

workers.ABANDONED_S = 0.0
tonnage.run(main())
"""


LATE = """
import ctypes
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.usleep, ctypes.c_void_p), ctypes.c_void_p(200_000), None)
sys.setswitchinterval(0.04)
"""
"""Threads that wait for the GIL look up when the interpreter is gone, and the process is not."""


@pytest.mark.parametrize("more", ["", LATE], ids=["soon", "late"])
def test_threads_that_work_on_while_the_interpreter_ends_crash_nothing(more):
    for _ in range(4):
        assert run(more + textwrap.dedent(TOUCHING)) == (0, "", "")
