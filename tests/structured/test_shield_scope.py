"""shield_scope: what cancels the task from outside waits for the end of the block, for a bounded time."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import math
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns
from .implementations import IMPLEMENTATIONS, Implementation

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

Run = Callable[[Any], Any]
Coro = Coroutine[Any, Any, Any]

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(
    params=[implementation for implementation in IMPLEMENTATIONS if implementation.is_ours],
    ids=lambda implementation: implementation.name,
)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Ours, on each loop: asyncio has no such function."""
    implementation: Implementation = request.param
    return implementation


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run:
    """Run a coroutine on the loop in a task of ours."""
    return lambda main: loop.run_until_complete(tonnage.Task(main, loop=loop))


def start(coro: Coro) -> tonnage.Task[Any]:
    """Start a task of ours on the running loop, of whatever kind that is."""
    return tonnage.Task(coro, loop=asyncio.get_running_loop())


def current() -> Any:
    return asyncio.current_task()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def ended(task: asyncio.Task[Any]) -> str:
    """Wait for the task, and return how it has ended."""
    await asyncio.wait([task])
    return "cancelled" if task.cancelled() else repr(task.exception() or task.result())


async def shielded(seen: list[str], *, timeout: float = 60, count: int = 5) -> str:
    """Write down how far it comes."""
    async with tonnage.shield_scope(timeout):
        seen.append("in")
        await turns(count)
        seen.append("end")
    seen.append("out")
    await turns(1)
    seen.append("after")
    return "done"


# What is deferred, and until when


def test_without_a_cancel_it_does_nothing(run: Run) -> None:
    async def main() -> None:
        scope = tonnage.shield_scope(60)
        assert repr(scope) == "<shield_scope [created] timeout=60>"
        async with scope as entered:
            assert entered is scope
            assert repr(scope) == "<shield_scope [active] timeout=60>"
            await turns()
        assert repr(scope) == "<shield_scope [finished] timeout=60>"
        assert current().cancelling() == 0
        await turns()

    run(main())


def test_a_cancel_inside_comes_at_the_first_await_after_the_block(run: Run) -> None:
    async def main() -> None:
        seen: list[str] = []
        task = start(shielded(seen))
        await turns(1)
        assert task.cancel() is True
        assert task.cancelling() == 1
        assert await ended(task) == "cancelled"
        assert seen == ["in", "end", "out"]

    run(main())


def test_its_message_is_kept(run: Run) -> None:
    async def main() -> None:
        task = start(shielded([]))
        await turns(1)
        task.cancel("first")
        task.cancel("last")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("last",)

    run(main())


def test_it_comes_inside_when_the_time_is_over(run: Run) -> None:
    async def child(seen: list[str]) -> None:
        async with tonnage.shield_scope(0.005):
            try:
                await forever()
            except asyncio.CancelledError as error:
                seen += [*error.args, str(current().cancelling())]
                await turns()
                raise

    async def main() -> None:
        seen: list[str] = []
        task = start(child(seen))
        await turns(1)
        began = asyncio.get_running_loop().time()
        task.cancel("bounded")
        assert await ended(task) == "cancelled"
        assert asyncio.get_running_loop().time() - began > 0.003
        assert seen == ["bounded", "1"]

    run(main())


def test_it_comes_at_once_when_the_time_is_over_already(run: Run) -> None:
    async def child(timeout: float) -> None:
        async with tonnage.shield_scope(timeout):
            await forever()

    async def main() -> None:
        for timeout in (0, 0.001):
            task = start(child(timeout))
            await asyncio.sleep(0.003)
            task.cancel()
            await turns()
            assert task.cancelled()

    run(main())


def test_a_task_that_returns_after_the_block_ends_cancelled(run: Run) -> None:
    async def child() -> str:
        async with tonnage.shield_scope(60):
            await turns()
        return "done"

    async def main() -> None:
        task = start(child())
        await turns(1)
        task.cancel()
        assert await ended(task) == "cancelled"

    run(main())


def test_a_task_may_cancel_itself(run: Run) -> None:
    async def child() -> None:
        async with tonnage.shield_scope(60):
            current().cancel("by itself")
            await turns()
        with pytest.raises(asyncio.CancelledError, match="by itself"):
            await turns()
        current().uncancel()

    run(child())


def test_a_cancel_that_was_on_its_way_is_deferred_too(run: Run) -> None:
    async def child() -> None:
        current().cancel("before")
        async with tonnage.shield_scope(60):
            await turns()
            assert current().cancelling() == 1
        with pytest.raises(asyncio.CancelledError, match="before"):
            await turns()
        current().uncancel()
        current().cancel()
        async with tonnage.shield_scope(0.001):
            with pytest.raises(asyncio.CancelledError):
                await forever()
        current().uncancel()
        current().cancel()
        async with tonnage.shield_scope(0):
            with pytest.raises(asyncio.CancelledError):
                await turns()
        current().uncancel()

    run(child())


