"""`Barrier` for Python 3.10.

A barrier fills until `parties` tasks wait, then drains: all of them go on, and
who comes meanwhile stands outside until the last one is gone. What a woken
task gets depends on the state when it runs, not when it was woken: a `reset()`
or `abort()` in between still breaks it. This is asyncio's rule.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from tonnage.errors import BrokenBarrierError

if TYPE_CHECKING:
    from types import TracebackType


class _State(Enum):
    FILLING = "filling"
    DRAINING = "draining"
    RESETTING = "resetting"
    BROKEN = "broken"


class Barrier:
    """Let a number of tasks wait for each other."""

    def __init__(self, parties: int) -> None:
        """Open a barrier for `parties` tasks.

        Raises:
            ValueError: `parties` is less than 1.
        """
        if parties < 1:
            raise ValueError("parties must be >= 1")
        self._parties = parties
        self._state = _State.FILLING
        self._count = 0
        # Both lines are bounded by the tasks that wait in them, one future each.
        self._waiting: list[asyncio.Future[None]] = []
        self._outside: list[asyncio.Future[None]] = []
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = self._state.value
        if not self.broken:
            state += f", waiters:{self.n_waiting}/{self.parties}"
        return f"<{super().__repr__()[1:-1]} [{state}]>"

    @property
    def parties(self) -> int:
        """The number of tasks that the barrier waits for."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """The number of tasks that wait while the barrier fills."""
        return self._count if self._state is _State.FILLING else 0

    @property
    def broken(self) -> bool:
        """True after `abort()`, until `reset()`."""
        return self._state is _State.BROKEN

    async def __aenter__(self) -> int:
        """Wait as `wait()` does."""
        return await self.wait()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Do nothing: the barrier has been passed."""

    async def wait(self) -> int:
        """Wait until `parties` tasks wait, and return this one's number, from 0.

        If the wait is cancelled, the task leaves the barrier; the others wait on.

        Raises:
            BrokenBarrierError: The barrier is broken, or was reset or aborted meanwhile.
        """
        while self._state in (_State.DRAINING, _State.RESETTING):
            await self._park(self._outside)
        if self._state is _State.BROKEN:
            raise BrokenBarrierError("Barrier aborted")
        number = self._count
        self._count += 1
        try:
            if self._count == self._parties:
                self._state = _State.DRAINING
                _wake(self._waiting)
                return number
            while self._is(_State.FILLING):
                await self._park(self._waiting)
            if not self._is(_State.DRAINING):
                raise BrokenBarrierError("Abort or reset of barrier")
            return number
        finally:
            self._leave()

    async def reset(self) -> None:
        """Empty the barrier: whoever waits gets BrokenBarrierError."""
        self._state = _State.RESETTING if self._count else _State.FILLING
        self._wake_all()

    async def abort(self) -> None:
        """Break the barrier: whoever waits, now or later, gets BrokenBarrierError."""
        self._state = _State.BROKEN
        self._wake_all()

    def _is(self, state: _State) -> bool:
        return self._state is state

    async def _park(self, line: list[asyncio.Future[None]]) -> None:
        event_loop = asyncio.get_running_loop()
        if self._event_loop is None:
            self._event_loop = event_loop
        elif self._event_loop is not event_loop:
            raise RuntimeError(f"{self!r} is bound to a different event loop")
        turn: asyncio.Future[None] = event_loop.create_future()
        line.append(turn)
        try:
            await turn
        finally:
            if turn in line:
                line.remove(turn)

    def _leave(self) -> None:
        self._count -= 1
        if self._count:
            return
        if self._state is not _State.BROKEN:
            self._state = _State.FILLING
        _wake(self._outside)

    def _wake_all(self) -> None:
        _wake(self._waiting)
        _wake(self._outside)


def _wake(line: list[asyncio.Future[None]]) -> None:
    for turn in line:
        if not turn.done():
            turn.set_result(None)
    line.clear()
