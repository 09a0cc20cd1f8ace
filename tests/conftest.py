"""What the tests share: each behaviour that asyncio has too runs on asyncio's loop first, then on ours."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tonnage
from hypothesis import given, strategies as st

# A run that was started in the background ignores SIGINT, and so would the programs that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FACTORIES = {"asyncio": asyncio.SelectorEventLoop, "tonnage": tonnage.new_event_loop}


@given(st.none())
def _first_example(_: None) -> None:
    """Let Hypothesis make its random numbers' generator, whose owner it looks for with the collector."""


def pytest_collection_finish() -> None:
    """Let the collections of the tests look at what the tests make, and not at the thousands of tests."""
    _first_example()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def collections_look_at_one_module() -> None:
    """Leave out of them what pytest keeps of the tests before: a few objects for each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=list(FACTORIES))
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a new event loop: asyncio's, then ours."""
    return FACTORIES[request.param]


@pytest.fixture
def loop(
    request: pytest.FixtureRequest, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> Iterator[asyncio.AbstractEventLoop]:
    """A new event loop.

    Reports to its exception handler fail the test, unless it asks for `reports`; pending tasks at the end do.
    """
    new_loop = loop_factory()
    reports: list[dict[str, Any]] = []
    new_loop.set_exception_handler(lambda _, context: reports.append(context))
    new_loop.reports = reports  # type: ignore[attr-defined]
    yield new_loop
    pending = asyncio.all_tasks(new_loop)
    if not new_loop.is_closed():
        new_loop.run_until_complete(new_loop.shutdown_asyncgens())
        new_loop.run_until_complete(new_loop.shutdown_default_executor())
        new_loop.close()
    assert not pending
    if "reports" not in request.fixturenames:
        assert not reports
    reports.clear()
    with warnings.catch_warnings():
        if loop_factory is FACTORIES["asyncio"]:
            # What the oracle leaves behind is not judged.
            warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def reports(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """What the loop's exception handler was called with."""
    return loop.reports  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Callable[[Any], Any]:
    """Run a coroutine on the loop, and return its result."""
    return loop.run_until_complete


@pytest.fixture
def asyncio_since(loop: asyncio.AbstractEventLoop) -> Callable[..., None]:
    """Skip the test on asyncio's loop in versions of CPython before the one given.

    `asyncio_since()` without a version skips it on every version: the behaviour is ours alone.
    """

    def skip_if_older(*version: int) -> None:
        is_ours = isinstance(loop, tonnage.EventLoop)
        if not is_ours and (not version or sys.version_info < version):
            pytest.skip("asyncio does not have this behaviour")

    return skip_if_older


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Make pairs of connected non-blocking stream sockets, which are closed in the end."""
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
        made.extend(pair)
        return pair

    yield make
    for sock in made:
        sock.close()
