"""Where each test runs: asyncio's own functions first, on asyncio's loop, then ours on every kind of loop."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import tonnage


@dataclasses.dataclass(frozen=True)
class Implementation:
    """The functions that are tested, and what makes the loop."""

    name: str
    functions: Any
    loop_factory: Callable[[], asyncio.AbstractEventLoop]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.functions, name)

    @property
    def is_ours(self) -> bool:
        """Are the functions ours?"""
        return self.functions is tonnage

    @property
    def has_call_graph(self) -> bool:
        """Do the loop's tasks know who awaits them?"""
        return self.name == "tonnage" or sys.version_info >= (3, 14)


def _all() -> list[Implementation]:
    found = [
        Implementation("asyncio", asyncio, asyncio.SelectorEventLoop),
        Implementation("tonnage", tonnage, tonnage.new_event_loop),
        Implementation("tonnage-on-asyncio", tonnage, asyncio.SelectorEventLoop),
    ]
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        found.append(Implementation("tonnage-on-uvloop", tonnage, uvloop.new_event_loop))
    return found


IMPLEMENTATIONS = _all()
# For what asyncio does not have.
OURS = [implementation for implementation in IMPLEMENTATIONS if implementation.is_ours]
