"""An asyncio loop that runs one ready thing at a time, asks which, and keeps its own clock.

asyncio's own `BaseEventLoop` does all but the choosing: tasks and futures cannot tell the difference.
Nothing waits for real: with nothing ready the clock jumps to the next timer, and a decision may let it
jump earlier. `run_to_rest()` returns when nothing is ready and no timer is left.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

STEPS_MAX = 5_000


class Endless(Exception):  # noqa: N818
    """The program does not come to rest."""


class ExplorerLoop(asyncio.BaseEventLoop):
    """`choose` is asked with the number of options; `before_step` is called before each step."""

    def __init__(self, make_task: Callable[..., asyncio.Future[Any]]) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.make_task = make_task
        self.tasks: list[asyncio.Future[Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.story: list[str] | None = None
        self.set_exception_handler(lambda _, report: self.reports.append(report))
        self.set_task_factory(self._keep_task)  # type: ignore[arg-type]
        self.be_plain()

    def be_plain(self) -> None:
        """Take the first ready thing at each step, as any loop does."""
        self.choose: Callable[[int], int] = lambda _: 0
        self.before_step: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def run_to_rest(self) -> None:
        """Run until nothing is ready and no timer is left."""
        self.steps = 0
        self.run_forever()

    def forget(self) -> None:
        """Drop what a run left behind."""
        self.tasks.clear()
        self.reports.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self.be_plain()

    def _keep_task(self, _: Any, coro: Any, **options: Any) -> asyncio.Future[Any]:
        task = self.make_task(coro, loop=self, **options)
        self.tasks.append(task)
        return task

    def _write_to_self(self) -> None:
        """Do nothing: no thread calls this loop, and it never sleeps."""

    def _process_events(self, event_list: Any) -> None:
        """Do nothing: there are no files."""

    def _run_once(self) -> None:
        self.before_step()
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        for handle in [handle for handle in ready if handle._cancelled]:
            ready.remove(handle)
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready and not timers:
            self._stopping = True
            return
        choice = self.choose(len(ready) + bool(timers))
        if choice == len(ready):
            self._let_time_pass(ready, timers)
            return
        handle = ready[choice]
        del ready[choice]
        if self.story is not None:
            self.story.append(f"  run {choice} of {len(ready) + 1}: {self._tell(handle)}")
        handle._run()
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Endless

    def _tell(self, handle: Any) -> str:
        """Name the task that a handle steps or wakes, as far as it can be told."""
        owner = getattr(handle._callback, "__self__", None)
        if owner in self.tasks:
            return f"task {self.tasks.index(owner)}"
        return repr(handle)

    def _let_time_pass(self, ready: Any, timers: Any) -> None:
        self.now = max(self.now, timers[0]._when)
        while timers and timers[0]._when <= self.now:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        if self.story is not None:
            self.story.append(f"  let the time be {self.now}")
