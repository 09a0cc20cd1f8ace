"""wait_for: awaitables that fail in unusual places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .implementations import Implementation

Run = Callable[[Any], Any]

pytestmark = pytest.mark.usefixtures("nothing_left")


class StopsAtOnce:
    """An awaitable whose `__await__` raises StopIteration."""

    def __await__(self) -> Iterator[Any]:
        raise StopIteration(1)


def test_a_stop_iteration_does_not_pass_for_a_result(api: Implementation, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$") as caught:
            await api.wait_for(StopsAtOnce(), None)
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main())
