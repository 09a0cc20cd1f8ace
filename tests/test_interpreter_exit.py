"""The end of the interpreter: whatever a program leaves behind, it ends, and prints nothing.

Each test is a whole program in a process of its own. Where asyncio prints something at the end, ours
prints the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import asyncio, atexit, gc, os, sys, threading, weakref
import tonnage

asyncio_loop = sys.argv[1] == "asyncio"
new_event_loop = asyncio.SelectorEventLoop if asyncio_loop else tonnage.new_event_loop

async def park():
    await asyncio.get_running_loop().create_future()

def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()

"""


def run(program: str, kind: str = "tonnage") -> tuple[int, str, str]:
    """Run the program in a new process; return its exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(program), kind],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


PROGRAMS = {
    "loop never closed": "loop = new_event_loop(); turn(loop)",
    "loop never run": "loop = new_event_loop()",
    "loop in a module": "sys.loop = new_event_loop(); turn(sys.loop); sys.modules['kept'] = sys.loop",
    "loop in a cycle": "loop = new_event_loop(); loop.cycle = [loop, loop.call_later(9, loop.stop)]",
    "loop closed": "loop = new_event_loop(); turn(loop); loop.close()",
    "callbacks left": "loop = new_event_loop(); [loop.call_soon(print, 1) for _ in range(9)]",
    "timers left": "loop = new_event_loop(); kept = [loop.call_later(9, print) for _ in range(9)]",
    "futures left": "loop = new_event_loop(); kept = [loop.create_future() for _ in range(9)]",
    "waits left": """
        async def wait():
            lock, gate, event = tonnage.Lock(), tonnage.Semaphore(0), tonnage.Event()
            changed, meeting = tonnage.Condition(), tonnage.Barrier(2)
            await changed.acquire()
            waits = [changed.wait()]
            waits[0].send(None)
            await changed.acquire()
            await lock.acquire()
            waits += [lock.acquire(), gate.acquire(), event.wait(), meeting.wait(), changed.acquire()]
            for wait in waits[1:]:
                wait.send(None)
            lock.cycle = event.cycle = waits
            return waits
        loop = new_event_loop()
        sys.kept = loop.run_until_complete(wait())
        lost = loop.run_until_complete(wait())
        del lost
        gc.disable()
        lost = loop.run_until_complete(wait())
        del lost
    """,
    "futures in modules": """
        loop = new_event_loop()
        sys.kept = [loop.create_future() for _ in range(9)]
        for future in sys.kept:
            future.add_done_callback(print)
        sys.kept[0].set_result(sys.kept)
    """,
    "steps of a future left": "steps = new_event_loop().create_future().__await__(); next(steps)",
    "descriptors watched": """
        loop = new_event_loop()
        reading, writing = os.pipe()
        loop.add_reader(reading, print)
        loop.add_writer(writing, print)
    """,
    "signal handled": """
        import signal
        loop = new_event_loop()
        loop.add_signal_handler(signal.SIGUSR1, print)
        turn(loop)
        if asyncio_loop:
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.close()
    """,
    "executor used": """
        loop = new_event_loop()
        loop.run_until_complete(loop.run_in_executor(None, int))
    """,
    "names looked up": """
        async def main():
            loop = asyncio.get_running_loop()
            await loop.getaddrinfo("127.0.0.1", 1)
        loop = new_event_loop()
        loop.run_until_complete(main())
    """,
    "async generator left": """
        async def numbers():
            yield 1
            yield 2
        async def main():
            sys.kept = numbers()
            await sys.kept.__anext__()
        loop = new_event_loop()
        loop.run_until_complete(main())
    """,
    "classes inherited": """
        class Future(tonnage.Future): pass
        class Task(tonnage.Task): pass
        class Loop(tonnage.EventLoop): pass
        loop = Loop()
        sys.kept = [Future(loop=loop)]
        sys.kept[0].itself = sys.kept
    """,
    "exit function that runs a loop": """
        @atexit.register
        def end():
            loop = new_event_loop()
            print(loop.run_until_complete(asyncio.sleep(0.001, "ran at exit")))
            loop.close()
    """,
    "exit function that closes the loop": "loop = new_event_loop(); turn(loop); atexit.register(loop.close)",
    "finaliser that uses the loop": """
        class Late:
            def __init__(self):
                self.loop = new_event_loop()
            def __del__(self):
                try:
                    self.loop.call_soon(print)
                    self.loop.create_future().cancel()
                    self.loop.close()
                except RuntimeError:
                    pass
        late = Late()
    """,
    "finaliser that keeps a future": """
        class Late:
            def __init__(self, future):
                self.future = future
                self.module = asyncio
            def __del__(self):
                self.module.kept = self.future
        loop = new_event_loop()
        late = Late(loop.create_future())
    """,
    "thread that runs a loop": """
        loop = new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        while not loop.is_running():
            pass
    """,
    "thread that schedules": """
        loop = new_event_loop()
        def work():
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError:
                pass
        threading.Thread(target=work, daemon=True).start()
        turn(loop)
    """,
    "threads that schedule on a running loop": """
        loop = new_event_loop()
        def work():
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError:
                pass
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    """,
    "standard error closed": "loop = new_event_loop(); sys.stderr.close()",
    "extension unloaded": """
        loop = new_event_loop()
        future = loop.create_future()
        for name in [name for name in sys.modules if name.startswith(("tonnage", "asyncio"))]:
            del sys.modules[name]
        del tonnage, asyncio
        gc.collect()
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_program_ends_without_a_word(name: str) -> None:
    code, output, errors = run(PROGRAMS[name])
    assert (code, errors) == (0, "")
    assert output in {"", "ran at exit\n"}


