"""The event loops that each program runs on.

asyncio's comes first, and proves the test itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import tonnage

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


LOOPS = [
    Loop("asyncio", asyncio.SelectorEventLoop, (sys.executable,)),
    Loop("tonnage", tonnage.new_event_loop, (sys.executable, "-m", "tonnage", "run")),
]
