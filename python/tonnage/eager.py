"""Task factories that run a task's first step at once, when it is created.

A coroutine that does not wait is then done before `create_task()` returns, and
was never scheduled. asyncio has them since Python 3.12, and takes `eager_start`
since 3.14. They are plain closures over the constructor: anyio looks for
asyncio's code object and for that one cell.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tonnage._tonnage import Task

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    # asyncio leaves the factory's keyword arguments open, and so do we.
    Factory = Callable[..., asyncio.Task[Any]]

__all__ = ("create_eager_task_factory", "eager_task_factory")

if sys.version_info >= (3, 14):
    from asyncio import create_eager_task_factory
else:

    def create_eager_task_factory(custom_task_constructor: Callable[..., asyncio.Task[Any]]) -> Factory:
        """Return a task factory that starts tasks of another class eagerly.

        Args:
            custom_task_constructor: Called with what `tonnage.Task` takes.

        Example:
            loop.set_task_factory(tonnage.create_eager_task_factory(MyTask))
        """

        def factory(
            loop: asyncio.AbstractEventLoop,
            coro: Coroutine[Any, Any, Any],
            *,
            eager_start: bool = True,
            **kwargs: Any,
        ) -> asyncio.Task[Any]:
            return custom_task_constructor(coro, loop=loop, eager_start=eager_start, **kwargs)

        return factory


eager_task_factory = create_eager_task_factory(Task)
