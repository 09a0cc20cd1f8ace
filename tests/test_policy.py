"""`Policy`: its values, and the number of tasks."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import warnings

import pytest
import tonnage
from tonnage.policy import Policy


async def park():
    await asyncio.get_running_loop().create_future()


async def cancel_all(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def bounded(main, **policy):
    return tonnage.run(main(), policy=Policy(**policy))


# Values


def test_defaults():
    assert Policy() == Policy(
        max_tasks=None,
        warn_tasks=10_000,
        threads=40,
        threads_waiting=1000,
        slow_step=0.1,
        fair_after=None,
        orphans="warn",
        swallowed_cancel="warn",
    )


def test_policy_cannot_be_changed_and_takes_no_positions():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().threads = 3
    with pytest.raises(TypeError):
        Policy(3)
    assert hash(Policy(threads=3)) == hash(Policy(threads=3))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"threads": 0}, ValueError, "threads must be 1 or more, got 0"),
        ({"threads": None}, TypeError, "threads must be an int, got None"),
        ({"threads": 1.5}, TypeError, "threads must be an int, got 1.5"),
        ({"threads_waiting": -1}, ValueError, "threads_waiting must be 0 or more, got -1"),
        ({"max_tasks": 0}, ValueError, "max_tasks must be 1 or more, got 0"),
        ({"max_tasks": "9"}, TypeError, "max_tasks must be an int, got '9'"),
        ({"warn_tasks": -5}, ValueError, "warn_tasks must be 1 or more, got -5"),
        ({"warn_tasks": True}, TypeError, "warn_tasks must be an int, got True"),
        ({"fair_after": 0}, ValueError, "fair_after must be 1 or more, got 0"),
        ({"slow_step": 0}, ValueError, "slow_step must be more than 0 seconds, got 0"),
        ({"slow_step": math.nan}, ValueError, "slow_step must be more than 0 seconds, got nan"),
        ({"slow_step": "1"}, TypeError, "slow_step must be a number of seconds or None, got '1'"),
        ({"orphans": "shout"}, ValueError, "orphans must be one of 'ignore', 'warn', 'raise', got 'shout'"),
        (
            {"swallowed_cancel": "raise"},
            ValueError,
            "swallowed_cancel must be one of 'ignore', 'warn', got 'raise'",
        ),
    ],
)
def test_values_are_checked(options, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        Policy(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"threads_waiting": None},
        {"threads_waiting": 0},
        {"max_tasks": None, "warn_tasks": None, "slow_step": None},
        {"max_tasks": 2**70, "warn_tasks": 2**70},
        {"slow_step": math.inf},
    ],
)
def test_values_that_are_taken(options):
    policy = Policy(**options)
    loop = tonnage.new_event_loop(policy=policy)
    loop.run_until_complete(tonnage.sleep(0))
    loop.close()
    assert dataclasses.replace(policy) == policy


def test_policy_and_loop_factory_exclude_each_other():
    with pytest.raises(ValueError, match="^policy is for the loop that tonnage makes; with loop_factory, "):
        tonnage.Runner(loop_factory=tonnage.new_event_loop, policy=Policy())


def test_runner_gives_its_policy_to_its_loop():
    with tonnage.Runner(policy=Policy(threads=3)) as runner:
        assert runner.get_loop()._workers._limit == 3


# max_tasks


def test_task_beyond_max_tasks_is_refused_and_its_coroutine_closed():
    async def main():
        tasks = [asyncio.create_task(park()) for _ in range(3)]
        refused = park()
        with pytest.raises(tonnage.Overloaded) as caught:
            asyncio.create_task(refused)
        assert str(caught.value) == (
            "too many tasks: 4 are pending, as many as max_tasks of the loop's Policy allows; "
            "bound them with limit=, or raise max_tasks"
        )
        assert caught.value.reason == "tasks"
        assert refused.cr_frame is None
        await cancel_all(tasks)
        await asyncio.create_task(tonnage.sleep(0))

    bounded(main, max_tasks=4)


def test_server_whose_lookups_are_refused_leaves_none_of_them():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(tonnage.Overloaded):
            await loop.create_server(asyncio.Protocol, ["127.0.0.1", "127.0.0.2"], 0)
        assert len(asyncio.all_tasks()) == 1

    bounded(main, max_tasks=2)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("options", [{}, {"name": "x"}, {"eager_start": True}, {"context": None}])
def test_every_way_to_make_a_task_is_bounded(options, debug):
    async def main():
        loop = asyncio.get_running_loop()
        task = loop.create_task(park(), **options)
        for create in (
            lambda coro: loop.create_task(coro, **options),
            lambda coro: loop.create_task(coro=coro, **options),
            asyncio.ensure_future,
            tonnage.ensure_future,
            tonnage.shield,
            tonnage.gather,
        ):
            with pytest.raises(tonnage.Overloaded, match="^too many tasks: 2 are pending"):
                create(park())
        await cancel_all([task])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tonnage.run(main(), debug=debug, policy=Policy(max_tasks=2))
        gc.collect()


def test_group_raises_what_the_loop_refuses_and_cancels_its_children():
    async def main():
        with pytest.raises(Exception, match="unhandled errors in a TaskGroup") as caught:
            async with tonnage.TaskGroup() as group:
                children = [group.create_task(park()) for _ in range(2)]
                group.create_task(park())
        assert isinstance(caught.value.exceptions[0], tonnage.Overloaded)
        assert all(child.cancelled() for child in children)

    bounded(main, max_tasks=3)


def test_task_factory_is_not_asked_beyond_max_tasks():
    made = []

    def factory(loop, coro, **options):
        made.append(coro)
        return tonnage.Task(coro, loop=loop, **options)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        task = loop.create_task(park())
        with pytest.raises(tonnage.Overloaded):
            loop.create_task(park())
        assert len(made) == 1
        await cancel_all([task])

    bounded(main, max_tasks=2)


def test_what_is_no_coroutine_is_not_closed_when_it_is_refused():
    class Thing:
        def close(self):
            raise AssertionError

    async def main():
        with pytest.raises(tonnage.Overloaded):
            asyncio.get_running_loop().create_task(Thing())

    bounded(main, max_tasks=1)


def test_task_that_prepares_or_ends_the_program_is_never_refused():
    closed = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    kept = [numbers() for _ in range(3)]

    async def main():
        for generator in kept:
            await anext(generator)
        lost = numbers()
        await anext(lost)
        # The collector gives a lost one to the loop, which closes it in a task.
        del lost
        gc.collect()
        while not closed:
            await asyncio.sleep(0)

    loop = tonnage.new_event_loop(policy=Policy(max_tasks=1))
    tasks = [loop.create_task(tonnage.sleep(0)) for _ in range(3)]
    loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert len(closed) == 4


def test_refusal_comes_after_what_asyncio_checks_first():
    loop = tonnage.new_event_loop(policy=Policy(max_tasks=1))
    loop.close()
    coro = park()
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.create_task(coro)
    coro.close()


# warn_tasks


def test_crossing_warn_tasks_is_logged_once_until_there_are_clearly_fewer(caplog):
    async def main():
        tasks = [asyncio.create_task(park()) for _ in range(7)]
        assert not caplog.records
        tasks += [asyncio.create_task(park()) for _ in range(9)]
        assert len(caplog.records) == 1
        # Seventeen are pending with this one. Down to seven, and up again: that is no news.
        await cancel_all(tasks[6:])
        tasks[6:] = [asyncio.create_task(park()) for _ in range(9)]
        assert len(caplog.records) == 1
        # Down to six, which is three quarters.
        await cancel_all(tasks[5:])
        tasks[5:] = [asyncio.create_task(park()) for _ in range(2)]
        assert len(caplog.records) == 1
        tasks.append(asyncio.create_task(park()))
        assert len(caplog.records) == 2
        await cancel_all(tasks)

    bounded(main, warn_tasks=8)
    text = (
        "9 tasks are pending, more than warn_tasks=8 of the loop's Policy; bound them with limit=, "
        "or set max_tasks"
    )
    assert [record.getMessage() for record in caplog.records] == [text, text]
    assert {(record.name, record.levelname) for record in caplog.records} == {("tonnage", "WARNING")}


def test_going_up_and_down_at_the_bound_warns_once(caplog):
    async def main():
        tasks = [asyncio.create_task(park()) for _ in range(8)]
        for _ in range(50):
            await asyncio.create_task(tonnage.sleep(0))
            await cancel_all([tasks.pop()])
            tasks.append(asyncio.create_task(park()))
        assert len(caplog.records) == 1
        await cancel_all(tasks)

    bounded(main, warn_tasks=8)


def test_max_tasks_holds_below_and_above_warn_tasks(caplog):
    async def main():
        tasks = [asyncio.create_task(park()) for _ in range(5)]
        for _ in range(3):
            with pytest.raises(tonnage.Overloaded, match="6 are pending"):
                asyncio.create_task(park())
        await cancel_all(tasks)

    bounded(main, max_tasks=6, warn_tasks=3)
    assert len(caplog.records) == 1
    caplog.clear()
    bounded(main, max_tasks=6, warn_tasks=30)
    assert not caplog.records


def test_groups_count_too(caplog):
    async def main():
        async with tonnage.TaskGroup() as group:
            for _ in range(10):
                group.create_task(tonnage.sleep(0))

    bounded(main, warn_tasks=5)
    assert len(caplog.records) == 1


def test_gather_that_is_refused_midway_leaves_nothing_behind() -> None:
    began: list[int] = []

    async def work(number: int) -> None:
        began.append(number)
        await tonnage.sleep(3600)

    async def main() -> None:
        with pytest.raises(tonnage.Overloaded) as caught:
            tonnage.gather(*[work(number) for number in range(6)])
        assert caught.value.reason == "tasks"
        await tonnage.sleep(0)
        await tonnage.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not began

    tonnage.run(main(), policy=tonnage.Policy(max_tasks=4))


def test_gather_that_is_looked_at_midway_goes_on_as_before(caplog: pytest.LogCaptureFixture) -> None:
    async def work(number: int) -> tuple[int, float]:
        await tonnage.sleep(0)
        return number, tonnage.current_effective_deadline()

    async def main() -> list[tuple[int, float]]:
        async with tonnage.timeout_at(asyncio.get_running_loop().time() + 3600) as timeout:
            results = await tonnage.gather(*[work(number) for number in range(9)])
        assert {deadline for _, deadline in results} == {timeout.when()}
        return results

    # The warning is due at a child in the middle, which is made as any other.
    results = tonnage.run(main(), policy=tonnage.Policy(warn_tasks=4))
    assert [number for number, _ in results] == list(range(9))
    assert len(caplog.records) == 1
