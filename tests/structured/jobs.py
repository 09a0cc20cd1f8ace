"""Items to work on, for the tests of amap."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from .conftest import turns

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


class Jobs:
    """Items that are worked on, and how many at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[int] = []
        self.ended: list[int] = []

    async def work(self, item: int) -> int:
        self.begun.append(item)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await turns(1 + item % 3)
        finally:
            self.running -= 1
            self.ended.append(item)
        return -item


async def double(item: int) -> int:
    await turns(1)
    return 2 * item


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await turns(1)
        yield number


def errors_of(error: BaseException) -> list[str]:
    """The members of a group, for comparison."""
    assert type(error) in (ExceptionGroup, BaseExceptionGroup)
    return [repr(member) for member in error.exceptions]  # type: ignore[attr-defined]


async def error_of(awaitable: Any) -> BaseException:
    try:
        await awaitable
    except BaseException as error:
        return error
    raise AssertionError("did not fail")
