"""asyncio without accidental overload: its semantics in Rust, and what it lacks.

`tonnage.run(main())` runs a program on tonnage's event loop; `tonnage.install()`
makes asyncio itself use it. Tasks, groups, timeouts, locks and queues are native,
and work on other loops too. Every public name of asyncio is here, so that `import
tonnage as asyncio` works: what tonnage does not build itself is asyncio's own object.
"""

from __future__ import annotations

import asyncio as _asyncio
from typing import TYPE_CHECKING

from tonnage._tonnage import (
    AIMD,
    AdaptiveLimiter,
    AsyncMap,
    Barrier,
    BoundedSemaphore,
    Budget,
    CapacityLimiter,
    Condition,
    Event,
    Future,
    Gradient,
    Handle,
    LifoQueue,
    Limiter,
    LimiterStats,
    Lock,
    MoveOn,
    Permit,
    PriorityQueue,
    Queue,
    QueueStats,
    RateLimiter,
    Semaphore,
    Task,
    TaskGroup,
    Timeout,
    TimerHandle,
    __version__ as __version__,
    amap,
    as_completed,
    create_task,
    current_effective_deadline,
    ensure_future,
    gather,
    move_on_after,
    move_on_at,
    race,
    shield,
    shield_scope,
    sleep,
    timeout,
    timeout_at,
    wait,
    wait_for,
)
from tonnage.between_threads import run_coroutine_threadsafe, to_thread
from tonnage.eager import create_eager_task_factory, eager_task_factory
from tonnage.errors import BrokenBarrierError, LimiterDeadlock, Overloaded, QueueShutDown
from tonnage.event_loop import EventLoop, new_event_loop
from tonnage.install import install
from tonnage.limit_algorithm import LimitAlgorithm
from tonnage.live_objects import report_at_exit as _report_at_exit
from tonnage.policy import Policy
from tonnage.runner import Runner, run
from tonnage.server import ServerStats
from tonnage.task_status import TaskStatus
from tonnage.worker_call import AbandonedCall, check_cancelled
from tonnage.workers import Workers

if TYPE_CHECKING:
    # The rest of asyncio, for type checkers; `__getattr__` finds it at run time.
    import sys
    from asyncio import (
        ALL_COMPLETED as ALL_COMPLETED,
        FIRST_COMPLETED as FIRST_COMPLETED,
        FIRST_EXCEPTION as FIRST_EXCEPTION,
        AbstractEventLoop as AbstractEventLoop,
        AbstractServer as AbstractServer,
        BaseEventLoop as BaseEventLoop,
        BaseProtocol as BaseProtocol,
        BaseTransport as BaseTransport,
        BufferedProtocol as BufferedProtocol,
        CancelledError as CancelledError,
        DatagramProtocol as DatagramProtocol,
        DatagramTransport as DatagramTransport,
        IncompleteReadError as IncompleteReadError,
        InvalidStateError as InvalidStateError,
        LimitOverrunError as LimitOverrunError,
        Protocol as Protocol,
        QueueEmpty as QueueEmpty,
        QueueFull as QueueFull,
        ReadTransport as ReadTransport,
        SelectorEventLoop as SelectorEventLoop,
        SendfileNotAvailableError as SendfileNotAvailableError,
        Server as Server,
        StreamReader as StreamReader,
        StreamReaderProtocol as StreamReaderProtocol,
        StreamWriter as StreamWriter,
        SubprocessProtocol as SubprocessProtocol,
        SubprocessTransport as SubprocessTransport,
        TimeoutError as TimeoutError,  # noqa: A004
        Transport as Transport,
        WriteTransport as WriteTransport,
        all_tasks as all_tasks,
        create_subprocess_exec as create_subprocess_exec,
        create_subprocess_shell as create_subprocess_shell,
        current_task as current_task,
        events as events,
        exceptions as exceptions,
        futures as futures,
        get_event_loop as get_event_loop,
        get_event_loop_policy as get_event_loop_policy,  # pyright: ignore[reportDeprecated]
        get_running_loop as get_running_loop,
        iscoroutine as iscoroutine,
        iscoroutinefunction as iscoroutinefunction,
        isfuture as isfuture,
        locks as locks,
        open_connection as open_connection,
        open_unix_connection as open_unix_connection,
        protocols as protocols,
        queues as queues,
        set_event_loop as set_event_loop,
        set_event_loop_policy as set_event_loop_policy,  # pyright: ignore[reportDeprecated]
        start_server as start_server,
        start_unix_server as start_unix_server,
        streams as streams,
        subprocess as subprocess,
        tasks as tasks,
        transports as transports,
        wrap_future as wrap_future,
    )

    if sys.version_info >= (3, 14):
        from asyncio import (
            FrameCallGraphEntry as FrameCallGraphEntry,
            FutureCallGraph as FutureCallGraph,
            capture_call_graph as capture_call_graph,
            format_call_graph as format_call_graph,
            future_add_to_awaited_by as future_add_to_awaited_by,
            future_discard_from_awaited_by as future_discard_from_awaited_by,
            print_call_graph as print_call_graph,
        )

__all__ = [
    "AIMD",
    "AbandonedCall",
    "AdaptiveLimiter",
    "AsyncMap",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Budget",
    "CapacityLimiter",
    "Condition",
    "Event",
    "EventLoop",
    "Future",
    "Gradient",
    "Handle",
    "LifoQueue",
    "LimitAlgorithm",
    "Limiter",
    "LimiterDeadlock",
    "LimiterStats",
    "Lock",
    "MoveOn",
    "Overloaded",
    "Permit",
    "Policy",
    "PriorityQueue",
    "Queue",
    "QueueShutDown",
    "QueueStats",
    "RateLimiter",
    "Runner",
    "Semaphore",
    "ServerStats",
    "Task",
    "TaskGroup",
    "TaskStatus",
    "Timeout",
    "TimerHandle",
    "Workers",
    "amap",
    "as_completed",
    "check_cancelled",
    "create_eager_task_factory",
    "create_task",
    "current_effective_deadline",
    "eager_task_factory",
    "ensure_future",
    "gather",
    "install",
    "move_on_after",
    "move_on_at",
    "new_event_loop",
    "race",
    "run",
    "run_coroutine_threadsafe",
    "shield",
    "shield_scope",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
]
__all__ += [name for name in _asyncio.__all__ if name not in __all__]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what tonnage does not build itself in asyncio, as it is bound there now."""
        if not name.startswith("__") and hasattr(_asyncio, name):
            return getattr(_asyncio, name)
        raise AttributeError(f"module 'tonnage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_asyncio)})


_report_at_exit()
