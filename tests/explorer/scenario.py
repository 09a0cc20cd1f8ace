"""The register of scenarios: each is a function of a world, with the names it needs.

A scenario that needs what a side lacks (`TaskGroup` on 3.10's asyncio, `Queue.get_many` on asyncio at
all) is not run there. `ours` marks what only tonnage promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .world import World

Build = Callable[[World], None]


class Scenario(NamedTuple):
    """A small program around one primitive."""

    name: str
    build: Build
    # Dotted names of the module, or a test of it.
    needs: tuple[str, ...]
    can: Callable[[Any], bool]

    def runs_on(self, names: Any) -> bool:
        """Tell whether this module has all that the scenario uses."""
        return all(has(names, path) for path in self.needs) and self.can(names)


SCENARIOS: dict[str, Scenario] = {}


def has(names: Any, path: str) -> bool:
    """Tell whether the module has this dotted name."""
    for name in path.split("."):
        if not hasattr(names, name):
            return False
        names = getattr(names, name)
    return True


def accepts(callable_name: str, **options: Any) -> Callable[[Any], bool]:
    """Return a test: can this class be called with these options?"""

    def can(names: Any) -> bool:
        try:
            getattr(names, callable_name)(**options)
        except TypeError:
            return False
        return True

    return can


def scenario(*needs: str, can: Callable[[Any], bool] = lambda _: True) -> Callable[[Build], Build]:
    """Register a function as a scenario under its own name."""

    def register(build: Build) -> Build:
        assert build.__name__ not in SCENARIOS
        SCENARIOS[build.__name__] = Scenario(build.__name__, build, needs, can)
        return build

    return register
