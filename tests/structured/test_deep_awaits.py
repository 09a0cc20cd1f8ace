"""Coroutines of ours that await each other, so deep that the stack would not hold them."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from .implementations import Implementation

Run = Callable[[Any], Any]
DEEP = 20_000


def chain(api: Implementation, awaitable: Any, depth: int) -> Any:
    """Return a coroutine that awaits one that awaits one, down to the awaitable."""
    for _ in range(depth):
        awaitable = api.wait_for(awaitable, None)
    return awaitable


@pytest.fixture(autouse=True)
def unawaited() -> Any:
    """What is never awaited is not judged here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@pytest.fixture(autouse=True)
def asyncio_awaits_too(api: Implementation) -> None:
    """Before 3.12, asyncio made a task of each awaitable."""
    if not api.is_ours and sys.version_info < (3, 12):
        pytest.skip("asyncio does not have this behaviour")


def test_some_hundred_levels_give_the_result(api: Implementation, run: Run) -> None:
    assert run(chain(api, api.sleep(0, "result"), 300)) == "result"
    assert run(chain(api, api.sleep(0.001, "result"), 300)) == "result"


def test_a_cancel_passes_some_hundred_levels(api: Implementation, run: Run) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(chain(api, api.sleep(100), 300))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_too_many_levels_end_in_recursion_error(api: Implementation, run: Run) -> None:
    with pytest.raises(RecursionError, match="maximum recursion depth exceeded"):
        run(chain(api, api.sleep(0), DEEP))


def test_many_levels_can_be_dropped(api: Implementation, run: Run) -> None:
    del run
    coroutine = chain(api, api.sleep(100), DEEP)
    del coroutine
