"""current_effective_deadline: the nearest deadline of the current task, and what its children inherit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import tonnage
from tonnage import current_effective_deadline as deadline

from .conftest import turns
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
def inherits(api: Implementation) -> None:
    """Skip where the loop makes tasks of asyncio's class."""
    if api.name != "tonnage":
        pytest.skip("asyncio's tasks inherit nothing")


@pytest.fixture
def counts(api: Implementation) -> None:
    """Skip where the loop's tasks do not count their cancellations."""
    if api.name != "tonnage" and sys.version_info < (3, 11):
        pytest.skip("asyncio's tasks do not count")


def now() -> float:
    return asyncio.get_running_loop().time()


async def told() -> float:
    return deadline()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_without_a_deadline_it_is_infinite(run: Run) -> None:
    async def main() -> None:
        assert deadline() == math.inf
        async with tonnage.timeout(None), tonnage.move_on_after(None):
            assert deadline() == math.inf
        assert deadline() == math.inf

    run(main())


def test_the_nearest_of_all_blocks_counts(run: Run) -> None:
    async def main() -> None:
        start = now()
        async with tonnage.timeout_at(start + 50):
            assert deadline() == start + 50
            async with tonnage.move_on_at(start + 60):
                assert deadline() == start + 50
                async with tonnage.move_on_at(start + 40), tonnage.timeout_at(start + 70):
                    await turns(1)
                    assert deadline() == start + 40
                assert deadline() == start + 50
            assert deadline() == start + 50
        assert deadline() == math.inf

    run(main())


def test_a_deadline_that_is_moved_is_seen(run: Run) -> None:
    async def main() -> None:
        start = now()
        async with tonnage.timeout_at(start + 50) as outer, tonnage.move_on_after(None) as inner:
            inner.reschedule(start + 40)
            assert deadline() == start + 40
            inner.reschedule(None)
            assert deadline() == start + 50
            outer.reschedule(start + 60)
            assert deadline() == start + 60

    run(main())


def test_a_deadline_that_has_passed_stays(run: Run) -> None:
    async def main() -> None:
        when = now() - 1
        async with tonnage.move_on_at(when):
            try:
                await forever()
            finally:
                assert deadline() == when
        assert deadline() == math.inf

    run(main())


def test_wait_for_is_a_deadline_for_its_coroutine(run: Run) -> None:
    async def main() -> None:
        before = now()
        within = await tonnage.wait_for(told(), 50)
        assert before + 50 <= within <= now() + 50
        assert await tonnage.wait_for(told(), None) == math.inf
        assert deadline() == math.inf

    run(main())


def test_a_called_coroutine_is_under_the_deadline_of_its_caller(run: Run) -> None:
    async def main() -> None:
        async with tonnage.timeout(50) as timeout:
            assert await told() == timeout.when()

    run(main())


def test_a_callback_and_no_task_have_none(run: Run) -> None:
    async def main() -> None:
        seen: list[float] = []
        async with tonnage.timeout(50):
            asyncio.get_running_loop().call_soon(lambda: seen.append(deadline()))
            await turns()
        assert seen == [math.inf]

    run(main())


def test_it_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        deadline()
    with pytest.raises(TypeError):
        deadline(1)  # type: ignore[call-arg]


@pytest.mark.usefixtures("counts", "inherits")
def test_children_of_an_owner_inherit_the_deadline_of_their_creator(run: Run) -> None:
    async def main() -> None:
        async with tonnage.timeout(50) as timeout:
            when = timeout.when()
            assert await tonnage.gather(told(), told()) == [when, when]
            assert [await found for found in tonnage.as_completed([told()])] == [when]
            async with tonnage.TaskGroup() as group:
                plain = group.create_task(told())
                named = group.create_task(told(), name="named")
                started = group.create_task(told(), eager_start=True)

                async def server(task_status: Any) -> None:
                    task_status.started(deadline())

                assert await group.start(server) == when
        assert [task.result() for task in (plain, named, started)] == [when] * 3

    run(main())


@pytest.mark.usefixtures("counts", "inherits")
def test_grandchildren_inherit_too_and_may_have_a_nearer_one(run: Run) -> None:
    async def child(start: float) -> list[float]:
        async with tonnage.move_on_at(start + 40):
            (nearer,) = await tonnage.gather(told())
        async with tonnage.move_on_at(start + 60):
            (same,) = await tonnage.gather(told())
        return [nearer, same, deadline()]

    async def main() -> None:
        start = now()
        async with tonnage.timeout_at(start + 50):
            assert await tonnage.gather(child(start)) == [[start + 40, start + 50, start + 50]]

    run(main())


@pytest.mark.usefixtures("counts", "inherits")
def test_what_a_child_inherits_is_taken_when_it_is_spawned(run: Run) -> None:
    async def main() -> None:
        start = now()
        async with tonnage.TaskGroup() as group, tonnage.timeout_at(start + 50) as timeout:
            child = group.create_task(told())
            timeout.reschedule(start + 60)
            later = group.create_task(told())
        outside = await tonnage.gather(told())
        assert (child.result(), later.result(), outside) == (start + 50, start + 60, [math.inf])

    run(main())