def test_an_error_of_the_block_goes_on_and_the_cancel_comes_after(run: Run) -> None:
    async def child() -> None:
        with pytest.raises(LookupError):
            async with tonnage.shield_scope(60):
                current().cancel()
                await fail(LookupError())
        with pytest.raises(asyncio.CancelledError):
            await turns()
        current().uncancel()

    run(child())


def test_cleanup_of_a_cancelled_task_is_shielded_from_a_second_cancel(run: Run) -> None:
    async def child(seen: list[str]) -> None:
        try:
            await forever()
        finally:
            async with tonnage.shield_scope(60):
                await turns()
                seen.append("closed")

    async def main() -> None:
        seen: list[str] = []
        task = start(child(seen))
        await turns(1)
        task.cancel()
        await turns(2)
        task.cancel()
        assert await ended(task) == "cancelled"
        assert seen == ["closed"]
        assert task.cancelling() == 2

    run(main())


# Taking it back


def test_uncancel_takes_it_back(run: Run) -> None:
    async def child() -> None:
        async with tonnage.shield_scope(60):
            current().cancel()
            await turns()
            assert current().uncancel() == 0
        await turns()

    run(child())


def test_uncancel_takes_back_no_more_than_one(run: Run) -> None:
    async def child() -> None:
        async with tonnage.shield_scope(60):
            current().cancel()
            current().cancel()
            assert current().uncancel() == 1
            await turns()
        with pytest.raises(asyncio.CancelledError):
            await turns()
        current().uncancel()

    run(child())


def test_uncancel_takes_it_back_where_another_request_was_open_before(run: Run) -> None:
    async def child() -> None:
        current().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turns()
        async with tonnage.shield_scope(60):
            current().cancel()
            assert current().uncancel() == 1
            await turns()
        await turns()
        current().uncancel()

    run(child())


def test_an_older_request_that_is_taken_back_does_not_stand_for_a_later_one(run: Run) -> None:
    async def child() -> None:
        current().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await turns()
        async with tonnage.shield_scope(60):
            current().uncancel()
            current().cancel()
            async with tonnage.move_on_after(0):
                await forever()
            assert current().cancelling() == 1
            await turns()
        with pytest.raises(asyncio.CancelledError):
            await turns()
        current().uncancel()

    run(child())


# Blocks inside


def test_a_timeout_inside_ends_its_block(run: Run) -> None:
    async def child(seen: list[str]) -> None:
        async with tonnage.shield_scope(60):
            with pytest.raises(builtins.TimeoutError):
                async with tonnage.timeout(0.001):
                    await forever()
            seen.append("timeout")
            with pytest.raises(builtins.TimeoutError):
                await tonnage.wait_for(forever(), 0.001)
            seen.append("wait_for")
            async with tonnage.move_on_after(0.001) as attempt:
                await forever()
            assert attempt.cancelled_caught
            seen.append("move_on")
            await turns()

    async def main() -> None:
        seen: list[str] = []
        await start(child(seen))
        task = start(child(seen))
        await turns(1)
        # A cancel that is held back is not taken for the reason why a block ends.
        task.cancel()
        assert await ended(task) == "cancelled"
        assert seen == ["timeout", "wait_for", "move_on"] * 2

    run(main())


def test_a_group_inside_that_fails_ends_its_body(run: Run) -> None:
    async def child(seen: list[str]) -> None:
        async with tonnage.shield_scope(60):
            with pytest.raises(ExceptionGroup):
                async with tonnage.TaskGroup() as group:
                    group.create_task(fail(LookupError()))
                    await forever()
            seen.append("failed")
            async with tonnage.TaskGroup() as group:
                asyncio.get_running_loop().call_soon(group.cancel)
                await forever()
            seen.append("cancelled")
            await turns()

    async def main() -> None:
        seen: list[str] = []
        await start(child(seen))
        task = start(child(seen))
        await turns(1)
        task.cancel()
        assert await ended(task) == "cancelled"
        assert seen == ["failed", "cancelled"] * 2

    run(main())


def test_a_group_that_fails_during_shielded_cleanup_lets_it_go_on(run: Run) -> None:
    """It asks anew for the cancel that began the cleanup, which is from outside of the scope."""

    async def child(seen: list[str]) -> None:
        try:
            await forever()
        finally:
            async with tonnage.shield_scope(60):
                with pytest.raises(ExceptionGroup):
                    async with tonnage.TaskGroup() as group:
                        group.create_task(fail(LookupError()))
                await turns()
                seen.append("closed")
            assert current().cancelling() == 1

    async def main() -> None:
        seen: list[str] = []
        task = start(child(seen))
        await turns(1)
        task.cancel()
        assert await ended(task) == "cancelled"
        assert seen == ["closed"]

    run(main())


