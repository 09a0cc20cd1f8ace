"""gather, wait, as_completed, shield and wait_for.

The children are actors too: cancelled on their own, they end what waits for them as asyncio says. A
parent that is cancelled ends cancelled, whatever its children do in the same turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .scenario import scenario
from .switch import switch
from .world import World

Tasks = list[Any]


def parent_of(
    world: World, turns: tuple[int, ...], wait: Callable[[Tasks], Awaitable[Any]], *, cancels: bool = True
) -> Tasks:
    """Start children that take so many turns each, and a parent that waits for them.

    `cancels`: a cancelled child ends the parent with CancelledError.
    """
    ended: list[int] = []

    async def child(number: int) -> int:
        await world.pause()
        try:
            await switch(turns[number])
        finally:
            ended.append(number)
        return number

    children: Tasks = []
    for number in range(len(turns)):
        children.append(world.actor(child(number), child=True))

    async def parent() -> Any:
        await world.pause()
        return await wait(children)

    world.actor(parent(), cancelled_if=lambda: cancels and any(child.cancelled() for child in children))
    return children


@scenario()
def gather(world: World) -> None:
    async def wait(children: Tasks) -> None:
        found = await world.names.gather(*children)
        world.expect(found == [0, 1], "result", found)

    parent_of(world, (1, 2), wait)


@scenario()
def gather_with_exceptions(world: World) -> None:
    async def wait(children: Tasks) -> None:
        found = await world.names.gather(*children, return_exceptions=True)
        world.expect(all(child.done() for child in children), "not awaited", children)
        for number, (child, result) in enumerate(zip(children, found, strict=True)):
            right = child.cancelled() == isinstance(result, world.names.CancelledError)
            world.expect(right and (child.cancelled() or result == number), "result", found)

    parent_of(world, (1, 2), wait, cancels=False)


def failing_gather(world: World, *, caught: bool) -> None:
    async def fail() -> None:
        await world.pause()
        await switch()
        raise LookupError("lost")

    async def live() -> str:
        await world.pause()
        await switch(2)
        return "lived"

    children = [world.actor(fail(), raises=(LookupError,), child=True), world.actor(live(), child=True)]

    async def parent() -> None:
        await world.pause()
        try:
            await world.names.gather(*children)
        except LookupError:
            if not caught:
                raise
            await switch()
        else:
            world.expect(condition=False, kind="lost error")

    world.actor(
        parent(),
        raises=(LookupError,),
        cancelled_if=lambda: any(child.cancelled() for child in children),
    )


@scenario()
def gather_that_fails(world: World) -> None:
    """The first error reaches the parent; one of the turn of a cancel takes its place."""
    failing_gather(world, caught=False)


@scenario()
def gather_that_fails_for_who_goes_on(world: World) -> None:
    """Who catches that error should feel the cancel at the next await, but asyncio has dropped it."""
    failing_gather(world, caught=True)


@scenario()
def wait(world: World) -> None:
    async def wait(children: Tasks) -> None:
        done, pending = await world.names.wait(children)
        world.expect(done == set(children) and not pending, "result", (done, pending))

    parent_of(world, (1, 2), wait, cancels=False)


@scenario()
def wait_for_first(world: World) -> None:
    async def wait(children: Tasks) -> None:
        done, pending = await world.names.wait(children, return_when=world.names.FIRST_COMPLETED)
        world.expect(done and done | pending == set(children), "result", (done, pending))
        world.expect(all(child.done() for child in done), "result", (done, pending))

    parent_of(world, (1, 2), wait, cancels=False)


@scenario()
def wait_with_timeout(world: World) -> None:
    async def child(delay: float) -> None:
        await world.names.sleep(world.delay(delay))

    children = [world.actor(child(delay), child=True) for delay in (1, 1)]

    async def parent() -> None:
        await world.pause()
        done, pending = await world.names.wait(children, timeout=world.delay(1))
        world.expect(done | pending == set(children), "result", (done, pending))

    world.actor(parent())


@scenario()
def as_completed(world: World) -> None:
    async def wait(children: Tasks) -> None:
        found = [await done for done in world.names.as_completed(children)]
        world.expect(sorted(found) == [0, 1], "result", found)

    parent_of(world, (1, 2), wait)


@scenario()
def as_completed_with_timeout(world: World) -> None:
    async def child(number: int) -> int:
        await world.names.sleep(world.delay(1))
        return number

    children = [world.actor(child(number), child=True) for number in range(2)]

    async def parent() -> None:
        await world.pause()
        found = []
        try:
            for done in world.names.as_completed(children, timeout=world.delay(1)):
                found.append(await done)
        except world.names.TimeoutError:
            found += ["late"]
        world.expect("late" in found or sorted(found) == [0, 1], "result", found)  # type: ignore[type-var]

    world.actor(parent(), cancelled_if=lambda: any(child.cancelled() for child in children))


@scenario()
def shield(world: World) -> None:
    """The inner task goes on when the outer is cancelled."""
    inner: Tasks = []

    async def wait(children: Tasks) -> None:
        inner.append(children[0])
        world.expect(await world.names.shield(children[0]) == 0, "result")

    children = parent_of(world, (2, 1), wait)

    def judge() -> None:
        reason = world.was_cancelled(children[0])
        world.expect(reason or not children[0].cancelled(), "shield broken", children)

    world.at_end(judge)


@scenario("wait_for")
def wait_for(world: World) -> None:
    """A cancel is never swallowed; a child that is waited for ends with its parent."""

    async def wait(children: Tasks) -> None:
        found = await world.names.wait_for(children[0], world.delay(60))
        world.expect(found == 0, "result", found)

    parent_of(world, (2, 1), lambda children: late(world, lambda: wait(children)))


async def late(world: World, work: Callable[[], Awaitable[Any]]) -> None:
    """Await the work; that its time is up is a result like another."""
    try:
        await work()
    except world.names.TimeoutError:
        await switch()


@scenario("wait_for")
def wait_for_in_the_last_moment(world: World) -> None:
    """The result, the end of the time and the cancel may all come in one turn."""

    async def work() -> int:
        await world.names.sleep(world.delay(1))
        return 1

    async def wait() -> None:
        await world.pause()
        found = await world.names.wait_for(work(), world.delay(1))
        world.expect(found == 1, "result", found)
        await switch()

    for _ in range(2):
        world.actor(late(world, wait))


@scenario("wait_for")
def wait_for_lock(world: World) -> None:
    """Whoever gives up waiting for a lock, by time or by cancel, does not hold it."""
    held = world.names.Lock()

    async def work() -> None:
        await world.pause()
        try:
            await world.names.wait_for(held.acquire(), world.delay(1))
        except world.names.TimeoutError:
            return
        try:
            await world.names.sleep(world.delay(1))
        finally:
            held.release()

    for _ in range(2):
        world.actor(work())
    world.at_end(lambda: world.expect(not held.locked(), "still locked", held))


@scenario("wait_for")
def wait_for_item(world: World) -> None:
    """Whoever gives up waiting for an item leaves it in the queue."""
    items = world.names.Queue()
    taken: list[int] = []

    async def get() -> None:
        await world.pause()
        try:
            taken.append(await world.names.wait_for(items.get(), world.delay(1)))
        except world.names.TimeoutError:
            return

    async def put() -> None:
        await world.pause()
        await world.names.sleep(world.delay(1))
        items.put_nowait(1)

    for _ in range(2):
        world.actor(get())
    giver = world.actor(put())

    def judge() -> None:
        given = 0 if giver.cancelled() else 1
        world.expect(len(taken) + items.qsize() == given, "lost item", (taken, items))

    world.at_end(judge)
