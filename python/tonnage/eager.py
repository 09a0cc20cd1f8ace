"""Task factories that run the first step of a task at once.

They are Python functions with one cell, as asyncio's are: anyio looks for
asyncio's `__code__`, and in `__closure__` for the constructor behind a factory.
So asyncio's own maker is used since 3.14, from which on it takes `eager_start`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tonnage._tonnage import Task

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    TaskConstructor = Callable[..., asyncio.Task[Any]]

__all__ = ("create_eager_task_factory", "eager_task_factory")


if sys.version_info >= (3, 14):
    from asyncio import create_eager_task_factory
else:

    def create_eager_task_factory(custom_task_constructor: TaskConstructor) -> TaskConstructor:
        """Make a task factory for `loop.set_task_factory()` that starts tasks eagerly.

        A coroutine that ends without waiting is never scheduled.

        Args:
            custom_task_constructor: Called as `Task` is; it makes each task.
        """

        def factory(
            loop: asyncio.AbstractEventLoop,
            coro: Coroutine[Any, Any, Any],
            *,
            eager_start: bool | None = True,
            **kwargs: Any,
        ) -> asyncio.Task[Any]:
            # None is what a caller passes on who was not told.
            eager = True if eager_start is None else eager_start
            return custom_task_constructor(coro, loop=loop, eager_start=eager, **kwargs)

        return factory


eager_task_factory = create_eager_task_factory(Task)