def test_a_timeout_between_two_scopes_waits_for_the_inner_one(run: Run) -> None:
    async def main() -> None:
        seen = []
        async with tonnage.shield_scope(60):
            with pytest.raises(builtins.TimeoutError):
                async with tonnage.timeout(0.001):
                    async with tonnage.shield_scope(60):
                        await asyncio.sleep(0.005)
                        seen.append("inner")
                    await forever()
            await turns()
            seen.append("outer")
        await turns()
        assert seen == ["inner", "outer"]
        assert current().cancelling() == 0

    run(main())


class Overriding(tonnage.Task[Any]):
    """A task as libraries make them."""

    asked = 0

    def cancel(self, *args: Any, **options: Any) -> bool:
        self.asked += 1
        return super().cancel(*args, **options)


def test_a_task_with_a_cancel_of_its_own_is_shielded_the_same(run: Run) -> None:
    async def child() -> str:
        async with tonnage.shield_scope(60):
            current().cancel()
            async with tonnage.move_on_after(0.001) as attempt:
                await forever()
            assert attempt.cancelled_caught
            await turns()
        return "done"

    async def main() -> None:
        task = Overriding(child(), loop=asyncio.get_running_loop())
        assert await ended(task) == "cancelled"
        assert task.asked == 2

    run(main())


# Blocks outside


def test_a_timeout_outside_waits_for_the_block(run: Run) -> None:
    async def main() -> None:
        seen = []
        with pytest.raises(builtins.TimeoutError):
            async with tonnage.timeout(0.001) as timeout:
                async with tonnage.shield_scope(60):
                    await asyncio.sleep(0.005)
                    assert timeout.expired()
                    seen.append("in")
                seen.append("out")
                await turns()
                seen.append("not reached")
        assert seen == ["in", "out"]
        assert current().cancelling() == 0
        await turns()

    run(main())


def test_a_timeout_outside_that_is_left_without_an_await_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(0.001) as attempt, tonnage.shield_scope(60):
            await asyncio.sleep(0.005)
        assert attempt.expired()
        assert not attempt.cancelled_caught
        assert current().cancelling() == 0
        await turns()

    run(main())


def test_a_group_outside_that_fails_waits_for_the_block(run: Run) -> None:
    async def main() -> None:
        seen = []
        with pytest.raises(ExceptionGroup):
            async with tonnage.TaskGroup() as group:
                group.create_task(fail(LookupError()))
                async with tonnage.shield_scope(60):
                    await turns(10)
                    seen.append("in")
                await forever()
        assert seen == ["in"]
        assert current().cancelling() == 0
        await turns()

    run(main())


