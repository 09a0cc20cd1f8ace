"""Let what a test replaces inside asyncio reach the implementation under test too.

CPython's tests put a mock in the place of `asyncio.base_events.socket`, and expect `create_connection`
to meet it. An implementation has modules of its own, where the same object goes by the same name: while
the patch lasts, it is replaced there as well. Without this, those tests could not judge it.
"""

from __future__ import annotations

import functools
import sys
import unittest.mock
from typing import Any


def carry_over(implementation: str) -> None:
    """Make `mock.patch` of a name in asyncio's modules patch the modules of `implementation` too."""
    patch: Any = unittest.mock._patch
    enter, leave = patch.__enter__, patch.__exit__
    replaced: dict[int, list[tuple[dict[str, Any], str, object]]] = {}

    @functools.wraps(enter)
    def enter_both(self: Any) -> Any:
        target = self.getter()
        is_asyncio = getattr(target, "__name__", "").startswith("asyncio.")
        old = vars(target).get(self.attribute) if is_asyncio else None
        entered = enter(self)
        if old is not None:
            new = vars(target)[self.attribute]
            places = [names for names in _modules(implementation) if names.get(self.attribute) is old]
            replaced[id(self)] = [(names, self.attribute, old) for names in places]
            for names in places:
                names[self.attribute] = new
        return entered

    @functools.wraps(leave)
    def leave_both(self: Any, *details: Any) -> Any:
        for names, attribute, old in replaced.pop(id(self), ()):
            names[attribute] = old
        return leave(self, *details)

    patch.__enter__, patch.__exit__ = enter_both, leave_both


def _modules(package: str) -> list[dict[str, Any]]:
    return [
        vars(module)
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    ]
