"""A limiter as a decorator: each call of an async function acquires one token, and releases it at its end."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tonnage import Limiter

_P = ParamSpec("_P")
_R = TypeVar("_R")


def limited(limiter: Limiter, func: Callable[_P, Awaitable[_R]], /) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Return an async function that calls `func` in a block of the limiter.

    Raises:
        TypeError: `func` is not async: there is nothing in it that could wait.
    """
    if not (inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__)):
        raise TypeError(f"a limiter decorates async functions, got {func!r}; in others use acquire_nowait()")

    @functools.wraps(func)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        async with limiter:
            return await func(*args, **kwargs)

    return call
