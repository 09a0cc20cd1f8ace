"""TaskGroup: blocks that are left in unusual ways, and what only our groups can do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from .implementations import Implementation

Run = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def asyncio_has_groups(api: Implementation) -> None:
    """The standard library has groups from 3.11 on; before, its tasks do not count cancellations either."""
    if sys.version_info < (3, 11) and api.name != "tonnage":
        pytest.skip("needs tasks that count their cancellations")


@pytest.fixture
def only_ours(api: Implementation) -> None:
    """The behaviour is ours alone."""
    if not api.is_ours:
        pytest.skip("asyncio does not have this behaviour")


def test_a_stop_iteration_of_the_started_function_does_not_pass_for_its_value(
    only_ours: None, api: Implementation, run: Run
) -> None:
    def function(*, task_status: Any) -> Any:
        raise StopIteration(1)

    async def main() -> None:
        async with api.TaskGroup() as group:
            with pytest.raises(RuntimeError, match=r"^coroutine raised StopIteration$") as caught:
                await group.start(function)
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main())
