"""Cancel each task of a small program at each turn of the loop, and each pair of them.

The programs use asyncio's own primitives on both loops. Whatever is cancelled when: nothing may be lost
or given twice, no cancellation may be swallowed, and what happens on our loop with our tasks must be,
turn by turn, what happens on asyncio's.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import pytest
import tonnage

Loop = asyncio.AbstractEventLoop
TURNS = 14
TURNS_MAX = 60
PAIRS = 150
SEED = 20_250_101


class World(NamedTuple):
    """The tasks of a program, what it counts, and what must hold at the end."""

    tasks: list[asyncio.Task[Any]]
    state: Callable[[], Any]
    holds: Callable[[], bool] = lambda: True


Program = Callable[[Loop], World]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


def spawn(loop: Loop, *coros: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    return [loop.create_task(coro) for coro in coros]


async def switch(times: int = 1) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


# Locks


@program
def lock(loop: Loop) -> World:
    held = asyncio.Lock()
    inside: list[int] = [0]

    async def work() -> None:
        async with held:
            inside[0] += 1
            assert inside[0] == 1
            try:
                await switch(2)
            finally:
                inside[0] -= 1

    return World(
        spawn(loop, *(work() for _ in range(4))),
        lambda: (held.locked(), inside[0]),
        lambda: not held.locked() and not held._waiters,  # type: ignore[attr-defined]
    )


@program
def semaphore(loop: Loop) -> World:
    slots = asyncio.Semaphore(2)
    inside: list[int] = [0]

    async def work() -> None:
        async with slots:
            inside[0] += 1
            assert inside[0] <= 2
            try:
                await switch(2)
            finally:
                inside[0] -= 1

    return World(
        spawn(loop, *(work() for _ in range(5))),
        lambda: (slots._value, inside[0]),
        lambda: slots._value == 2 and not slots._waiters,  # type: ignore[attr-defined]
    )


@program
def event(loop: Loop) -> World:
    flag = asyncio.Event()

    async def set_it() -> None:
        await switch(4)
        flag.set()

    async def wait() -> bool:
        return await flag.wait()

    return World(
        spawn(loop, wait(), wait(), wait(), set_it()),
        flag.is_set,
        lambda: not flag._waiters,  # type: ignore[attr-defined]
    )


@program
def condition(loop: Loop) -> World:
    changed = asyncio.Condition()
    items: list[int] = []
    taken: list[int] = []

    async def take() -> None:
        async with changed:
            await changed.wait_for(lambda: bool(items))
            taken.append(items.pop())

    async def give() -> None:
        for number in range(3):
            await switch()
            async with changed:
                items.append(number)
                changed.notify()

    return World(
        spawn(loop, take(), take(), take(), give()),
        lambda: (sorted(items), sorted(taken), changed.locked()),
        lambda: not changed.locked() and not changed._waiters,  # type: ignore[attr-defined]
    )


@program
def barrier(loop: Loop) -> World:
    meeting = tonnage.Barrier(3)

    async def meet() -> str:
        try:
            async with meeting:
                await switch()
        except tonnage.BrokenBarrierError:
            return "broken"
        return "met"

    return World(spawn(loop, meet(), meet(), meet()), lambda: (meeting.n_waiting, meeting.broken))


# Queues


def queue_program(loop: Loop, items: asyncio.Queue[Any]) -> World:
    produced: list[int] = []
    consumed: list[int] = []

    async def produce(first: int) -> None:
        for number in range(first, first + 3):
            await items.put(number)
            produced.append(number)
            await switch()

    async def consume() -> None:
        for _ in range(3):
            consumed.append(await items.get())
            items.task_done()

    def holds() -> bool:
        left = [items.get_nowait() for _ in range(items.qsize())]
        waiting = [waiter for waiter in (*items._getters, *items._putters) if not waiter.done()]  # type: ignore[attr-defined]
        return sorted(produced) == sorted([*consumed, *left]) and not waiting

    return World(
        spawn(loop, produce(0), produce(10), consume(), consume()),
        lambda: (produced[:], consumed[:], items.qsize()),
        holds,
    )


@program
def bounded_queue(loop: Loop) -> World:
    return queue_program(loop, asyncio.Queue(1))


@program
def unbounded_queue(loop: Loop) -> World:
    return queue_program(loop, asyncio.Queue())


@program
def priority_queue(loop: Loop) -> World:
    return queue_program(loop, asyncio.PriorityQueue(2))


@program
def queue_joined(loop: Loop) -> World:
    items: asyncio.Queue[int] = asyncio.Queue()
    for number in range(3):
        items.put_nowait(number)

    async def work() -> None:
        while True:
            await items.get()
            try:
                await switch()
            finally:
                items.task_done()

    async def join() -> str:
        await items.join()
        return "joined"

    return World(spawn(loop, work(), work(), join()), items.qsize)


# Waiting for others


def waiting_program(loop: Loop, wait: Callable[[list[Awaitable[Any]]], Awaitable[Any]]) -> World:
    ended: list[int] = []

    async def child(number: int) -> int:
        try:
            await switch(number + 1)
        finally:
            ended.append(number)
        return number

    children = spawn(loop, *(child(number) for number in range(3)))

    async def parent() -> Any:
        found = await wait(children)  # type: ignore[arg-type]
        return str(found) if isinstance(found, (int, list)) else None

    return World([*children, *spawn(loop, parent())], lambda: ended[:])


@program
def gather(loop: Loop) -> World:
    return waiting_program(loop, lambda children: asyncio.gather(*children))


@program
def gather_with_exceptions(loop: Loop) -> World:
    async def wait(children: list[Awaitable[Any]]) -> list[str]:
        return [repr(found) for found in await asyncio.gather(*children, return_exceptions=True)]

    return waiting_program(loop, wait)


@program
def wait(loop: Loop) -> World:
    return waiting_program(loop, lambda children: asyncio.wait(children))  # type: ignore[arg-type, type-var]


@program
def wait_first(loop: Loop) -> World:
    return waiting_program(
        loop,
        lambda children: asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED),  # type: ignore[arg-type, type-var]
    )


@program
def shield(loop: Loop) -> World:
    return waiting_program(loop, lambda children: asyncio.shield(children[-1]))


@program
def as_completed(loop: Loop) -> World:
    async def wait(children: list[Awaitable[Any]]) -> list[Any]:
        return [await done for done in asyncio.as_completed(children)]

    return waiting_program(loop, wait)


@program
def wait_for(loop: Loop) -> World:
    return waiting_program(loop, lambda children: asyncio.wait_for(children[-1], 60))


@program
def chain(loop: Loop) -> World:
    async def link(before: Any) -> Any:
        return await before

    async def first() -> str:
        await switch(4)
        return "through"

    tasks = spawn(loop, first())
    for _ in range(3):
        tasks += spawn(loop, link(tasks[-1]))
    return World(tasks, lambda: None)


@program
def timeout(loop: Loop) -> World:
    left: list[str] = []

    async def work(number: int) -> None:
        try:
            async with tonnage.timeout(60):
                await switch(3)
        finally:
            left.append(f"left {number}")

    return World(spawn(loop, *(work(number) for number in range(3))), lambda: left[:])


@program
def group(loop: Loop) -> World:
    ended: list[str] = []

    async def child(name: str, times: int) -> None:
        try:
            await switch(times)
        finally:
            ended.append(name)

    async def parent(name: str) -> None:
        async with tonnage.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(child(f"{name}{number}", number + 1))
            await switch()
        ended.append(name)

    return World(spawn(loop, parent("a"), parent("b")), lambda: ended[:])


@program
def nested_groups(loop: Loop) -> World:
    ended: list[int] = []

    async def nest(depth: int) -> None:
        try:
            async with tonnage.TaskGroup() as tasks:
                if depth:
                    tasks.create_task(nest(depth - 1))
                await switch(2)
        finally:
            ended.append(depth)

    return World(spawn(loop, nest(3), nest(2)), lambda: ended[:])


@program
def group_that_fails(loop: Loop) -> World:
    ended: list[str] = []

    async def fail() -> None:
        await switch(2)
        raise LookupError("lost")

    async def child() -> None:
        try:
            await switch(8)
        finally:
            ended.append("child")

    async def parent() -> str:
        try:
            async with tonnage.TaskGroup() as tasks:
                tasks.create_task(fail())
                tasks.create_task(child())
                await switch(8)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise
        return "unharmed"

    return World(spawn(loop, parent()), lambda: ended[:])


@program
def cleanup_that_waits(loop: Loop) -> World:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await switch(2)
        finally:
            await switch(2)
            ended.append(number)

    return World(spawn(loop, work(0), work(1)), lambda: ended[:])


# The sweep


def turn(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


class Cancel(NamedTuple):
    turn: int
    task: int


def outcome(task: asyncio.Task[Any]) -> str:
    if not task.done():
        return "pending"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return f"returned {task.result()}"
    inner = [type(found).__name__ for found in getattr(error, "exceptions", ())]
    return f"raised {type(error).__name__} {inner}"


def perform(loop: Loop, start: Program, placement: tuple[Cancel, ...]) -> list[Any]:
    """Run the program with these cancellations; return what happened, turn by turn."""
    world: World | None = None

    async def begin() -> World:
        return start(loop)

    world = loop.run_until_complete(begin())
    tasks = world.tasks
    record: list[Any] = []
    accepted: set[int] = set()
    for number in range(TURNS_MAX):
        for cancel in placement:
            if cancel.turn == number and tasks[cancel.task].cancel("swept"):
                accepted.add(cancel.task)
        record.append(([task.done() for task in tasks], world.state()))
        if all(task.done() for task in tasks):
            break
        turn(loop)
    record.append([outcome(task) for task in tasks])
    if sys.version_info >= (3, 11):
        record.append([task.cancelling() for task in tasks])
    for task in tasks:
        task.cancel()
    for _ in range(TURNS_MAX):
        if not asyncio.all_tasks(loop):
            break
        turn(loop)
    assert not asyncio.all_tasks(loop), "a task does not end"
    assert world.holds(), (placement, record[-2:])
    judge_accepted(start.__name__, accepted, record, tasks)
    return record


def judge_accepted(name: str, accepted: set[int], record: list[Any], tasks: list[Any]) -> None:
    """A task that was told that it is cancelled must not end as if it were not."""
    if name == "wait_for" and sys.version_info < (3, 12):
        return  # asyncio's own swallows it there: gh-86296.
    for number in accepted:
        if name == "group_that_fails" and not tasks[number].cancelled():
            assert isinstance(tasks[number].exception(), Exception)
        else:
            assert tasks[number].cancelled(), (number, record)


def turns_of(loops: list[Loop], start: Program) -> tuple[int, int]:
    """Return how many turns the program takes when nothing is cancelled, and how many tasks it has."""
    record = perform(loops[-1], start, ())
    turns = sum(isinstance(entry, tuple) for entry in record)
    return min(turns, TURNS), len(record[0][0])


@pytest.fixture
def loops() -> Any:
    """asyncio's loop and ours; neither may be told of an error."""
    reports: list[Any] = []
    found = [asyncio.SelectorEventLoop(), tonnage.new_event_loop()]
    for loop in found:
        loop.set_exception_handler(lambda _, report: reports.append(report))
    yield found
    for loop in found:
        loop.close()
    # A shield reports what its caller does not wait for any more.
    assert not [report for report in reports if "shield" not in report["message"].lower()]
    reports.clear()


