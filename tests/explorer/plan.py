"""What a run is told to do, and what it did.

A run has *moments* (before each step) and *decisions* (which of n things). A plan names the first
decisions, 0 being what a plain loop would do and what follows the end of the list, and the cancels, each
at a moment. The trace of a run holds enough to derive the plans that differ from it in one decision or by
one more cancel, so that no plan is derived twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Cancel(NamedTuple):
    """Cancel this actor before the step of this number."""

    moment: int
    actor: int


class Plan(NamedTuple):
    """The first decisions, and the cancels in order of time."""

    choices: tuple[int, ...] = ()
    cancels: tuple[Cancel, ...] = ()

    def __str__(self) -> str:
        choices = ",".join(map(str, self.choices)) or "-"
        cancels = ",".join(f"{cancel.moment}:{cancel.actor}" for cancel in self.cancels) or "-"
        return f"{choices} {cancels}"

    @classmethod
    def parse(cls, choices: str, cancels: str) -> Plan:
        """Read what `str()` wrote."""
        pairs = [cancel.split(":") for cancel in cancels.split(",")] if cancels != "-" else []
        return cls(
            tuple(int(choice) for choice in choices.split(",")) if choices != "-" else (),
            tuple(Cancel(int(moment), int(actor)) for moment, actor in pairs),
        )


class Trace(NamedTuple):
    """What happened: each decision with its number of options, who was alive at each moment."""

    plan: Plan
    options: list[int]
    chosen: list[int]
    # For each moment: the decisions made before it, and the actors that were alive as a set of bits.
    decided: list[int]
    alive: list[int]
    violations: dict[str, str]

    def with_another_order(self) -> Iterator[Plan]:
        """Yield the plans that follow this run up to one decision, and decide otherwise there."""
        first = len(self.plan.choices)
        if self.plan.cancels:
            moment = self.plan.cancels[-1].moment
            if moment >= len(self.decided):
                # Real time has a say in what a limiter of rates does: this run ended before the cancel.
                return
            first = max(first, self.decided[moment])
        for position in range(first, len(self.options)):
            for choice in range(1, self.options[position]):
                yield Plan((*self.chosen[:position], choice), self.plan.cancels)

    def with_another_cancel(self) -> Iterator[Plan]:
        """Yield the plans that cancel one more actor, after all that this run's plan asked for."""
        last = self.plan.cancels[-1] if self.plan.cancels else Cancel(0, -1)
        for moment in range(last.moment, len(self.alive)):
            if self.decided[moment] < len(self.plan.choices):
                continue
            alive = self.alive[moment]
            actor = last.actor + 1 if moment == last.moment else 0
            alive >>= actor
            while alive:
                if alive & 1:
                    choices = tuple(self.chosen[: self.decided[moment]])
                    yield Plan(choices, (*self.plan.cancels, Cancel(moment, actor)))
                alive >>= 1
                actor += 1
