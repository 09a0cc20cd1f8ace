"""What tonnage adds to TaskGroup: other ways to fail, daemons, and tasks that say that they have started."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tonnage

from .conftest import fail, turns, value_of
from .implementations import IMPLEMENTATIONS, Implementation

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

Run = Callable[[Any], Any]

# The tasks of Python 3.10's own loop do not count their cancellations, so a group refuses them.
OURS = [
    each
    for each in IMPLEMENTATIONS
    if each.is_ours and (sys.version_info >= (3, 11) or each.name == "tonnage")
]


@pytest.fixture(params=OURS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """Tonnage's functions, on each kind of loop."""
    implementation: Implementation = request.param
    return implementation


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def flat(error: BaseExceptionGroup[Any]) -> list[str]:
    return sorted(str(each) for each in error.exceptions)


def test_collect_lets_the_others_go_on_and_raises_all_at_the_exit(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tonnage.TaskGroup(on_error="collect") as group:
                group.create_task(fail(ValueError("first")))
                slow = group.create_task(value_of("slow", after=6))
                group.create_task(fail(KeyError("second"), after=3))
                await turns(8)
                raise LookupError("of the block")
        assert slow.result() == "slow"
        assert flat(caught.value) == ["'second'", "first", "of the block"]

    run(main())


def test_report_lets_the_others_go_on_and_keeps_nothing(run: Run, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with tonnage.TaskGroup(on_error="report") as group:
            failing = group.create_task(fail(ValueError("it")))
            slow = group.create_task(value_of("slow", after=6))
            await turns()
            assert [str(report["exception"]) for report in reports] == ["it"]
            assert reports[0]["task"] is failing
            assert group.active == 1
        assert slow.result() == "slow"

    run(main())


def test_report_raises_the_error_of_the_block_alone(run: Run, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tonnage.TaskGroup(on_error="report") as group:
                group.create_task(fail(ValueError("reported")))
                await turns()
                raise LookupError("of the block")
        assert flat(caught.value) == ["of the block"]
        assert len(reports) == 1

    run(main())


@pytest.mark.parametrize("on_error", ["collect", "report"])
def test_group_that_goes_on_after_errors_is_cancelled_all_the_same(run: Run, on_error: Any) -> None:
    async def main() -> None:
        async with tonnage.TaskGroup(on_error=on_error) as group:
            task = group.create_task(forever())
            await turns()
            group.cancel()
        assert task.cancelled()

    run(main())


def test_unknown_on_error_names_the_three() -> None:
    with pytest.raises(ValueError, match=r"'cancel', 'collect' or 'report', got 'stop'"):
        tonnage.TaskGroup(on_error="stop")  # type: ignore[arg-type]


def test_daemon_is_cancelled_when_the_others_have_ended(run: Run) -> None:
    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            daemon = group.create_task(forever(), daemon=True)
            member = group.create_task(value_of(1, after=3))
            assert group.active == 1
        assert member.result() == 1
        assert daemon.cancelled()

    run(main())


def test_daemon_that_fails_fails_the_group(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                group.create_task(fail(ValueError("daemon")), daemon=True)
                group.create_task(forever())
        assert flat(caught.value) == ["daemon"]

    run(main())


def test_start_returns_what_the_task_said(run: Run) -> None:
    async def serve(host: str, *, task_status: tonnage.TaskStatus[str]) -> str:
        await turns()
        task_status.started(f"{host} listens")
        await turns()
        return "served"

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            assert await group.start(serve, "localhost", name="server") == "localhost listens"
            assert group.active == 1
            (task,) = group._tasks  # type: ignore[attr-defined]
            assert task.get_name() == "server"
        assert task.result() == "served"

    run(main())


def test_error_before_it_has_started_leaves_at_start(run: Run) -> None:
    async def serve(*, task_status: tonnage.TaskStatus[None]) -> None:
        await fail(OSError("in use"))

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            with pytest.raises(OSError, match="in use"):
                await group.start(serve)
            assert group.active == 0

    run(main())


def test_error_after_it_has_started_is_the_group_s(run: Run) -> None:
    async def serve(*, task_status: tonnage.TaskStatus[None]) -> None:
        task_status.started()
        await fail(OSError("lost"))

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with tonnage.TaskGroup() as group:
                assert await group.start(serve) is None
        assert flat(caught.value) == ["lost"]

    run(main())


def test_task_that_ends_without_having_started_is_an_error(run: Run) -> None:
    async def forgetful(*, task_status: tonnage.TaskStatus[None]) -> None:
        await turns()

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            with pytest.raises(RuntimeError, match=r"ended before it called task_status\.started\(\)"):
                await group.start(forgetful)

    run(main())


def test_started_twice_is_an_error(run: Run) -> None:
    async def twice(*, task_status: tonnage.TaskStatus[int]) -> None:
        task_status.started(1)
        with pytest.raises(RuntimeError, match="a task starts once"):
            task_status.started(2)

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            assert await group.start(twice) == 1

    run(main())


def test_cancelled_start_cancels_the_task_and_waits_for_it(run: Run) -> None:
    ended: list[str] = []

    async def slow(*, task_status: tonnage.TaskStatus[None]) -> None:
        try:
            await forever()
        finally:
            await turns()
            ended.append("cleaned up")

    async def main() -> None:
        async with tonnage.TaskGroup() as group:
            with pytest.raises(asyncio.TimeoutError):
                async with tonnage.timeout(0):
                    await group.start(slow)
            assert ended == ["cleaned up"]
            assert group.active == 0

    run(main())


def test_group_that_was_cancelled_before_it_began_ends_at_the_first_await(run: Run) -> None:
    async def main() -> None:
        group = tonnage.TaskGroup()
        group.cancel()
        reached = False
        async with group:
            await tonnage.sleep(0)
            reached = True
        assert not reached

    run(main())


def test_name_is_shown() -> None:
    group = tonnage.TaskGroup(name="readers")
    assert group.name == "readers"
    assert repr(group) == "<TaskGroup 'readers'>"
    assert tonnage.TaskGroup().name is None
    assert isinstance(group, getattr(asyncio, "TaskGroup", tonnage.TaskGroup))
