"""Children that do not do what is expected: no wait without an end, no zombie, no descriptor is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE

import pytest
import tonnage
from children import children

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc"),
]


@pytest.fixture
def loop(loop):
    if not isinstance(loop, tonnage.EventLoop) and sys.version_info < (3, 12):
        pytest.skip("asyncio needs a child watcher here")
    return loop


@pytest.fixture(autouse=True)
def nothing_left(loop):
    """No descriptor and no child is left."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    others = children()
    yield
    loop.run_until_complete(asyncio.sleep(0.005))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert children() == others


def shell(script, **options):
    return asyncio.create_subprocess_exec("/bin/sh", "-c", script, **options)


def test_child_that_closes_its_stdin_and_lives_on_breaks_the_pipe_and_no_more(run):
    async def main():
        child = await shell("exec <&-; echo closed; exec sleep 1000", stdin=PIPE, stdout=PIPE)
        assert await child.stdout.readline() == b"closed\n"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                child.stdin.write(bytes(65536))
                await child.stdin.drain()
                await asyncio.sleep(0)
        child.stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await child.stdin.wait_closed()
        assert child.returncode is None
        child.kill()
        assert await child.wait() == -signal.SIGKILL

    run(main())


def test_communicate_survives_a_child_that_reads_nothing(run, reports):
    async def main():
        child = await shell("exec <&-; echo done", stdin=PIPE, stdout=PIPE)
        out, _ = await asyncio.wait_for(child.communicate(bytes(4 * 1024 * 1024)), 20)
        assert (out, child.returncode) == (b"done\n", 0)

    run(main())
    if sys.version_info >= (3, 11):
        # The streams of 3.10 report that nobody has waited for the end of stdin.
        assert reports == []


def test_child_that_never_reads_holds_back_its_writer_and_can_be_killed(run):
    async def main():
        child = await shell("exec sleep 1000", stdin=PIPE)
        child.stdin.write(bytes(1024 * 1024))
        draining = asyncio.ensure_future(child.stdin.drain())
        await asyncio.sleep(0.01)
        assert not draining.done()
        child.kill()
        await child.wait()
        await asyncio.wait([draining], timeout=10)
        assert draining.done()
        draining.exception()
        child.stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await child.stdin.wait_closed()

    run(main())


def test_child_that_floods_is_held_back(run):
    async def main():
        child = await shell("exec cat /dev/zero", stdout=PIPE)
        await asyncio.sleep(0.05)
        # Twice StreamReader's limit, and one read of a pipe.
        assert len(child.stdout._buffer) <= 2 * 65536 + 256 * 1024
        child.kill()
        await asyncio.wait_for(child.stdout.read(), 10)
        await child.wait()

    run(main())


def test_child_that_ignores_sigterm_is_killed(run):
    async def main():
        child = await shell("trap '' TERM; echo ready; while :; do sleep 0.01; done", stdout=PIPE)
        assert await child.stdout.readline() == b"ready\n"
        child.terminate()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(child.wait(), 0.05)
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        await asyncio.wait_for(child.stdout.read(), 10)

    run(main())


def test_all_that_a_child_wrote_before_it_crashed_is_read(run):
    async def main():
        script = "head -c 300000 /dev/zero; kill -ABRT $$"
        child = await shell(script, stdout=PIPE, stderr=DEVNULL)
        out, _ = await asyncio.wait_for(child.communicate(), 20)
        assert (len(out), child.returncode) == (300_000, -signal.SIGABRT)

    run(main())


def test_many_children_that_end_at_once_are_all_reaped(run):
    count = 500 if "TONNAGE_LONG" in os.environ else 60

    async def main():
        gate_out, gate_in = os.pipe()
        children = [await shell("read line", stdin=gate_out) for _ in range(count)]
        os.close(gate_out)
        waits = [asyncio.ensure_future(child.wait()) for child in children]
        await asyncio.sleep(0)
        # The end of the file is the end of all.
        os.close(gate_in)
        assert set(await asyncio.wait_for(asyncio.gather(*waits), 60)) == {1}

    run(main())


def test_child_that_has_ended_before_it_is_looked_at_is_reaped(run):
    async def main():
        for _ in range(10):
            child = await shell("exit 3")
            # The loop stands still while the child ends.
            while not is_zombie(child.pid):
                time.sleep(0.001)
            assert await asyncio.wait_for(child.wait(), 10) == 3

    run(main())


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        # asyncio's thread has reaped it.
        return True


def test_program_that_cannot_start_leaves_nothing(run):
    async def main():
        for _ in range(5):
            with pytest.raises(FileNotFoundError):
                await asyncio.create_subprocess_exec("/nowhere/at/all", stdin=PIPE, stdout=PIPE, stderr=PIPE)

    run(main())


def test_start_that_is_cancelled_at_each_step_leaves_nothing(run, asyncio_since):
    asyncio_since()

    async def main():
        for turns in range(8):
            starting = asyncio.ensure_future(shell("exec sleep 1000", stdin=PIPE, stdout=PIPE, stderr=PIPE))
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled():
                child = starting.result()
                child.kill()
                await child.communicate()

    run(main())


def test_children_run_beside_one_that_somebody_else_waits_for(run):
    async def main():
        stranger = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
        child = await shell("exit 5")
        assert await child.wait() == 5
        # No waitpid(-1): the stranger's status is its owner's.
        assert stranger.wait() == 7

    run(main())
