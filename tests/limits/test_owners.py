"""Limiters as the `limit=` of a group, a gather and a map, on simulated time."""

from __future__ import annotations

import asyncio
import sys

import pytest
import tonnage
from tonnage import RateLimiter, TaskGroup

from .conftest import Run, simulated

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="a group refuses the tasks of 3.10's own loop"
)


@simulated
def test_rate_limiter_spaces_out_the_beginnings(run: Run) -> None:
    begun: list[float] = []

    async def note(number: int) -> int:
        begun.append(asyncio.get_running_loop().time() - 1000)
        return number

    async def main() -> None:
        limiter = RateLimiter(10, burst=1)
        async with TaskGroup(limit=limiter) as group:
            for number in range(3):
                group.create_task(note(number))
        assert await tonnage.gather(*map(note, range(3)), limit=limiter) == [0, 1, 2]
        assert await tonnage.amap(note, range(3), limit=limiter) == [0, 1, 2]

    run(main())
    assert begun == pytest.approx([number / 10 for number in range(9)], abs=1e-6)
