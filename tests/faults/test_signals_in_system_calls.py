"""Signals that come all the time, in the middle of whatever the process does: nothing is lost by it.

The programs run in processes of their own, with a timer that sends a signal every few hundred microseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers"),
]

PREAMBLE = """
import asyncio, os, signal, socket, sys, tempfile, tonnage

loop_factory = {"asyncio": asyncio.SelectorEventLoop, "tonnage": tonnage.new_event_loop}[sys.argv[1]]
count = 0

def handle(*_):
    global count
    count += 1

async def accept(serve):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()

def run(main, seconds=0.0003):
    loop = loop_factory()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        result = loop.run_until_complete(main)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return result
"""


def run(program: str, loop_name: str = "tonnage") -> str:
    """Run the program in a new process, and return what it prints; it must print no error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program), loop_name],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize("loop_name", ["asyncio", "tonnage"])
def test_streams_lose_no_byte(loop_name) -> None:
    program = """
        data = bytes(range(256)) * 8192

        async def serve(reader, writer):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
            writer.close()

        async def talk(address):
            reader, writer = await asyncio.open_connection(*address)
            async def send():
                for start in range(0, len(data), 50_000):
                    writer.write(data[start:start + 50_000])
                    await writer.drain()
                writer.write_eof()
            sending = asyncio.ensure_future(send())
            received = await reader.read()
            await sending
            writer.close()
            await writer.wait_closed()
            assert received == data

        async def main():
            server, address = await accept(serve)
            await asyncio.gather(*(talk(address) for _ in range(8)))
            server.close()
            await server.wait_closed()

        run(main())
        assert count > 20, count
        print("ok")
    """
    assert run(program, loop_name) == "ok\n"


@pytest.mark.parametrize("loop_name", ["asyncio", "tonnage"])
def test_files_pipes_threads_names_and_sockets_lose_nothing(loop_name) -> None:
    program = """
        import threading, time

        async def sockets(loop):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.setblocking(False)
            data = os.urandom(3_000_000)
            sending = asyncio.ensure_future(loop.sock_sendall(ours, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(theirs, 65536)
            await sending
            assert received == data
            ours.close()
            theirs.close()

        async def files(loop):
            with tempfile.TemporaryFile() as file:
                data = os.urandom(2_000_000)
                file.write(data)
                file.seek(0)

                async def serve(reader, writer):
                    await loop.sendfile(writer.transport, file)
                    writer.close()

                server, address = await accept(serve)
                reader, writer = await asyncio.open_connection(*address)
                assert await reader.read() == data
                writer.close()
                server.close()
                await writer.wait_closed()

        async def threads(loop):
            total = 0
            def add():
                nonlocal total
                total += 1
            def work():
                for _ in range(2000):
                    loop.call_soon_threadsafe(add)
            await asyncio.gather(*(loop.run_in_executor(None, work) for _ in range(4)))
            await asyncio.sleep(0)
            assert total == 8000

        async def timers(loop):
            for _ in range(50):
                began = loop.time()
                await asyncio.sleep(0.002)
                assert loop.time() - began >= 0.0019

        async def names(loop):
            for _ in range(10):
                assert await loop.getaddrinfo("localhost", 80)

        async def main():
            loop = asyncio.get_running_loop()
            for part in (sockets, files, threads, timers, names):
                await part(loop)

        run(main())
        assert count > 20, count
        print("ok")
    """
    assert run(program, loop_name) == "ok\n"


def test_children_are_started_read_and_reaped() -> None:
    program = """
        async def main():
            for _ in range(5):
                children = [
                    await asyncio.create_subprocess_exec(
                        "/bin/sh", "-c", "cat; exit 3", stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                    )
                    for _ in range(3)
                ]
                data = os.urandom(300_000)
                for child in children:
                    out, _ = await child.communicate(data)
                    assert (out, child.returncode) == (data, 3)

        run(main())
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("ok")
    """
    assert run(program) == "ok\n"


def test_handlers_of_the_loop_and_of_python_share_a_signal_storm() -> None:
    program = """
        loop = loop_factory()
        seen = {signal.SIGUSR1: 0, signal.SIGUSR2: 0}

        def note(number):
            seen[number] += 1

        async def main():
            for number in seen:
                loop.add_signal_handler(number, note, number)
            signal.signal(signal.SIGALRM, handle)
            for round in range(50):
                for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
                    os.kill(os.getpid(), number)
                before = dict(seen)
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            for number in seen:
                loop.remove_signal_handler(number)

        loop.run_until_complete(main())
        loop.close()
        # A signal that is pending already is not sent twice.
        print(all(0 < number <= 50 for number in seen.values()), 0 < count <= 50)
    """
    assert run(program) == "True True\n"


def test_stopped_process_goes_on_where_it_was() -> None:
    program = PREAMBLE + textwrap.dedent("""
        async def serve(reader, writer):
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        async def main():
            server, address = await accept(serve)
            reader, writer = await asyncio.open_connection(*address)
            print("ready", flush=True)
            deadline = asyncio.get_running_loop().time() + 0.3
            while asyncio.get_running_loop().time() < deadline:
                writer.write(b"line\\n")
                assert await reader.readline() == b"line\\n"
                await asyncio.sleep(0.005)
            writer.close()
            await writer.wait_closed()
            server.close()

        loop = loop_factory()
        loop.run_until_complete(main())
        loop.close()
        print("done", flush=True)
    """)
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, "tonnage"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    for _ in range(5):
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.01)
        os.kill(child.pid, signal.SIGCONT)
        time.sleep(0.01)
    out, _ = child.communicate(timeout=30)
    assert (out, child.returncode) == ("done\n", 0)


def test_interrupt_at_any_moment_ends_the_program_by_keyboard_interrupt_once() -> None:
    program = """
        import gc, random, threading, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        chance = random.Random(7)

        async def serve(reader, writer):
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        async def main(thread):
            server, address = await accept(serve)
            reader, writer = await asyncio.open_connection(*address)
            thread.start()
            try:
                while True:
                    writer.write(b"line\\n")
                    assert await reader.readline() == b"line\\n"
            finally:
                writer.close()
                server.close()

        def interrupt(after):
            time.sleep(after)
            os.kill(os.getpid(), signal.SIGINT)

        interrupted = 0
        for _ in range(25):
            thread = threading.Thread(target=interrupt, args=(chance.random() / 200,))
            with tonnage.Runner() as runner:
                runner.get_loop().set_exception_handler(lambda _, context: None)
                try:
                    runner.run(main(thread))
                except KeyboardInterrupt:
                    interrupted += 1
                # The loop works as before.
                assert runner.run(asyncio.sleep(0.001, 5)) == 5
            thread.join()
        print(interrupted)
    """
    assert run(program) == "25\n"
