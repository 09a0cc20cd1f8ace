"""Bound a fan-out: many items, a few at a time, in four ways."""

from __future__ import annotations

from collections.abc import AsyncIterator

import tonnage

ITEMS = 1000
LIMIT = 20


async def fetch(number: int) -> int:
    """Stand in for a request."""
    await tonnage.sleep(0.001)
    return number * number


async def numbers() -> AsyncIterator[int]:
    """Stand in for the rows of a cursor, the lines of a file, the pages of an API."""
    for number in range(ITEMS):
        yield number


async def main() -> None:
    # A list of all results, in order. The source is read only as fast as slots get free.
    squares = await tonnage.amap(fetch, range(ITEMS), limit=LIMIT)
    print("a list:", len(squares), "results, the last is", squares[-1])

    # Results as they come. A slow consumer stops the source; leaving the block cancels the rest.
    total = 0
    async with tonnage.amap(fetch, numbers(), limit=LIMIT, ordered=False) as results:
        async for square in results:
            total += square
    print("a stream: the sum is", total)

    # Tasks of different kinds. `submit` waits for a slot, so that nothing piles up.
    async with tonnage.TaskGroup(limit=LIMIT) as group:
        for number in range(ITEMS):
            await group.submit(fetch, number)
    print("a group: done, with at most", LIMIT, "tasks at once")

    # gather, with one more word.
    squares = await tonnage.gather(*[fetch(number) for number in range(100)], limit=LIMIT)
    print("gather:", len(squares), "results")


tonnage.run(main())