@pytest.mark.usefixtures("inherits")
def test_a_task_without_an_owner_inherits_nothing(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tonnage.timeout(50):
            orphans = [
                tonnage.create_task(told()),
                tonnage.ensure_future(told()),
                loop.create_task(told()),
                tonnage.create_task(told(), eager_start=True),
            ]
            assert await tonnage.gather(*orphans, tonnage.shield(told())) == [math.inf] * 5

    run(main())


@pytest.mark.usefixtures("inherits")
def test_a_task_that_an_eager_child_makes_inherits_nothing(run: Run) -> None:
    """The deadline is handed to the child itself, and to nobody in between."""

    async def child() -> tuple[float, float]:
        orphan = tonnage.create_task(told(), eager_start=True)
        return deadline(), await orphan

    async def main() -> None:
        async with tonnage.timeout(50) as timeout, tonnage.TaskGroup() as group:
            found = group.create_task(child(), eager_start=True)
        assert found.result() == (timeout.when(), math.inf)

    run(main())


@pytest.mark.usefixtures("inherits")
@pytest.mark.parametrize("eager", [False, True])
def test_children_from_a_task_factory_inherit(run: Run, eager: bool) -> None:
    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        return tonnage.Task(coro, **{**options, "loop": loop, "eager_start": eager})

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with tonnage.timeout(50) as timeout:
            assert await tonnage.gather(told()) == [timeout.when()]
            async with tonnage.TaskGroup() as group:
                child = group.create_task(told())
        assert child.result() == timeout.when()

    run(main())


@pytest.mark.usefixtures("inherits")
def test_children_of_asyncio_s_class_inherit_nothing(run: Run) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(
            lambda loop, coro, **options: asyncio.tasks._CTask(coro, loop=loop)  # type: ignore[attr-defined]
        )
        async with tonnage.timeout(50):
            assert await tonnage.gather(told()) == [math.inf]

    run(main())


def test_two_tasks_do_not_see_each_other_s_blocks(run: Run) -> None:
    async def child(delay: float | None) -> bool:
        async with tonnage.timeout(delay) as timeout:
            for _ in range(3):
                await turns(1)
                if deadline() != (timeout.when() or math.inf):
                    return False
        return deadline() == math.inf

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(child(delay)) for delay in (50, None, 40)]
        assert [await task for task in tasks] == [True] * 3

    run(main())


def test_blocks_may_be_left_in_any_order(run: Run) -> None:
    async def main() -> None:
        start = now()
        blocks = [tonnage.timeout_at(start + 10 * number) for number in range(1, 5)]
        for block in blocks:
            await block.__aenter__()
        seen = []
        for number in (1, 0, 3, 2):
            await blocks[number].__aexit__(None, None, None)
            seen.append(deadline() - start)
        assert seen == [pytest.approx(10), pytest.approx(30), pytest.approx(30), math.inf]

    run(main())


def test_a_block_may_be_left_by_another_task(run: Run) -> None:
    async def leave(block: Any) -> float:
        await block.__aexit__(None, None, None)
        return deadline()

    async def main() -> None:
        async with tonnage.timeout(60) as outer:
            inner = tonnage.timeout(50)
            await inner.__aenter__()
            assert deadline() == inner.when()
            assert await asyncio.get_running_loop().create_task(leave(inner)) == math.inf
            assert deadline() == outer.when()

    run(main())


def test_a_block_that_its_task_has_never_left_bounds_nobody(run: Run) -> None:
    async def enter(blocks: list[Any]) -> None:
        for block in blocks:
            await block.__aenter__()

    async def main() -> None:
        blocks = [tonnage.move_on_after(60) for _ in range(3)]
        await asyncio.get_running_loop().create_task(enter(blocks))
        assert deadline() == math.inf
        for block in blocks:
            await block.__aexit__(None, None, None)
        assert deadline() == math.inf

    run(main())


def test_a_block_that_cannot_be_entered_does_not_count(api: Implementation, run: Run) -> None:
    async def main() -> None:
        if api.name == "tonnage":
            with pytest.raises(ValueError, match="nan"):
                async with tonnage.timeout_at(math.nan):
                    pass
        block = tonnage.timeout(50)
        with pytest.raises(RuntimeError, match="entered"):
            async with block, block:
                pass
        assert deadline() == math.inf

    run(main())


@pytest.mark.usefixtures("counts")
def test_a_block_of_a_suspended_generator_counts_until_its_time_is_over(
    api: Implementation, run: Run
) -> None:
    if api.name == "tonnage-on-uvloop":
        pytest.skip("uvloop does not tell which generators it has")

    async def numbers() -> AsyncIterator[int]:
        async with tonnage.timeout(0.1):
            yield 1

    async def main() -> None:
        source = numbers()
        assert await source.__anext__() == 1
        assert deadline() < now() + 1
        await asyncio.sleep(0.15)
        assert deadline() == math.inf
        await source.aclose()  # type: ignore[attr-defined]
        assert deadline() == math.inf

    run(main())


def test_a_block_of_a_context_manager_counts_for_its_body(run: Run) -> None:
    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[float]:
        async with tonnage.timeout(50) as timeout:
            yield timeout.when() or 0

    async def main() -> None:
        async with manager() as when:
            assert deadline() == when
        assert deadline() == math.inf

    run(main())


def test_a_very_deep_chain_of_blocks_dies_without_a_crash(run: Run) -> None:
    async def main() -> None:
        for _ in range(50_000):
            await tonnage.timeout(None).__aenter__()
        assert deadline() == math.inf

    run(main())
    gc.collect()
