"""`Workers(executor=...)`: processes, interpreters, threads of others; with the same bounds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
import tonnage

WAIT_S = 20


async def until(condition):
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


class ByHand(concurrent.futures.Executor):
    """An executor whose calls the test itself begins and ends."""

    def __init__(self):
        self.submitted = []

    def submit(self, function, /, *args, **kwargs):
        future = concurrent.futures.Future()
        future.call = lambda: function(*args, **kwargs)
        self.submitted.append(future)
        return future

    def begin(self):
        for future in self.submitted:
            if not future.running() and not future.done():
                future.set_running_or_notify_cancel()

    def end(self):
        future = self.submitted.pop(0)
        try:
            future.set_result(future.call())
        except BaseException as error:
            future.set_exception(error)


async def start(workers, *calls):
    tasks = [asyncio.ensure_future(workers.run(*call)) for call in calls]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
        yield executor


@pytest.mark.slow
def test_calls_run_in_a_process(run, processes):
    async def main():
        async with tonnage.Workers(2, executor=processes) as workers:
            assert await workers.run(os.getpid) != os.getpid()
            assert await asyncio.gather(*(workers.run(divmod, n, 3) for n in range(20))) == [
                divmod(n, 3) for n in range(20)
            ]
            with pytest.raises(ValueError, match="invalid literal for int"):
                await workers.run(int, "x")
            with pytest.raises(TypeError):
                await workers.run(int, "7", wrong=1)

    run(main())


@pytest.mark.slow
def test_process_that_dies_breaks_all_calls_and_hangs_none(run):
    executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver"))

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            calls = await start(workers, (os._exit, 3), (int,), (int,))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [BrokenProcessPool] * 3
            with pytest.raises(BrokenProcessPool):
                await workers.run(int)

    run(main())
    executor.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 14), reason="Python 3.14 brings executors of interpreters")
def test_calls_run_in_an_interpreter(run):
    with concurrent.futures.InterpreterPoolExecutor(2) as executor:

        async def main():
            async with tonnage.Workers(2, executor=executor) as workers:
                assert await asyncio.gather(*(workers.run(divmod, n, 3) for n in range(9))) == [
                    divmod(n, 3) for n in range(9)
                ]

        run(main())


def test_executor_is_handed_no_more_than_limit_calls_and_in_order(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(2, executor=executor) as workers:
            calls = await start(workers, *((abs, -n) for n in range(5)))
            assert len(executor.submitted) == 2
            for _ in range(5):
                executor.begin()
                executor.end()
                await asyncio.sleep(0.001)
                assert len(executor.submitted) <= 2
            assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]

    run(main())


def test_cancel_takes_back_what_the_executor_has_not_begun(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(2, executor=executor) as workers:
            first, second, third = await start(workers, (int,), (int,), (int,))
            second.cancel()
            await asyncio.wait([second])
            assert second.cancelled()
            assert executor.submitted[1].cancelled()
            await until(lambda: len(executor.submitted) == 3)
            del executor.submitted[1]
            executor.begin()
            executor.end()
            executor.end()
            assert [await first, await third] == [0, 0]

    run(main())


def test_cancel_is_deferred_while_the_executor_runs_the_call(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            [call] = await start(workers, (int,))
            executor.begin()
            call.cancel()
            await asyncio.sleep(0.001)
            assert not call.done()
            executor.end()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(main())


def test_abandoned_call_keeps_its_slot_until_the_executor_is_done(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(1, executor=executor, abandon_on_cancel=True, name="x") as workers:
            first, second = await start(workers, (int,), (abs, -1))
            executor.begin()
            first.cancel()
            await asyncio.wait([first])
            assert workers.abandoned == 1
            [abandoned] = workers.abandoned_calls()
            assert (abandoned.function, abandoned.thread, abandoned.stack) == ("int", None, [])
            await asyncio.sleep(0.001)
            assert len(executor.submitted) == 1
            executor.end()
            await until(lambda: executor.submitted)
            executor.begin()
            executor.end()
            assert await second == 1

    run(main())


def test_call_that_is_cancelled_between_the_line_and_the_executor_never_begins(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            first, second, third = await start(workers, (int,), (int,), (int,))
            executor.begin()
            second.cancel()
            # It has the slot before its task hears of the cancel, and is not handed over before that.
            executor.end()
            await asyncio.wait([second])
            assert second.cancelled()
            await until(lambda: executor.submitted)
            assert len(executor.submitted) == 1
            executor.begin()
            executor.end()
            assert [await first, await third] == [0, 0]

    run(main())


def test_executor_that_takes_nothing_raises_and_gives_the_slot_back(run):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            for _ in range(3):
                with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
                    await workers.run(int)

    run(main())


def test_executor_that_is_shut_down_meanwhile_fails_the_line(run):
    executor = ThreadPoolExecutor(1)
    release = threading.Event()

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            calls = await start(workers, (release.wait, WAIT_S), (int,), (int,))
            executor.shutdown(wait=False)
            release.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert outcomes[0] is True
            assert [type(outcome) for outcome in outcomes[1:]] == [RuntimeError, RuntimeError]

    run(main())


def test_call_that_the_executor_cancels_ends_cancelled(run):
    executor = ByHand()

    async def main():
        async with tonnage.Workers(1, executor=executor) as workers:
            [call] = await start(workers, (int,))
            executor.submitted[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(main())


def test_aclose_leaves_the_executor_to_its_owner(run):
    async def main():
        with ThreadPoolExecutor(1) as executor:
            async with tonnage.Workers(1, executor=executor) as workers:
                await workers.run(int)
            assert executor.submit(abs, -1).result(WAIT_S) == 1

    run(main())


def test_aclose_names_what_an_executor_still_runs(run, caplog):
    executor = ByHand()

    async def main():
        workers = tonnage.Workers(1, executor=executor)
        [call] = await start(workers, (int,))
        executor.begin()
        await workers.aclose(0.001)
        executor.end()
        assert await call == 0

    run(main())
    [record] = caplog.records
    assert record.getMessage().splitlines()[1:] == ["  int, for 0.0 s in an executor"]


def test_line_of_a_loop_that_was_closed_is_passed_over(loop_factory):
    executor = ByHand()
    workers = tonnage.Workers(1, executor=executor)
    gone, here = loop_factory(), loop_factory()

    async def main():
        waiter = workers.run(int)
        waiter.send(None)
        return waiter

    first = here.run_until_complete(main())
    waiters = [gone.run_until_complete(main()), here.run_until_complete(main())]
    gone.close()
    executor.begin()
    executor.end()
    here.run_until_complete(asyncio.sleep(0))
    assert len(executor.submitted) == 1
    executor.begin()
    executor.end()
    here.run_until_complete(asyncio.sleep(0))
    for waiter in (first, waiters[1]):
        with pytest.raises(StopIteration) as ended:
            waiter.send(None)
        assert ended.value.value == 0
    waiters[0].close()
    here.close()
