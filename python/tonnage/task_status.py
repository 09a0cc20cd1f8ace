"""What `TaskGroup.start()` hands to the function that it starts.

The object itself is native; a program needs the type to say what its function takes.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

_T_contra = TypeVar("_T_contra", contravariant=True)


class TaskStatus(Protocol[_T_contra]):
    """How a task tells `TaskGroup.start()`, which waits for it, that it has started.

    Example:
        async def serve(*, task_status: tonnage.TaskStatus[int]) -> None:
            task_status.started(80)
            await tonnage.sleep(0.1)
    """

    @overload
    def started(self: TaskStatus[None], /) -> None: ...
    @overload
    def started(self, value: _T_contra, /) -> None: ...
    def started(self: Any, value: Any = None, /) -> None:
        """Say that the task has started, and what `TaskGroup.start()` returns.

        From this call on the task is one of the group like all others.

        Args:
            value: What the one who waits needs to know, for instance a port.

        Raises:
            RuntimeError: It was called before.
        """
