"""wait_for: coroutines with and without time, and awaitables that fail in unusual places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from .conftest import turns
from .implementations import Implementation

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_left")


class StopsAtOnce:
    """An awaitable whose `__await__` raises StopIteration."""

    def __await__(self) -> Iterator[Any]:
        raise StopIteration(1)


class Unthrowable:
    """An iterator that waits for ever, and fails when it is asked for `throw`."""

    def __init__(self) -> None:
        self.inner = asyncio.get_running_loop().create_future().__await__()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __await__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.inner)

    @property
    def throw(self) -> Any:
        raise ValueError("no throw")


def test_a_stop_iteration_does_not_pass_for_a_result(api: Implementation, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$") as caught:
            await api.wait_for(StopsAtOnce(), None)
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main())


def test_no_timer_is_left_when_nothing_can_be_thrown(
    api: Implementation, run: Run, asyncio_since: Callable[..., None]
) -> None:
    # Before, asyncio made a task of the awaitable.
    asyncio_since(3, 12)

    async def main() -> None:
        async def wait() -> str:
            with pytest.raises(ValueError, match="no throw"):
                await api.wait_for(Unthrowable(), 0.005)
            # If the timer were left, it would cancel this.
            await asyncio.sleep(0.02)
            return "slept"

        task = asyncio.ensure_future(wait())
        await turns()
        task.cancel()
        assert await task == "slept"

    run(main())


def test_timeout_of_a_generator_that_has_yielded_spares_what_is_waited_for(
    api: Implementation, run: Run
) -> None:
    if not api.is_ours or "uvloop" in api.name:
        pytest.skip("asyncio's timeout cancels it; uvloop does not tell whether there are generators")

    async def ticks() -> AsyncIterator[int]:
        async with api.timeout(0.001):
            yield 1

    async def work() -> str:
        generator = ticks()
        async for _ in generator:
            await api.sleep(0.02)
            break
        await generator.aclose()  # type: ignore[attr-defined]
        return "undisturbed"

    async def main() -> Any:
        return await api.wait_for(work(), 60)

    assert run(main()) == "undisturbed"


class Seconds(float):
    """A number of a class of its own."""


@pytest.mark.parametrize("timeout", [None, 5, 5.5, True, Seconds(5)])
def test_a_coroutine_gives_its_value_within_a_time_of_any_kind(
    api: Implementation, run: Run, timeout: float | None
) -> None:
    async def value() -> str:
        await asyncio.sleep(0)
        return "value"

    async def main() -> None:
        assert await api.wait_for(value(), timeout) == "value"

    run(main())


@pytest.mark.parametrize("timeout", [0, -1.5, Seconds(0)])
def test_a_coroutine_without_time_does_not_begin(api: Implementation, run: Run, timeout: float) -> None:
    begun = False

    async def begin() -> None:
        nonlocal begun
        begun = True

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await api.wait_for(begin(), timeout)

    run(main())
    assert not begun


@pytest.mark.parametrize("timeout", [None, 5])
def test_the_error_of_a_coroutine_ends_its_time(api: Implementation, run: Run, timeout: float | None) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(LookupError):
                await api.wait_for(fail(), timeout)

    run(main())
