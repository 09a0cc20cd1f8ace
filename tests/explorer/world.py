"""The actors of one run, and what must hold for each of them whatever happens.

A scenario starts its actors here and says what it expects. Judged after each run: nothing pending,
nothing reported, no actor stuck at rest that has no reason to wait, no cancel swallowed, no cancel that
nobody asked for, `cancelling()` balanced, no exception but those the scenario names. A violation has a
kind (one word or two, the key of `known.py`) and a detail.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any, Protocol

Predicate = Callable[[], bool]
LONG = 60


def never() -> bool:
    return False


def always() -> bool:
    return True


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


class Driver(Protocol):
    """What runs a world: the explorer's loop or our native one."""

    def delay(self, units: float) -> float:
        """Return the delay to ask for, in seconds of its loop."""
        ...

    async def pause(self) -> None:
        """Let the order change before an operation."""
        ...


class Actor:
    """A task that may be cancelled at each moment, and what may become of it."""

    def __init__(self, task: asyncio.Task[Any], **rules: Any) -> None:
        self.task = task
        self.accepted = 0
        self.at_rest = False
        # May it wait for ever? Asked when nothing else will happen.
        self.waits: Predicate = rules.pop("waits", never)
        # May it end cancelled although nobody cancelled it from outside?
        self.cancelled_if: Predicate = rules.pop("cancelled_if", never)
        self.raises: tuple[type[BaseException], ...] = rules.pop("raises", ())
        # Somebody else of the program cancels it too, so its count is not ours alone.
        self.child: bool = rules.pop("child", False)
        assert not rules, rules


class World:
    """One run of a scenario on `names`, the module whose primitives are used."""

    # Those that the collector has not freed.
    live: weakref.WeakSet[World] = weakref.WeakSet()

    def __init__(self, names: ModuleType, loop: asyncio.AbstractEventLoop, driver: Driver) -> None:
        self.live.add(self)
        self.names: Any = names
        self.loop = loop
        self.actors: list[Actor] = []
        self.violations: dict[str, str] = {}
        self.ends: list[Callable[[], None]] = []
        self.delay = driver.delay
        self.pause = driver.pause

    # What a scenario calls.

    def actor(self, coro: Coroutine[Any, Any, Any], **rules: Any) -> asyncio.Task[Any]:
        """Start a task that the search may cancel; the rules are `Actor`'s."""
        return self.adopt(self.loop.create_task(coro), **rules)

    def adopt(self, task: asyncio.Task[Any], **rules: Any) -> asyncio.Task[Any]:
        """Let the search cancel a task that something else has started."""
        self.actors.append(Actor(task, **rules))
        return task

    def expect(self, condition: object, kind: str, detail: object = "") -> None:
        """Note a violation unless the condition holds; the run goes on."""
        if not condition:
            self.violations.setdefault(kind, str(detail))

    def at_end(self, check: Callable[[], None]) -> None:
        """Call the check when all actors have ended."""
        self.ends.append(check)

    def was_cancelled(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether the search has cancelled this actor so far."""
        return any(actor.task is task and actor.accepted for actor in self.actors)

    # What a driver calls.

    def alive(self, running: asyncio.Task[Any] | None = None) -> int:
        """Return the actors that can be cancelled, as a set of bits."""
        bits = 0
        for number, actor in enumerate(self.actors):
            if actor.task is not running and not actor.task.done():
                bits |= 1 << number
        return bits

    def cancel(self, number: int) -> None:
        if number < len(self.actors) and self.actors[number].task.cancel("explorer"):
            self.actors[number].accepted += 1

    def outcomes(self) -> list[str]:
        """Say how each actor has ended, in words that are the same for the same end."""
        return [outcome(actor.task) for actor in self.actors]

    def judge_rest(self) -> list[Actor]:
        """Find who waits for ever without a reason; return all that wait, for the driver to end them."""
        waiting = [actor for actor in self.actors if not actor.task.done()]
        for actor in waiting:
            actor.at_rest = True
            self.expect(actor.waits(), "stuck", actor.task)
        return waiting

    def judge_end(self, reports: list[dict[str, Any]], pending: list[Any]) -> None:
        self.expect(not pending, "pending", pending)
        self.expect(not reports, "reported", reports)
        for actor in self.actors:
            if actor.task.done():
                self._judge_actor(actor)
        for check in self.ends:
            check()

    def _judge_actor(self, actor: Actor) -> None:
        task = actor.task
        if task.cancelled():
            reason = actor.accepted or actor.at_rest or actor.child or actor.cancelled_if()
            self.expect(reason, "cancel from nowhere", task)
        elif (error := task.exception()) is not None:
            self.expect(isinstance(error, actor.raises), "raised", repr(error))
        else:
            self.expect(not actor.accepted, "swallowed cancel", task)
        if hasattr(task, "cancelling") and not actor.child and not actor.at_rest:
            found = task.cancelling()
            self.expect(found == actor.accepted, "unbalanced", f"{found} of {actor.accepted}: {task}")
