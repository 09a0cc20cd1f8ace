"""What the tests of this folder share."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tonnage
from live_objects import all_let_go

from .implementations import IMPLEMENTATIONS, Implementation


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda implementation: implementation.name)
def api(request: pytest.FixtureRequest) -> Implementation:
    """The functions under test."""
    implementation: Implementation = request.param
    return implementation


@pytest.fixture
def loop_factory(api: Implementation) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop that goes with the functions."""
    return api.loop_factory


@pytest.fixture(scope="session")
def made_once() -> None:
    """Make what the first use makes for all others."""

    async def leave() -> None:
        async with tonnage.timeout(None):
            pass

    tonnage.run(leave())


@pytest.fixture
def nothing_left(made_once: None) -> Iterator[None]:
    """No native object outlives the test."""
    yield from all_let_go()


@pytest.fixture
def nothing_unawaited() -> Iterator[None]:
    """No coroutine is forgotten."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()


async def never_run() -> None:
    """Be closed before the first step."""
    raise AssertionError("ran")


async def turns(count: int = 4) -> None:
    """Let everybody else run for some turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def value_of(value: Any, *, after: int = 1) -> Any:
    """Return the value after some turns."""
    await turns(after)
    return value


async def fail(error: BaseException, *, after: int = 1) -> None:
    """Raise the error after some turns."""
    await turns(after)
    raise error


class Awaitable:
    """An awaitable that is neither a coroutine nor a future."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self.value
