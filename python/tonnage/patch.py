"""asyncio's names bound to tonnage's classes, for `install(patch_asyncio=True)`.

A name is bound anew in every asyncio module that holds the very same object,
so that `asyncio.Task`, `asyncio.tasks.Task` and asyncio's own uses of it agree.
Names that this version's asyncio lacks are added. asyncio's run() and Runner
keep asking the policy: a program that chooses another loop gets it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import tonnage
from tonnage import runner
from tonnage.event_loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import ModuleType

    from tonnage.policy import Policy

_T = TypeVar("_T")

# Where a name lives that this version's asyncio may lack; elsewhere it is looked for.
_HOMES = {
    "Barrier": "asyncio.locks",
    "BrokenBarrierError": "asyncio.exceptions",
    "QueueShutDown": "asyncio.queues",
    "Runner": "asyncio.runners",
    "create_eager_task_factory": "asyncio.tasks",
    "eager_task_factory": "asyncio.tasks",
}


# What asyncio has too, and tonnage builds itself.
_OURS = (
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "EventLoop",
    "Future",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "QueueShutDown",
    "Semaphore",
    "Task",
    "TaskGroup",
    "Timeout",
    "as_completed",
    "create_eager_task_factory",
    "create_task",
    "eager_task_factory",
    "ensure_future",
    "gather",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
)


class Runner(runner.Runner):
    """tonnage's Runner, which makes its loop as the event loop policy says."""

    __doc__ = runner.Runner.__doc__

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        event_loop = asyncio.new_event_loop()
        if self._policy is not None:
            if not isinstance(event_loop, EventLoop):
                event_loop.close()
                raise TypeError(
                    f"policy is for tonnage's loop, and the event loop policy made {event_loop!r}"
                )
            event_loop._obey(self._policy)
        return event_loop


def run(
    main: Awaitable[_T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    policy: Policy | None = None,
) -> _T:
    """Run `main` as tonnage does, in a loop that the event loop policy makes."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory, policy=policy) as runner_:
        return runner_.run(main)


class _GatheringFuture(tonnage.Future[Any]):
    """What asyncio's own `gather()` returns, for modules that have imported it: a future of ours."""

    def __init__(self, children: Iterable[asyncio.Future[Any]], *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._children = children
        self._cancel_requested = False

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        # Every child is asked, even after one has agreed.
        answers = [child.cancel(msg=msg) for child in self._children]
        if any(answers):
            # gather() reads it when the children have ended.
            self._cancel_requested = True
        return any(answers)


def rebind_asyncio() -> None:
    """Bind asyncio's names to tonnage's objects; a second call does nothing."""
    for name, ours in _replacements():
        _rebind(name, ours)
    setattr(asyncio.tasks, "_GatheringFuture", _GatheringFuture)  # noqa: B010 - Type checkers do not know it.


def _replacements() -> Iterator[tuple[str, object]]:
    for name in _OURS:
        yield name, getattr(tonnage, name)
    yield "Runner", Runner
    yield "run", run


def _rebind(name: str, ours: object) -> None:
    theirs = getattr(asyncio, name, None)
    if theirs is ours:
        return
    if theirs is None:
        home = _HOMES.get(name)
        if home is not None:
            setattr(sys.modules[home], name, ours)
    else:
        for module in _asyncio_modules():
            if vars(module).get(name) is theirs:
                setattr(module, name, ours)
    setattr(asyncio, name, ours)
    if name not in asyncio.__all__:
        setattr(asyncio, "__all__", (*asyncio.__all__, name))  # noqa: B010 - Its declared length is fixed.


def _asyncio_modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("asyncio.")]
