"""`to_thread()` and the default executor: how many run and wait, and how long anybody waits."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import tonnage
from tonnage import default_workers, workers as workers_module
from tonnage.policy import Policy

WAIT_S = 20


async def until(condition):
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


@pytest.fixture
def release():
    release = threading.Event()
    yield release
    release.set()


@pytest.fixture
def small_loop(release):
    """A loop of ours with two threads, and a line of three."""
    loop = tonnage.new_event_loop(policy=Policy(threads=2, threads_waiting=3))
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    yield loop
    release.set()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert not reports


def workers_of(loop):
    if isinstance(loop, tonnage.EventLoop):
        return loop._workers
    return default_workers.workers_of_foreign_loop(loop)


def tasks(count, *call):
    return [asyncio.ensure_future(tonnage.to_thread(*call)) for _ in range(count)]


async def cancel_all(calls):
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


def test_by_default_forty_run_and_a_thousand_wait(loop, run, release):
    async def main():
        calls = tasks(1040, release.wait, WAIT_S)
        await asyncio.sleep(0)
        assert repr(workers_of(loop)) == "<Workers 'to_thread' limit=40 running=40 waiting=1000>"
        with pytest.raises(tonnage.Overloaded) as caught:
            await tonnage.to_thread(int)
        assert str(caught.value) == (
            "to_thread() and run_in_executor() are full: 40 calls run, 1000 wait; start fewer at once, "
            "or raise threads= or threads_waiting= of the loop's Policy"
        )
        assert (caught.value.reason, caught.value.limiter) == ("full", "to_thread")
        # A cancelled call gives its place in the line back at once.
        calls[500].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        last = tasks(1, int)
        release.set()
        assert await asyncio.gather(*last) == [0]
        await asyncio.wait(calls)

    run(main())


def test_policy_says_how_many_run_and_wait(small_loop, release):
    async def main():
        calls = tasks(5, release.wait, WAIT_S)
        await asyncio.sleep(0)
        with pytest.raises(tonnage.Overloaded, match="2 calls run, 3 wait"):
            await tonnage.to_thread(int)
        release.set()
        await asyncio.gather(*calls)
        assert await tonnage.to_thread(abs, -1) == 1

    small_loop.run_until_complete(main())


def test_line_of_length_zero_refuses_what_cannot_begin(release):
    async def main():
        call = asyncio.ensure_future(tonnage.to_thread(release.wait, WAIT_S))
        await asyncio.sleep(0)
        with pytest.raises(tonnage.Overloaded):
            await tonnage.to_thread(int)
        release.set()
        await call
        assert await tonnage.to_thread(int) == 0

    tonnage.run(main(), policy=Policy(threads=1, threads_waiting=0))


def test_line_without_a_bound_takes_all(release):
    async def main():
        calls = tasks(3000, release.wait, WAIT_S)
        await asyncio.sleep(0)
        release.set()
        assert all(await asyncio.gather(*calls))

    tonnage.run(main(), policy=Policy(threads=2, threads_waiting=None))


def test_run_in_executor_and_asyncios_to_thread_share_the_bounds(small_loop, release):
    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(None, release.wait, WAIT_S) for _ in range(3)]
        calls = [asyncio.ensure_future(asyncio.to_thread(release.wait, WAIT_S)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(tonnage.Overloaded):
            loop.run_in_executor(None, int)
        with pytest.raises(tonnage.Overloaded):
            await asyncio.to_thread(int)
        # An executor of one's own is not bounded by them.
        with ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, int) == 0
        release.set()
        await asyncio.gather(*futures, *calls)

    small_loop.run_until_complete(main())


def test_cancelled_future_of_run_in_executor_leaves_the_line_or_is_abandoned(small_loop, release):
    began = []

    def work(number):
        began.append(number)
        release.wait(WAIT_S)

    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(None, work, n) for n in range(4)]
        await until(lambda: len(began) == 2)
        futures[0].cancel()
        futures[2].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loop._workers.abandoned == 1
        assert len(loop._workers._waiting) == 1
        release.set()
        await asyncio.gather(futures[1], futures[3])
        assert sorted(began) == [0, 1, 3]

    small_loop.run_until_complete(main())


def test_error_of_a_cancelled_call_of_run_in_executor_is_reported(release):
    began = threading.Event()
    reports = []

    def work():
        began.set()
        release.wait(WAIT_S)
        raise LookupError("too late")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        future = loop.run_in_executor(None, work)
        await until(began.is_set)
        future.cancel()
        release.set()
        await until(lambda: reports)

    tonnage.run(main())
    assert str(reports[0]["exception"]) == "too late"


def test_threads_have_names(loop, run):
    name = run(tonnage.to_thread(lambda: threading.current_thread().name))
    assert name == "tonnage-to_thread-1"


def test_default_executor_of_the_program_runs_to_thread_too(loop, run, release, asyncio_since):
    asyncio_since()
    variable = contextvars.ContextVar("variable")
    stopped = []

    def name():
        tonnage.check_cancelled()
        return threading.current_thread().name, variable.get()

    def work():
        release.wait(WAIT_S)
        try:
            tonnage.check_cancelled()
        except asyncio.CancelledError:
            stopped.append(True)

    async def main():
        variable.set("seen")
        assert await tonnage.to_thread(name) == ("mine_0", "seen")
        with pytest.raises(asyncio.TimeoutError):
            await tonnage.wait_for(tonnage.to_thread(work), 0.005)
        release.set()
        await until(lambda: stopped)

    loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="mine"))
    run(main())
    assert not loop._workers._threads._all


def test_check_cancelled_stops_an_abandoned_call(loop, run):
    stopped = threading.Event()

    def work():
        try:
            while True:
                tonnage.check_cancelled()
                time.sleep(0.0005)
        finally:
            stopped.set()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await tonnage.wait_for(tonnage.to_thread(work), 0.005)
        await until(stopped.is_set)
        await until(lambda: workers_of(loop).abandoned == 0)

    run(main())


def test_lookups_are_not_behind_abandoned_calls(loop, run, release, asyncio_since):
    asyncio_since()

    async def main():
        calls = tasks(200, release.wait, WAIT_S)
        await asyncio.sleep(0.001)
        await cancel_all(calls)
        assert workers_of(loop).abandoned == 40
        assert await tonnage.wait_for(loop.getaddrinfo("localhost", 80), 5)
        release.set()
        assert await tonnage.to_thread(abs, -1) == 1

    run(main())


def test_to_thread_after_the_shutdown_says_what_asyncio_says(loop, run, asyncio_since):
    asyncio_since()
    run(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
        run(tonnage.to_thread(int))


def test_shutdown_reports_abandoned_calls_and_leaves_them(
    loop, run, release, caplog, monkeypatch, asyncio_since
):
    asyncio_since()
    monkeypatch.setattr(workers_module, "ABANDONED_S", 0.01)

    async def main():
        calls = tasks(2, release.wait, WAIT_S)
        await asyncio.sleep(0.001)
        await cancel_all(calls)
        await loop.shutdown_default_executor(300)

    run(main())
    [record] = caplog.records
    text = record.getMessage()
    assert text.startswith("2 calls of Workers 'to_thread' did not end in time, left to themselves:\n")
    assert text.count(" in thread tonnage-to_thread-") == 2
    assert "in wait\n" in text


@pytest.mark.parametrize("factory", [None, asyncio.SelectorEventLoop])
def test_runner_waits_for_abandoned_calls_a_moment_only(release, caplog, monkeypatch, factory):
    monkeypatch.setattr(workers_module, "ABANDONED_S", 0.01)

    async def main():
        call = asyncio.ensure_future(tonnage.to_thread(release.wait, WAIT_S))
        await asyncio.sleep(0.001)
        assert not call.done()

    before = time.monotonic()
    tonnage.run(main(), loop_factory=factory)
    assert time.monotonic() - before < 5
    assert len(caplog.records) == 1


def test_runner_waits_for_calls_that_nobody_cancelled(monkeypatch):
    monkeypatch.setattr(workers_module, "ABANDONED_S", 0.0)
    done = []

    async def main():
        loop = asyncio.get_running_loop()
        for n in range(60):
            loop.run_in_executor(None, lambda n=n: (time.sleep(0.001), done.append(n)))

    tonnage.run(main())
    assert sorted(done) == list(range(60))


def test_threads_are_gone_when_the_run_is_over():
    before = threading.active_count()

    async def main():
        await tonnage.gather(*(tonnage.to_thread(time.sleep, 0.001) for _ in range(100)))

    tonnage.run(main())
    assert threading.active_count() == before


def test_workers_of_a_foreign_loop_go_with_it():
    loop = asyncio.SelectorEventLoop()
    seen = weakref.ref(loop)
    assert loop.run_until_complete(tonnage.to_thread(abs, -1)) == 1
    workers = default_workers.workers_of_foreign_loop(loop)
    loop.close()
    del loop
    # The thread lets go of its last call a moment after its waiter has heard of it.
    workers.stop()
    gc.collect()
    assert seen() is None


def test_loop_that_is_closed_lets_its_free_threads_end(loop_factory):
    loop = tonnage.new_event_loop()
    loop.run_until_complete(tonnage.to_thread(int))
    threads = list(loop._workers._threads._all)
    loop.close()
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.slow
def test_two_hundred_sleepers_hold_up_nobody_for_longer_than_one_sleep(loop, run, asyncio_since):
    asyncio_since()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            async with tonnage.timeout(0.05):
                await tonnage.gather(*(tonnage.to_thread(time.sleep, 0.5) for _ in range(200)))
        began_at = time.monotonic()
        await loop.getaddrinfo("localhost", 80)
        assert time.monotonic() - began_at < 0.4
        await tonnage.to_thread(int)
        # All of them one after the other, 40 at a time, take 2.5 s.
        assert time.monotonic() - began_at < 1.5
        calls = tasks(200, time.sleep, 0.5)
        await asyncio.sleep(0.05)
        await cancel_all(calls)

    run(main())
    began_at = time.monotonic()
    run(loop.shutdown_default_executor())
    loop.close()
    assert time.monotonic() - began_at < 1.5


def test_forked_child_waits_for_none_of_the_parents_calls(loop, run, release):
    began = threading.Semaphore(0)
    shared = tonnage.Workers(1, name="shared")

    def work():
        began.release()
        release.wait(WAIT_S)

    async def begin():
        calls = [asyncio.ensure_future(tonnage.to_thread(work)), asyncio.ensure_future(shared.run(work))]
        for _ in calls:
            await until(lambda: began.acquire(blocking=False))
        return calls

    async def serve():
        assert await tonnage.to_thread(abs, -1) == 1
        assert await shared.run(abs, -2) == 2
        await shared.aclose()

    calls = run(begin())
    pid = os.fork()
    if pid == 0:
        try:
            tonnage.run(serve())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    release.set()
    run(asyncio.wait(calls))
    run(shared.aclose())
