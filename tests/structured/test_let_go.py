"""What was swallowed is let go at once, also on loops where nobody tells PyO3 that it may drop something."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import turns
from .implementations import Implementation

Run = Callable[[Any], Any]


class Trace:
    """Something that an exception holds."""


@pytest.fixture(autouse=True)
def only_ours(api: Implementation) -> None:
    """The danger is ours alone."""
    if not api.is_ours:
        pytest.skip("asyncio puts nothing off")


@pytest.fixture
def groups(api: Implementation) -> None:
    """Tasks of 3.10 do not count their cancellations."""
    if sys.version_info < (3, 11) and api.name != "tonnage":
        pytest.skip("needs tasks that count their cancellations")


def dies(run: Run, act: Callable[[Trace], Any]) -> None:
    """Check that nothing holds the object when `act` has ended."""

    async def main() -> None:
        # The end of a loop would tell it.
        gc.collect()
        trace = Trace()
        reference = weakref.ref(trace)
        await act(trace)
        del trace
        await turns(2)
        assert reference() is None

    run(main())


def test_the_cancel_by_which_a_group_ends(groups: None, api: Implementation, run: Run) -> None:
    async def act(trace: Trace) -> None:
        async def end(group: Any, message: Any) -> None:
            group.cancel(message)

        async with api.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))
            group.create_task(end(group, trace))

    dies(run, act)


@pytest.mark.filterwarnings("ignore")
def test_the_failure_that_a_group_reports(groups: None, api: Implementation, run: Run) -> None:
    async def act(trace: Trace) -> None:
        async def fail(holds: Any) -> None:
            raise LookupError(holds)

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with api.TaskGroup(on_error="report") as group:
            group.create_task(fail(trace))

    dies(run, act)


def test_the_failure_at_which_get_many_stops(api: Implementation, run: Run) -> None:
    async def act(trace: Trace) -> None:
        class Picky(api.Queue):  # type: ignore[misc, name-defined]
            def _get(self) -> Any:
                if len(self._queue) == 1:
                    raise LookupError(self.trace)
                return self._queue.popleft()

        queue = Picky()
        queue.trace = trace
        queue.put_nowait(1)
        queue.put_nowait(2)
        assert await queue.get_many(3) == [1]

    dies(run, act)


def test_the_failure_of_on_drop(api: Implementation, run: Run) -> None:
    async def act(trace: Trace) -> None:
        def on_drop(*_: Any) -> None:
            raise LookupError(trace)

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        queue = api.Queue(1, overflow="drop_newest", on_drop=on_drop)
        queue.put_nowait(1)
        queue.put_nowait(2)

    dies(run, act)


def test_what_a_closed_coroutine_held(api: Implementation, run: Run) -> None:
    async def act(trace: Trace) -> None:
        async def wait(holds: Any) -> None:
            await asyncio.sleep(100)

        coroutine = api.wait_for(wait(trace), None)
        coroutine.send(None)
        coroutine.close()

    dies(run, act)
