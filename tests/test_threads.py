"""Threads that race with the loop: what is scheduled runs once and in order, or is refused."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import resource
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
Run = Callable[[Any], Any]
# A million calls, instead of a tenth of them.
LONG = "TONNAGE_LONG" in os.environ


def start(*targets: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_calls_from_four_threads_run_once_each_and_in_order(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []
    left = 4

    def ended() -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def work(thread: int) -> None:
        for number in range(2000):
            loop.call_soon_threadsafe(seen.append, (thread, number))
        loop.call_soon_threadsafe(ended)

    threads = start(*(lambda thread=thread: work(thread) for thread in range(4)))  # type: ignore[misc]
    loop.run_forever()
    join(threads)
    assert len(seen) == 8000
    for thread in range(4):
        assert [number for found, number in seen if found == thread] == list(range(2000))


def test_thread_that_floods_the_loop_gives_way() -> None:
    loop = tonnage.new_event_loop()
    pauses = 0

    def flood() -> None:
        nonlocal pauses
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        for _ in range(10 * 1024):
            loop.call_soon_threadsafe(int)
        pauses = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    join(start(flood))
    assert pauses >= 10
    loop.close()


@pytest.mark.slow
def test_many_calls_from_eight_threads_run_once_each_and_in_order() -> None:
    loop = tonnage.new_event_loop()
    next_numbers = [0] * 8
    left = 8
    count = 125_000 if LONG else 12_500

    def take(thread: int, number: int) -> None:
        nonlocal left
        assert next_numbers[thread] == number
        next_numbers[thread] += 1
        if number == count - 1:
            left -= 1
            if not left:
                loop.stop()

    def work(thread: int) -> None:
        for number in range(count):
            loop.call_soon_threadsafe(take, thread, number)

    threads = start(*(lambda thread=thread: work(thread) for thread in range(8)))  # type: ignore[misc]
    loop.run_forever()
    join(threads)
    loop.close()
    assert next_numbers == [count] * 8


def race_with_close(rounds: int, factory: Callable[[], Loop]) -> None:
    for _ in range(rounds):
        loop = factory()
        ran: list[int] = []
        accepted = [0] * 4
        refused: list[str] = []
        ready = threading.Barrier(5)

        def work(
            thread: int,
            loop: Loop = loop,
            ran: Any = ran,
            accepted: Any = accepted,
            refused: Any = refused,
            ready: Any = ready,
        ) -> None:
            ready.wait()
            for _ in range(20):
                try:
                    loop.call_soon_threadsafe(ran.append, thread)
                except RuntimeError as error:
                    refused.append(str(error))
                    return
                accepted[thread] += 1

        threads = start(*(lambda thread=thread: work(thread) for thread in range(4)))  # type: ignore[misc]
        ready.wait()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        join(threads)
        assert set(refused) <= {"Event loop is closed"}
        assert len(ran) <= sum(accepted)
        assert all(ran.count(thread) <= accepted[thread] for thread in range(4))


def test_threads_that_race_with_close_are_served_or_refused(loop_factory: Any) -> None:
    race_with_close(50, loop_factory)


@pytest.mark.slow
def test_thousand_races_with_close() -> None:
    race_with_close(1000, tonnage.new_event_loop)


def test_result_of_a_coroutine_reaches_the_thread(loop: Loop) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    results: list[int] = []

    def work() -> None:
        for number in range(100):
            results.append(asyncio.run_coroutine_threadsafe(double(number), loop).result(10))
        loop.call_soon_threadsafe(loop.stop)

    threads = start(work)
    loop.run_forever()
    join(threads)
    assert results == [number * 2 for number in range(100)]


@pytest.mark.parametrize("name", ["CancelledError", "InvalidStateError"])
def test_error_of_a_thread_that_a_coroutine_raises_reaches_the_thread_as_asyncios(
    loop: Loop, name: str
) -> None:
    async def fail() -> None:
        raise getattr(concurrent.futures, name)("as asked")

    raised: list[BaseException | None] = []

    def work() -> None:
        submit = tonnage.run_coroutine_threadsafe
        if not isinstance(loop, tonnage.EventLoop):
            submit = asyncio.run_coroutine_threadsafe
        raised.append(submit(fail(), loop).exception(10))
        loop.call_soon_threadsafe(loop.stop)

    threads = start(work)
    loop.run_forever()
    join(threads)
    assert type(raised[0]) is getattr(asyncio, name)
    assert raised[0].args == ("as asked",)


def test_cancel_of_a_coroutine_from_a_thread_races_with_its_end(loop: Loop) -> None:
    outcomes: set[str] = set()

    async def brief() -> str:
        await asyncio.sleep(0)
        return "ended"

    def work() -> None:
        for _ in range(200):
            result = asyncio.run_coroutine_threadsafe(brief(), loop)
            result.cancel()
            try:
                outcomes.add(result.result(10))
            except concurrent.futures.CancelledError:
                outcomes.add("cancelled")
        loop.call_soon_threadsafe(loop.call_soon, loop.stop)

    threads = start(work)
    loop.run_forever()
    join(threads)
    loop.run_until_complete(asyncio.sleep(0))
    assert outcomes <= {"ended", "cancelled"}


def test_two_loops_in_two_threads_do_not_meet(loop_factory: Any) -> None:
    failures: list[BaseException] = []

    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            found = await asyncio.gather(*(child(number) for number in range(10)))
            assert found == list(range(10))
            assert asyncio.get_running_loop() is loop
            assert all(task.get_loop() is loop for task in asyncio.all_tasks())
            me = asyncio.current_task()
            assert me is not None
            assert me.get_loop() is loop

    def work() -> None:
        loop = loop_factory()
        try:
            loop.run_until_complete(main())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()

    join(start(work, work, work))
    assert failures == []


def test_loop_can_move_to_another_thread(loop: Loop) -> None:
    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    found: list[int] = []
    join(start(lambda: found.append(loop.run_until_complete(where()))))
    found.append(loop.run_until_complete(where()))
    assert found[0] != found[1] == threading.get_ident()


def test_loop_cannot_run_in_two_threads(loop: Loop) -> None:
    errors: list[str] = []

    def run_again() -> None:
        try:
            loop.run_forever()
        except RuntimeError as error:
            errors.append(str(error))
        finally:
            loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(lambda: threads.extend(start(run_again)))
    threads: list[threading.Thread] = []
    loop.run_forever()
    join(threads)
    assert errors == ["This event loop is already running"]


@pytest.mark.slow
def test_misuse_from_other_threads_does_not_crash() -> None:
    # asyncio's own contract: the result may be wrong, the process must live.
    loop = tonnage.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    ended = threading.Event()
    futures: list[Any] = [loop.create_future() for _ in range(10)]

    async def park(future: Any) -> None:
        with contextlib.suppress(BaseException):
            await asyncio.shield(future)

    tasks = [loop.create_task(park(future)) for future in futures]

    def misuse() -> None:
        while not ended.is_set():
            for task in tasks:
                task.cancel()
                repr(task)
            for future in futures:
                future.add_done_callback(repr)
                future.remove_done_callback(repr)
            handle = loop.call_later(0, repr, 1)
            handle.cancel()
            asyncio.all_tasks(loop)

    threads = start(misuse, misuse)

    async def main() -> None:
        for _ in range(2000):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    ended.set()
    join(threads)
    for future in futures:
        future.cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


def test_executor_gives_results_back(loop: Loop, run: Run) -> None:
    async def main() -> list[int]:
        return list(await asyncio.gather(*(loop.run_in_executor(None, abs, -n) for n in range(50))))

    assert run(main()) == list(range(50))
