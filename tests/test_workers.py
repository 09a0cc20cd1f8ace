"""`Workers`: blocking calls, bounded; on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import time
import weakref
from contextlib import suppress

import pytest
import tonnage
from tonnage import worker_threads, workers as workers_module

WAIT_S = 20
"""No test waits that long; a broken one must end."""


class Gates:
    """Blocking calls that say when they begin, and go on when they are told."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.lock = threading.Lock()
        self.running = 0
        self.most_running = 0
        self.order = []

    def block(self, number=None):
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.order.append(number)
        self.begun.release()
        assert self.release.wait(WAIT_S)
        with self.lock:
            self.running -= 1
        return number

    async def begin(self, count=1):
        """Wait until so many more calls have begun."""
        for _ in range(count):
            while not self.begun.acquire(blocking=False):
                await asyncio.sleep(0.001)


@pytest.fixture
def gates():
    gates = Gates()
    yield gates
    gates.release.set()


async def until(condition):
    """Wait for what another thread does."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


def test_call_runs_in_a_named_daemon_thread_and_returns_its_result(run):
    def work(a, *, b):
        thread = threading.current_thread()
        return a + b, thread.name, thread.daemon

    async def main():
        async with tonnage.Workers(2, name="press") as workers:
            assert await workers.run(work, 1, b=2) == (3, "tonnage-press-1", True)
        async with tonnage.Workers(2) as workers:
            assert (await workers.run(work, 1, b=2))[1] == "tonnage-workers-1"

    run(main())


def test_exception_of_the_call_is_raised_and_leaves_no_cycle(run):
    seen = []

    class LostError(Exception):
        def __init__(self, text):
            super().__init__(text)
            seen.append(weakref.ref(self))

    def work():
        raise LostError("at sea")

    async def main():
        async with tonnage.Workers(1) as workers:
            with suppress(LostError):
                await workers.run(work)
            # The thread may be about to let go of it.
            await until(lambda: seen[-1]() is None)

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
    assert len(seen) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exit_raised_by_the_call_reaches_the_waiter(run, error):
    def work():
        raise error

    async def main():
        async with tonnage.Workers(1) as workers:
            try:
                await workers.run(work)
            except error:
                return "seen"

    assert run(main()) == "seen"


def test_stop_iteration_of_the_call_becomes_a_runtime_error(run):
    async def main():
        async with tonnage.Workers(1) as workers:
            with pytest.raises(RuntimeError, match="StopIteration interacts badly with generators") as caught:
                await workers.run(next, iter(()))
            assert isinstance(caught.value.__cause__, StopIteration)

    run(main())


def test_call_sees_a_copy_of_the_callers_context(run):
    variable = contextvars.ContextVar("variable", default="nothing")

    def work():
        seen = variable.get()
        variable.set("changed in the thread")
        return seen

    async def main():
        variable.set("the caller's")
        async with tonnage.Workers(1) as workers:
            assert await workers.run(work) == "the caller's"
            assert variable.get() == "the caller's"
            variable.set("another")
            assert await workers.run(work) == "another"

    run(main())


def test_at_most_limit_calls_run_at_once_and_the_line_is_first_come_first_served(run, gates):
    async def main():
        async with tonnage.Workers(3) as workers:
            calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(20)]
            await gates.begin(3)
            assert repr(workers) == "<Workers limit=3 running=3 waiting=17>"
            gates.release.set()
            assert await asyncio.gather(*calls) == list(range(20))
        assert repr(workers) == "<Workers closed limit=3 running=0 waiting=0>"

    run(main())
    assert gates.most_running == 3
    assert sorted(gates.order[:3]) == [0, 1, 2]


def test_line_begins_in_the_order_of_arrival(run, gates):
    async def main():
        async with tonnage.Workers(1) as workers:
            calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(50)]
            await gates.begin()
            gates.release.set()
            await asyncio.gather(*calls)

    run(main())
    assert gates.order == list(range(50))


def test_thread_that_was_free_last_is_used_again(run, gates):
    async def main():
        async with tonnage.Workers(8) as workers:
            calls = [asyncio.ensure_future(workers.run(gates.block)) for _ in range(4)]
            await gates.begin(4)
            gates.release.set()
            await asyncio.gather(*calls)
            names = {await workers.run(lambda: threading.current_thread().name) for _ in range(50)}
            assert len(names) == 1
            assert len(workers._threads._all) == 4

    run(main())


def test_calls_one_after_another_need_one_thread(run):
    async def main():
        async with tonnage.Workers(8) as workers:
            for _ in range(200):
                await workers.run(int)
            assert len(workers._threads._all) == 1

    run(main())


def test_thread_without_work_ends_after_a_while(run, monkeypatch):
    monkeypatch.setattr(worker_threads, "IDLE_S", 0.005)

    async def main():
        async with tonnage.Workers(2) as workers:
            for _ in range(5):
                await workers.run(int)
                await until(lambda: not workers._threads._all)
                assert not workers._threads.free

    run(main())


def test_handing_over_to_a_thread_that_gives_up_waiting_loses_no_call(run, monkeypatch):
    # The thread decides to end at the very moment at which it is chosen.
    monkeypatch.setattr(worker_threads, "IDLE_S", 0.0)

    async def main():
        async with tonnage.Workers(2) as workers:
            assert [await workers.run(abs, -n) for n in range(300)] == list(range(300))

    run(main())


def test_thread_keeps_nothing_of_its_last_call(run):
    class Thing:
        pass

    async def main():
        async with tonnage.Workers(1) as workers:
            thing = Thing()
            seen = weakref.ref(thing)
            assert await workers.run(lambda given: given, thing) is thing
            del thing
            # The loop's last callback is still to be dropped.
            await until(lambda: seen() is None)
            assert len(workers._threads._all) == 1

    run(main())


@pytest.mark.parametrize(
    ("limit", "error", "text"),
    [
        (0, ValueError, "limit must be 1 or more, got 0"),
        (-3, ValueError, "limit must be 1 or more, got -3"),
        ("4", TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got '4'"),
        (True, TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got True"),
        (2.0, TypeError, "limit must be an int, a Limiter or a sequence of Limiters, got 2.0"),
    ],
)
def test_limit_is_checked(limit, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        tonnage.Workers(limit)


# Cancellation


def test_cancel_in_the_line_ends_the_wait_at_once_and_the_call_never_begins(run, gates):
    async def main():
        for abandon in (False, True):
            gates.release.clear()
            gates.order.clear()
            async with tonnage.Workers(1, abandon_on_cancel=abandon) as workers:
                calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(3)]
                await gates.begin()
                calls[1].cancel()
                await asyncio.wait([calls[1]])
                assert calls[1].cancelled()
                assert repr(workers) == "<Workers limit=1 running=1 waiting=1>"
                gates.release.set()
                assert [await calls[0], await calls[2]] == [0, 2]
            assert gates.order == [0, 2]
            gates.begun.acquire()

    run(main())


def test_cancel_is_deferred_until_the_call_has_ended_and_then_goes_on(run, gates):
    async def main():
        async with tonnage.Workers(1) as workers:
            call = asyncio.ensure_future(workers.run(gates.block, "a value"))
            await gates.begin()
            for _ in range(3):
                call.cancel("stop")
                await asyncio.sleep(0.002)
                assert not call.done()
            assert workers.abandoned == 0
            gates.release.set()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(main())


def test_check_cancelled_stops_the_call_with_the_message_of_the_cancel(run):
    begun = threading.Event()
    stopped = []

    def work():
        begun.set()
        try:
            while True:
                tonnage.check_cancelled()
                time.sleep(0.0005)
        except asyncio.CancelledError as error:
            stopped.append(error.args)
            raise

    async def main():
        async with tonnage.Workers(1) as workers:
            call = asyncio.ensure_future(workers.run(work))
            await until(begun.is_set)
            call.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await call
            # The slot is free.
            assert await workers.run(abs, -1) == 1

    run(main())
    assert stopped == [("enough",)]


def test_call_that_asks_ends_with_the_timeout_around_it(run):
    def work():
        while True:
            tonnage.check_cancelled()
            time.sleep(0.0005)

    async def main():
        async with tonnage.Workers(1) as workers:
            with pytest.raises(asyncio.TimeoutError):
                async with tonnage.timeout(0.01):
                    await workers.run(work)

    run(main())


def test_error_of_a_call_whose_wait_was_cancelled_is_raised_with_the_cancel_as_context(run, gates):
    def work():
        gates.block()
        raise LookupError("found nothing")

    async def main():
        async with tonnage.Workers(1) as workers:
            call = asyncio.ensure_future(workers.run(work))
            await gates.begin()
            call.cancel()
            await asyncio.sleep(0.001)
            gates.release.set()
            with pytest.raises(LookupError) as caught:
                await call
            assert isinstance(caught.value.__context__, asyncio.CancelledError)

    run(main())


def test_abandoned_call_keeps_its_slot_and_is_listed_with_its_stack(run, gates):
    async def main():
        async with tonnage.Workers(1, abandon_on_cancel=True, name="x") as workers:
            call = asyncio.ensure_future(workers.run(gates.block))
            await gates.begin()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            assert workers.abandoned == 1
            [abandoned] = workers.abandoned_calls()
            assert abandoned.function.endswith("Gates.block")
            assert abandoned.seconds > 0
            assert abandoned.thread == "tonnage-x-1"
            assert abandoned.stack[0][0] == __file__
            assert abandoned.stack[0][2] == "block"
            following = asyncio.ensure_future(workers.run(int))
            await asyncio.sleep(0.002)
            assert not following.done()
            gates.release.set()
            assert await following == 0
            assert workers.abandoned == 0
            assert workers.abandoned_calls() == []

    run(main())


def test_error_of_an_abandoned_call_is_reported(loop, run, reports, gates):
    def work():
        gates.block()
        raise LookupError("too late")

    async def main():
        async with tonnage.Workers(1, abandon_on_cancel=True) as workers:
            call = asyncio.ensure_future(workers.run(work))
            await gates.begin()
            call.cancel()
            await asyncio.wait([call])
            gates.release.set()
            await until(lambda: reports)

    run(main())
    [report] = reports
    assert report["message"].startswith("exception in an abandoned call of test_error_of_an_abandoned_call")
    assert str(report["exception"]) == "too late"


def test_abandoned_call_that_stops_when_asked_is_not_reported(run, gates):
    def work():
        gates.block()
        tonnage.check_cancelled()

    async def main():
        async with tonnage.Workers(1, abandon_on_cancel=True) as workers:
            call = asyncio.ensure_future(workers.run(work))
            await gates.begin()
            call.cancel()
            await asyncio.wait([call])
            gates.release.set()

    run(main())


@pytest.mark.parametrize("abandon", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_cancel_in_the_turn_in_which_the_call_ends_wins_and_no_error_is_lost(
    loop, run, reports, gates, abandon, fails
):
    def work():
        gates.block()
        if fails:
            raise LookupError

    async def main():
        async with tonnage.Workers(1, abandon_on_cancel=abandon) as workers:
            call = asyncio.ensure_future(workers.run(work))
            await gates.begin()
            gates.release.set()
            # The outcome is on its way to the loop, which is kept from looking.
            while workers._running:
                time.sleep(0.0005)
            time.sleep(0.01)
            loop.call_soon(call.cancel)
            expected = LookupError if fails and not abandon else asyncio.CancelledError
            with pytest.raises(expected):
                await call

    run(main())
    assert len(reports) == (fails and abandon)


def test_waiter_whose_coroutine_is_closed_abandons_its_call(loop, run, gates):
    async def main():
        async with tonnage.Workers(1) as workers:
            waiter = workers.run(gates.block)
            waiter.send(None)
            await gates.begin()
            assert workers.abandoned == 0
            waiter.close()
            assert workers.abandoned == 1
            gates.release.set()

    run(main())


def test_waiter_that_is_closed_in_the_line_leaves_it(loop, run, gates):
    async def main():
        async with tonnage.Workers(1) as workers:
            first = asyncio.ensure_future(workers.run(gates.block))
            await gates.begin()
            waiter = workers.run(gates.block)
            waiter.send(None)
            waiter.close()
            assert repr(workers) == "<Workers limit=1 running=1 waiting=0>"
            gates.release.set()
            await first

    run(main())


def test_check_cancelled_does_nothing_while_somebody_waits(run):
    async def main():
        async with tonnage.Workers(1) as workers:
            assert await workers.run(tonnage.check_cancelled) is None

    run(main())


def test_check_cancelled_outside_of_a_call_says_what_it_is_for():
    with pytest.raises(RuntimeError, match=r"^check_cancelled\(\) is for functions that to_thread\(\) or "):
        tonnage.check_cancelled()


# The end


def test_closed_workers_refuse(run):
    async def main():
        workers = tonnage.Workers(1, name="x")
        await workers.aclose()
        await workers.aclose()
        with pytest.raises(tonnage.Overloaded) as caught:
            await workers.run(int)
        assert str(caught.value) == "Workers 'x' take no more calls: aclose() was called"
        assert (caught.value.reason, caught.value.limiter) == ("closed", "x")
        with pytest.raises(tonnage.Overloaded):
            async with workers:
                pass

    run(main())


def test_aclose_waits_for_what_runs_and_for_the_line(run, gates):
    async def main():
        workers = tonnage.Workers(1)
        calls = [asyncio.ensure_future(workers.run(gates.block, n)) for n in range(3)]
        await gates.begin()
        closing = asyncio.ensure_future(workers.aclose())
        await asyncio.sleep(0.002)
        assert not closing.done()
        with pytest.raises(tonnage.Overloaded):
            await workers.run(int)
        gates.release.set()
        await closing
        assert not workers._threads._all
        assert await asyncio.gather(*calls) == [0, 1, 2]

    run(main())


def test_aclose_leaves_no_thread(run):
    before = threading.active_count()

    async def main():
        async with tonnage.Workers(8) as workers:
            await asyncio.gather(*(workers.run(time.sleep, 0.001) for _ in range(30)))
        assert threading.active_count() == before

    run(main())


def test_aclose_gives_up_after_its_timeout_and_says_what_still_runs(run, gates, caplog):
    async def main():
        workers = tonnage.Workers(1, name="slow")
        call = asyncio.ensure_future(workers.run(gates.block, "late"))
        refused = asyncio.ensure_future(workers.run(gates.block))
        await gates.begin()
        await workers.aclose(0.01)
        with pytest.raises(tonnage.Overloaded):
            await refused
        gates.release.set()
        assert await call == "late"
        await until(lambda: not workers._threads._all)

    run(main())
    [record] = caplog.records
    assert (record.name, record.levelno) == ("tonnage", logging.WARNING)
    first, second, *stack = record.getMessage().splitlines()
    assert first == "1 call of Workers 'slow' did not end in time, left to themselves:"
    assert "Gates.block, for 0.0 s in thread tonnage-slow-1" in second
    assert f'    File "{__file__}", line ' in stack[0]
    assert gates.order == ["late"]


def test_aclose_waits_for_abandoned_calls_a_moment_only(run, gates, caplog, monkeypatch):
    monkeypatch.setattr(workers_module, "ABANDONED_S", 0.01)

    async def main():
        async with tonnage.Workers(1, abandon_on_cancel=True) as workers:
            call = asyncio.ensure_future(workers.run(gates.block))
            await gates.begin()
            call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    run(main())
    assert len(caplog.records) == 1


def test_cancelled_aclose_can_be_called_again(run, gates):
    async def main():
        workers = tonnage.Workers(1)
        call = asyncio.ensure_future(workers.run(gates.block))
        await gates.begin()
        closing = asyncio.ensure_future(workers.aclose())
        await asyncio.sleep(0.002)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        gates.release.set()
        await workers.aclose()
        await call

    run(main())


def test_result_that_comes_after_the_loop_was_closed_is_dropped(loop, gates):
    workers = tonnage.Workers(1)
    answers = []

    def work():
        gates.block()
        try:
            tonnage.check_cancelled()
        except asyncio.CancelledError:
            answers.append("nobody waits")
        raise LookupError

    async def begin():
        waiter = workers.run(work)
        waiter.send(None)
        await gates.begin()
        return waiter

    waiter = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gates.release.set()
    thread = next(iter(workers._threads._all))
    while workers._running:
        time.sleep(0.001)
    assert answers == ["nobody waits"]
    # The thread is none the worse for it.
    assert thread.is_alive()
    waiter.close()
    workers._threads.end()
    assert not thread.is_alive()


def test_one_object_serves_several_loops_with_one_limit(loop_factory, gates):
    workers = tonnage.Workers(2)
    answers = []

    def serve(number):
        with tonnage.Runner(loop_factory=loop_factory) as runner:
            answers.append(runner.run(workers.run(gates.block, number)))

    threads = [threading.Thread(target=serve, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        assert gates.begun.acquire(timeout=WAIT_S)
    gates.release.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(answers) == [0, 1, 2, 3]
    assert gates.most_running == 2
    workers._threads.end()


def test_thread_that_cannot_start_raises_and_leaves_no_call(run, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    async def main():
        async with tonnage.Workers(1) as workers:
            monkeypatch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="^can't start new thread$"):
                await workers.run(int)
            monkeypatch.undo()
            assert await workers.run(int) == 0

    run(main())


def test_call_for_which_no_thread_can_start_waits_for_one_that_is_there(run, gates, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    async def main():
        async with tonnage.Workers(2) as workers:
            first = asyncio.ensure_future(workers.run(gates.block, 1))
            await gates.begin()
            monkeypatch.setattr(threading.Thread, "start", start)
            second = asyncio.ensure_future(workers.run(gates.block, 2))
            await asyncio.sleep(0)
            monkeypatch.undo()
            gates.release.set()
            assert [await first, await second] == [1, 2]

    run(main())


def test_finalizer_that_runs_inside_may_use_the_workers(loop, run, gates):
    async def main():
        async with tonnage.Workers(1) as workers:
            with workers._lock:
                waiter = workers.run(gates.block)
                waiter.send(None)
                waiter.close()
            await gates.begin()
            gates.release.set()

    run(main())


def test_closed_workers_die_with_their_last_reference(run):
    async def main():
        async with tonnage.Workers(1) as workers:
            assert await workers.run(int, "7") == 7
        return weakref.ref(workers)

    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()
