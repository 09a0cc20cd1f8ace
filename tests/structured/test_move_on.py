"""move_on_after and move_on_at: a block that its deadline ends, and a task that goes on."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns
from .implementations import IMPLEMENTATIONS, Implementation

Run = Callable[[Any], Any]

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
def counts(api: Implementation) -> None:
    """Skip where the loop's tasks do not count their cancellations."""
    if api.name != "tonnage" and sys.version_info < (3, 11):
        pytest.skip("asyncio's tasks do not count")


def cancelling() -> int:
    return getattr(asyncio.current_task(), "cancelling", lambda: 0)()  # type: ignore[no-any-return]


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_block_that_is_too_slow_is_left_and_the_task_goes_on(run: Run) -> None:
    async def main() -> None:
        reached = False
        async with tonnage.move_on_after(0.001) as attempt:
            assert not attempt.cancelled_caught
            await forever()
            reached = True
        assert not reached
        assert attempt.cancelled_caught is True
        assert attempt.expired()
        assert repr(attempt) == "<MoveOn [expired]>"
        assert cancelling() == 0
        await turns()

    run(main())


@pytest.mark.parametrize("delay", [None, 60])
def test_a_block_in_time_says_that_nothing_was_caught(run: Run, delay: float | None) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(delay) as attempt:
            await turns(1)
        assert attempt.cancelled_caught is False
        assert not attempt.expired()
        assert repr(attempt) == "<MoveOn [finished]>"

    run(main())


def test_move_on_at_takes_the_loop_s_time(run: Run) -> None:
    async def main() -> None:
        deadline = now() + 60
        async with tonnage.move_on_at(deadline) as attempt:
            assert attempt.when() == deadline
            assert repr(attempt) == f"<MoveOn [active] when={round(deadline, 3)}>"
        async with tonnage.move_on_at(now() - 1) as attempt:
            await forever()
        assert attempt.cancelled_caught

    run(main())


def test_the_deadline_can_be_moved(run: Run) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(60) as attempt:
            attempt.reschedule(now() + 0.001)
            await forever()
        assert attempt.cancelled_caught
        async with tonnage.move_on_after(0) as attempt:
            attempt.reschedule(None)
            assert attempt.when() is None
            await turns()
        assert not attempt.cancelled_caught

    run(main())


def test_a_block_that_ends_in_spite_of_its_deadline_has_caught_nothing(run: Run) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(0) as attempt:
            try:
                await forever()
            except asyncio.CancelledError:
                assert cancelling() in (0, 1)
        assert attempt.expired()
        assert not attempt.cancelled_caught
        assert cancelling() == 0
        await turns()

    run(main())


def test_an_error_of_the_block_goes_on(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LookupError, match="lost"):
            async with tonnage.move_on_after(60) as attempt:
                await fail(LookupError("lost"))
        assert not attempt.cancelled_caught

    run(main())


def test_an_error_raised_because_of_the_deadline_goes_on_as_it_is(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LookupError) as caught:
            async with tonnage.move_on_after(0) as attempt:
                try:
                    await forever()
                finally:
                    raise LookupError
        assert isinstance(caught.value.__context__, asyncio.CancelledError)
        assert attempt.expired()
        assert not attempt.cancelled_caught
        assert cancelling() == 0

    run(main())


def test_a_cancellation_from_outside_goes_on(run: Run) -> None:
    async def child() -> None:
        async with tonnage.move_on_after(60):
            await forever()

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(child())
        await turns(1)
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


@pytest.mark.usefixtures("counts")
def test_a_cancellation_from_outside_beside_the_deadline_goes_on(run: Run) -> None:
    async def child(blocks: list[Any]) -> None:
        async with tonnage.move_on_after(0) as attempt:
            blocks.append(attempt)
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
            await forever()

    async def main() -> None:
        blocks: list[Any] = []
        task = asyncio.get_running_loop().create_task(child(blocks))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not blocks[0].cancelled_caught
        assert blocks[0].expired()

    run(main())


