"""A loop that is closed with everything open: no crash, nothing is left, and what was forgotten is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc"),
]

PREAMBLE = """
# Warnings import tracemalloc, and older versions fall over a collection meanwhile.
import asyncio, gc, os, signal, socket, sys, threading, tonnage, tracemalloc, weakref

def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)

async def open_everything(kept):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    kept.append(server)
    kept.append(await loop.create_unix_server(Echo, "\\0tonnage-%d" % os.getpid()))
    kept.append(await loop.create_connection(Echo, *address))
    # More than the socket takes, and nobody reads it.
    ours, theirs = socket.socketpair()
    transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
    transport.write(bytes(5_000_000))
    kept.append((transport, theirs))
    # Written in the last turn.
    ours, theirs = socket.socketpair()
    last, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    kept.append((last, theirs))
    kept.append(await asyncio.open_connection(*address))
    kept.append(await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)))
    kept.append(await asyncio.create_subprocess_exec("sleep", "1000", stdin=-1, stdout=-1))
    reading, writing = os.pipe()
    kept.append(await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reading, "rb", 0)))
    kept.append(await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(writing, "wb", 0)))
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    loop.add_writer(theirs, int)
    loop.remove_writer(theirs)
    kept.append((ours, theirs))
    loop.add_signal_handler(signal.SIGUSR1, int)
    kept.append(loop.call_later(1000, int))
    kept.append(asyncio.ensure_future(asyncio.sleep(1000)))
    kept.append(asyncio.ensure_future(asyncio.open_connection(*address)))
    kept.append(loop.run_in_executor(None, int))
    loop.call_soon(int)
    last.write(b"the last word")
    return theirs
"""


def run(program: str) -> tuple[str, str]:
    """Run the program in a new process; return what it prints, and its warnings."""
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PREAMBLE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_everything_open_is_let_go_of_with_the_loop() -> None:
    program = """
        before = descriptors()
        kept = []
        loop = tonnage.new_event_loop()
        loop.run_until_complete(open_everything(kept))
        child = kept[7]
        loop.close()
        loop.close()
        alive = weakref.ref(loop)
        child._transport._proc.kill()
        child._transport._proc.wait()
        child._transport.close()
        tasks = [thing for thing in kept if isinstance(thing, asyncio.Task)]
        for task in tasks:
            task._log_destroy_pending = False
        del loop, child, tasks, task
        kept.clear()
        print(descriptors() - before, alive() is None, [t for t in threading.enumerate() if not t.daemon][1:])
    """
    out, err = run(program)
    assert out == "0 True []\n"
    # Each warning is for something that was not closed, and there is nothing else.
    warned = re.findall(r"^\S*:\d+: (\w+: \w+)", err, re.MULTILINE)
    # The second is the streams', in newer versions.
    assert set(warned) - {"ResourceWarning: loop"} == {"ResourceWarning: unclosed"}
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_everything_open_can_still_be_closed_after_the_loop() -> None:
    """What owned a part of the loop may be closed by those who do not know that it is gone."""
    program = """
        kept = []
        loop = tonnage.new_event_loop()
        loop.run_until_complete(open_everything(kept))
        child = kept[7]
        loop.close()

        def closes(thing):
            for name in ("close", "abort", "cancel"):
                method = getattr(thing, name, None)
                if method is None:
                    continue
                try:
                    method()
                except RuntimeError as error:
                    assert "closed" in str(error), error

        for thing in kept:
            for part in thing if isinstance(thing, tuple) else (thing,):
                closes(part)
        closes(child._transport)
        child._transport._proc.wait()
        for thing in kept:
            if isinstance(thing, asyncio.Task):
                thing._log_destroy_pending = False
        kept.clear()
        del thing, part
        gc.collect()
        print("ok")
    """
    out, err = run(program)
    assert out == "ok\n"
    assert "Traceback" not in err


def test_what_was_written_in_the_last_turn_has_left() -> None:
    program = """
        async def main():
            ours, theirs = socket.socketpair()
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            transport.write(b"the last word")
            return transport, theirs

        loop = tonnage.new_event_loop()
        transport, theirs = loop.run_until_complete(main())
        loop.close()
        print(theirs.recv(100))
    """
    assert run(program)[0] == "b'the last word'\n"


def test_closing_from_a_callback_is_refused_and_the_loop_goes_on() -> None:
    program = """
        async def main():
            try:
                asyncio.get_running_loop().close()
            except RuntimeError as error:
                print(error)
            await asyncio.sleep(0.001)
            print("goes on")

        tonnage.run(main())
    """
    assert run(program) == ("Cannot close a running event loop\ngoes on\n", "")


def test_threads_that_use_a_loop_while_it_is_closed_are_told() -> None:
    rounds = 300 if "TONNAGE_LONG" in os.environ else 10
    program = f"""
        import time
        told = []

        def use(loop, started):
            started.release()
            try:
                while True:
                    loop.call_soon_threadsafe(int)
                    time.sleep(0.00001)
            except RuntimeError as error:
                told.append(str(error))

        for _ in range({rounds}):
            loop = tonnage.new_event_loop()
            started = threading.Semaphore(0)
            threads = [threading.Thread(target=use, args=(loop, started)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in threads:
                started.acquire()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            for thread in threads:
                thread.join()
        print(len(told), set(told))
    """
    assert run(program) == (f"{rounds * 3} {{'Event loop is closed'}}\n", "")
