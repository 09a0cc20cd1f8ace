"""`run_in_executor` and the default executor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
import weakref
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest


def test_call_runs_on_another_thread(loop, run):
    assert run(loop.run_in_executor(None, threading.get_ident)) != threading.get_ident()
    with ThreadPoolExecutor(thread_name_prefix="mine") as executor:
        name = run(loop.run_in_executor(executor, lambda: threading.current_thread().name))
    assert name.startswith("mine")


def test_exception_of_the_call_is_raised(loop, run):
    async def main():
        with pytest.raises(ValueError, match="invalid literal"):
            await loop.run_in_executor(None, int, "x")

    run(main())


def test_exception_of_the_call_leaves_no_cycle(loop, run):
    class Argument:
        pass

    def fail(_argument):
        raise LookupError

    async def main():
        argument = Argument()
        known = weakref.ref(argument)
        calling = loop.run_in_executor(None, fail, argument)
        del argument
        with contextlib.suppress(LookupError):
            await calling
        del calling
        deadline = loop.time() + 10
        # The thread may be about to let go of it.
        while known() is not None:
            assert loop.time() < deadline
            await asyncio.sleep(0.001)

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_default_executor_can_be_set(loop, run):
    executor = ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(executor)
    assert run(loop.run_in_executor(None, lambda: threading.current_thread().name)).startswith("mine")


@pytest.mark.parametrize("wrong", [None, object(), Executor()])
def test_default_executor_must_be_a_thread_pool(loop, wrong, asyncio_since):
    asyncio_since(3, 11)
    with pytest.raises(TypeError, match="^executor must be ThreadPoolExecutor instance$"):
        loop.set_default_executor(wrong)


def test_default_executor_that_was_shut_down_takes_no_call(loop, run):
    run(loop.shutdown_default_executor())
    with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
        loop.run_in_executor(None, int)
    with ThreadPoolExecutor(1) as executor:
        assert run(loop.run_in_executor(executor, int)) == 0


def test_shutdown_waits_for_running_calls(loop, run):
    release = threading.Event()

    async def main():
        call = loop.run_in_executor(None, release.wait, 20)
        loop.call_later(0.01, release.set)
        await loop.shutdown_default_executor()
        assert await call is True

    run(main())


def test_shutdown_gives_up_after_its_timeout(loop, run, asyncio_since):
    asyncio_since(3, 13)
    release = threading.Event()

    async def main():
        call = loop.run_in_executor(None, release.wait, 20)
        text = r"^The executor did not finishing joining its threads within 0.01 seconds\.$"
        with pytest.warns(RuntimeWarning, match=text):
            await loop.shutdown_default_executor(0.01)
        release.set()
        await call
        await asyncio.sleep(0.01)

    run(main())


def test_shutdown_within_its_timeout_warns_of_nothing(loop, run, asyncio_since):
    asyncio_since(3, 12)

    async def main():
        await loop.run_in_executor(None, int)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await loop.shutdown_default_executor(timeout=20)

    run(main())


def test_cancelled_shutdown_leaves_no_report(loop, run, asyncio_since):
    asyncio_since(3, 13)
    release = threading.Event()

    async def main():
        call = loop.run_in_executor(None, release.wait, 20)
        stopping = asyncio.ensure_future(loop.shutdown_default_executor())
        await asyncio.sleep(0.005)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        release.set()
        await call
        await asyncio.sleep(0.01)

    run(main())


def test_error_in_shutdown_is_raised(loop, run):
    class Broken(ThreadPoolExecutor):
        def shutdown(self, wait=True, **options):
            super().shutdown(wait, **options)
            if wait:
                raise ZeroDivisionError

    loop.set_default_executor(Broken(1))

    async def main():
        with pytest.raises(ZeroDivisionError):
            await loop.shutdown_default_executor()

    run(main())
    loop.close()


def test_closed_loop_runs_no_call(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.run_in_executor(None, int)


def test_close_does_not_wait_for_running_calls(loop, run):
    release = threading.Event()

    async def main():
        loop.run_in_executor(None, release.wait, 20)

    run(main())
    loop.close()
    assert loop._default_executor is None
    release.set()
