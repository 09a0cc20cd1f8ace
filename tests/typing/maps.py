"""The types of amap(); only type checkers read it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import tonnage
from typing_extensions import assert_type


async def length(text: str) -> int:
    return len(text)


async def texts() -> AsyncIterator[str]:
    yield "text"


async def lists() -> None:
    assert_type(tonnage.amap(length, ["a"], limit=2), tonnage.AsyncMap[str, int])
    assert_type(await tonnage.amap(length, texts(), limit=2, timeout=1, ordered=False), list[int])
    assert_type(await tonnage.amap(length, {"a"}, limit=2).drain(), int)
    assert_type(await tonnage.amap(length, "ab", limit=2).pairs(), list[tuple[str, int]])
    assert_type(await tonnage.amap(length, "ab", limit=2, return_exceptions=True), list[int | BaseException])
    assert_type(
        await tonnage.amap(length, "ab", limit=2, return_exceptions=True).pairs(),
        list[tuple[str, int | BaseException]],
    )
    assert_type(await tonnage.wait_for(tonnage.amap(length, "ab", limit=2), 1), list[int])


async def streams() -> int:
    """The block swallows no error, so this needs no second return."""
    async with tonnage.amap(length, texts(), limit=2, buffersize=0).pairs() as results:
        assert_type(results, AsyncIterator[tuple[str, int]])
        async for text, number in results:
            assert_type(text, str)
            assert_type(number, int)
        return 1