@pytest.mark.usefixtures("counts")
def test_the_outer_block_does_not_take_the_inner_one_s_cancellation(run: Run) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(60) as outer:
            async with tonnage.move_on_after(0) as inner:
                await forever()
            assert inner.cancelled_caught
            await turns()
        assert not outer.cancelled_caught

    run(main())


@pytest.mark.usefixtures("counts")
def test_the_inner_block_does_not_take_the_outer_one_s_cancellation(run: Run) -> None:
    async def main() -> None:
        reached = False
        async with tonnage.move_on_after(0) as outer:
            async with tonnage.move_on_after(60) as inner:
                await forever()
            reached = True
        assert not reached
        assert (inner.cancelled_caught, outer.cancelled_caught) == (False, True)

    run(main())


@pytest.mark.usefixtures("counts")
def test_a_group_in_the_block_is_ended_with_its_children(run: Run) -> None:
    async def main() -> None:
        async with tonnage.move_on_after(0.001) as attempt, tonnage.TaskGroup() as group:
            child = group.create_task(forever())
        assert child.cancelled()
        assert attempt.cancelled_caught

    run(main())


def test_a_block_in_a_suspended_generator_does_not_cancel_its_caller(api: Implementation, run: Run) -> None:
    if api.name == "tonnage-on-uvloop":
        pytest.skip("uvloop does not tell which generators it has")

    async def numbers() -> AsyncIterator[int]:
        async with tonnage.move_on_after(0.001) as attempt:
            yield 1
            await forever()
        assert attempt.cancelled_caught
        yield 2

    async def main() -> None:
        source = numbers()
        assert await source.__anext__() == 1
        await asyncio.sleep(0.005)
        assert await source.__anext__() == 2
        await source.aclose()  # type: ignore[attr-defined]

    run(main())


def test_it_is_used_once_and_in_its_block(run: Run) -> None:
    async def main() -> None:
        attempt = tonnage.move_on_after(60)
        with pytest.raises(RuntimeError, match="^MoveOn has not been entered$"):
            attempt.reschedule(1)
        with pytest.raises(AssertionError, match="MoveOn"):
            await attempt.__aexit__(None, None, None)
        async with attempt:
            pass
        with pytest.raises(RuntimeError, match="^Cannot change state of finished MoveOn$"):
            attempt.reschedule(1)
        with pytest.raises(RuntimeError, match="^MoveOn has already been entered$"):
            async with attempt:
                pass
        with pytest.raises(TypeError, match=r"^MoveOn\.reschedule\(\) "):
            tonnage.move_on_after(1).reschedule()  # type: ignore[call-arg]

    run(main())


def test_it_needs_a_task(loop: asyncio.AbstractEventLoop) -> None:
    errors = []

    def enter() -> None:
        try:
            tonnage.move_on_after(1).__aenter__().send(None)  # type: ignore[attr-defined]
        except RuntimeError as error:
            errors.append(str(error))
        loop.stop()

    loop.call_soon(enter)
    loop.run_forever()
    assert errors == ["MoveOn should be used inside a task"]


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        tonnage.move_on_after(1)


def test_what_it_says_of_an_error_is_a_bool(run: Run) -> None:
    """So type checkers know that the code after the block is reached."""

    async def main() -> None:
        attempt = tonnage.move_on_after(None)
        await attempt.__aenter__()
        assert await attempt.__aexit__(None, None, None) is False

    run(main())


def test_it_cannot_be_made_by_hand_and_is_no_timeout() -> None:
    with pytest.raises(TypeError, match="cannot create"):
        tonnage.MoveOn()
    assert not issubclass(tonnage.MoveOn, tonnage.Timeout)


def test_a_block_that_is_never_left_is_collected(run: Run) -> None:
    async def main() -> None:
        attempt: Any = tonnage.move_on_after(None)
        await attempt.__aenter__()
        attempt.itself = attempt

    run(main())
    gc.collect()
