"""Child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings
from asyncio.subprocess import DEVNULL, PIPE, STDOUT

import pytest
import tonnage


@pytest.fixture(params=["pidfd", "thread"], autouse=True)
def way_to_wait(request, monkeypatch):
    """How the end of a child is noticed."""
    if request.param == "thread":

        def pidfd_open(pid, flags=0):
            raise PermissionError

        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this platform has no pidfd")
    return request.param


@pytest.fixture
def loop(loop, way_to_wait):
    """The shared loop; asyncio before 3.12 needs a child watcher, and has one only in the main thread."""
    if not isinstance(loop, tonnage.EventLoop) and sys.version_info < (3, 12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            watcher = asyncio.ThreadedChildWatcher()
            watcher.attach_loop(loop)
            asyncio.set_child_watcher(watcher)
            yield loop
            asyncio.set_child_watcher(None)
    elif not isinstance(loop, tonnage.EventLoop) and way_to_wait == "thread":
        loop.close()
        pytest.skip("asyncio decides at import time")
    else:
        yield loop


def python(code, **options):
    return asyncio.create_subprocess_exec(sys.executable, "-c", code, **options)


def test_child_talks_and_ends(run):
    async def main():
        child = await python("print(input()[::-1])", stdin=PIPE, stdout=PIPE)
        out, err = await asyncio.wait_for(child.communicate(b"abc\n"), 20)
        assert (out, err, child.returncode) == (b"cba\n", None, 0)
        assert await child.wait() == 0

    run(main())


def test_shell_runs_a_command(run):
    async def main():
        child = await asyncio.create_subprocess_shell(
            "echo out; echo err >&2; exit 7", stdout=PIPE, stderr=STDOUT
        )
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert (out, child.returncode) == (b"out\nerr\n", 7)

    run(main())


@pytest.mark.parametrize(("method", "expected"), [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)])
def test_child_is_ended_by_a_signal(run, method, expected):
    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "60")
        getattr(child, method)()
        assert await asyncio.wait_for(child.wait(), 20) == expected

    run(main())


def test_signal_to_an_ended_child_is_ignored(loop, run, asyncio_since):
    asyncio_since(3, 14)

    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.signalled = loop.create_future()

        def connection_made(self, transport):
            self.transport = transport

        def process_exited(self):
            self.transport.send_signal(signal.SIGTERM)
            self.signalled.set_result(None)

    async def main():
        transport, protocol = await loop.subprocess_exec(Protocol, "true")
        await asyncio.wait_for(protocol.signalled, 20)
        transport.close()
        await asyncio.sleep(0.01)

    run(main())


def test_program_that_is_missing_is_asyncios_error(loop, run):
    async def main():
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program")
        await asyncio.sleep(0)

    run(main())


def test_options_reach_popen(run, tmp_path):
    async def main():
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", "pwd; umask; echo $X", stdout=PIPE, cwd=tmp_path, umask=0o27, env={"X": "y"}
        )
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert out.decode().split() == [str(tmp_path), "0027", "y"]

    run(main())


def test_wait_does_not_wait_for_pipes_that_a_grandchild_holds(run, asyncio_since):
    asyncio_since(3, 14)

    async def main():
        child = await asyncio.create_subprocess_shell("sleep 60 & echo $!; exit 3", stdout=PIPE)
        grandchild = int(await child.stdout.readline())
        try:
            assert await asyncio.wait_for(child.wait(), 20) == 3
        finally:
            os.kill(grandchild, signal.SIGKILL)
        child._transport.close()
        await asyncio.sleep(0.01)

    run(main())


def test_many_children_end_at_once_and_leave_no_descriptor(run):
    async def main():
        before = len(os.listdir("/proc/self/fd"))
        children = [await asyncio.create_subprocess_exec("true", stdin=DEVNULL) for _ in range(20)]
        assert await asyncio.wait_for(asyncio.gather(*[child.wait() for child in children]), 20) == [0] * 20
        await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) == before

    run(main())


def test_cancelled_wait_leaves_no_trace(run):
    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "60")
        waiting = asyncio.ensure_future(child.wait())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        child.kill()
        assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGKILL

    run(main())


def test_cancelled_start_kills_and_reaps_the_child(loop, run, asyncio_since):
    asyncio_since(3, 14)

    async def main():
        starting = asyncio.ensure_future(loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60"))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(starting, 20)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        await asyncio.sleep(0.01)

    run(main())


def test_status_that_popen_has_read_is_kept(run, asyncio_since):
    asyncio_since()

    async def main():
        child = await asyncio.create_subprocess_shell("exit 5")
        popen = child._transport.get_extra_info("subprocess")
        while popen.poll() is None:
            os.sched_yield()
        assert await asyncio.wait_for(child.wait(), 20) == 5

    run(main())


def test_status_that_somebody_else_has_read_is_255(run, caplog, asyncio_since):
    asyncio_since(3, 12)  # Until then, asyncio's text depends on the child watcher.

    async def main():
        child = await asyncio.create_subprocess_shell("read line; exit 5", stdin=PIPE)
        child.stdin.write(b"\n")
        await asyncio.sleep(0)  # Ours leaves at the end of the turn.
        os.waitpid(child.pid, 0)
        assert await asyncio.wait_for(child.wait(), 20) == 255

    run(main())
    assert "exit status already read" in caplog.text


def test_children_work_in_other_threads(asyncio_since):
    outcomes = []

    async def main():
        child = await asyncio.create_subprocess_shell("exit 4")
        outcomes.append(await child.wait())

    def work():
        loop = tonnage.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert outcomes == [4]


def test_closing_the_loop_forgets_running_children(run, loop, asyncio_since, recwarn, way_to_wait):
    asyncio_since()
    if way_to_wait == "thread":
        pytest.skip("the thread goes on")
    before = len(os.listdir("/proc/self/fd"))

    async def main():
        return await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "60", stdin=None, stdout=None, stderr=None
        )

    transport, _ = run(main())
    assert loop._child_watches
    loop.close()
    assert not loop._child_watches
    assert len(os.listdir("/proc/self/fd")) <= before
    transport.close()
    transport.get_extra_info("subprocess").wait()
