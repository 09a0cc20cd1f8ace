"""run() and Runner: what asyncio 3.15 does, on every version.

Each behaviour is checked on tonnage, and on asyncio too where the running version has it.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
import weakref
from typing import Any

import pytest
import tonnage

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def asyncio_since(*version: int) -> Any:
    """asyncio as a peer, from the version on in which it behaves as 3.15 does."""
    missing = pytest.mark.skipif(sys.version_info < version, reason=f"asyncio does it since {version}")
    return pytest.mark.parametrize(
        "peer", [pytest.param(asyncio, id="asyncio", marks=missing), pytest.param(tonnage, id="tonnage")]
    )


@pytest.fixture(autouse=True)
def _leave_no_current_loop() -> Any:
    yield
    asyncio.set_event_loop(None)


@asyncio_since(3, 10)
def test_run_returns_what_main_returns(peer: Any) -> None:
    async def main() -> str:
        await asyncio.sleep(0)
        return "result"

    assert peer.run(main()) == "result"


@asyncio_since(3, 10)
def test_run_raises_what_main_raises(peer: Any) -> None:
    async def main() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        peer.run(main())


@asyncio_since(3, 10)
@pytest.mark.parametrize("debug", [True, False])
def test_run_sets_debug_mode(peer: Any, debug: bool) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert peer.run(main(), debug=debug) is debug


@asyncio_since(3, 10)
def test_run_refuses_to_run_inside_a_running_loop(peer: Any) -> None:
    async def main() -> None:
        inner = main()
        try:
            with pytest.raises(
                RuntimeError, match=r"^asyncio.run\(\) cannot be called from a running event loop$"
            ):
                peer.run(inner)
        finally:
            inner.close()

    peer.run(main())


@asyncio_since(3, 11)
def test_runner_refuses_to_run_inside_a_running_loop(peer: Any) -> None:
    async def main(runner: Any) -> None:
        inner = main(runner)
        try:
            with pytest.raises(
                RuntimeError, match=r"^Runner.run\(\) cannot be called from a running event loop$"
            ):
                runner.run(inner)
        finally:
            inner.close()

    with peer.Runner() as runner:
        runner.run(main(runner))


@asyncio_since(3, 14)
def test_run_takes_any_awaitable(peer: Any) -> None:
    class Ready:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "ready"

    assert peer.run(Ready()) == "ready"


@asyncio_since(3, 14)
@pytest.mark.parametrize("nonsense", [None, 1, lambda: None, (each for each in ())])
def test_run_refuses_what_cannot_be_awaited(peer: Any, nonsense: Any) -> None:
    with pytest.raises(TypeError, match=r"^An asyncio.Future, a coroutine or an awaitable is required$"):
        peer.run(nonsense)


@asyncio_since(3, 12)
def test_run_uses_the_loop_factory(peer: Any) -> None:
    made = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.SelectorEventLoop())
        return made[-1]

    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert [peer.run(main(), loop_factory=factory)] == made
    assert made[0].is_closed()


def test_run_makes_a_loop_of_tonnage() -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert type(tonnage.run(main())) is tonnage.EventLoop


@asyncio_since(3, 11)
def test_runner_makes_its_loop_current_until_it_closes(peer: Any) -> None:
    with peer.Runner() as runner:
        assert asyncio.get_event_loop() is runner.get_loop()
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()


@asyncio_since(3, 11)
def test_runner_with_a_factory_leaves_the_current_loop_alone(peer: Any) -> None:
    asyncio.set_event_loop(None)
    with (
        peer.Runner(loop_factory=asyncio.SelectorEventLoop),
        pytest.raises(RuntimeError, match="no current event loop"),
    ):
        asyncio.get_event_loop()


@asyncio_since(3, 11)
def test_runner_keeps_one_context(peer: Any) -> None:
    async def set_variable(value: str) -> None:
        variable.set(value)

    async def get_variable() -> str:
        return variable.get()

    with peer.Runner() as runner:
        runner.run(set_variable("kept"))
        assert runner.run(get_variable()) == "kept"
    assert variable.get() == "unset"


@asyncio_since(3, 11)
def test_runner_runs_in_the_given_context_even_if_it_is_empty(peer: Any) -> None:
    async def set_variable() -> None:
        variable.set("given")

    context = contextvars.Context()
    with peer.Runner() as runner:
        runner.run(set_variable(), context=context)
    assert context[variable] == "given"


@pytest.mark.parametrize("factory", [tonnage.new_event_loop, asyncio.SelectorEventLoop])
def test_runner_keeps_one_context_on_any_loop(factory: Any) -> None:
    async def set_variable() -> None:
        variable.set("kept")

    async def get_variable() -> str:
        return variable.get()

    with tonnage.Runner(loop_factory=factory) as runner:
        runner.run(set_variable())
        assert runner.run(get_variable()) == "kept"


@asyncio_since(3, 11)
def test_task_factory_of_any_loop_makes_the_main_task(peer: Any) -> None:
    made = []

    def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    def factory() -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        loop.set_task_factory(task_factory)
        return loop

    async def main() -> None:
        made.append(asyncio.current_task().get_coro())

    main_coro = main()
    with peer.Runner(loop_factory=factory) as runner:
        runner.run(main_coro)
    assert made[:2] == [main_coro, main_coro]


@asyncio_since(3, 13)
def test_run_takes_no_repr_of_the_result(peer: Any) -> None:
    shown = []

    class Result:
        def __repr__(self) -> str:
            shown.append(self)
            return "Result"

    async def main() -> Result:
        return Result()

    assert isinstance(peer.run(main()), Result)
    assert not shown


@asyncio_since(3, 11)
def test_closed_runner_refuses_everything_but_close(peer: Any) -> None:
    runner = peer.Runner()
    runner.get_loop()
    runner.close()
    runner.close()
    with pytest.raises(RuntimeError, match="^Runner is closed$"):
        runner.get_loop()
    with pytest.raises(RuntimeError, match="^Runner is closed$"), runner:
        pass


@asyncio_since(3, 11)
def test_runner_that_was_never_used_closes_without_a_loop(peer: Any) -> None:
    runner = peer.Runner(loop_factory=lambda: pytest.fail("no loop is needed"))
    runner.close()


@asyncio_since(3, 10)
def test_run_cancels_what_main_left_behind(peer: Any) -> None:
    ended = []
    # asyncio's loop does not keep a task alive.
    kept = []

    async def left_behind() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(asyncio.current_task().get_name())  # type: ignore[union-attr]

    async def main() -> None:
        task = asyncio.create_task(left_behind(), name="orphan")
        kept.append(task)
        await asyncio.sleep(0)

    peer.run(main())
    assert ended == ["orphan"]


@asyncio_since(3, 10)
def test_run_reports_what_fails_while_it_is_cancelled(peer: Any) -> None:
    reports: list[dict[str, Any]] = []
    kept = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("while cancelled") from None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, report: reports.append(report))
        kept.append(asyncio.create_task(stubborn(), name="stubborn"))
        await asyncio.sleep(0)

    peer.run(main())
    (report,) = reports
    assert report["message"] == "unhandled exception during asyncio.run() shutdown"
    assert repr(report["exception"]) == "ValueError('while cancelled')"
    assert report["task"].get_name() == "stubborn"


@asyncio_since(3, 10)
def test_run_closes_async_generators(peer: Any) -> None:
    closed = []

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> Any:
        generator = numbers()
        await anext(generator)
        return generator

    peer.run(main())
    assert closed == [True]


@asyncio_since(3, 10)
def test_run_joins_the_threads_of_the_default_executor(peer: Any) -> None:
    proceed = threading.Event()
    finished = []

    def work() -> None:
        proceed.wait(10)
        finished.append(True)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, work)
        loop.call_soon(proceed.set)
        await asyncio.sleep(0)

    peer.run(main())
    assert finished == [True]


@asyncio_since(3, 10)
def test_run_closes_the_loop_even_if_cleaning_up_fails(peer: Any) -> None:
    loops = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)

        async def fail() -> None:
            raise LookupError("no clean end")

        loop.shutdown_asyncgens = fail  # type: ignore[method-assign]

    with pytest.raises(LookupError, match="no clean end"):
        peer.run(main())
    assert loops[0].is_closed()


@asyncio_since(3, 11)
def test_first_interrupt_cancels_main_and_leaves_as_keyboard_interrupt(peer: Any) -> None:
    cleaned = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        peer.run(main())
    assert cleaned == [True]


@asyncio_since(3, 11)
def test_main_may_refuse_the_first_interrupt(peer: Any) -> None:
    async def main() -> str:
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "went on"
        return "not interrupted"

    assert peer.run(main()) == "went on"


@asyncio_since(3, 11)
def test_second_interrupt_does_not_wait(peer: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            # The second one comes while this waits, and would wait for ever.
            loop.call_soon(interrupt)
            await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        peer.run(main())


@asyncio_since(3, 11)
def test_interrupt_wakes_a_loop_that_sleeps_in_the_kernel(peer: Any) -> None:
    async def main() -> None:
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        peer.run(main())


@asyncio_since(3, 11)
def test_cancellation_by_the_program_beside_an_interrupt_stays_a_cancellation(peer: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        loop.call_soon(task.cancel)
        loop.call_soon(interrupt)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        peer.run(main())


@asyncio_since(3, 11)
def test_the_program_s_own_interrupt_handler_is_left_alone(peer: Any) -> None:
    caught = []

    def handler(*_: object) -> None:
        caught.append(True)

    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is handler
        interrupt()
        await asyncio.sleep(0)

    before = signal.signal(signal.SIGINT, handler)
    try:
        peer.run(main())
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [True]


@asyncio_since(3, 11)
def test_interrupt_handler_is_put_back(peer: Any) -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is not before

    peer.run(main())
    assert signal.getsignal(signal.SIGINT) is before


@asyncio_since(3, 10)
def test_run_works_in_another_thread(peer: Any) -> None:
    results = []

    async def main() -> str:
        return threading.current_thread().name

    thread = threading.Thread(target=lambda: results.append(peer.run(main())), name="other")
    thread.start()
    thread.join()
    assert results == ["other"]


@asyncio_since(3, 11)
def test_closed_runner_keeps_nothing_alive(peer: Any) -> None:
    class Witness:
        pass

    async def main(witness: Any) -> None:
        await asyncio.sleep(0)

    witness = Witness()
    reference = weakref.ref(witness)
    with peer.Runner() as runner:
        runner.run(main(witness))
    del witness
    gc.collect()
    assert reference() is None


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)
