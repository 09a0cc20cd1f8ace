"""Child processes."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from contextlib import suppress

import pytest
import tonnage
from children import children
from tonnage import process

LONG = "TONNAGE_LONG" in os.environ
OTHERS: set[int] = set()


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
        if not isinstance(loop, tonnage.EventLoop) and sys.version_info < (3, 14):
            # It is chosen once for the process, and a test may have had no pidfd to offer.
            asyncio.get_event_loop_policy()._watcher = None
        yield loop


def python(code, **options):
    return asyncio.create_subprocess_exec(sys.executable, "-c", code, **options)


def descriptors():
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


async def until(condition):
    """Let the loop run until `condition()` holds."""
    async with tonnage.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def is_inherited(fd):
    """Does a child get the descriptor?"""
    with suppress(OSError):
        return os.get_inheritable(fd)
    return False


@pytest.fixture(autouse=True)
def others():
    """Learn which children are not of the test."""
    OTHERS.clear()
    OTHERS.update(children())


def has_child():
    """Has the test a child, running or a zombie?"""
    return not children() <= OTHERS


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
        assert not has_child()
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
    # The text before that depends on the watch that asyncio has chosen.
    assert "will report returncode 255" in caplog.text


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


# How a child begins.


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("universal_newlines must be False", {"universal_newlines": True}),
        ("bufsize must be 0", {"bufsize": 4096}),
        ("text must be False", {"text": True}),
        ("encoding must be None", {"encoding": "utf-8"}),
        ("errors must be None", {"errors": "strict"}),
        ("shell must be False", {"shell": True}),
    ],
)
def test_options_that_cannot_be_are_refused(run, text, options):
    async def main():
        with pytest.raises(ValueError, match=text):
            await asyncio.create_subprocess_exec("true", **options)

    run(main())


def test_command_of_a_shell_is_a_string(run):
    async def main():
        with pytest.raises(ValueError, match="cmd must be a string"):
            await asyncio.create_subprocess_shell(["true"])
        with pytest.raises(ValueError, match="shell must be True"):
            await asyncio.create_subprocess_shell("true", shell=False)

    run(main())


@pytest.mark.parametrize("failure", ["missing", "forbidden", "no folder", "preexec_fn"])
def test_start_that_fails_leaves_nothing(run, tmp_path, failure):
    program = tmp_path / "program"
    options, expected = {}, PermissionError
    if failure != "missing":
        program.write_text("no program")
    else:
        expected = FileNotFoundError
    if failure == "no folder":
        options, expected = {"cwd": tmp_path / "nowhere"}, FileNotFoundError
    elif failure == "preexec_fn":
        options, expected = {"preexec_fn": lambda: 1 // 0}, subprocess.SubprocessError

    async def main():
        await asyncio.sleep(0)
        before = descriptors()
        with pytest.raises(expected):
            await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)
        assert descriptors() == before
        assert not has_child()

    run(main())


def test_child_inherits_what_it_is_passed_and_nothing_else(run):
    code = "import os; print(*[fd for fd in range(3, 1000) if os.path.exists(f'/proc/self/fd/{fd}')])"

    async def main():
        inherited = {fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and is_inherited(fd)}
        other = await python("input()", stdin=PIPE, stdout=PIPE)
        reading, writing = os.pipe()
        for options, expected in (({"close_fds": False}, inherited), ({"pass_fds": [writing]}, {writing})):
            child = await python(code, stdin=PIPE, stdout=PIPE, stderr=PIPE, **options)
            out, _ = await asyncio.wait_for(child.communicate(), 20)
            assert set(map(int, out.split())) == expected
        os.close(reading)
        os.close(writing)
        await asyncio.wait_for(other.communicate(b"\n"), 20)

    run(main())


def test_transport_is_one_of_asyncio_over_pipes_of_ours(loop, run, asyncio_since):
    asyncio_since()

    async def main():
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert not isinstance(transport, asyncio.base_subprocess.BaseSubprocessTransport)
        assert isinstance(transport.get_pipe_transport(0), tonnage._tonnage.WritePipeTransport)
        assert isinstance(transport.get_pipe_transport(1), tonnage._tonnage.ReadPipeTransport)
        assert transport.get_pipe_transport(3) is None
        pid = transport.get_pid()
        assert repr(transport).startswith(f"<SubprocessTransport pid={pid} running stdin=<WritePipeTransport")
        transport.kill()
        assert await transport._wait() == -signal.SIGKILL
        transport.close()
        assert f"<SubprocessTransport closed pid={pid} returncode=-9 stdin=" in repr(transport)
        await until(lambda: transport.get_protocol() is None)
        with pytest.raises(ProcessLookupError):
            transport.kill()

    run(main())


def test_protocol_hears_in_order(loop, run):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.heard = []
            self.over = loop.create_future()

        def connection_made(self, transport):
            self.heard.append("made")
            assert transport.get_pipe_transport(1) is not None

        def pipe_data_received(self, fd, data):
            self.heard.append((fd, data))

        def pipe_connection_lost(self, fd, exc):
            self.heard.append((fd, exc))

        def process_exited(self):
            self.heard.append("exited")

        def connection_lost(self, exc):
            self.heard.append(("lost", exc))
            self.over.set_result(None)

    async def main():
        transport, protocol = await loop.subprocess_shell(Protocol, "echo out; sleep 0.05", stderr=STDOUT)
        await asyncio.wait_for(protocol.over, 20)
        assert protocol.heard[:2] == ["made", (1, b"out\n")]
        assert sorted(map(str, protocol.heard[2:-1])) == ["(0, None)", "(1, None)", "exited"]
        assert protocol.heard[-1] == ("lost", None)
        transport.close()

    run(main())


# How it ends.


@pytest.mark.parametrize("turns", range(8))
def test_start_that_is_cancelled_anywhere_leaves_nothing(run, asyncio_since, turns):
    asyncio_since()

    async def main():
        before = descriptors()
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        try:
            child = await asyncio.wait_for(starting, 20)
        except asyncio.CancelledError:
            assert not has_child()
        else:
            child.kill()
            await child.wait()
        await until(lambda: descriptors() == before)
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_start_that_is_cancelled_twice_leaves_nothing(run, asyncio_since):
    asyncio_since()

    async def main():
        before = descriptors()
        starting = asyncio.ensure_future(asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        assert len(asyncio.all_tasks()) == 1
        await until(lambda: descriptors() == before and not has_child())

    run(main())


def test_child_that_ended_before_it_is_watched_is_reaped(run, asyncio_since, monkeypatch):
    asyncio_since()
    start_child = process.start_child

    def start_and_wait(*args, **options):
        child = start_child(*args, **options)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return child

    monkeypatch.setattr(process, "start_child", start_and_wait)

    async def main():
        child = await asyncio.create_subprocess_shell("exit 6", stdout=PIPE)
        assert await asyncio.wait_for(child.communicate(), 20) == (b"", None)
        assert child.returncode == 6
        assert not has_child()

    run(main())


def test_child_that_the_kernel_reaps_is_255(run, asyncio_since, caplog):
    asyncio_since()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    async def main():
        child = await asyncio.create_subprocess_exec("true")
        assert await asyncio.wait_for(child.wait(), 20) == 255

    try:
        run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)
    # The text before that depends on the watch that asyncio has chosen.
    assert "will report returncode 255" in caplog.text


def test_child_that_cannot_be_watched_is_killed_and_reaped(run, asyncio_since, monkeypatch):
    asyncio_since()

    def fail(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os, "pidfd_open", lambda pid: os.open("/nowhere", 0))
    monkeypatch.setattr(threading.Thread, "start", fail)

    async def main():
        before = descriptors()
        with pytest.raises(RuntimeError, match="can't start"):
            await asyncio.create_subprocess_exec("sleep", "60", stdin=PIPE, stdout=PIPE)
        assert descriptors() == before
        assert not has_child()

    run(main())


def test_child_that_ignores_the_end_of_its_input_goes_on(run):
    async def main():
        child = await python(
            "import sys; sys.stdin.read(); print('on', flush=True); input()", stdin=PIPE, stdout=PIPE
        )
        child.stdin.close()
        assert await asyncio.wait_for(child.stdout.readline(), 20) == b"on\n"
        assert await asyncio.wait_for(child.wait(), 20) == 1

    run(main())


def test_large_input_and_output_pass_each_other(run):
    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        payload = os.urandom(3_000_000)
        out, _ = await asyncio.wait_for(child.communicate(payload), 20)
        assert out == payload

    run(main())


def test_many_children_at_once_leave_no_zombie(run, asyncio_since, way_to_wait):
    asyncio_since()
    count = 500 if LONG else 60

    async def one(number):
        child = await asyncio.create_subprocess_shell(f"exit {number % 7}", stdin=PIPE, stdout=PIPE)
        await child.communicate()
        return child.returncode

    async def main():
        before = descriptors()
        statuses = await asyncio.wait_for(asyncio.gather(*map(one, range(count))), 60)
        assert statuses == [number % 7 for number in range(count)]
        assert not has_child()
        await until(lambda: descriptors() == before)

    run(main())


def test_signal_goes_to_no_other_process(run, asyncio_since, monkeypatch, way_to_wait):
    asyncio_since()
    if way_to_wait == "thread":
        pytest.skip("needs a pidfd")

    def kill(pid, number):
        raise AssertionError("the pid may be another's")

    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "60")
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", kill)
            child.terminate()
        assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGTERM

    run(main())


def test_signal_goes_by_the_pid_where_a_sandbox_knows_no_other_way(run, asyncio_since, monkeypatch):
    asyncio_since()

    def pidfd_send_signal(pidfd, number):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(signal, "pidfd_send_signal", pidfd_send_signal, raising=False)

    async def main():
        child = await asyncio.create_subprocess_exec("sleep", "60")
        child.terminate()
        assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGTERM

    run(main())


def test_loop_that_is_closed_lets_children_and_pipes_go(loop_factory, way_to_wait, asyncio_since, loop):
    asyncio_since()
    if way_to_wait == "thread":
        pytest.skip("the thread goes on")
    closed = loop_factory()
    before = descriptors()

    async def main():
        return await closed.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60")

    transport, protocol = closed.run_until_complete(main())
    closed.close()
    child = transport.get_extra_info("subprocess")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport, protocol
        gc.collect()
    assert descriptors() <= before
    texts = sorted(str(warning.message)[:36] for warning in caught)
    pipes = ["unclosed transport <ReadPipeTranspor"] * 2 + ["unclosed transport <SubprocessTransp"]
    assert texts == [*pipes, "unclosed transport <WritePipeTranspo"]
    assert child.wait(20) == -signal.SIGKILL
