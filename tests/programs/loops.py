"""The event loops that each program runs on.

asyncio's comes first, and proves the test itself.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

RUN_TIMEOUT_S = 60


@dataclass(frozen=True)
class Loop:
    """An event loop that programs run on."""

    name: str
    new: Callable[[], asyncio.AbstractEventLoop]
    # What comes before a script, or before `-m module`, on the command line.
    python: tuple[str, ...]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, as `asyncio.run` does, on a loop of this kind."""
        loop = self.new()
        try:
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(asyncio.wait_for(main, RUN_TIMEOUT_S))
        finally:
            try:
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.wait(left))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                loop.close()


def loops() -> list[Any]:
    """Return one parameter for each loop; tonnage's is skipped, with the reason, if it is not built."""
    on_asyncio = Loop("asyncio", asyncio.SelectorEventLoop, (sys.executable,))
    try:
        new_event_loop = importlib.import_module("tonnage").new_event_loop
    except ModuleNotFoundError as error:
        skip = pytest.mark.skip(reason=f"{error}: run `make build`")
        return [pytest.param(on_asyncio, id="asyncio"), pytest.param(None, id="tonnage", marks=skip)]
    on_tonnage = Loop("tonnage", new_event_loop, (sys.executable, "-m", "tonnage", "run"))
    return [pytest.param(on_asyncio, id="asyncio"), pytest.param(on_tonnage, id="tonnage")]
