"""Each behaviour runs on our loop, on asyncio's and on uvloop's; what takes time, on simulated time."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import tonnage
from live_objects import all_let_go

Run = Callable[[Any], Any]


class JumpingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a clock of its own: where it would sleep, the time jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.jumps = 0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            if timeout:
                self.now += timeout
                self.jumps += 1
            return select(0)

        selector.select = jump

    def time(self) -> float:
        return self.now


LOOPS = {"tonnage": tonnage.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
if importlib.util.find_spec("uvloop") is not None:
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a new event loop."""
    return LOOPS[request.param]


simulated = pytest.mark.parametrize("loop_factory", [JumpingLoop], ids=["jumping"])
"""Runs a test on simulated time only: what it waits for takes no time."""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """As many of our objects are alive after the test as before it, class by class."""
    # One awaitable serves all locks that need not wait, and stays.
    tonnage.Lock().__aenter__()
    yield from all_let_go()


async def settle(turns: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """What the awaitable returned, or what it raised."""
    try:
        return await awaitable
    except BaseException as error:
        return error


class Waiters:
    """Tasks that wait for a limiter, and the order in which they are served."""

    def __init__(self, limiter: tonnage.Limiter) -> None:
        self.limiter = limiter
        self.served: list[Any] = []
        self.permits: dict[Any, tonnage.Permit] = {}
        self.tasks: dict[Any, asyncio.Task[None]] = {}

    async def add(self, name: Any, tokens: int = 1, **options: Any) -> asyncio.Task[None]:
        """Let one more wait, and see that it stands in line."""

        async def wait() -> None:
            self.permits[name] = await self.limiter.acquire(tokens, **options)
            self.served.append(name)

        self.tasks[name] = asyncio.ensure_future(wait())
        await settle(1)
        return self.tasks[name]

    async def release(self, *names: Any) -> None:
        for name in names:
            self.permits.pop(name).release()
        await settle()

    async def serve_all(self) -> None:
        """Release one after the other until all were served."""
        await settle()
        while self.permits:
            await self.release(next(iter(self.permits)))
        for task in self.tasks.values():
            if not task.cancelled():
                await task
