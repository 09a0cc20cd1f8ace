"""How `ensure_future()` runs what is awaitable, and neither a future nor a coroutine."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

_T = TypeVar("_T")


async def wrap_awaitable(awaitable: Awaitable[_T]) -> _T:
    """Await `awaitable`: the coroutine of the task that runs it."""
    return await awaitable