REPORTED = {
    "task pending": "loop = new_event_loop(); task = loop.create_task(park()); turn(loop)",
    "task pending in a module": "loop = new_event_loop(); sys.kept = loop.create_task(park()); turn(loop)",
    "tasks of a loop kept in a module": """
        async def tidy():
            try:
                await park()
            finally:
                print("tidied up")
        sys.loop = new_event_loop()
        for _ in range(2):
            sys.loop.create_task(tidy())
        turn(sys.loop)
    """,
    "exception not looked at": """
        loop = new_event_loop()
        future = loop.create_future()
        future.set_exception(LookupError("lost"))
        del future
    """,
    "exit in a callback": """
        loop = new_event_loop()
        loop.call_soon(sys.exit, 7)
        loop.run_forever()
    """,
    "exit in a task": """
        async def main():
            sys.exit(7)
        loop = new_event_loop()
        loop.run_until_complete(main())
    """,
    "interrupt in a callback": """
        import signal
        loop = new_event_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        loop.run_forever()
    """,
    "exception in a callback": """
        loop = new_event_loop()
        loop.call_soon(int, "text")
        turn(loop)
    """,
    "task kept by its finaliser": """
        class Late:
            def __init__(self, task):
                self.task = task
            def __del__(self):
                sys.kept = self.task
        loop = new_event_loop()
        late = Late(loop.create_task(park()))
        turn(loop)
        late.task._log_destroy_pending = False
    """,
}


def gist(errors: str) -> list[str]:
    """Return the first line, and the one that names the exception."""
    lines = [line for line in errors.splitlines() if line and not line.startswith((" ", "Traceback"))]
    starts = (
        "Task was",
        "Future exc",
        "Task exc",
        "Exception in",
        "KeyboardInterrupt",
        "ValueError",
        "LookupError",
    )
    return [line.split("(")[0] for line in lines if line.startswith(starts)]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTED)
def test_program_says_what_it_says_on_asyncio(name: str) -> None:
    theirs = run(REPORTED[name], "asyncio")
    ours = run(REPORTED[name])
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert set(gist(ours[2])) == set(gist(theirs[2]))


DAEMONS = """
loop = new_event_loop()
started = threading.Barrier(5)

def work():
    started.wait()
    try:
        while True:
            loop.call_soon_threadsafe(int)
    except RuntimeError:
        pass

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
started.wait()
if len(sys.argv[1]) % 2:
    turn(loop)
"""


long = pytest.mark.skipif("TONNAGE_LONG" not in os.environ, reason="takes minutes; set TONNAGE_LONG=1")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [20, pytest.param(200, marks=long)])
def test_daemon_threads_may_schedule_while_the_interpreter_ends(times: int) -> None:
    crashes = 0
    for number in range(times):
        code, output, errors = run(DAEMONS, "tonnage" if number % 2 else "tonnage ")
        if code == -signal.SIGSEGV and sys.version_info < (3, 11):
            # CPython's own: a daemon thread of any program that waits for the GIL while the interpreter is
            # freed writes to it (`worker_ends.py` says where, and what we do for our threads).
            crashes += 1
        else:
            assert (code, output, errors) == (0, "", "")
    assert crashes <= times // 10
