"""The task that a group or a timeout may cancel, and must un-cancel.

`cancelling()` and `uncancel()` tell the cancellation of a group or a timeout
from one that came from outside. asyncio's own task has neither on Python 3.10;
tonnage's has both on every version, so a group works on tonnage's loop only.
"""

from __future__ import annotations

from asyncio import current_task
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class CountingTask(Protocol):
    """A task that counts the requests to cancel it; the methods are asyncio.Task's."""

    def cancel(self, msg: Any = None) -> bool: ...  # noqa: D102
    def cancelling(self) -> int: ...  # noqa: D102
    def uncancel(self) -> int: ...  # noqa: D102
    def done(self) -> bool: ...  # noqa: D102


def counting_task(event_loop: AbstractEventLoop | None, user: str) -> CountingTask | None:
    """Return the current task, or None outside of a task.

    Raises:
        RuntimeError: The current task does not count its cancellations.
    """
    task = current_task(event_loop)
    if task is None:
        return None
    if not hasattr(task, "uncancel"):
        raise RuntimeError(
            f"{user} needs a task that counts its cancellations, got {type(task).__name__!r} "
            "of the standard library; run the program with tonnage.run()"
        )
    return cast("CountingTask", task)
