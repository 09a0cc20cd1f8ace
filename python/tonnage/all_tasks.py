"""How `asyncio.all_tasks()` finds the tasks of tonnage's loops.

asyncio keeps the tasks that its own C code does not list in a WeakSet, and asks
that set when somebody calls `all_tasks`. Registering each task there would cost
more than the task. A loop of ours knows its pending tasks anyway, so the set's
class becomes one that, when iterated, adds them. Programs that bound the name
`all_tasks` early see them too.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from . import worker_ends

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Loop(Protocol):
    def is_running(self) -> bool: ...
    def _pending_tasks(self) -> set[asyncio.Task[Any]]: ...
    def _let_tasks_go(self) -> None: ...


live_loops: weakref.WeakSet[_Loop] = weakref.WeakSet()


class ScheduledTasks(weakref.WeakSet["asyncio.Task[Any]"]):
    """asyncio's set of scheduled tasks, and those of our loops."""

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        """Iterate over the registered tasks, then over those of each loop."""
        yield from super().__iter__()
        for loop in list(live_loops):
            yield from loop._pending_tasks()


def _asyncio_sets() -> Iterator[weakref.WeakSet[asyncio.Task[Any]]]:
    # Up to 3.11 `_all_tasks`, then `_scheduled_tasks`; the one of the Python
    # implementation from 3.14 on is not what `all_tasks` asks.
    for name in ("_all_tasks", "_scheduled_tasks"):
        found = getattr(asyncio.tasks, name, None)
        if isinstance(found, weakref.WeakSet):
            yield found
    # From 3.14 on the set belongs to the state of the C module and has no name.
    try:
        import _asyncio
    except ImportError:
        return
    for found in gc.get_referents(_asyncio):
        if isinstance(found, weakref.WeakSet):
            yield found


def hook() -> None:
    """Make `asyncio.all_tasks()` see the tasks of our loops. May be called again."""
    for found in _asyncio_sets():
        found.__class__ = ScheduledTasks


worker_ends.register()


@atexit.register
def _let_tasks_go() -> None:
    # A loop and its tasks are a cycle. Left to the collector's last round, when the modules are gone, a
    # pending task could not say any more that it is lost. Registered early, this runs after the exit
    # functions of the program, and before that of the workers: what those tasks waited for is then abandoned.
    for loop in list(live_loops):
        if not loop.is_running():
            loop._let_tasks_go()
