"""Lock, Semaphore, BoundedSemaphore, Event and Condition.

What is taken is given back, nobody is inside who may not be, the first that asks is the first served, and
a wake-up that a cancelled waiter got is handed on. Waiters that were left behind show in the repr, which
is asyncio's.
"""

from __future__ import annotations

from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World


def expect_no_waiters(world: World, primitive: object) -> None:
    world.at_end(lambda: world.expect("waiters:" not in repr(primitive), "left waiter", primitive))


def mutual(world: World, primitive: Any, limit: int, rounds: list[int]) -> None:
    """Let actors enter so many times each; expect at most `limit` inside, first come, first served."""
    inside = 0
    line: list[tuple[Any, int]] = []
    tasks: list[Any] = []

    async def work(number: int) -> None:
        nonlocal inside
        for turn in range(rounds[number]):
            await world.pause()
            line.append((number, turn))
            async with primitive:
                before = line[: line.index((number, turn))]
                waiting = [other for other in before if not world.was_cancelled(tasks[other[0]])]
                # Those that were let in together may come in any order.
                world.expect(len(waiting) < limit, "barged", (number, waiting))
                line.remove((number, turn))
                inside += 1
                world.expect(inside <= limit, "too many inside", inside)
                try:
                    await switch()
                finally:
                    inside -= 1

    for number in range(len(rounds)):
        tasks.append(world.actor(work(number)))
    expect_no_waiters(world, primitive)


@scenario()
def lock(world: World) -> None:
    held = world.names.Lock()
    mutual(world, held, 1, [2, 1, 1])
    world.at_end(lambda: world.expect(not held.locked(), "still locked", held))


@scenario()
def lock_acquired_and_released(world: World) -> None:
    """As with `async with`, but the cancel may come between the two calls of one turn."""
    held = world.names.Lock()

    async def work() -> None:
        await world.pause()
        await held.acquire()
        held.release()
        await world.pause()
        await held.acquire()
        try:
            await switch()
        finally:
            held.release()

    for _ in range(3):
        world.actor(work())
    expect_no_waiters(world, held)
    world.at_end(lambda: world.expect(not held.locked(), "still locked", held))


@scenario()
def semaphore(world: World) -> None:
    slots = world.names.Semaphore(2)
    mutual(world, slots, 2, [1, 1, 1, 1])
    world.at_end(lambda: world.expect("value:2" in repr(slots), "lost permit", slots))


@scenario()
def bounded_semaphore(world: World) -> None:
    slots = world.names.BoundedSemaphore(1)
    mutual(world, slots, 1, [2, 1, 1])
    world.at_end(lambda: world.expect("value:1" in repr(slots), "lost permit", slots))


@scenario()
def semaphore_released_in_one_turn(world: World) -> None:
    """Three permits come at once and one later; each is taken or left."""
    slots = world.names.Semaphore(0)
    given = taken = 0

    def left() -> int:
        shown = repr(slots)
        return int(shown.partition("value:")[2].split("]")[0].split(",")[0]) if "value:" in shown else 0

    async def take(times: int) -> None:
        nonlocal taken
        for _ in range(times):
            await world.pause()
            await slots.acquire()
            taken += 1

    async def give() -> None:
        nonlocal given
        for amount in (3, 1):
            await world.pause()
            await switch()
            for _ in range(amount):
                slots.release()
                given += 1

    for times in (2, 1, 1):
        world.actor(take(times), waits=lambda: left() == 0)
    world.actor(give())
    expect_no_waiters(world, slots)
    world.at_end(lambda: world.expect(taken + left() == given, "lost permit", (taken, slots, given)))


@scenario()
def event(world: World) -> None:
    flag = world.names.Event()

    async def set_it() -> None:
        await world.pause()
        await switch(2)
        flag.set()

    async def wait() -> None:
        await world.pause()
        world.expect(await flag.wait() is True, "result")
        world.expect(flag.is_set(), "woken unset")

    for _ in range(3):
        world.actor(wait(), waits=lambda: not flag.is_set())
    world.actor(set_it())
    expect_no_waiters(world, flag)


@scenario()
def event_set_and_cleared(world: World) -> None:
    """Who waits when it is set goes on, though it is cleared in the same turn."""
    flag = world.names.Event()
    waiting: set[int] = set()
    owed: set[int] = set()

    async def set_and_clear() -> None:
        for _ in range(2):
            await world.pause()
            await switch()
            owed.update(waiting)
            flag.set()
            flag.clear()

    async def wait(number: int) -> None:
        await world.pause()
        waiting.add(number)
        try:
            await flag.wait()
        finally:
            waiting.discard(number)
            owed.discard(number)

    for number in range(3):
        world.actor(wait(number), waits=lambda number=number: number not in owed)  # type: ignore[misc]
    world.actor(set_and_clear())
    expect_no_waiters(world, flag)


@scenario()
def condition(world: World) -> None:
    changed = world.names.Condition()
    items: list[int] = []
    given: list[int] = []
    taken: list[int] = []

    async def take() -> None:
        await world.pause()
        async with changed:
            await changed.wait_for(lambda: bool(items))
            world.expect(changed.locked(), "not locked")
            taken.append(items.pop())

    async def give() -> None:
        for number in range(2):
            await world.pause()
            async with changed:
                items.append(number)
                given.append(number)
                changed.notify()

    for _ in range(3):
        world.actor(take(), waits=lambda: not items)
    world.actor(give())
    expect_no_waiters(world, changed)
    world.at_end(lambda: world.expect(not changed.locked(), "still locked", changed))
    world.at_end(lambda: world.expect(sorted(given) == sorted(items + taken), "lost item"))


@scenario()
def condition_with_all_notified(world: World) -> None:
    changed = world.names.Condition()
    state = ""

    async def wait() -> None:
        await world.pause()
        async with changed:
            while not state:
                await changed.wait()
            world.expect(changed.locked(), "not locked")
            await switch()

    async def change() -> None:
        nonlocal state
        await world.pause()
        async with changed:
            await switch()
            state = "changed"
            changed.notify_all()

    for _ in range(2):
        world.actor(wait(), waits=lambda: not state)
    world.actor(change())
    expect_no_waiters(world, changed)
    world.at_end(lambda: world.expect(not changed.locked(), "still locked", changed))
