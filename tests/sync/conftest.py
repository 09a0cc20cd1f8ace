"""Each behaviour runs on asyncio's classes first, then on ours: on our loop, on asyncio's and on uvloop's."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import live_objects
import pytest
import tonnage

Run = Callable[[Any], Any]


class Kind(NamedTuple):
    """Whose classes are tested, and on whose loop."""

    name: str
    module: ModuleType
    loop_factory: Callable[[], asyncio.AbstractEventLoop]

    @property
    def is_ours(self) -> bool:
        """Are the classes tonnage's?"""
        return self.module is tonnage


KINDS = [
    Kind("asyncio", asyncio, asyncio.SelectorEventLoop),
    Kind("tonnage", tonnage, tonnage.new_event_loop),
    Kind("tonnage-on-asyncio", tonnage, asyncio.SelectorEventLoop),
]
if importlib.util.find_spec("uvloop") is not None:
    import uvloop

    KINDS.append(Kind("tonnage-on-uvloop", tonnage, uvloop.new_event_loop))


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """asyncio's classes on its loop, then ours on each loop."""
    return request.param


@pytest.fixture
def loop_factory(kind: Kind) -> Callable[[], asyncio.AbstractEventLoop]:
    return kind.loop_factory


@pytest.fixture
def lib(kind: Kind) -> Any:
    """The module whose classes are tested."""
    return kind.module


@pytest.fixture
def ours(kind: Kind) -> None:
    """Skip on asyncio's classes: the behaviour is ours alone."""
    if not kind.is_ours:
        pytest.skip("asyncio does not have this behaviour")


@pytest.fixture
def oracle_since(kind: Kind) -> Callable[..., None]:
    """Skip on asyncio's classes in versions of CPython before the one given."""

    def skip_if_older(*version: int) -> None:
        if not kind.is_ours and sys.version_info < version:
            pytest.skip("asyncio does not have this behaviour yet")

    return skip_if_older


@pytest.fixture
def no_leak() -> Iterator[None]:
    """As many of our objects are alive after the test as before it, class by class."""
    yield from all_let_go()


def all_let_go() -> Iterator[None]:
    """Yield once, and see that what is made meanwhile is gone afterwards."""
    # One awaitable serves all locks that need not wait, and stays.
    tonnage.Lock().__aenter__()
    yield from live_objects.all_let_go()


async def settle(turns: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """What the awaitable returned, or the class of what it raised."""
    try:
        return await awaitable
    except BaseException as error:
        return type(error)
