"""How a world is run by a plan: on the explorer's loop, or on our native one.

On the explorer's loop a decision is the choice of the next ready thing, and each step is a moment. The
ready queue of any other loop, such as our native one, cannot be permuted from Python: a decision there is
how many extra turns an actor waits before an operation; each turn and each operation is a moment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import tonnage

from .loop import Endless, ExplorerLoop
from .plan import Cancel, Plan, Trace
from .world import LONG, World

Scenario = Callable[[World], None]
TURNS_MAX = 400
QUIET_TURNS = 9
SHIFTS = 3


class Recorder:
    """Makes the decisions and the cancels of a plan, or random ones, and notes them."""

    def __init__(self, plan: Plan, chance: random.Random | None, length: int) -> None:
        self.plan = plan
        self.chance = chance
        self.options: list[int] = []
        self.chosen: list[int] = []
        self.decided: list[int] = []
        self.alive: list[int] = []
        self.cancels: dict[int, list[int]] = {}
        for cancel in plan.cancels:
            self.cancels.setdefault(cancel.moment, []).append(cancel.actor)
        self.made: list[Cancel] = []
        self.blind = sorted(chance.choices(range(length), k=3)) if chance else []
        self.world: World | None = None
        self.story: list[str] | None = None

    def choose(self, options: int) -> int:
        position = len(self.options)
        self.options.append(options)
        choice = 0
        if self.chance is not None:
            if options > 1 and self.chance.random() < 0.3:
                choice = self.chance.randrange(options)
        elif position < len(self.plan.choices):
            choice = min(self.plan.choices[position], options - 1)
        self.chosen.append(choice)
        return choice

    def moment(self, *, running: asyncio.Task[Any] | None = None) -> None:
        """Cancel whom the plan names; not the task that is running, for that is another subject."""
        world = self.world
        assert world is not None
        number = len(self.alive)
        self.decided.append(len(self.options))
        alive = world.alive(running)
        self.alive.append(alive)
        if self.story is not None:
            self.tell(number, alive)
        while self.blind and self.blind[0] <= number and alive:
            self.blind.pop(0)
            actors = [actor for actor in range(alive.bit_length()) if alive >> actor & 1]
            self.made.append(Cancel(number, self.chance.choice(actors)))  # type: ignore[union-attr]
            world.cancel(self.made[-1].actor)
        for actor in self.cancels.get(number, ()):
            world.cancel(actor)

    def tell(self, number: int, alive: int) -> None:
        """Note the moment in the story, for a person."""
        assert self.story is not None
        actors = [str(actor) for actor in range(alive.bit_length()) if alive >> actor & 1]
        self.story.append(f"moment {number}: alive {' '.join(actors) or '-'}")
        self.story += [f"  cancel actor {actor}" for actor in self.cancels.get(number, ())]

    def trace(self) -> Trace:
        plan = self.plan if self.chance is None else Plan(tuple(self.chosen), tuple(self.made))
        assert self.world is not None
        return Trace(plan, self.options, self.chosen, self.decided, self.alive, self.world.violations)


class Side:
    """Whose primitives run, on which loop. Subclasses run them."""

    def __init__(self, label: str, names: ModuleType) -> None:
        self.label = label
        self.names = names
        # Tells each step of a run; for a person.
        self.story: list[str] | None = None
        # The last that was run.
        self.world: World | None = None

    def run(
        self, scenario: Scenario, plan: Plan, chance: random.Random | None = None, length: int = 1
    ) -> Trace:
        """Run it by the plan; with `chance`, in a random order with three cancels in `length` moments."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the loop, and forget the last run."""
        self.world = None


class Permuted(Side):
    """The explorer's loop, with tasks of the class given."""

    def __init__(self, label: str, names: ModuleType, make_task: Callable[..., Any]) -> None:
        super().__init__(label, names)
        self.loop = ExplorerLoop(make_task)

    def delay(self, units: float) -> float:
        return units

    async def pause(self) -> None:
        """Go on at once: the order changes at the awaits."""

    def run(
        self, scenario: Scenario, plan: Plan, chance: random.Random | None = None, length: int = 1
    ) -> Trace:
        loop = self.loop
        loop.forget()
        loop.story = self.story
        recorder = Recorder(plan, chance, length)
        recorder.story = self.story
        world = self.world = recorder.world = World(self.names, loop, self)
        scenario(world)
        loop.choose = recorder.choose
        loop.before_step = recorder.moment
        try:
            loop.run_to_rest()
            loop.be_plain()
            waiting = world.judge_rest()
            if waiting:
                for actor in waiting:
                    actor.task.cancel()
                loop.run_to_rest()
        except Endless:
            world.expect(condition=False, kind="endless")
        world.judge_end(loop.reports, [task for task in loop.tasks if not task.done()])
        return recorder.trace()

    def close(self) -> None:
        super().close()
        self.loop.forget()
        self.loop.close()


class Turned(Side):
    """A loop as it is, turn by turn; the decisions are extra turns before an operation."""

    def __init__(self, label: str, names: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(label, names)
        self.loop = loop
        self.reports: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, report: self.reports.append(report))
        self.recorder = Recorder(Plan(), None, 1)
        self.pauses = 0

    def delay(self, units: float) -> float:
        """Return no time at all or an hour: nothing waits for real."""
        return 0.0 if units < LONG else 3600.0

    async def pause(self) -> None:
        self.pauses += 1
        self.recorder.moment(running=asyncio.current_task())
        for _ in range(self.recorder.choose(SHIFTS)):
            await asyncio.sleep(0)

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def run_to_rest(self, world: World, moment: Callable[[], None]) -> None:
        """Turn until all actors have ended, or none has done anything for some turns."""
        quiet = 0
        before: Any = None
        for _ in range(TURNS_MAX):
            moment()
            state = (world.alive(), self.pauses, len(world.actors))
            if not state[0] or quiet > QUIET_TURNS:
                return
            quiet = quiet + 1 if state == before else 0
            before = state
            self.turn()
        raise Endless

    def run(
        self, scenario: Scenario, plan: Plan, chance: random.Random | None = None, length: int = 1
    ) -> Trace:
        self.reports.clear()
        recorder = self.recorder = Recorder(plan, chance, length)
        recorder.story = self.story
        world = self.world = recorder.world = World(self.names, self.loop, self)

        async def begin() -> None:
            scenario(world)

        self.loop.run_until_complete(begin())
        try:
            self.run_to_rest(world, recorder.moment)
            waiting = world.judge_rest()
            trace = recorder.trace()
            for actor in waiting:
                actor.task.cancel()
            self.recorder = Recorder(Plan(), None, 1)
            self.recorder.world = world
            self.run_to_rest(world, lambda: None)
            self.turn()
        except Endless:
            world.expect(condition=False, kind="endless")
            trace = recorder.trace()
        world.judge_end(self.reports, list(asyncio.all_tasks(self.loop)))
        return trace

    def close(self) -> None:
        super().close()
        self.recorder = Recorder(Plan(), None, 1)
        self.loop.close()


SIDES: dict[str, Callable[[], Side]] = {
    # The oracle.
    "asyncio": lambda: Permuted("asyncio", asyncio, asyncio.Task),
    # tonnage's primitives and tasks, in every order.
    "tonnage": lambda: Permuted("tonnage", tonnage, tonnage.Task),
    # tonnage's primitives under asyncio's own tasks.
    "mixed": lambda: Permuted("mixed", tonnage, asyncio.Task),
    # What a program runs on.
    "native": lambda: Turned("native", tonnage, tonnage.new_event_loop()),
}
