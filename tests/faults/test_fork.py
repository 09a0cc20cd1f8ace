"""fork(): the child has loops of its own, and does nothing to its parent's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()"),
]


def run(program: str) -> str:
    """Run the program in a new process, and return what it prints; it must print no error."""
    preamble = """
        import asyncio, os, sys, threading, tonnage

        def wait(child):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    """
    source = textwrap.dedent(preamble) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-W", "always::ResourceWarning", "-c", source],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_child_of_a_running_loop_can_run_a_loop_of_its_own() -> None:
    program = """
        async def main():
            child = os.fork()
            if not child:
                asyncio._set_running_loop(None)
                code = 3
                try:
                    loop = tonnage.new_event_loop()
                    code = loop.run_until_complete(asyncio.sleep(0.001, 5))
                    loop.close()
                finally:
                    os._exit(code)
            print(wait(child))
            await asyncio.sleep(0.001)
            print("parent goes on")

        tonnage.run(main())
    """
    assert run(program) == "5\nparent goes on\n"


def test_loop_of_the_parent_does_not_run_in_the_child() -> None:
    program = """
        def running():
            try:
                return tonnage.Lock()._get_loop()
            except RuntimeError:
                return None

        async def main():
            loop = asyncio.get_running_loop()
            assert running() is loop
            child = os.fork()
            if not child:
                os._exit(3 if running() is asyncio._get_running_loop() is None else 1)
            print(wait(child), running() is loop)

        tonnage.run(main())
    """
    assert run(program) == "3 True\n"


def test_child_sees_no_running_loop() -> None:
    program = """
        async def main():
            child = os.fork()
            if not child:
                os._exit(0 if asyncio._get_running_loop() is None else 1)
            print(wait(child))

        tonnage.run(main())
    """
    assert run(program) == "0\n"


def test_what_the_child_does_to_the_parents_loop_does_not_reach_the_parent() -> None:
    program = """
        loop = tonnage.new_event_loop()
        reading, writing = os.pipe()
        seen = []

        def read():
            seen.append(os.read(reading, 1))
            loop.stop()

        loop.add_reader(reading, read)
        child = os.fork()
        if not child:
            try:
                loop.remove_reader(reading)
                loop.close()
            finally:
                os._exit(0)
        wait(child)
        os.write(writing, b"x")
        loop.run_forever()
        loop.remove_reader(reading)
        loop.close()
        print(seen)
    """
    assert run(program) == "[b'x']\n"


def test_child_does_not_wake_the_parent() -> None:
    program = """
        loop = tonnage.new_event_loop()
        loop.call_soon(loop.stop)
        loop.run_forever()
        child = os.fork()
        if not child:
            try:
                loop.call_soon_threadsafe(print, "never")
            except RuntimeError:
                pass
            os._exit(0)
        print(wait(child))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
    """
    assert run(program) == "0\n"


def test_loop_of_the_parent_either_runs_in_the_child_or_says_why_not() -> None:
    program = """
        loop = tonnage.new_event_loop()
        child = os.fork()
        if not child:
            code = 1
            try:
                code = loop.run_until_complete(asyncio.sleep(0, 0))
            except RuntimeError as error:
                code = 0 if str(error) else 2
            finally:
                os._exit(code)
        print(wait(child))
        loop.close()
    """
    assert run(program) == "0\n"


def test_child_that_ends_with_a_parents_task_pending_is_silent() -> None:
    program = """
        async def park():
            await asyncio.get_running_loop().create_future()

        async def main():
            task = asyncio.ensure_future(park())
            await asyncio.sleep(0)
            child = os.fork()
            if not child:
                os._exit(0)
            print(wait(child))
            task.cancel()
            await asyncio.wait([task])

        tonnage.run(main())
    """
    assert run(program) == "0\n"


def test_child_of_a_process_with_threads_that_wake_the_loop() -> None:
    program = """
        async def main():
            loop = asyncio.get_running_loop()
            ended = threading.Event()

            def wake():
                while not ended.is_set():
                    loop.call_soon_threadsafe(int)

            thread = threading.Thread(target=wake)
            thread.start()
            codes = []
            for _ in range(5):
                child = os.fork()
                if not child:
                    code = 3
                    try:
                        asyncio._set_running_loop(None)
                        own = tonnage.new_event_loop()
                        code = own.run_until_complete(asyncio.sleep(0, 0))
                        own.close()
                    finally:
                        os._exit(code)
                codes.append(wait(child))
                await asyncio.sleep(0)
            ended.set()
            thread.join()
            print(codes)

        tonnage.run(main())
    """
    assert run(program) == "[0, 0, 0, 0, 0]\n"


def test_multiprocessing_forks_work_inside_a_running_loop() -> None:
    program = """
        import multiprocessing

        def work(number):
            async def double():
                await asyncio.sleep(0)
                return number * 2
            return tonnage.run(double())

        async def main():
            context = multiprocessing.get_context("fork")
            loop = asyncio.get_running_loop()
            with context.Pool(2) as pool:
                print(await loop.run_in_executor(None, pool.map, work, range(4)))

        tonnage.run(main())
    """
    assert run(program) == "[0, 2, 4, 6]\n"


def test_loop_made_before_the_fork_runs_in_the_child() -> None:
    program = """
        loop = tonnage.new_event_loop()
        reading, writing = os.pipe()
        loop.add_reader(reading, lambda: (os.read(reading, 1), loop.stop()))
        child = os.fork()
        if not child:  # becomes a daemon, say
            os.write(writing, b"x")
            loop.run_forever()
            loop.call_soon_threadsafe(loop.stop)
            loop.run_forever()
            value = loop.run_until_complete(asyncio.sleep(0.001, 7))
            loop.close()
            os._exit(value)
        code = wait(child)
        os.write(writing, b"y")
        loop.run_forever()
        loop.close()
        print(code)
    """
    assert run(program) == "7\n"


def test_child_does_not_send_what_its_parent_wrote() -> None:
    program = """
        import socket

        async def main():
            ours, peer = socket.socketpair()
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            transport.write(b"once")
            child = os.fork()
            if not child:
                try:
                    transport.close()
                finally:
                    os._exit(0)
            print(wait(child))
            await asyncio.sleep(0)
            print(peer.recv(100))
            transport.abort()
            peer.close()
            await asyncio.sleep(0)

        tonnage.run(main())
    """
    assert run(program) == "0\nb'once'\n"


def test_child_that_closes_all_that_its_parent_has_open_harms_nobody() -> None:
    program = """
        import gc, socket, warnings

        class Echo(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data)

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            await asyncio.to_thread(int)
            child = os.fork()
            if not child:
                code = 1
                # What the child never opened, it need not close.
                warnings.simplefilter("ignore", ResourceWarning)
                try:
                    writer.close()
                    writer.transport.abort()
                    server.close()
                    loop.remove_reader(server.sockets[0]) if server.sockets else None
                    gc.collect()
                    code = 0
                finally:
                    os._exit(code)
            print(wait(child))
            writer.write(b"still here")
            print(await reader.readexactly(10))
            other, second = await asyncio.open_connection(*server.sockets[0].getsockname())
            second.close()
            print(await process.communicate(b"and here"))
            writer.close()
            server.close()
            await writer.wait_closed()

        tonnage.run(main())
    """
    assert run(program) == "0\nb'still here'\n(b'and here', None)\n"


def test_program_that_is_executed_inherits_no_descriptor() -> None:
    program = """
        import signal, socket, subprocess

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
            loop.add_signal_handler(signal.SIGUSR1, int)
            await asyncio.sleep(0.001)
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            # With close_fds, which is the default, Popen would close them itself.
            done = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False)
            print(*done.stdout.split())
            await process.communicate(b"")
            os._exit(0 if sys.stdout.flush() is None else 1)

        tonnage.run(main())
    """
    # The third is the directory's.
    assert run(program) == "0 1 2 3\n"


def test_child_of_a_thread_can_run_a_loop() -> None:
    program = """
        def work():
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = tonnage.run(asyncio.sleep(0.001, 6))
                finally:
                    os._exit(code)
            return wait(child)

        async def main():
            print(await asyncio.to_thread(work))
            await asyncio.sleep(0.001)

        tonnage.run(main())
    """
    assert run(program) == "6\n"