def test_the_cancel_of_who_waits_for_a_shielded_task_waits_too(run: Run) -> None:
    async def outer(inner: Any) -> None:
        await inner

    async def main() -> None:
        for wait_for in (outer, tonnage.gather):
            seen: list[str] = []
            inner = start(shielded(seen))
            waiting = wait_for(inner)
            if asyncio.iscoroutine(waiting):
                waiting = start(waiting)
            await turns(2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert inner.cancelled()
            assert seen == ["in", "end", "out"]

    run(main())


def test_deadlines_outside_count_from_the_end_of_the_scope_on(run: Run) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time()
        deadline = tonnage.current_effective_deadline
        async with tonnage.timeout_at(now + 50):
            async with tonnage.shield_scope(100):
                assert now + 100 <= deadline() < now + 110
                async with tonnage.timeout_at(now + 40):
                    assert deadline() == now + 40
            async with tonnage.shield_scope(10):
                assert deadline() == now + 50
            assert deadline() == now + 50
        async with tonnage.shield_scope(10):
            assert deadline() == math.inf

    run(main())


# Several scopes


def test_an_inner_scope_does_not_outlast_an_outer_one(run: Run) -> None:
    async def child() -> None:
        async with tonnage.shield_scope(0.002), tonnage.shield_scope(60):
            await forever()

    async def main() -> None:
        task = start(child())
        await turns(1)
        task.cancel()
        assert await ended(task) == "cancelled"

    run(main())


def test_the_outer_scope_defers_when_the_inner_one_has_ended(run: Run) -> None:
    async def child(seen: list[str]) -> None:
        async with tonnage.shield_scope(60):
            async with tonnage.shield_scope(0.002):
                current().cancel()
                await asyncio.sleep(0.005)
                seen.append("inner time is over")
            await turns()
            seen.append("inner has ended")
        await turns()
        seen.append("not reached")

    async def main() -> None:
        seen: list[str] = []
        assert await ended(start(child(seen))) == "cancelled"
        assert seen == ["inner time is over", "inner has ended"]

    run(main())


@pytest.mark.parametrize("first", [0, 1])
def test_scopes_may_be_left_in_any_order(run: Run, first: int) -> None:
    async def child(seen: list[str]) -> None:
        scopes = [tonnage.shield_scope(60), tonnage.shield_scope(60)]
        for scope in scopes:
            await scope.__aenter__()
        current().cancel("kept")
        await scopes[first].__aexit__(None, None, None)
        await turns()
        seen.append("still shielded")
        await scopes[1 - first].__aexit__(None, None, None)
        await turns()
        seen.append("not reached")

    async def main() -> None:
        seen: list[str] = []
        assert await ended(start(child(seen))) == "cancelled"
        assert seen == ["still shielded"]

    run(main())


def test_a_scope_may_be_left_by_another_task(run: Run) -> None:
    async def child(scope: Any) -> None:
        await scope.__aenter__()
        await forever()

    async def main() -> None:
        scope = tonnage.shield_scope(60)
        task = start(child(scope))
        await turns(1)
        task.cancel()
        await turns()
        assert not task.done()
        await scope.__aexit__(None, None, None)
        assert await ended(task) == "cancelled"

    run(main())


def test_a_generator_that_is_closed_in_a_scope_keeps_the_cancel(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        async with tonnage.shield_scope(60):
            yield 1

    async def main() -> None:
        source = numbers()
        await source.__anext__()
        current().cancel()
        await turns()
        await source.aclose()  # type: ignore[attr-defined]
        with pytest.raises(asyncio.CancelledError):
            await turns()
        current().uncancel()

    run(main())


# Misuse


@pytest.mark.parametrize("timeout", [math.inf, -math.inf, math.nan, -1, -0.001])
def test_an_unbounded_or_negative_time_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be a finite number of seconds, 0 or more, got "):
        tonnage.shield_scope(timeout)


def test_what_is_no_number_is_refused() -> None:
    for wrong in (None, "1"):
        with pytest.raises(TypeError):
            tonnage.shield_scope(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="timeout"):
        tonnage.shield_scope()  # type: ignore[call-arg]


def test_it_is_used_once(run: Run) -> None:
    async def main() -> None:
        scope = tonnage.shield_scope(timeout=1)
        with pytest.raises(AssertionError, match="shield_scope"):
            await scope.__aexit__(None, None, None)
        scope = tonnage.shield_scope(1)
        async with scope:
            with pytest.raises(RuntimeError, match="^shield_scope has already been entered$"):
                await scope.__aenter__()
        with pytest.raises(RuntimeError, match="^shield_scope has already been entered$"):
            await scope.__aenter__()
        with pytest.raises(AssertionError, match="shield_scope"):
            await scope.__aexit__(None, None, None)

    run(main())


def test_it_needs_a_task(loop: asyncio.AbstractEventLoop) -> None:
    errors = []

    def enter() -> None:
        try:
            tonnage.shield_scope(1).__aenter__().send(None)  # type: ignore[attr-defined]
        except RuntimeError as error:
            errors.append(str(error))
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    assert errors == ["shield_scope should be used inside a task"]


def test_a_task_of_asyncio_s_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r'^shield_scope needs a task of tonnage, got "Task" of '):
            async with tonnage.shield_scope(1):
                pass

    loop = asyncio.SelectorEventLoop()
    loop.run_until_complete(main())
    loop.close()


def test_a_scope_that_is_never_left_is_collected(run: Run) -> None:
    async def child() -> None:
        scope: Any = tonnage.shield_scope(60)
        scope.itself = scope
        await scope.__aenter__()
        current().cancel()
        await turns()

    async def main() -> None:
        await asyncio.wait([start(child())])

    run(main())
    gc.collect()


def test_a_task_that_is_lost_in_a_scope_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    """Its coroutine is closed inside of the scope, on a loop that is closed."""
    task = tonnage.Task(shielded([], count=1000), loop=loop)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    task.cancel()
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.get_coro().close()  # type: ignore[union-attr]


# The end of the program


@pytest.mark.parametrize("timeout", [60, 0.005])
def test_an_interrupt_waits_for_the_scope(timeout: float) -> None:
    seen: list[str] = []

    async def main() -> None:
        async with tonnage.shield_scope(timeout):
            signal.raise_signal(signal.SIGINT)
            await turns()
            seen.append("in")
            if timeout < 1:
                await forever()
        await turns()
        seen.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        tonnage.run(main())
    assert seen == ["in"]