# On our tasks these follow 3.15 on each version; asyncio's counted cancellations otherwise before 3.13.
STRUCTURED = {"timeout", "group", "nested_groups", "group_that_fails"}


def compare(loops: list[Loop], start: Program, placement: tuple[Cancel, ...]) -> None:
    if start.__name__ in STRUCTURED and sys.version_info < (3, 13):
        perform(loops[-1], start, placement)
        return
    theirs, ours = (perform(loop, start, placement) for loop in loops)
    assert ours == theirs, placement


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_single_cancel_has_asyncios_outcome(loops: list[Loop], name: str) -> None:
    turns, tasks = turns_of(loops, PROGRAMS[name])
    for number, task in itertools.product(range(turns), range(tasks)):
        compare(loops, PROGRAMS[name], (Cancel(number, task),))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_pairs_of_cancels_have_asyncios_outcome(loops: list[Loop], name: str) -> None:
    turns, tasks = turns_of(loops, PROGRAMS[name])
    places = [Cancel(*place) for place in itertools.product(range(turns), range(tasks))]
    pairs = list(itertools.combinations_with_replacement(places, 2))
    chance = random.Random(SEED)
    for pair in chance.sample(pairs, min(PAIRS, len(pairs))):
        compare(loops, PROGRAMS[name], pair)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_triples_of_cancels_have_asyncios_outcome(loops: list[Loop], name: str) -> None:
    turns, tasks = turns_of(loops, PROGRAMS[name])
    chance = random.Random(SEED)
    for _ in range(80):
        triple = tuple(Cancel(chance.randrange(turns), chance.randrange(tasks)) for _ in range(3))
        compare(loops, PROGRAMS[name], triple)
