"""TaskGroup: its children have ended when it is left, no error is lost or doubled, no cancel either.

An error that a child raises is noted when it is raised, and must be found once in the group that its
parent gets, or in what the parent's parent gets. The children are actors too.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from .scenario import accepts, scenario
from .switch import switch
from .world import World


class Family:
    """The children of groups in one run, and what they raised."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.raised: list[BaseException] = []
        self.found: list[BaseException] = []
        world.at_end(self.judge)

    def child(self, tasks: Any, coro: Coroutine[Any, Any, Any], **rules: Any) -> Any:
        return self.world.adopt(tasks.create_task(coro), child=True, raises=(Exception,), **rules)

    async def fail(self, turns: int) -> None:
        await self.world.pause()
        await switch(turns)
        error = LookupError(len(self.raised))
        self.raised.append(error)
        raise error

    async def live(self, turns: int) -> None:
        await self.world.pause()
        await switch(turns)

    async def linger(self, turns: int) -> None:
        """Take some turns to end, cancelled or not."""
        try:
            await self.world.pause()
            await switch(turns)
        finally:
            await switch()

    def expect_ended(self, children: list[Any]) -> None:
        self.world.expect(all(child.done() for child in children), "child left", children)

    def collect(self, error: BaseException) -> None:
        """Note the errors in a group of any depth."""
        inner = getattr(error, "exceptions", None)
        if inner is None:
            self.found.append(error)
        else:
            for found in inner:
                self.collect(found)

    def judge(self) -> None:
        found = sorted(map(id, self.found))
        self.world.expect(found == sorted(map(id, self.raised)), "lost error", (self.raised, self.found))


def parent_of(world: World, *parts: tuple[str, int], after: int = 1, body: int = 1) -> None:
    """One parent of one group; each part is a method of Family and its turns."""
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup() as tasks:
                for name, turns in parts:
                    children.append(family.child(tasks, getattr(family, name)(turns)))
                await switch(body)
        except Exception as error:
            family.collect(error)
        finally:
            family.expect_ended(children)
        # A cancel that came while the group ended must be felt here.
        await switch(after)

    world.actor(parent())


@scenario("TaskGroup")
def group(world: World) -> None:
    parent_of(world, ("live", 1), ("live", 2))


@scenario("TaskGroup")
def group_with_slow_ends(world: World) -> None:
    parent_of(world, ("linger", 1), ("linger", 2))


@scenario("TaskGroup")
def group_with_a_failing_child(world: World) -> None:
    """The child fails in the turn of the cancel, before it and after it."""
    parent_of(world, ("fail", 1), ("linger", 3), body=3)


@scenario("TaskGroup")
def group_with_failing_children(world: World) -> None:
    parent_of(world, ("fail", 1), ("fail", 1), body=0)


@scenario("TaskGroup")
def group_with_a_failing_body(world: World) -> None:
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup() as tasks:
                children.append(family.child(tasks, family.live(2)))
                children.append(family.child(tasks, family.fail(1)))
                await family.fail(1)
        except Exception as error:
            family.collect(error)
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


@scenario("TaskGroup")
def nested_groups(world: World) -> None:
    family = Family(world)

    async def nest(depth: int) -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup() as tasks:
                if depth:
                    children.append(family.child(tasks, nest(depth - 1)))
                else:
                    children.append(family.child(tasks, family.live(1)))
                await switch()
        finally:
            family.expect_ended(children)

    world.actor(nest(2))


@scenario("TaskGroup")
def group_in_group_of_one_task(world: World) -> None:
    """The inner group's child fails; the outer group and the rest of the task must feel a cancel."""
    family = Family(world)

    async def parent() -> None:
        await world.pause()
        async with world.names.TaskGroup() as outer:
            family.child(outer, family.live(3))
            try:
                async with world.names.TaskGroup() as inner:
                    family.child(inner, family.fail(1))
                    await switch(2)
            except Exception as error:
                family.collect(error)
            await switch()
        await switch()

    world.actor(parent())


@scenario("TaskGroup")
def failing_groups_of_one_task(world: World) -> None:
    """A child of the outer and a child of the inner group fail in one turn."""
    family = Family(world)

    async def parent() -> None:
        await world.pause()
        try:
            async with world.names.TaskGroup() as outer:
                family.child(outer, family.fail(1))
                try:
                    async with world.names.TaskGroup() as inner:
                        family.child(inner, family.fail(1))
                        await switch(3)
                except Exception as error:
                    family.collect(error)
                    await switch()
        except Exception as error:
            family.collect(error)
        await switch()

    world.actor(parent())


# What came with 3.15, or is tonnage's own.


@scenario("TaskGroup.cancel")
def group_that_is_cancelled(world: World) -> None:
    """Its own cancel ends it quietly; a cancel from outside in the same turn is felt."""
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup() as tasks:
                children.append(family.child(tasks, family.linger(3)))
                children.append(family.child(tasks, family.live(1)))
                await switch()
                tasks.cancel()
                await switch()
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


@scenario("TaskGroup.start")
def group_with_a_started_child(world: World) -> None:
    """The value of `started` reaches the caller, or the caller was cancelled; the child is not orphaned."""
    family = Family(world)

    async def serve(task_status: Any) -> None:
        await world.pause()
        await switch()
        task_status.started("up")
        await switch(2)

    async def parent() -> None:
        await world.pause()
        async with world.names.TaskGroup() as tasks:
            family.child(tasks, family.live(1))
            world.expect(await tasks.start(serve) == "up", "result")
            await switch()
        await switch()

    world.actor(parent())


@scenario("TaskGroup", can=accepts("TaskGroup", on_error="collect"))
def group_that_collects_errors(world: World) -> None:
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup(on_error="collect") as tasks:
                for turns in (1, 2):
                    children.append(family.child(tasks, family.fail(turns)))
                children.append(family.child(tasks, family.live(3)))
                await switch()
        except Exception as error:
            family.collect(error)
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())


@scenario("TaskGroup", can=accepts("TaskGroup", on_error="collect"))
def group_with_a_daemon(world: World) -> None:
    """The daemon is cancelled when the body and the other children have ended."""
    family = Family(world)

    async def parent() -> None:
        children: list[Any] = []
        await world.pause()
        try:
            async with world.names.TaskGroup() as tasks:
                daemon = tasks.create_task(family.linger(1_000), daemon=True)
                children.append(world.adopt(daemon, child=True))
                children.append(family.child(tasks, family.live(1)))
                await switch()
        finally:
            family.expect_ended(children)
        await switch()

    world.actor(parent())
