"""What the tests of queues share beyond those of all synchronisation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ..conftest import KINDS, Run, all_let_go, settle  # noqa: TID252

__all__ = ("KINDS", "QUEUES", "Run", "end", "settle")

QUEUES = ["Queue", "LifoQueue", "PriorityQueue"]


@pytest.fixture(scope="module", autouse=True)
def no_leak_in_file() -> Iterator[None]:
    """As many of our objects are alive after a file's tests as before them, class by class."""
    yield from all_let_go()


async def end(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancel the tasks; return what each gave, or the class of what it raised."""
    await settle()
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(outcome) if isinstance(outcome, BaseException) else outcome for outcome in outcomes]
