"""asyncio without accidental overload: its semantics in Rust, and what it lacks.

`tonnage.run(main())` runs a program on tonnage's event loop; `tonnage.install()`
makes asyncio itself use it. Every public name of asyncio is here too, so that
`import tonnage as asyncio` works: what tonnage does not build itself is
asyncio's own object.
"""

from __future__ import annotations

import asyncio as _asyncio
import sys as _sys
from typing import TYPE_CHECKING

from tonnage._tonnage import (
    Future,
    Handle,
    Task,
    TimerHandle,
    create_eager_task_factory,
    eager_task_factory,
)
from tonnage.event_loop import EventLoop, new_event_loop
from tonnage.install import install
from tonnage.runner import Runner, run

if _sys.version_info >= (3, 11):
    from asyncio import Barrier, BrokenBarrierError, TaskGroup, Timeout, timeout, timeout_at
else:
    from tonnage.backports import (
        Barrier,
        BrokenBarrierError,
        TaskGroup,
        Timeout,
        timeout,
        timeout_at,
    )

if TYPE_CHECKING:
    # The rest of asyncio, for type checkers; `__getattr__` finds it at run time.
    from asyncio import (
        ALL_COMPLETED as ALL_COMPLETED,
    )
    from asyncio import (
        FIRST_COMPLETED as FIRST_COMPLETED,
    )
    from asyncio import (
        FIRST_EXCEPTION as FIRST_EXCEPTION,
    )
    from asyncio import (
        AbstractEventLoop as AbstractEventLoop,
    )
    from asyncio import (
        AbstractServer as AbstractServer,
    )
    from asyncio import (
        BaseEventLoop as BaseEventLoop,
    )
    from asyncio import (
        BaseProtocol as BaseProtocol,
    )
    from asyncio import (
        BaseTransport as BaseTransport,
    )
    from asyncio import (
        BoundedSemaphore as BoundedSemaphore,
    )
    from asyncio import (
        BufferedProtocol as BufferedProtocol,
    )
    from asyncio import (
        CancelledError as CancelledError,
    )
    from asyncio import (
        Condition as Condition,
    )
    from asyncio import (
        DatagramProtocol as DatagramProtocol,
    )
    from asyncio import (
        DatagramTransport as DatagramTransport,
    )
    from asyncio import (
        Event as Event,
    )
    from asyncio import (
        IncompleteReadError as IncompleteReadError,
    )
    from asyncio import (
        InvalidStateError as InvalidStateError,
    )
    from asyncio import (
        LifoQueue as LifoQueue,
    )
    from asyncio import (
        LimitOverrunError as LimitOverrunError,
    )
    from asyncio import (
        Lock as Lock,
    )
    from asyncio import (
        PriorityQueue as PriorityQueue,
    )
    from asyncio import (
        Protocol as Protocol,
    )
    from asyncio import (
        Queue as Queue,
    )
    from asyncio import (
        QueueEmpty as QueueEmpty,
    )
    from asyncio import (
        QueueFull as QueueFull,
    )
    from asyncio import (
        ReadTransport as ReadTransport,
    )
    from asyncio import (
        SelectorEventLoop as SelectorEventLoop,
    )
    from asyncio import (
        Semaphore as Semaphore,
    )
    from asyncio import (
        SendfileNotAvailableError as SendfileNotAvailableError,
    )
    from asyncio import (
        Server as Server,
    )
    from asyncio import (
        StreamReader as StreamReader,
    )
    from asyncio import (
        StreamReaderProtocol as StreamReaderProtocol,
    )
    from asyncio import (
        StreamWriter as StreamWriter,
    )
    from asyncio import (
        SubprocessProtocol as SubprocessProtocol,
    )
    from asyncio import (
        SubprocessTransport as SubprocessTransport,
    )
    from asyncio import (
        TimeoutError as TimeoutError,  # noqa: A004
    )
    from asyncio import (
        Transport as Transport,
    )
    from asyncio import (
        WriteTransport as WriteTransport,
    )
    from asyncio import (
        all_tasks as all_tasks,
    )
    from asyncio import (
        as_completed as as_completed,
    )
    from asyncio import (
        create_subprocess_exec as create_subprocess_exec,
    )
    from asyncio import (
        create_subprocess_shell as create_subprocess_shell,
    )
    from asyncio import (
        create_task as create_task,
    )
    from asyncio import (
        current_task as current_task,
    )
    from asyncio import (
        ensure_future as ensure_future,
    )
    from asyncio import (
        events as events,
    )
    from asyncio import (
        exceptions as exceptions,
    )
    from asyncio import (
        futures as futures,
    )
    from asyncio import (
        gather as gather,
    )
    from asyncio import (
        get_event_loop as get_event_loop,
    )
    from asyncio import (
        get_event_loop_policy as get_event_loop_policy,
    )
    from asyncio import (
        get_running_loop as get_running_loop,
    )
    from asyncio import (
        iscoroutine as iscoroutine,
    )
    from asyncio import (
        iscoroutinefunction as iscoroutinefunction,
    )
    from asyncio import (
        isfuture as isfuture,
    )
    from asyncio import (
        locks as locks,
    )
    from asyncio import (
        open_connection as open_connection,
    )
    from asyncio import (
        open_unix_connection as open_unix_connection,
    )
    from asyncio import (
        protocols as protocols,
    )
    from asyncio import (
        queues as queues,
    )
    from asyncio import (
        run_coroutine_threadsafe as run_coroutine_threadsafe,
    )
    from asyncio import (
        set_event_loop as set_event_loop,
    )
    from asyncio import (
        set_event_loop_policy as set_event_loop_policy,
    )
    from asyncio import (
        shield as shield,
    )
    from asyncio import (
        sleep as sleep,
    )
    from asyncio import (
        start_server as start_server,
    )
    from asyncio import (
        start_unix_server as start_unix_server,
    )
    from asyncio import (
        streams as streams,
    )
    from asyncio import (
        subprocess as subprocess,
    )
    from asyncio import (
        tasks as tasks,
    )
    from asyncio import (
        to_thread as to_thread,
    )
    from asyncio import (
        transports as transports,
    )
    from asyncio import (
        wait as wait,
    )
    from asyncio import (
        wait_for as wait_for,
    )
    from asyncio import (
        wrap_future as wrap_future,
    )

    if _sys.version_info >= (3, 13):
        from asyncio import QueueShutDown as QueueShutDown
    if _sys.version_info >= (3, 14):
        from asyncio import (
            FrameCallGraphEntry as FrameCallGraphEntry,
        )
        from asyncio import (
            FutureCallGraph as FutureCallGraph,
        )
        from asyncio import (
            capture_call_graph as capture_call_graph,
        )
        from asyncio import (
            format_call_graph as format_call_graph,
        )
        from asyncio import (
            future_add_to_awaited_by as future_add_to_awaited_by,
        )
        from asyncio import (
            future_discard_from_awaited_by as future_discard_from_awaited_by,
        )
        from asyncio import (
            print_call_graph as print_call_graph,
        )

    __version__: str

__all__ = [
    "Barrier",
    "BrokenBarrierError",
    "EventLoop",
    "Future",
    "Handle",
    "Runner",
    "Task",
    "TaskGroup",
    "Timeout",
    "TimerHandle",
    "create_eager_task_factory",
    "eager_task_factory",
    "install",
    "new_event_loop",
    "run",
    "timeout",
    "timeout_at",
]
__all__ += [name for name in _asyncio.__all__ if name not in __all__]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what tonnage does not build itself in asyncio, as it is bound there now."""
        if name == "__version__":
            from importlib.metadata import version

            return version("tonnage")
        if not name.startswith("__") and hasattr(_asyncio, name):
            return getattr(_asyncio, name)
        raise AttributeError(f"module 'tonnage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_asyncio), "__version__"})
