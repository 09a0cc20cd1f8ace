"""TaskGroup: blocks that are left in unusual ways, tasks that start in unusual ways."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns
from .implementations import Implementation

Run = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def asyncio_has_groups(api: Implementation) -> None:
    """The standard library has groups from 3.11 on; before, its tasks do not count cancellations either."""
    if sys.version_info < (3, 11) and api.name != "tonnage":
        pytest.skip("needs tasks that count their cancellations")


@pytest.fixture
def only_ours(api: Implementation) -> None:
    """The behaviour is ours alone."""
    if not api.is_ours:
        pytest.skip("asyncio does not have this behaviour")


def test_leaving_a_block_that_was_not_entered_does_nothing(api: Implementation, run: Run) -> None:
    async def main() -> None:
        assert await api.TaskGroup().__aexit__(None, None, None) is None

    run(main())


def test_leaving_a_block_twice_does_nothing(api: Implementation, run: Run) -> None:
    async def main() -> None:
        group = api.TaskGroup()
        async with group:
            group.create_task(turns())
        assert await group.__aexit__(None, None, None) is None

    run(main())


def test_two_tasks_may_leave_one_block(api: Implementation, run: Run) -> None:
    async def main() -> None:
        group = api.TaskGroup()
        await group.__aenter__()
        group.create_task(turns(6))

        async def leave() -> None:
            await group.__aexit__(None, None, None)

        leaving = [asyncio.ensure_future(leave()) for _ in range(2)]
        done, pending = await asyncio.wait(leaving, timeout=5)
        assert not pending
        assert [task.exception() for task in done] == [None, None]

    run(main())


def test_a_cancel_reaches_each_task_that_leaves_the_block(
    only_ours: None, api: Implementation, run: Run
) -> None:
    # In asyncio the one that was not cancelled waits for ever.
    async def main() -> None:
        group = api.TaskGroup()
        entered = asyncio.get_running_loop().create_future()

        async def leave() -> None:
            await group.__aexit__(None, None, None)

        async def enter_and_leave() -> None:
            await group.__aenter__()
            group.create_task(asyncio.sleep(100))
            entered.set_result(None)
            await leave()

        first = asyncio.ensure_future(enter_and_leave())
        await entered
        second = asyncio.ensure_future(leave())
        await turns()
        second.cancel()
        _, pending = await asyncio.wait([first, second], timeout=5)
        assert not pending

    run(main())


def test_a_stop_iteration_of_the_started_function_does_not_pass_for_its_value(
    only_ours: None, api: Implementation, run: Run
) -> None:
    def function(*, task_status: Any) -> Any:
        raise StopIteration(1)

    async def main() -> None:
        async with api.TaskGroup() as group:
            with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$") as caught:
                await group.start(function)
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main())


def test_a_failure_counts_when_its_start_was_closed(only_ours: None, api: Implementation, run: Run) -> None:
    error = ValueError("it")

    async def function(*, task_status: Any) -> None:
        await fail(error, after=3)

    async def main() -> None:
        group = api.TaskGroup()
        await group.__aenter__()
        starting = group.start(function)
        starting.send(None)
        await turns(1)
        starting.close()
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - exceptiongroup's on 3.10.
            await group.__aexit__(None, None, None)
        assert caught.value.exceptions == (error,)  # type: ignore[attr-defined]

    run(main())


def test_a_task_can_start_when_its_start_was_closed(only_ours: None, api: Implementation, run: Run) -> None:
    ended = []

    async def function(*, task_status: Any) -> None:
        await turns()
        task_status.started()
        await turns()
        ended.append(True)

    async def main() -> None:
        async with api.TaskGroup() as group:
            starting = group.start(function)
            starting.send(None)
            starting.close()
        assert ended

    run(main())


class Sealed(KeyboardInterrupt):
    """An exception whose notes are no list."""

    __notes__ = ()


def test_an_interrupt_leaves_the_block_though_it_takes_no_notes(
    only_ours: None, api: Implementation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: unraisable.append(type(report.exc_value)))

    async def main() -> None:
        with pytest.raises(Sealed):
            async with api.TaskGroup() as group:
                group.create_task(fail(ValueError()))
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    raise Sealed from None
        assert unraisable == [TypeError]

    run(main())


def test_many_starts_at_once(only_ours: None, api: Implementation, run: Run) -> None:
    async def function(number: int, *, task_status: Any) -> None:
        await turns(1)
        task_status.started(number)

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            starts = [group.start(function, number) for number in range(500)]
            # The last ones first, so that none is found at the front of a line.
            results = await asyncio.gather(*reversed(starts))
        assert results == list(reversed(range(500)))

    run(main())
