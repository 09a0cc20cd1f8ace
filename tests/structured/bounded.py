"""What the tests of `limit=` share: every kind of loop, and who runs at once."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import tonnage

from .conftest import turns

MakeLoop = Callable[[], asyncio.AbstractEventLoop]


def _with_factory(make_loop: MakeLoop, make_task: Callable[..., Any]) -> MakeLoop:
    """Let the loop make its tasks by a factory of the program."""

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        given = {name: value for name, value in options.items() if value is not None}
        return make_task(coro, loop=loop, **given)

    def make() -> asyncio.AbstractEventLoop:
        loop = make_loop()
        loop.set_task_factory(factory)
        return loop

    return make


def _in_debug_mode() -> asyncio.AbstractEventLoop:
    loop = tonnage.new_event_loop()
    loop.set_debug(True)
    return loop


# Those on which a group sees that a member waits for a sibling.
LENDING: dict[str, MakeLoop] = {
    "tonnage": tonnage.new_event_loop,
    "debug": _in_debug_mode,
    "factory": _with_factory(tonnage.new_event_loop, tonnage.Task),
}
LOOPS = dict(LENDING)
# The tasks of Python 3.10's own loop do not count their cancellations, so a group refuses them.
if sys.version_info >= (3, 11):
    LENDING["asyncio"] = asyncio.SelectorEventLoop
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        LENDING["uvloop"] = uvloop.new_event_loop
    LOOPS |= LENDING
    LOOPS["foreign-factory"] = _with_factory(asyncio.SelectorEventLoop, asyncio.Task)


class Meter:
    """Counts who runs at once, and keeps the order in which they began."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[Any] = []

    async def member(self, name: Any = None, *, after: int = 2) -> Any:
        """Run for some turns, and return the name."""
        self.begun.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await turns(after)
        finally:
            self.running -= 1
        return name
