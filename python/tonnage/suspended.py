"""Is the block of a timeout in an async generator that its task is not inside of at the moment?

Such a generator has yielded from within the block, and its caller runs. What
the caller awaits is not the generator's to cancel (PEP 789), so the timeout
waits until the generator is resumed. Asked only when a timeout expires, on a
loop that has async generators.
"""

from __future__ import annotations

import gc
from types import AsyncGeneratorType, CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

# Beyond this many objects the answer is no, and the timeout does as asyncio's.
_LOOKED_AT_MAX = 10_000


def is_suspended(task: asyncio.Task[Any], block: object) -> bool:
    """Return True if only suspended async generators have entered `block`, of those that `task` reaches."""
    found = False
    seen: set[int] = set()
    waiting: list[tuple[object, bool]] = [(task.get_coro(), True)]
    while waiting and len(seen) < _LOOKED_AT_MAX:
        holder, is_awaited = waiting.pop()
        if holder is None or id(holder) in seen:
            continue
        seen.add(id(holder))
        for held in gc.get_referents(holder):
            if held is block or getattr(held, "__self__", None) is block:
                if is_awaited:
                    return False
                found = True
            elif isinstance(held, AsyncGeneratorType):
                waiting.append((held, is_awaited and held.ag_running))
            elif isinstance(held, FrameType) and held is _frame(holder):
                # On Python 3.10 a coroutine holds its frame, and that the variables.
                waiting.append((held, is_awaited))
            elif _is_native(holder) and (isinstance(held, CoroutineType) or _is_native(held)):
                # As wait_for() and the workers of amap(), which await it themselves.
                waiting.append((held, is_awaited))
        waiting.extend((awaited, is_awaited) for awaited in _awaited(holder))
    return found


def _is_native(holder: object) -> bool:
    """Tell whether it is a coroutine that is written in Rust."""
    kind = type(holder)
    return kind.__name__ == "coroutine" and kind.__module__ == "tonnage._tonnage"


def _frame(holder: object) -> object:
    frames = (getattr(holder, name, None) for name in ("cr_frame", "ag_frame", "gi_frame"))
    return next((frame for frame in frames if frame is not None), None)


def _awaited(holder: object) -> Iterator[object]:
    for name in ("cr_await", "ag_await", "gi_yieldfrom"):
        awaited = getattr(holder, name, None)
        if awaited is not None:
            yield awaited
