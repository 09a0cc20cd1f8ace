"""The part of tonnage that is written in Rust.

Users reach it as `tonnage.Task`, `tonnage.Future` and so on. Names that begin with an underscore are
asyncio's own privates, which libraries read, or the seam between the extension and the package; they may
change without notice.
"""

# Where asyncio has an `async def`, the stub has one, so that protocols and subclasses made for asyncio fit.
# What comes back is a Coroutine that is no types.CoroutineType, and the native function is no coroutine
# function.

import asyncio
import sys
from asyncio.events import _TaskFactory
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import Context
from socket import socket
from ssl import MemoryBIO, SSLContext, SSLObject
from types import FrameType, GenericAlias, TracebackType
from typing import (
    IO,
    Any,
    Generic,
    Literal,
    NoReturn,
    Protocol,
    TextIO,
    TypeAlias,
    TypeVar,
    overload,
    type_check_only,
)

from _typeshed import SupportsRichComparisonT
from typing_extensions import Buffer, ParamSpec, Self, TypeVarTuple, Unpack, disjoint_base, final

from tonnage.limit_algorithm import LimitAlgorithm as _LimitAlgorithm

if sys.version_info >= (3, 11):
    from asyncio import Barrier as _AsyncioBarrier, TaskGroup as _AsyncioTaskGroup
else:
    # asyncio has neither.
    @type_check_only
    class _AsyncioBarrier:
        async def __aenter__(self) -> Self: ...

    @type_check_only
    class _AsyncioTaskGroup: ...

__all__ = [
    "AIMD",
    "BUILD_PROFILE",
    "AcceptedSocket",
    "AdaptiveLimiter",
    "AsyncMap",
    "Barrier",
    "BoundedSemaphore",
    "Budget",
    "CapacityLimiter",
    "Condition",
    "Connections",
    "Event",
    "EventLoop",
    "Future",
    "FutureIter",
    "Gradient",
    "Handle",
    "Intake",
    "LifoQueue",
    "Limiter",
    "LimiterStats",
    "Lock",
    "MoveOn",
    "Permit",
    "PriorityQueue",
    "Queue",
    "QueueStats",
    "RateLimiter",
    "ReadPipeTransport",
    "Semaphore",
    "SocketTransport",
    "StreamTransport",
    "TLSProtocol",
    "TLSTransport",
    "Task",
    "TaskGroup",
    "TaskWakeup",
    "Timeout",
    "TimerHandle",
    "WritePipeTransport",
    "__version__",
    "amap",
    "as_completed",
    "create_task",
    "ensure_future",
    "future_add_to_awaited_by",
    "future_discard_from_awaited_by",
    "gather",
    "move_on_after",
    "move_on_at",
    "race",
    "shield",
    "shield_scope",
    "sleep",
    "timeout",
    "timeout_at",
    "wait",
    "wait_for",
]

__version__: str
# "debug" or "release".
BUILD_PROFILE: str

_P = ParamSpec("_P")
_T = TypeVar("_T")
_T1 = TypeVar("_T1")
_T2 = TypeVar("_T2")
_T3 = TypeVar("_T3")
_T4 = TypeVar("_T4")
_T5 = TypeVar("_T5")
_T6 = TypeVar("_T6")
_R = TypeVar("_R")
_FT = TypeVar("_FT", bound=asyncio.Future[Any])
_Ts = TypeVarTuple("_Ts")
_Coro: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]
# How many may run at once: a number, or limiters, of each of which one needs a permit.
_Limit: TypeAlias = int | Limiter | Sequence[Limiter]
_FutureLike: TypeAlias = asyncio.Future[_T] | Awaitable[_T]

class Future(asyncio.Future[_T]):
    """A result that is not there yet.

    It is asyncio's Future on every version: same methods, same attributes, same texts. An instance says
    that its class is `asyncio.Future`, so `isinstance(future, asyncio.Future)` holds; `type(future)` is
    this class.

    Args:
        loop: The event loop it belongs to; by default the running one.

    Example:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.1, future.set_result, "done")
        print(await future)
    """

    _state: str
    _blocking: bool
    _asyncio_future_blocking: bool
    _cancel_message: Any
    _source_traceback: list[Any] | None
    @property
    def _exception(self) -> BaseException | None: ...
    @property
    def _log_traceback(self) -> bool: ...
    @_log_traceback.setter
    def _log_traceback(self, val: Literal[False]) -> None: ...
    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = ...) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __iter__(self) -> Generator[Any, None, _T]: ...
    def result(self) -> _T:
        """Return the result this future represents.

        Raises:
            CancelledError: The future was cancelled.
            InvalidStateError: The future is not done.
            Exception: What was set with `set_exception()`.
        """

    def exception(self) -> BaseException | None:
        """Return the exception that was set on this future.

        None means that it has a result.

        Raises:
            CancelledError: The future was cancelled.
            InvalidStateError: The future is not done.
        """

    def set_result(self, result: _T, /) -> None:
        """Mark the future done and set its result.

        Raises:
            InvalidStateError: The future is done.
        """

    def set_exception(self, exception: type | BaseException, /) -> None:
        """Mark the future done and set an exception.

        Args:
            exception: An exception, or a class of exceptions to be called without arguments.

        Raises:
            InvalidStateError: The future is done.
            TypeError: It is StopIteration, which a coroutine cannot raise, or no exception at all.
        """

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """Add a callback to be run when the future becomes done.

        The loop calls it in its next turn, never from inside `set_result()`; also if the future is done.

        Args:
            fn: Called with the future as its only argument.
            context: Where to call it; by default a copy of the current context.
        """

    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int:
        """Remove all instances of a callback from the "call when done" list.

        Returns:
            The number of callbacks removed.
        """

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future and schedule callbacks.

        Args:
            msg: The argument of the CancelledError that waiters get.

        Returns:
            False if the future is done, and nothing changed.
        """

    def cancelled(self) -> bool:
        """Return True if the future was cancelled."""

    def done(self) -> bool:
        """Return True if the future is done.

        Done means that it has a result or an exception, or was cancelled.
        """

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop the Future is bound to."""

    def _make_cancelled_error(self) -> asyncio.CancelledError:
        """Create the CancelledError to raise."""

@final
class FutureIter(Generator[Any, Any, _T]):
    """The iterator of a future."""

    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any:
        """Resume, as next()."""

    def throw(self, *error: Any) -> Any:
        """Raise an exception at the await."""

    def close(self) -> None:
        """End it."""

class Task(Future[_T], asyncio.Task[_T]):
    """A coroutine wrapped in a Future.

    It is asyncio's Task as of Python 3.15 on every version, `cancelling()`, `uncancel()`, `context` and
    `eager_start` among it. An instance says that its class is `asyncio.Task`, so `isinstance(task,
    asyncio.Task)` holds; `type(task)` is this class. The loop keeps a pending task alive, so a task that
    nobody else references does not vanish.

    Args:
        coro: The coroutine to run.
        loop: The event loop to run it; by default the running one.
        name: The task's name; by default `Task-` and a number.
        context: Where to run it; by default a copy of the current context.
        eager_start: Run the first step at once, if the loop is running.

    Example:
        task = asyncio.create_task(asyncio.sleep(0.1, "done"), name="nap")
        print(await task)
    """

    _must_cancel: bool
    _log_destroy_pending: bool
    @property
    def _coro(self) -> _Coro[_T]: ...
    @property
    def _context(self) -> Context: ...
    @property
    def _fut_waiter(self) -> asyncio.Future[Any] | None: ...
    @property
    def _num_cancels_requested(self) -> int: ...
    def __init__(
        self,
        coro: _Coro[_T],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        name: str | None = ...,
        context: Context | None = None,
        eager_start: bool = False,
    ) -> None: ...
    def cancel(self, msg: Any | None = None) -> bool:
        """Request that this task cancel itself.

        The coroutine gets a CancelledError at its next step, from the `await` where it stands. It may
        catch it to clean up, and should let it through.

        Args:
            msg: The argument of the CancelledError.

        Returns:
            False if the task is done, and nothing changed.
        """

    def cancelling(self) -> int:
        """Return the count of the task's cancellation requests.

        Each `cancel()` adds one, each `uncancel()` takes one away.
        """

    def uncancel(self) -> int:
        """Decrement the task's count of cancellation requests.

        For blocks that asked for a cancellation themselves, such as a timeout. At zero, a cancellation
        that was requested but not yet delivered is dropped.

        Returns:
            The requests that are left.
        """

    def get_coro(self) -> _Coro[_T] | None:  # type: ignore[override]
        """Return the coroutine.

        None means that the task started eagerly, and was done at once.
        """

    def get_context(self) -> Context:
        """Return the context of the task."""

    def get_name(self) -> str:
        """Return the name of the task."""

    def set_name(self, value: object, /) -> None:
        """Set the name of the task.

        Args:
            value: Anything; its `str()` is the name.
        """

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """Return the list of stack frames for this task's coroutine.

        The oldest comes first: where the coroutine stands, or the frames of its traceback if it failed.

        Args:
            limit: The most frames to return; by default all.
        """

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print the stack or traceback for this task's coroutine.

        Args:
            limit: The most frames to print; by default all.
            file: Where to print; by default `sys.stderr`.
        """

    def set_result(self, result: object, /) -> Any:
        """Refused: a task's result is its coroutine's.

        Raises:
            RuntimeError: Always.
        """

    def set_exception(self, exception: object, /) -> Any:
        """Refused: a task's exception is its coroutine's.

        Raises:
            RuntimeError: Always.
        """

    def _repr_info(self) -> list[str]:
        """The parts of the repr."""

@final
class TaskWakeup:
    """Wakes a task."""

    @property
    def __self__(self) -> Task[Any]: ...
    @property
    def __qualname__(self) -> str: ...
    def __call__(self, future: asyncio.Future[Any], /) -> None: ...

class Handle(asyncio.Handle):
    """A callback scheduled by call_soon() and its relatives."""

    _cancelled: bool
    @property
    def _callback(self) -> Callable[..., object] | None: ...
    @property
    def _context(self) -> Context: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _repr(self) -> str | None: ...
    def cancel(self) -> None:
        """Cancel the callback.

        A second call does nothing, nor does one after the callback has run.
        """

    def cancelled(self) -> bool:
        """Return True if the callback was cancelled."""

    def get_context(self) -> Context:
        """Return the context of the callback."""

    def _run(self) -> None:
        """Run the callback."""

    def _repr_info(self) -> list[str]:
        """The parts of the repr."""

class TimerHandle(Handle, asyncio.TimerHandle):
    """A callback scheduled by call_later() or call_at()."""

    @property
    def _when(self) -> float: ...
    _scheduled: bool
    def cancel(self) -> None:
        """Cancel the callback.

        It leaves the loop's timers at once. A second call does nothing.
        """

    def when(self) -> float:
        """Return the scheduled time, in seconds of the loop's clock."""

@disjoint_base
class EventLoop:
    """The part of the event loop that runs for every callback, task and timer.

    `tonnage.EventLoop` joins it with asyncio's loop, from which the rest comes.
    """

    _debug: bool
    _closed: bool
    _stopping: bool
    _thread_id: int | None
    _task_factory: _TaskFactory | None
    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts], context: Context | None = None
    ) -> Handle:
        """Run a callback in the loop's next turn.

        Callbacks run in the order in which they were added.

        Args:
            callback: What to call.
            args: Its arguments.
            context: Where to call it; by default a copy of the current context.

        Raises:
            RuntimeError: The loop is closed; in debug mode also if this is not the loop's thread.
        """

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: Unpack[_Ts], context: Context | None = None
    ) -> Handle:
        """Run a callback in the loop's next turn, and wake the loop; any thread may call it.

        Raises:
            RuntimeError: The loop is closed.
        """

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback after a delay.

        It never runs early. Callbacks with the same time run in the order in which they were added.

        Args:
            delay: In seconds.
            callback: What to call.
            args: Its arguments.
            context: Where to call it; by default a copy of the current context.

        Raises:
            TypeError: The delay is no number.
            ValueError: The delay is not a number (nan).
            RuntimeError: The loop is closed.
        """

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> TimerHandle:
        """Run a callback at a time of the loop's clock.

        Args:
            when: In seconds of `time()`.
            callback: What to call.
            args: Its arguments.
            context: Where to call it; by default a copy of the current context.

        Raises:
            TypeError: The time is no number.
            ValueError: The time is not a number (nan).
            RuntimeError: The loop is closed.
        """

    def time(self) -> float:
        """Return the time of the loop's clock, in seconds; it is `time.monotonic()`."""

    async def sock_recv(self, sock: socket, n: int) -> bytes:
        """Receive up to `n` bytes.

        If the wait is cancelled, nothing was received.

        Raises:
            RuntimeError: The socket is a transport's, and not ready.
        """

    async def sock_recv_into(self, sock: socket, buf: Buffer) -> int:
        """Receive into `buf`, and return the number of bytes.

        If the wait is cancelled, nothing was received.

        Raises:
            RuntimeError: The socket is a transport's, and not ready.
        """

    async def sock_sendall(self, sock: socket, data: Buffer) -> None:
        """Send all of `data`; after an error or a cancellation, nobody knows how much was sent.

        Raises:
            RuntimeError: The socket is a transport's, and takes no more.
        """

    def create_future(self) -> Future[Any]:
        """Return a new future of this loop."""

    def create_task(
        self,
        coro: _Coro[_T],
        *,
        name: object = None,
        context: Context | None = None,
        eager_start: bool | None = None,
        **kwargs: Any,
    ) -> Task[_T]:
        """Run a coroutine as a task of this loop.

        Args:
            coro: The coroutine.
            name: The task's name.
            context: Where to run it; by default a copy of the current context.
            eager_start: Run the first step at once, if the loop is running.
            kwargs: For the task factory; without one there is nothing more to say.

        Raises:
            Overloaded: The loop runs, and as many tasks are pending as its `Policy` allows. The
                coroutine is closed.
            RuntimeError: The loop is closed.
        """

    def _create_unbounded_task(self, coro: _Coro[_T], **kwargs: Any) -> Task[_T]:
        """Run a coroutine as a task of this loop, however many there are."""

    def set_task_factory(self, factory: _TaskFactory | None) -> None:
        """Set what `create_task()` makes tasks with; None is tonnage's own Task.

        Raises:
            TypeError: The factory cannot be called.
        """

    def get_task_factory(self) -> _TaskFactory | None:
        """Return what was set with `set_task_factory()`, or None."""

    def is_running(self) -> bool:
        """Return True if the loop is running."""

    def is_closed(self) -> bool:
        """Return True if the loop was closed."""

    def stop(self) -> None:
        """Have the loop return at the end of its turn."""

    def get_debug(self) -> bool:
        """Return True in debug mode."""

    def _run(self) -> None:
        """Runs until `stop()`; the face has marked the loop as the running one."""

    def _run_once(self) -> None:
        """One pass: events, due timers, and what was ready when it began."""

    def _write_to_self(self) -> None: ...
    def _note_attribute(self, name: str) -> None: ...
    def _pending_tasks(self) -> set[asyncio.Task[Any]]:
        """The pending tasks of this loop."""

    def _bound_tasks(self, max_tasks: int | None, warn_tasks: int | None) -> None:
        """Sets how many tasks may be pending, and how many without a warning; None is any number."""

    def _let_tasks_go(self) -> None:
        """Keeps no pending task alive any more."""

    def _send_apart(self) -> None:
        """Has what several transports send in one turn leave by a system call for each."""

    def _close(self) -> None:
        """Ends the loop: nothing runs any more, and the reactor is gone."""

    def _leave_parent_after_fork(self) -> None:
        """In a forked child: lets go of the parent's reactor without touching it. A loop that did not run
        gets a reactor of its own; one that ran is the parent's for good.
        """

    def _add_reader(
        self,
        fd: Any,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> Handle: ...
    def _add_writer(
        self,
        fd: Any,
        callback: Callable[[Unpack[_Ts]], object],
        *args: Unpack[_Ts],
        context: Context | None = None,
    ) -> Handle: ...
    def _remove_reader(self, fd: Any) -> bool: ...
    def _remove_writer(self, fd: Any) -> bool: ...
    def _watched_events(self, fd: int) -> int:
        """What is waited for on the descriptor: 1 reading, 2 writing, 3 both."""

@disjoint_base
class StreamTransport(asyncio.BaseTransport):
    """A transport of a stream of bytes.

    It is what sockets and pipes have in common. What is written in one turn of the loop leaves together.
    """

    @property
    def _closing(self) -> bool: ...
    def close(self) -> None:
        """Close the transport when buffered data is flushed.

        Nothing is received any more. The protocol's `connection_lost(None)` comes last.
        """

    def is_closing(self) -> bool:
        """Return True if the transport is closing or closed."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set a new protocol.

        It gets all that comes from now on. `connection_made()` is not called.
        """

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Get optional transport information.

        Args:
            name: `socket`, `sockname` or `peername` of a socket, `pipe` of a pipe.
            default: What to return if there is no such information.
        """

    def _start_reading(self) -> None:
        """Start to read, once connection_made() was called."""

    def _start_again(self) -> None:
        """Start to read, now that the kernel may have memory."""

    def _call_connection_lost(self, exc: BaseException | None, /) -> None:
        """Tell the protocol, and close the descriptor."""

    def _send_again(self) -> None:
        """Try to send, now that the kernel may have memory."""

    def _fatal_error(self, exc: BaseException, message: str = ...) -> None:
        """Report an error, and close the transport."""

@final
class AcceptedSocket:
    """A connection that came, whose socket is made when somebody asks for it.

    It owns the descriptor until then.
    """

    @property
    def peername(self) -> Any: ...
    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""

    def close(self) -> None:
        """Close the connection."""

    def as_socket(self) -> socket:
        """Return the socket object, which owns the descriptor from then on."""

class Connections:
    """The connections of a server.

    Args:
        max_connections: The most that may be open; None is no bound.
    """

    _tells: bool
    def __init__(self, max_connections: int | None = None) -> None: ...
    @property
    def _clients(self) -> list[asyncio.Transport]: ...
    @property
    def _open(self) -> int: ...
    @property
    def _max_connections(self) -> int | None: ...
    @property
    def _peak(self) -> int: ...
    @property
    def _accepted(self) -> int: ...
    @property
    def _aborted(self) -> int: ...
    @property
    def _failed(self) -> int: ...
    def _attach(self, transport: asyncio.BaseTransport | None = None) -> None:
        """Called by a transport of this server when it is made."""

    def _detach(self, transport: asyncio.BaseTransport | None = None) -> None:
        """Called by a transport of this server when its connection is lost or it is collected."""

    def _is_idle(self) -> bool:
        """Tell whether no connection is open, nor about to be."""

    def _is_full(self) -> bool:
        """Tell whether `max_connections` are open."""

    def _note_failed(self) -> None:
        """Count a connection that came to nothing."""

@final
class Intake:
    """Takes the connections that wait at a listening socket.

    Args:
        loop: The loop of the server.
        listener: What a connection is to become: the attributes of a `Listener`.
        own_name: What all connections are called at this end, or None if that differs.
        transports: The loop's weak references to its transports, by descriptor.
        accepts_max: How many connections one call accepts.
        is_plain: Are protocol and transport all that a connection needs?
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Any,
        own_name: Any,
        transports: dict[int, Any],
        accepts_max: int,
        is_plain: bool,
    ) -> None: ...
    def accept_some(self, acceptor: Any, /) -> bool:
        """Accept who waits, and tell whether the server is full.

        Args:
            acceptor: Who sets up the connections that are not plain, and reports those that fail.

        Raises:
            OSError: A connection could not be accepted.
        """

class SocketTransport(StreamTransport, asyncio.Transport):
    """A stream transport over a socket.

    It serves TCP and Unix connections.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket | AcceptedSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
        server: object | None = None,
        context: Context | None = None,
    ) -> None: ...
    @property
    def _paused(self) -> bool: ...
    @property
    def _eof(self) -> bool: ...
    def is_reading(self) -> bool:
        """Return True if the transport is receiving."""

    def pause_reading(self) -> None:
        """Pause the receiving end.

        No data comes to the protocol until `resume_reading()`. A second call does nothing.
        """

    def resume_reading(self) -> None:
        """Resume the receiving end.

        A second call does nothing.
        """

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write some data bytes to the transport.

        It never waits: what is not taken is kept, and `pause_writing()` tells the protocol when that is too
        much. A bytes object is kept as it is; of anything else a copy is kept.

        Raises:
            TypeError: `data` is no bytes-like object.
            RuntimeError: `write_eof()` was called.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Write a list of data bytes to the transport.

        They leave in one system call, without being joined first.

        Raises:
            TypeError: One of them is no bytes-like object.
            RuntimeError: `write_eof()` was called.
        """

    def can_write_eof(self) -> bool:
        """Return True: this transport supports write_eof()."""

    def abort(self) -> None:
        """Close the transport immediately.

        Buffered data is lost. The protocol's `connection_lost(None)` comes in the loop's next turn.
        """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water limits for write flow control.

        The protocol's `pause_writing()` is called when more than `high` bytes wait, and `resume_writing()`
        when no more than `low` are left.

        Args:
            high: In bytes; by default 64 KiB, or four times `low`.
            low: In bytes; by default a quarter of `high`.

        Raises:
            ValueError: Not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Get the high and low watermarks for write flow control.

        Returns:
            The low one, then the high one, in bytes.
        """

    def get_write_buffer_size(self) -> int:
        """Return the current size of the write buffer.

        In bytes; what has gone to the kernel does not count.
        """

    def write_eof(self) -> None:
        """Close the write end after flushing buffered data.

        Data may still be received.
        """

    def _force_close(self, exc: BaseException | None, /) -> None:
        """Close the transport immediately, because of an error."""

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """A future that is done when the buffer is empty."""

    def _make_writable_waiter(self) -> asyncio.Future[None]:
        """A future that is done when the socket takes bytes again."""

    def _reset_empty_waiter(self) -> None:
        """Nobody waits for an empty buffer any more."""

class ReadPipeTransport(StreamTransport, asyncio.ReadTransport):
    """A transport that reads from a pipe.

    Or from what passes for one: a FIFO, a terminal, a socket. It is made non-blocking.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: IO[Any] | socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None: ...
    def is_reading(self) -> bool:
        """Return True if the transport is receiving."""

    def pause_reading(self) -> None:
        """Pause the receiving end.

        No data comes to the protocol until `resume_reading()`. A second call does nothing.
        """

    def resume_reading(self) -> None:
        """Resume the receiving end.

        A second call does nothing.
        """

class WritePipeTransport(StreamTransport, asyncio.WriteTransport):
    """A transport that writes into a pipe.

    Or into what passes for one: a FIFO, a terminal, a socket. It is made non-blocking. It closes when its
    reader is gone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: IO[Any] | socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None: ...
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write some data bytes to the transport.

        It never waits: what is not taken is kept, and `pause_writing()` tells the protocol when that is too
        much. A bytes object is kept as it is; of anything else a copy is kept.
        After `close()` or `write_eof()` nothing is written.

        Raises:
            TypeError: `data` is no bytes-like object.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Write a list of data bytes to the transport.

        They leave in one system call, without being joined first.

        Raises:
            TypeError: One of them is no bytes-like object.
        """

    def can_write_eof(self) -> bool:
        """Return True: this transport supports write_eof()."""

    def abort(self) -> None:
        """Close the transport immediately.

        Buffered data is lost. The protocol's `connection_lost(None)` comes in the loop's next turn.
        """

    def is_reading(self) -> bool:
        """Raise NotImplementedError: this transport does not read."""

    def pause_reading(self) -> None:
        """Raise NotImplementedError: this transport does not read."""

    def resume_reading(self) -> None:
        """Raise NotImplementedError: this transport does not read."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water limits for write flow control.

        The protocol's `pause_writing()` is called when more than `high` bytes wait, and `resume_writing()`
        when no more than `low` are left.

        Args:
            high: In bytes; by default 64 KiB, or four times `low`.
            low: In bytes; by default a quarter of `high`.

        Raises:
            ValueError: Not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Get the high and low watermarks for write flow control.

        Returns:
            The low one, then the high one, in bytes.
        """

    def get_write_buffer_size(self) -> int:
        """Return the current size of the write buffer.

        In bytes; what has gone to the kernel does not count.
        """

    def write_eof(self) -> None:
        """Close the pipe after flushing buffered data."""

@final
class TLSProtocol(asyncio.BufferedProtocol):
    """The protocol that puts TLS between a transport and a protocol.

    It is what the transport below has for its protocol; `app_protocol` gets a `TLSTransport`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app_protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext | None,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _app_transport(self) -> TLSTransport: ...
    @property
    def _app_protocol(self) -> asyncio.BaseProtocol | None: ...
    @property
    def _transport(self) -> asyncio.BaseTransport | None: ...
    @property
    def _incoming(self) -> MemoryBIO: ...
    @property
    def _outgoing(self) -> MemoryBIO: ...
    @property
    def _sslobj(self) -> SSLObject: ...
    @property
    def _is_in_place(self) -> bool: ...
    @property
    def _state(self) -> str: ...
    def _do_read(self) -> None: ...
    def _resume(self) -> None: ...
    def _check_handshake_timeout(self) -> None: ...
    def _check_shutdown_timeout(self) -> None: ...
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection."""

    def get_buffer(self, sizehint: int) -> memoryview[int]:
        """Lend memory for encrypted bytes."""

    def buffer_updated(self, nbytes: int) -> None:
        """Take encrypted bytes from the memory that was lent."""

    def data_received(self, data: bytes, /) -> None:
        """Take encrypted bytes.

        This is for transports that do not know how to read into memory.
        """

    def eof_received(self) -> bool:
        """Take the end of the encrypted stream."""

    def pause_writing(self) -> None:
        """Hand over no more encrypted bytes."""

    def resume_writing(self) -> None:
        """Hand over encrypted bytes again."""

@final
class TLSTransport(asyncio.Transport):
    """The transport of a TLS connection.

    Small writes of one turn of the loop are encrypted together, and leave together.
    """

    @property
    def _ssl_protocol(self) -> TLSProtocol: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _closed(self) -> bool: ...
    @property
    def _protocol_paused(self) -> bool: ...
    @property
    def _start_tls_compatible(self) -> bool: ...
    @property
    def _sendfile_compatible(self) -> Any: ...
    def _force_close(self, exc: BaseException | None, /) -> None: ...
    def _test__append_write_backlog(self, data: bytes, /) -> None: ...
    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write some data bytes to the transport.

        It never waits: `pause_writing()` tells the protocol when there is too much.

        Raises:
            TypeError: `data` is no bytes-like object.
        """

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Write a list of data bytes to the transport.

        Raises:
            TypeError: One of them is no bytes-like object.
        """

    def write_eof(self) -> NoReturn:
        """Raise NotImplementedError: TLS closes both ways."""

    def can_write_eof(self) -> bool:
        """Return False: TLS closes both ways."""

    def close(self) -> None:
        """Close the transport when buffered data is flushed.

        Then TLS is shut down: the peer has `ssl_shutdown_timeout` seconds to agree. The protocol's
        `connection_lost(None)` comes last.
        """

    def abort(self) -> None:
        """Close the transport immediately.

        Buffered data is lost. The protocol's `connection_lost(None)` comes in one of the loop's next turns.
        """

    def is_closing(self) -> bool:
        """Return True if the transport is closing or closed."""

    def is_reading(self) -> bool:
        """Return True if the transport is receiving."""

    def pause_reading(self) -> None:
        """Pause the receiving end.

        No data comes to the protocol until `resume_reading()`. A second call does nothing.
        """

    def resume_reading(self) -> None:
        """Resume the receiving end.

        What has come meanwhile is handed over in the loop's next turn.
        """

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set a new protocol.

        It gets all that comes from now on. `connection_made()` is not called.
        """

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Get optional transport information.

        Args:
            name: `sslcontext`; after the handshake `ssl_object`, `peercert`, `cipher` and `compression`;
                `tls_truncated`, which is True if the peer's stream ended without its close_notify, so that
                somebody on the way may have cut it; or what the transport below knows.
            default: What to return if there is no such information.
        """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water limits for write flow control.

        The protocol's `pause_writing()` is called when `high` bytes or more wait, and `resume_writing()`
        when no more than `low` are left. 512 and 128 KiB are usual.

        Raises:
            ValueError: `low` is negative, or above `high`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Get the high and low watermarks for write flow control.

        Returns:
            The low one first.
        """

    def get_write_buffer_size(self) -> int:
        """Return the current size of the write buffer."""

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water limits for read flow control.

        The transport below is paused when `high` bytes or more are not read, and resumed when no more than
        `low` are left. 256 and 64 KiB are usual.

        Raises:
            ValueError: `low` is negative, or above `high`.
        """

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """Get the high and low watermarks for read flow control.

        Returns:
            The low one first.
        """

    def get_read_buffer_size(self) -> int:
        """Return the current size of the read buffer."""

@disjoint_base
class DatagramTransport(asyncio.DatagramTransport):
    """A transport of datagrams over a socket.

    It serves UDP and Unix datagrams, and sockets of other families by the socket's own methods. A datagram
    leaves at once, or waits in line while the socket takes none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None: ...
    @property
    def _closing(self) -> bool: ...
    @property
    def _paused(self) -> bool: ...
    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:
        """Send data to the transport.

        It never waits: what the socket does not take yet is kept, and `pause_writing()` tells the protocol
        when that is too much. A bytes object is kept as it is; of anything else a copy is kept. An error of
        the network is told to the protocol's `error_received()`, and ends nothing.

        Args:
            data: One datagram; an empty one is sent, too.
            addr: Where to; by default the `remote_addr` of the endpoint. A host name is resolved while the
                loop waits, so prefer a literal address.

        Raises:
            TypeError: `data` is no bytes-like object.
            ValueError: The endpoint has another `remote_addr`.
        """

    def write(self, data: object, /) -> None:
        """Raise NotImplementedError: use sendto()."""

    def writelines(self, list_of_data: object, /) -> None:
        """Raise NotImplementedError: use sendto()."""

    def write_eof(self) -> None:
        """Raise NotImplementedError: datagrams have no end."""

    def can_write_eof(self) -> bool:
        """Raise NotImplementedError: datagrams have no end."""

    def close(self) -> None:
        """Close the transport when buffered data is flushed.

        Nothing is received any more. The protocol's `connection_lost(None)` comes last.
        """

    def abort(self) -> None:
        """Close the transport immediately.

        Buffered data is lost. The protocol's `connection_lost(None)` comes in the loop's next turn.
        """

    def is_closing(self) -> bool:
        """Return True if the transport is closing or closed."""

    def is_reading(self) -> bool:
        """Return True if the transport is receiving."""

    def pause_reading(self) -> None:
        """Pause the receiving end.

        No datagram comes to the protocol until `resume_reading()`; the kernel keeps what fits its buffer. A second call does nothing.
        """

    def resume_reading(self) -> None:
        """Resume the receiving end.

        A second call does nothing.
        """

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set a new protocol.

        It gets all that comes from now on. `connection_made()` is not called.
        """

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Get optional transport information.

        Args:
            name: `socket`, `sockname` or `peername`; `dropped` is how many datagrams the kernel dropped
                because the socket's receive buffer was full, while the socket is open.
            default: What to return if there is no such information.
        """

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water limits for write flow control.

        The protocol's `pause_writing()` is called when more than `high` bytes wait, and `resume_writing()`
        when no more than `low` are left. Each datagram counts for 8 bytes more than it has.

        Args:
            high: In bytes; by default 64 KiB, or four times `low`.
            low: In bytes; by default a quarter of `high`.

        Raises:
            ValueError: Not `high >= low >= 0`.
        """

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Get the high and low watermarks for write flow control.

        Returns:
            The low one, then the high one, in bytes.
        """

    def get_write_buffer_size(self) -> int:
        """Return the current size of the write buffer.

        In bytes, with 8 more for each datagram; what has gone to the kernel does not count.
        """

    def _start_reading(self) -> None:
        """Start to read, once connection_made() was called."""

    def _start_again(self) -> None:
        """Start to read, now that the kernel may have memory."""

    def _call_connection_lost(self, exc: BaseException | None, /) -> None:
        """Tell the protocol, and close the socket."""

    def _force_close(self, exc: BaseException | None, /) -> None:
        """Close the transport immediately, because of an error."""

    def _fatal_error(self, exc: BaseException, message: str = ...) -> None:
        """Report an error, and close the transport."""

@disjoint_base
class TaskGroup(_AsyncioTaskGroup):
    """Tasks that belong together, in a block that ends when all of them have ended.

    It is entered with `async with`, once. The exit waits for every task of the group. If a task or the block
    itself fails, the other tasks are cancelled, and all errors leave in one ExceptionGroup, which is that of
    the package `exceptiongroup` on Python 3.10. KeyboardInterrupt and SystemExit leave bare; the errors that
    they hide are in their notes, from Python 3.11 on. A task that ends cancelled is no error.

    If the task that entered the group is cancelled, the tasks of the group are cancelled and waited for, and
    the CancelledError goes on.

    With a limit, at most so many tasks of the group run at once. The others are made, but make no step: they
    stand in a line, first come first served. The first of it begins when a task has ended. A member that awaits
    a task of the line lends it its slot, so that it begins at once; by way of `gather`, `wait` and their like
    it lends it to one after the other. If the member goes on before that one has ended, both run until one
    of them has. When the group is aborted, the tasks of the line end cancelled without having run, and a note
    on the group's error tells their number.

    The limit may also be a `Limiter`, or a sequence of them. Then a task begins when it has a permit of each: they
    are asked in their order, for the first of the line alone, so that groups which share a limiter are served in
    turn. Who waits for the second holds what the first has given; so all who use several limiters should name
    them in one order. The permits are the task's own, as the limiters' statistics show, and go back in reverse when
    it has ended, with its outcome, from which an `AdaptiveLimiter` learns. If a limiter refuses a task of the line,
    its coroutine is closed, and the task fails with `Overloaded`; one that nobody may wait for (`max_waiting=0`)
    refuses all that cannot begin at once. A task that has the slot of a member, who
    waits for it or has started it (`start`), needs no permit, and inherits the member's if that one ends first.

    Args:
        limit: How many tasks may run at once, or the limiters that say so; None is no limit. Daemons do not count.
        max_pending: How many tasks may stand in the line.
        on_error: What the failure of a task does. `"cancel"` cancels the others, as asyncio does. With
            `"collect"` the others go on, and all errors leave in one group at the exit. With `"report"` the
            others go on, and each error goes to the loop's exception handler at once and is not kept, so that
            a group may live for weeks; the exit raises only the error of the block.
        name: What its repr shows.

    Raises:
        TypeError: `limit` is no int and no limiter, or `max_pending` is no int.
        ValueError: `on_error` is none of these, `limit` is less than 1, an empty sequence, or has a limiter twice, or
            `max_pending` is less than 0.

    Example:
        async with tonnage.TaskGroup() as group:
            first = group.create_task(tonnage.sleep(0.1, "first"))
            second = group.create_task(tonnage.sleep(0.2, "second"))
        print(first.result(), second.result())
    """

    def __init__(
        self,
        *,
        limit: _Limit | None = None,
        max_pending: int = 10000,
        on_error: Literal["cancel", "collect", "report"] = "cancel",
        name: str | None = None,
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def create_task(
        self,
        coro: _Coro[_T],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
        daemon: bool = False,
        **kwargs: Any,
    ) -> Task[_T]:
        """Start a coroutine as a task of the group.

        If the group has a limit and all slots are taken, the task waits in the line before it makes a step. It
        is a Task of tonnage then, on a loop of any kind; where the loop has a task factory, it is the factory's,
        and waits in its first step. A coroutine that is refused is closed.

        Args:
            coro: The coroutine.
            name: The task's name.
            context: Where to run it; by default a copy of the current context.
            eager_start: Run the first step at once, if there is a slot.
            daemon: The group does not wait for it: it is cancelled when the block and all other tasks have
                ended. It takes no slot.
            kwargs: For the loop's task factory.

        Raises:
            RuntimeError: The group was not entered yet, or is shutting down, or has ended.
            Overloaded: All slots are taken, and `max_pending` tasks stand in the line.

        Example:
            async with tonnage.TaskGroup() as group:
                group.create_task(tonnage.sleep(3600), daemon=True)
                await tonnage.sleep(0.1)
        """

    async def submit(self, func: Callable[_P, _Coro[_T]], /, *args: _P.args, **kwargs: _P.kwargs) -> Task[_T]:
        """Wait for a slot, then start a task that runs what `func` returns.

        `func` is called when there is a slot, so that what waits is the caller, and no coroutine. Callers stand
        in one line with the tasks that `create_task` has put there; `max_pending` does not count them. If the
        wait is cancelled, nothing was called. If the group is aborted, the wait ends with CancelledError.

        A member of the group that calls this does not wait: it could wait for its own slot. The task may stand
        in the line then. In a group without a limit nobody waits.

        Args:
            func: A coroutine function.
            args: Its arguments.
            kwargs: Its arguments by name.

        Returns:
            The task.

        Raises:
            RuntimeError: The group was not entered yet, or is shutting down, or has ended.
            Overloaded: A limiter of the group refuses it; or a member of the group called it, and `max_pending`
                tasks stand in the line.

        Example:
            async with tonnage.TaskGroup(limit=10) as group:
                for number in range(1_000):
                    await group.submit(tonnage.sleep, 0, number)
        """

    async def start(self, func: Callable[..., _Coro[Any]], /, *args: Any, name: str | None = None) -> Any:
        """Start a task, and wait until it says that it has started.

        `func` is called with `args` and with `task_status=`, and says so by `task_status.started(value)`.
        Until then an error of the task leaves here, and not from the group. If the wait is cancelled, so is
        the task, and it is waited for.

        If the group has a limit, the task needs a slot, and this waits for it first, as `submit` does. A member
        of the group does not wait: it lends its slot.

        Args:
            func: A coroutine function that takes `task_status`.
            args: Its other arguments.
            name: The task's name.

        Returns:
            What `started()` was called with, or None.

        Raises:
            RuntimeError: The task ended without a call of `started()`, or the group takes no tasks.
            Overloaded: A limiter of the group refuses it.

        Example:
            async def serve(*, task_status: tonnage.TaskStatus[int]) -> None:
                server = await tonnage.start_server(lambda reader, writer: writer.close(), "localhost")
                async with server:
                    task_status.started(server.sockets[0].getsockname()[1])
                    await server.serve_forever()

            async with tonnage.TaskGroup() as group:
                port = await group.start(serve)
                group.cancel()
        """

    def cancel(self, msg: str | None = None) -> None:
        """Cancel all tasks of the group, and its body.

        The block gets a CancelledError at its next `await`, which the exit of the group swallows. Before the
        block is entered, it is cancelled at its first `await`; after the exit, and the second time, nothing
        happens.

        Args:
            msg: The argument of the CancelledErrors.

        Example:
            async with tonnage.TaskGroup() as group:
                group.create_task(tonnage.sleep(3600))
                group.cancel()
        """

    @property
    def active(self) -> int:
        """How many tasks the group waits for, those that wait for a slot included; no daemons."""

    @property
    def waiting(self) -> int:
        """How many wait for a slot: tasks that have not begun, and callers of `submit` and `start`."""

    @property
    def name(self) -> str | None:
        """What the group was named."""

@final
class Timeout:
    """Cancel what runs in an `async with` block when a deadline passes.

    `timeout()` and `timeout_at()` make it. The task is cancelled where it waits in the block, and the exit
    turns that CancelledError into TimeoutError. A cancellation from elsewhere goes through as it is.

    Args:
        when: The deadline in seconds of the loop's clock; None is never.

    Example:
        try:
            async with tonnage.timeout(0.1) as deadline:
                await tonnage.sleep(3600)
        except TimeoutError:
            print(deadline.expired())
    """

    def __init__(self, when: float | None) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None: ...
    def when(self) -> float | None:
        """Return the current deadline, in the loop's time, or None.

        In seconds.
        """

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to `when`, in the loop's time; None is never.

        One that has passed cancels the block in the loop's next turn.

        Args:
            when: In seconds of the loop's clock; None is never.

        Raises:
            RuntimeError: The block was not entered yet, or its deadline has passed, or it has ended.
        """

    def expired(self) -> bool:
        """Return True once the deadline has passed inside the block."""

@final
class MoveOn:
    """Cancel what runs in an `async with` block when a deadline passes, and go on after it.

    `move_on_after()` and `move_on_at()` make it. The task is cancelled where it waits in the block, and the
    exit swallows that CancelledError. A cancellation from elsewhere goes through as it is, and so does every
    other error.

    Example:
        async with tonnage.move_on_after(0.1) as attempt:
            await tonnage.sleep(3600)
        print(attempt.cancelled_caught)
    """

    @property
    def cancelled_caught(self) -> bool:
        """Was the block left early because its deadline passed?

        False while the block runs, and if it came to its end all the same.
        """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool: ...
    def when(self) -> float | None:
        """Return the current deadline, in the loop's time, or None.

        In seconds.
        """

    def reschedule(self, when: float | None) -> None:
        """Move the deadline to `when`, in the loop's time; None is never.

        One that has passed cancels the block in the loop's next turn.

        Args:
            when: In seconds of the loop's clock; None is never.

        Raises:
            RuntimeError: The block was not entered yet, or its deadline has passed, or it has ended.
        """

    def expired(self) -> bool:
        """Return True once the deadline has passed inside the block."""

@disjoint_base
class shield_scope:  # noqa: N801 - It is entered like a function of asyncio.
    """Defer cancellations of the current task to the end of the block, for at most `timeout` seconds.

    For cleanup that must not be torn apart. Inside, `task.cancel()` returns True and counts in `cancelling()`
    as always, but nothing is raised in the block. When the block ends, the cancellation comes at the next
    await that waits, with its message, as if `cancel()` had been called then; when the time is over first, it
    comes inside the block at once. `task.uncancel()` takes a deferred one back, once the count is what it was
    without it. What was on its way when the block was entered is deferred too.

    The blocks inside work as ever: a `timeout()`, a `wait_for()`, a failing `TaskGroup` cancels what it is
    for. Blocks outside are deferred, and so are the timeouts of other libraries, which cancel the task as
    anybody does. Of nested scopes, none outlasts an outer one.

    Args:
        timeout: In seconds from entry: finite, and 0 or more.

    Raises:
        ValueError: `timeout` is no finite number, or negative.
        RuntimeError: On entering: the task is not tonnage's but, as on asyncio's own loop, asyncio's; no task
            is running; or the block was entered before.

    Example:
        task = asyncio.current_task()
        async with tonnage.shield_scope(5):
            task.cancel()
            await tonnage.sleep(0.01, "this is not cut short")
            print("closed properly")
        try:
            await tonnage.sleep(3600)
        except asyncio.CancelledError:
            print("cancelled after the block")
            task.uncancel()
    """

    def __init__(self, timeout: float) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None: ...

@final
class AsyncMap(Generic[_T, _R]):
    """What amap() returns: await it for a list, or enter it to have the results as they come.

    Nothing runs before. Each is good for one use. Leaving the block early cancels the workers; whoever leaves it,
    or awaits the map, waits until all of them have ended.

    Example:
        async def double(number):
            return 2 * number

        print(await tonnage.amap(double, range(10), limit=3))
        async with tonnage.amap(double, range(10), limit=3) as results:
            async for result in results:
                print(result)
    """

    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __await__(self) -> Generator[Any, None, list[_R]]: ...
    # Raises TypeError, and says what to do instead.
    def __aiter__(self) -> NoReturn: ...
    async def __aenter__(self) -> AsyncIterator[_R]:
        """Start the workers, and return their results.

        Raises:
            RuntimeError: The map was used before, or this is not inside a task.
        """

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Cancel the workers, and wait for them.

        An asynchronous source that has more items is closed.

        Raises:
            ExceptionGroup: What workers failed with, and what left the block, if the loop over the results has not
                raised it already.
        """

    def pairs(self) -> AsyncMap[_T, tuple[_T, _R]]:
        """Return a map whose results are pairs of an item and its result.

        It takes the place of this one.

        Raises:
            RuntimeError: The map was used before.
        """

    async def drain(self) -> int:
        """Run to the end, keep no result, and return the number of items.

        If the wait is cancelled, so are the workers, and they are waited for.

        Raises:
            ExceptionGroup: What the function, or the source, has raised.
            RuntimeError: The map was used before, or this is not inside a task.
        """

@disjoint_base
class Lock(asyncio.Lock):
    """Let one task at a time pass, first come, first served.

    Waiters are served first come, first served: `release()` hands the lock to the first waiter, so that
    nobody can take it in between. A waiter that is cancelled passes on what it was given.

    Example:
        lock = tonnage.Lock()
        async with lock:
            await tonnage.sleep(0.1)
    """

    def __init__(self) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Return True if the lock is taken.

        While it is on its way from `release()` to the first waiter, it is not; nobody else can take it then.
        """

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, and return True.

        A free lock is taken without a switch to another task. If the wait is cancelled, nothing is taken.

        Raises:
            RuntimeError: The lock was waited for on another loop.
        """

    def release(self) -> None:
        """Hand the lock to the first who waits, or free it.

        Any task may do so, not only the one that took it.

        Raises:
            RuntimeError: The lock is not held.
        """

@disjoint_base
class Event(asyncio.Event):
    """A flag that tasks wait for.

    Example:
        event = tonnage.Event()
        tonnage.get_running_loop().call_later(0.1, event.set)
        await event.wait()
    """

    def __init__(self) -> None: ...
    def is_set(self) -> bool:
        """Return True if the flag is set."""

    def set(self) -> None:
        """Set the flag, and wake all who wait.

        Each of them goes on, even if `clear()` is called before it runs.
        """

    def clear(self) -> None:
        """Take the flag back.

        Who calls `wait()` after that waits.
        """

    async def wait(self) -> Literal[True]:
        """Wait until the flag is set, and return True.

        If it is set, there is no switch to another task. A wait that is cancelled leaves no trace.

        Raises:
            RuntimeError: The event was waited for on another loop.
        """

@disjoint_base
class Condition(asyncio.Condition):
    """Let tasks that hold a lock wait until another task notifies them.

    Notifications are first come, first served; a waiter that is cancelled passes on the one that it was
    given.

    Args:
        lock: The lock to use; by default one of its own. Several conditions may share a lock.

    Example:
        items: list[int] = []
        condition = tonnage.Condition()

        async def take() -> int:
            async with condition:
                await condition.wait_for(lambda: items)
                return items.pop()

        taking = tonnage.create_task(take())
        await tonnage.sleep(0)
        async with condition:
            items.append(1)
            condition.notify()
        print(await taking)
    """

    def __init__(self, lock: asyncio.Lock | None = None) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Return True if the lock is taken.

        While it is on its way from `release()` to the first waiter, it is not; nobody else can take it then.
        """

    async def acquire(self) -> Literal[True]:
        """Wait until the lock is free, take it, and return True.

        If the wait is cancelled, nothing is taken.
        """

    def release(self) -> None:
        """Hand the lock to the first who waits, or free it.

        Raises:
            RuntimeError: The lock is not held.
        """

    async def wait(self) -> Literal[True]:
        """Release the lock, wait until notified, acquire the lock again, and return True.

        It may return without a notification that was meant for it: look at what you wait for again, or use
        `wait_for()`. If the wait is cancelled, the CancelledError comes when the lock is held again, and a
        notification that it had been given goes to the next waiter.

        Raises:
            RuntimeError: The lock is not held, or the condition was waited for on another loop.
        """

    async def wait_for(self, predicate: Callable[[], _T]) -> _T:
        """Wait until `predicate()` is true, and return its result.

        It is called with the lock held: at once, and after each notification.

        Args:
            predicate: Called without arguments; what it returns is true or false.

        Raises:
            RuntimeError: The lock is not held.
        """

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` tasks that wait.

        They go on when they have the lock again, which the caller should give back.

        Args:
            n: How many; all of them if fewer wait.

        Raises:
            RuntimeError: The lock is not held.
        """

    def notify_all(self) -> None:
        """Wake all tasks that wait.

        They go on one after another, as they get the lock.

        Raises:
            RuntimeError: The lock is not held.
        """

@disjoint_base
class Semaphore(asyncio.Semaphore):
    """Let a number of tasks at a time pass, first come, first served.

    Waiters are served first come, first served: `release()` hands its slot to the first waiter, so that
    nobody can take it in between. A waiter that is cancelled passes on what it was given.

    Args:
        value: The slots that are free at first.

    Raises:
        ValueError: `value` is less than 0.

    Example:
        semaphore = tonnage.Semaphore(2)
        async with semaphore:
            await tonnage.sleep(0.1)
    """

    def __init__(self, value: int = 1) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Return True if no slot is free.

        None is free from `release()` on, if somebody waits: the slot is on its way to the first waiter.
        """

    async def acquire(self) -> Literal[True]:
        """Wait until a slot is free, take it, and return True.

        A free slot is taken without a switch to another task. If the wait is cancelled, nothing is taken.

        Raises:
            RuntimeError: The semaphore was waited for on another loop.
        """

    def release(self) -> None:
        """Hand a slot to the first who waits, or free it.

        Any task may do so; without an `acquire()` before it, there is one slot more.
        """

class BoundedSemaphore(Semaphore, asyncio.BoundedSemaphore):
    """A semaphore that raises ValueError when it is released more often than it was acquired.

    `release()` does so when all slots are free.

    Args:
        value: The slots that there are.

    Raises:
        ValueError: `value` is less than 0.

    Example:
        semaphore = tonnage.BoundedSemaphore(2)
        async with semaphore:
            await tonnage.sleep(0.1)
    """

@disjoint_base
class Barrier(_AsyncioBarrier):
    """Let a number of tasks wait for each other.

    They pass together, once enough of them are there.

    It can be used again: who comes while the tasks leave waits until all of them are gone.

    Args:
        parties: How many tasks it waits for.

    Raises:
        ValueError: `parties` is less than 1.

    Example:
        barrier = tonnage.Barrier(2)
        print(await tonnage.gather(barrier.wait(), barrier.wait()))
    """

    def __init__(self, parties: int) -> None: ...
    async def __aenter__(self) -> int: ...  # type: ignore[override]
    async def __aexit__(self, *args: object) -> None: ...
    async def wait(self) -> int:
        """Wait until all parties wait, and return the number of this one, from 0.

        If the wait is cancelled, the task is no longer there, and the others go on waiting.

        Raises:
            BrokenBarrierError: The barrier is broken, or `reset()` or `abort()` was called.
            RuntimeError: The barrier was waited for on another loop.
        """

    async def reset(self) -> None:
        """Empty the barrier: whoever waits gets BrokenBarrierError.

        A broken barrier is mended.
        """

    async def abort(self) -> None:
        """Break the barrier: whoever waits, now or later, gets BrokenBarrierError.

        Until `reset()`.
        """

    @property
    def parties(self) -> int:
        """The number of tasks that the barrier waits for."""

    @property
    def n_waiting(self) -> int:
        """The number of tasks that wait until all parties are there."""

    @property
    def broken(self) -> bool:
        """True if the barrier is broken."""

@disjoint_base
class Queue(asyncio.Queue[_T]):
    """Pass items between tasks, first in, first out.

    Getters and putters are served first come, first served. An item is handed to the first getter inside
    `put()`, a free place to the first putter inside `get()`; `get_nowait()` and `put_nowait()` never take
    what was promised to one that waits. A waiter that is cancelled passes on what it was given, so that no
    item is lost.

    `async for item in queue` ends when the queue is shut down and empty. Each step calls `task_done()` for
    the item before it.

    Args:
        maxsize: The most items it holds; 0 or less is no bound.
        overflow: What `put()` and `put_nowait()` do when it is full. `"wait"` is asyncio's: `put()` waits,
            and `put_nowait()` raises QueueFull. With `"raise"` both raise it. `"drop_oldest"` drops the
            oldest item, `"drop_newest"` the one that is being put. A dropped item counts as done for
            `join()`.
        target_delay: Seconds for which items should wait at most. While the least wait of each 100 ms is
            longer, the queue is overloaded, and drops what has waited for twice as long when it would be got:
            what is got is worth the work still. The rule is CoDel, as in Meta's folly. Only for a Queue.
        on_drop: Called with each item dropped, and with the reason, which is `overflow` or `"delay"`.

    Raises:
        ValueError: `overflow` is none of these; a queue that drops has no bound; `on_drop` is given to a
            queue that drops nothing; a PriorityQueue is to drop the oldest item, which it does not know;
            `target_delay` is no positive number, or for a queue that is not first in, first out.
        TypeError: `on_drop` cannot be called; a subclass with a storage of its own has a `target_delay`.

    Example:
        queue: tonnage.Queue[int] = tonnage.Queue(maxsize=10)

        async def produce() -> None:
            for item in range(3):
                await queue.put(item)
            queue.shutdown()

        async with tonnage.TaskGroup() as group:
            group.create_task(produce())
            async for item in queue:
                print(item)
    """

    def __init__(
        self,
        maxsize: int = 0,
        *,
        overflow: Literal["wait", "raise", "drop_oldest", "drop_newest"] = "wait",
        target_delay: float | None = None,
        on_drop: Callable[[_T, str], object] | None = None,
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __aiter__(self) -> AsyncIterator[_T]: ...
    def qsize(self) -> int:
        """Return the number of items that can be taken.

        An item that was handed to a getter does not count, even if the getter did not run yet.
        """

    @property
    def maxsize(self) -> int:
        """The most items that the queue holds; 0 or less is no bound."""

    def empty(self) -> bool:
        """Return True if no item can be taken.

        An item that was handed to a getter cannot, even if the getter did not run yet.
        """

    def full(self) -> bool:
        """Return True if no item can be put without waiting.

        A queue without a bound never is.
        """

    async def put(self, item: _T) -> None:
        """Put an item; wait for a free place if the queue is full.

        A free place is taken without a switch to another task. If the wait is cancelled, the item is not put.

        Raises:
            QueueShutDown: The queue was shut down.
            QueueFull: It is full, and `overflow` is `"raise"`.
            RuntimeError: The queue was waited for on another loop.
        """

    def put_nowait(self, item: _T) -> None:
        """Put an item, or raise QueueFull.

        Raises:
            QueueFull: There is none, and `overflow` drops nothing.
            QueueShutDown: The queue was shut down.
        """

    async def get(self) -> _T:
        """Remove and return an item; wait for one if the queue is empty.

        An item that is there is taken without a switch to another task. If the wait is cancelled, nothing is
        taken.

        Raises:
            QueueShutDown: The queue was shut down, and is empty.
            RuntimeError: The queue was waited for on another loop.
        """

    def get_nowait(self) -> _T:
        """Remove and return an item, or raise QueueEmpty.

        Raises:
            QueueEmpty: There is none.
            QueueShutDown: There is none, and the queue was shut down.
        """

    async def get_many(self, limit: int, /) -> list[_T]:
        """Wait for an item, then remove and return all that are there, at most `limit`.

        There is no switch to another task between the items. If the wait is cancelled, nothing is taken.

        Args:
            limit: The most items to take, 1 or more.

        Returns:
            At least one item, in the order in which `get()` returns them. Each wants its `task_done()`.

        Raises:
            ValueError: `limit` is less than 1.
            QueueShutDown: The queue was shut down, and is empty.
            RuntimeError: The queue was waited for on another loop.

        Example:
            queue: tonnage.Queue[int] = tonnage.Queue()
            for item in range(5):
                queue.put_nowait(item)
            print(await queue.get_many(3))
        """

    def task_done(self) -> None:
        """Say that the work on an item is done.

        When this was said for every item that was put, `join()` returns.

        Raises:
            ValueError: It was said more often than items were put.
        """

    async def join(self) -> None:
        """Wait until the work on all items is done.

        A wait that is cancelled leaves no trace.
        """

    def shutdown(self, immediate: bool = False) -> None:
        """Make get() and put() raise QueueShutDown.

        What is in it can still be taken. Getters that wait, and putters, get QueueShutDown.

        Args:
            immediate: Drop what is in it; a dropped item counts as done.
        """

    def stats(self) -> QueueStats:
        """Return the queue's size and counters.

        They are those of one moment.
        """

class LifoQueue(Queue[_T], asyncio.LifoQueue[_T]):
    """Pass items between tasks, last in, first out.

    Example:
        queue: tonnage.LifoQueue[int] = tonnage.LifoQueue()
        queue.put_nowait(1)
        queue.put_nowait(2)
        print(await queue.get())
    """

class PriorityQueue(Queue[SupportsRichComparisonT], asyncio.PriorityQueue[SupportsRichComparisonT]):
    """Pass items between tasks, the smallest first.

    Items are compared with `<`; a tuple of a number and the data is a common item.

    Example:
        queue: tonnage.PriorityQueue[tuple[int, str]] = tonnage.PriorityQueue()
        queue.put_nowait((2, "later"))
        queue.put_nowait((1, "first"))
        print(await queue.get())
    """

    def __init__(
        self,
        maxsize: int = 0,
        *,
        overflow: Literal["wait", "raise", "drop_newest"] = "wait",
        target_delay: None = None,
        on_drop: Callable[[SupportsRichComparisonT, str], object] | None = None,
    ) -> None: ...

class AdaptiveLimiter(Limiter):
    """Lend as many tokens as an algorithm says, which learns from how long they are kept.

    It protects a service whose capacity nobody knows: each permit that is released tells the algorithm how long it was
    held, and whether what it was used for was refused or timed out. The default algorithm is `Gradient`, which needs
    to know nothing about the service; `AIMD` keeps a latency that you know.

    The outcome of a block is `"ok"` if it ends without an exception, `"dropped"` if one of `dropped` leaves it, and
    else `"ignore"`, as for a cancellation: then the algorithm is not asked. `Permit.release()` can say it, too.

    The latency is that of the loop's clock, from the permit to its release. What the loop itself was late is taken out
    as far as it is known, on a loop of tonnage: the time since it last looked at the network. So work without an
    `await` at the end of a block does not count.

    Args:
        algorithm: A `LimitAlgorithm` for this limiter alone. What its `update()` raises goes to the loop's exception
            handler, and the limit stays.
        min: The least limit.
        max: The greatest limit. A request for more tokens is a ValueError; one for more than the limit waits until
            nothing else is lent.
        initial: The limit at first; as a rule 20, or the nearest that is allowed.
        dropped: The exceptions that say that the service is overloaded; as a rule TimeoutError, `Overloaded` and
            ConnectionError.
        max_waiting: How many requests may wait; as a rule none, as a line hides an overload. None: no bound.
        max_wait: How long one may wait, in seconds.
        target_delay: How long one is meant to wait at most, in seconds, as in `CapacityLimiter`.
        name: What it is called in errors and statistics.

    Raises:
        TypeError: The algorithm has no `update()`, or `dropped` has something in it that is no exception class.
        ValueError: A number is out of its range, or the algorithm has a limiter already.

    Example:
        search = tonnage.AdaptiveLimiter(max=200, name="search")
        async with search:
            await tonnage.sleep(0.01)
    """

    def __init__(
        self,
        algorithm: _LimitAlgorithm | None = None,
        *,
        min: int = 1,  # noqa: A002
        max: int = 1000,  # noqa: A002
        initial: int = 20,
        dropped: tuple[type[BaseException], ...] = ...,
        max_waiting: int | None = 0,
        max_wait: float | None = None,
        target_delay: float | None = None,
        name: str | None = None,
    ) -> None: ...
    @property
    def limit(self) -> int:
        """How many tokens may be lent at this moment."""

class Gradient:
    """Find how much may run by comparing latencies with that of the unloaded service.

    The default of `AdaptiveLimiter`. From each window of time it takes the latency that `percentile` of the
    outcomes do not exceed. While that is near the unloaded latency, the limit grows; when it is more than
    `tolerance` above, the limit shrinks, down to what the service can do and a small line before it. A limit of
    which less than half is in use stays as it is.

    What runs beside at most `probe_limit` others tells the unloaded latency. If no such work comes by for
    `probe_every` seconds, the limit is lowered to `probe_limit` until `probe_samples` have ended, at most for a
    sixth of `probe_every`. So a service that becomes slower itself is taken as it is at the next probe.

    It is the gradient controller of Envoy's adaptive concurrency filter, in smaller steps. Each limiter needs an object
    of its own.

    Args:
        window: In seconds; it lasts longer if there are less than ten outcomes.
        percentile: Which latency of a window counts, from 0 to 1.
        tolerance: The part of the unloaded latency by which it may be exceeded.
        probe_every: In seconds. More for a slow service: probes of calls that take seconds cost capacity.
        probe_limit: How much may run in a probe.
        probe_samples: How many outcomes make a measurement; at most 1024.

    Raises:
        ValueError: A number is out of its range.

    Example:
        limiter = tonnage.AdaptiveLimiter(tonnage.Gradient(tolerance=0.5))
        async with limiter:
            await tonnage.sleep(0.01)
    """

    def __init__(
        self,
        *,
        window: float = 0.1,
        percentile: float = 0.5,
        tolerance: float = 0.25,
        probe_every: float = 60.0,
        probe_limit: int = 3,
        probe_samples: int = 50,
    ) -> None: ...
    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        """Take how one piece of work has ended, and return how much may run.

        Without an `AdaptiveLimiter` it begins with 20, and stays between 1 and 1000.

        Args:
            now: When it ended, in seconds of any clock that never goes back.
            latency: How long it took, in seconds.
            in_flight: How much ran when it ended, itself included.
            dropped: Was it refused or timed out? Its latency does not count then.

        Raises:
            ValueError: A number is negative, or is none.
        """

class AIMD:
    """Find how much may run by a latency that is wanted.

    If more than the rest of `percentile` of a window's outcomes took longer than `target_latency`, or if any was
    dropped, the limit is multiplied by `backoff`; else it grows by one, if at least half of it was in use: additive
    increase, multiplicative decrease, as TCP does. After a decrease it waits until what began before has ended.
    Each limiter needs an object of its own.

    Args:
        target_latency: In seconds; two or three times what the unloaded service needs is a good choice.
        window: In seconds.
        percentile: Which latency of a window is compared with the target, from 0 to 1.
        backoff: The factor of a decrease, between 0 and 1.

    Raises:
        ValueError: A number is out of its range.

    Example:
        limiter = tonnage.AdaptiveLimiter(tonnage.AIMD(0.2))
        async with limiter:
            await tonnage.sleep(0.01)
    """

    def __init__(
        self, target_latency: float, *, window: float = 1.0, percentile: float = 0.9, backoff: float = 0.9
    ) -> None: ...
    def update(self, now: float, latency: float, in_flight: int, dropped: bool) -> int:
        """Take how one piece of work has ended, and return how much may run.

        Without an `AdaptiveLimiter` it begins with 20, and stays between 1 and 1000.

        Args:
            now: When it ended, in seconds of any clock that never goes back.
            latency: How long it took, in seconds.
            in_flight: How much ran when it ended, itself included.
            dropped: Was it refused or timed out? Its latency does not count then.

        Raises:
            ValueError: A number is negative, or is none.
        """

@final
class QueueStats:
    """What `Queue.stats()` returns.

    It is one moment of a queue, and does not change when the queue does.

    Example:
        queue: tonnage.Queue[int] = tonnage.Queue(maxsize=10)
        queue.put_nowait(1)
        print(queue.stats().size, queue.stats().maxsize)
    """

    @property
    def size(self) -> int:
        """The number of items that can be taken."""

    @property
    def maxsize(self) -> int:
        """The most items that the queue holds; 0 or less is no bound."""

    @property
    def peak(self) -> int:
        """The most items that it has held."""

    @property
    def getters(self) -> int:
        """The number of tasks that wait for an item."""

    @property
    def putters(self) -> int:
        """The number of tasks that wait for a free place."""

    @property
    def dropped(self) -> int:
        """The number of items that were dropped: the queue was full, or they had waited for too long."""

    @property
    def delay(self) -> float:
        """How long the oldest item has waited, in seconds; 0.0 without `target_delay`, which measures it."""

@overload
def amap(
    func: Callable[[_T], Awaitable[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    /,
    *,
    limit: _Limit,
    ordered: bool = True,
    buffersize: int | None = None,
    timeout: float | None = None,
    return_exceptions: Literal[False] = False,
) -> AsyncMap[_T, _R]:
    """Call a function with each item of a source, at most `limit` at a time.

    The workers share the source, and take the next item only when they can begin with it, so that memory does not
    grow with the number of items. There is no task for each item: inside of the function,
    `asyncio.current_task()` is the worker, which lives on after the item. But each item has a context of its own,
    as a task would: a copy of the caller's, and of what the source has set there.

    The first error cancels the items that run, and leaves when they have ended, in a group with what they raised
    meanwhile. If the caller is cancelled, so are they, and they are waited for. An item that ends cancelled though
    nobody has asked for it, ends the map with CancelledError, as it does a gather().

    The limit may also be a `Limiter`, or a sequence of them. Then an item begins when it has a permit of each; they
    are asked in their order, for one item at a time, which is the only one that was taken and has not begun. The
    permits go back in reverse when the item has ended, with its outcome. If a limiter refuses an item, that fails
    with `Overloaded`. There are at most as many workers as the limiters lend permits at the moment, and 10 000.

    Args:
        func: Called with one item; what it returns is awaited.
        items: The source, which may be endless. It is asked for one item at a time. An asynchronous one that has
            more items is closed at the end (`aclose()`).
        limit: How many items run at once, or the limiters that say so.
        ordered: Results come in the order of the items; else in the order in which they are there.
        buffersize: In an `async with` block: how many results may wait to be taken, beyond one that each worker
            holds; by default as many as there may be workers. A worker that finds no room takes no item.
        timeout: In seconds, for each item; the item then fails with TimeoutError. By default for ever.
        return_exceptions: Put errors among the results, and go on. CancelledError, KeyboardInterrupt and SystemExit
            still end the map, and so do errors of the source.

    Returns:
        An object to be awaited, entered, or drained.

    Raises:
        TypeError: `func` is no function, `items` cannot be iterated, or `limit` is no int and no limiter.
        ValueError: `limit` is below 1, an empty sequence, or has a limiter twice.

    Example:
        async def fetch(number):
            await tonnage.sleep(0.01)
            return 2 * number

        assert await tonnage.amap(fetch, range(100), limit=20) == [2 * number for number in range(100)]
    """

@overload
def amap(
    func: Callable[[_T], Awaitable[_R]],
    items: Iterable[_T] | AsyncIterable[_T],
    /,
    *,
    limit: _Limit,
    ordered: bool = True,
    buffersize: int | None = None,
    timeout: float | None = None,
    return_exceptions: bool,
) -> AsyncMap[_T, _R | BaseException]: ...

@disjoint_base
class Budget:
    """Allow retries and hedges as a share of the requests.

    Without it, retries multiply the load of what is overloaded already. Each request deposits, each retry or hedge
    asks first. Within the window there are at most `ratio` of them for each request, and `min_per_second` beside
    them, so that a program that has just begun may retry too. One budget is shared by all requests to one place.

    Args:
        ratio: How many retries each request pays for.
        min_per_second: How many there may be in each second of the window without any request.
        window: In seconds. It slides by a tenth of it.

    Raises:
        ValueError: A number is negative or not finite, or the window is 0.

    Example:
        budget = tonnage.Budget(0.2, min_per_second=0)
        for _ in range(5):
            budget.deposit()
        assert budget.withdraw()
        assert not budget.withdraw()
    """

    def __init__(self, ratio: float = 0.2, *, min_per_second: float = 10.0, window: float = 10.0) -> None: ...
    def deposit(self) -> None:
        """Count a request."""

    def withdraw(self) -> bool:
        """Return True if there may be one more retry, and count it."""

@final
class LimiterStats:
    """What `Limiter.stats()` returns.

    It is one moment of a limiter, and does not change when the limiter does. The counters only grow, so that two of
    them can be subtracted.

    Example:
        limiter = tonnage.CapacityLimiter(20)
        async with limiter:
            print(limiter.stats().in_use, limiter.stats().limit)
    """

    @property
    def limit(self) -> float:
        """The tokens that may be in use at once; for a rate, its burst."""

    @property
    def in_use(self) -> int:
        """The tokens that are in use; for a rate, those of its burst that are used up."""

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""

    @property
    def admitted(self) -> int:
        """How many requests were served."""

    @property
    def refused(self) -> Mapping[Literal["full", "delay", "deadline", "closed"], int]:
        """How many requests were refused, by reason."""

    @property
    def wait_seconds(self) -> tuple[tuple[float, int], ...]:
        """How many of those who were served have waited for how long: upper bounds in seconds, and counts.

        Each count is of the waits above the bound before and up to its own. The first bound is 0, for those who did
        not wait; the last is infinity.
        """

    @property
    def borrowers(self) -> tuple[object, ...]:
        """Who holds tokens, the longest first."""

@final
class Permit:
    """What was acquired from a limiter, until it is released.

    It is a context manager, which releases it. That of an `async with` block is released at the end of the block. A
    permit that is dropped unreleased gives its tokens back, with a ResourceWarning. One of a `CapacityLimiter` does so
    when the task that has acquired it ends, since until then the limiter's own `release()` may be meant to do it. A
    permit of a `RateLimiter` holds nothing, and need not be released.

    Example:
        limiter = tonnage.CapacityLimiter(20)
        permit = await limiter.acquire(5)
        with permit:
            await tonnage.sleep(0.01)
    """

    def release(self, outcome: Literal["ok", "dropped", "ignore"] = "ok") -> None:
        """Give the tokens back, and say how it went.

        Any task may do so, from any thread. A block says it by itself: `"ok"`, or `"dropped"` if a TimeoutError, a
        ConnectionError or Overloaded leaves it, or else `"ignore"`.

        Args:
            outcome: What limiters that adapt learn: what was used has answered (`"ok"`), it is overloaded or gone
                (`"dropped"`), or it is not to be blamed (`"ignore"`).

        Raises:
            RuntimeError: It was released before.
            ValueError: There is no such outcome.
        """

    def __enter__(self) -> Permit: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

class Limiter:
    """What all limiters have; CapacityLimiter and RateLimiter are such.

    Who comes when tokens are short waits in a line. A higher `priority` is served first; within a priority the keys
    are served in turn, and the requests of one key first come, first served. Nobody overtakes: who is first and wants
    many tokens makes all behind him wait, and is not starved by those who want few. The tokens are handed over at the
    moment that they are there; a wait that is cancelled leaves nothing, and passes on what it was given.

    The line can be bounded: `max_waiting` refuses who would be one too many, `max_wait` who waits too long. Who is
    refused gets `Overloaded`, with the reason.

    A limiter works on any loop, and belongs to the first on which somebody waits, as long as anybody does. Making one
    needs no loop. Permits may be released from any thread.

    As a decorator of an async function, it acquires one token for each call. Its block and its decorator cannot be
    overridden by a subclass's `acquire()`.

    A limiter may also be the `limit=` of a `TaskGroup`, of `gather`, `amap` and `Workers`, alone or with others.
    """

    def __call__(self, func: Callable[_P, Awaitable[_T]], /) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    async def __aenter__(self) -> Permit: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    @property
    def name(self) -> str:
        """What it is called in errors and statistics."""

    async def acquire(self, tokens: int = 1, *, key: Hashable = None, priority: int = 0) -> Permit:
        """Wait until the tokens are there, take them, and return a Permit.

        Tokens that are there are taken without a switch to another task. If the wait is cancelled, nothing is taken.

        Args:
            tokens: How many, from 1.
            key: Who they are for: keys are served in turn. None is a key of its own, without a cap.
            priority: Higher ones are served first.

        Raises:
            LimiterDeadlock: For a second or longer nobody was served, and all who hold tokens, in blocks or for
                `release()`, wait for nothing but tasks that wait for this limiter: by `await`, at the end of a group
                or in `gather()`, and under no deadline. Only tasks of tonnage are looked at, on its loop.
            Overloaded: As many wait as may (`"full"`), or the wait was or would be too long (`"delay"`,
                `"deadline"`), or the limiter is closed (`"closed"`).
            RuntimeError: Tasks of another loop wait.
            ValueError: There can never be as many tokens.
        """

    def acquire_nowait(self, tokens: int = 1, *, key: Hashable = None, priority: int = 0) -> Permit:
        """Take the tokens and return a Permit, or raise Overloaded if that means waiting.

        Args:
            tokens: How many, from 1.
            key: Who they are for.
            priority: Those who wait with a lower one may be overtaken.

        Raises:
            Overloaded: It would have to wait (`"full"`), or the limiter is closed (`"closed"`). A `RateLimiter` says
                after how long it need not wait, if nobody else comes: `retry_after`.
            ValueError: There can never be as many tokens.
        """

    def close(self) -> None:
        """Refuse all who wait, and all who come from now on.

        They get `Overloaded` with the reason `"closed"`. What is held may be released as ever.
        """

    def stats(self) -> LimiterStats:
        """Return what is in use and who waits, and the counters.

        They are those of one moment.
        """

class CapacityLimiter(Limiter):
    """Lend a number of tokens, and let others wait for them.

    A drop-in for the class of this name in trio and anyio, but that tokens can be acquired more than one at a time
    and more than once by a task, and that `acquire()` gives a `Permit`.

    Args:
        total_tokens: How many are lent at once: 1 or more, or `math.inf`.
        per_key: How many of them one key may have. A key that has them waits, and others pass it.
        max_waiting: How many requests may wait; 0: none.
        max_wait: How long one may wait, in seconds.
        target_delay: How long one is meant to wait at most, in seconds. If the least wait within 100 ms was longer,
            the line does not drain: from then on those are refused, when their turn comes, who have waited for more
            than twice as long, until the line drains again (CoDel).
        name: What it is called in errors and statistics.

    Raises:
        TypeError: A number of tokens is no int.
        ValueError: A number is too small.

    Example:
        database = tonnage.CapacityLimiter(20, max_waiting=100, name="database")
        async with database:
            await tonnage.sleep(0.01)
    """

    # Can be set while it is in use: raising it lets waiters in, lowering it takes nothing back.
    total_tokens: float
    def __init__(
        self,
        total_tokens: float,
        *,
        per_key: int | None = None,
        max_waiting: int | None = None,
        max_wait: float | None = None,
        target_delay: float | None = None,
        name: str | None = None,
    ) -> None: ...
    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are lent."""

    @property
    def available_tokens(self) -> float:
        """How many tokens can be lent.

        Less than 0, if more are lent than a total that was lowered.
        """

    async def acquire_on_behalf_of(self, borrower: object, /) -> None:
        """Wait until a token is there, and lend it to any object, which can hold one.

        Raises:
            Overloaded: As `acquire()` does.
            RuntimeError: The borrower holds a token, or waits for one.
        """

    def acquire_on_behalf_of_nowait(self, borrower: object, /) -> None:
        """Lend a token to any object, or raise Overloaded if that means waiting.

        Raises:
            Overloaded: As `acquire_nowait()` does.
            RuntimeError: The borrower holds a token, or waits for one.
        """

    def release(self) -> None:
        """Release what the current task has acquired last.

        Raises:
            RuntimeError: The task holds nothing.
        """

    def release_on_behalf_of(self, borrower: object, /) -> None:
        """Take back the token that was lent to the borrower.

        Raises:
            RuntimeError: The borrower holds nothing.
        """

class RateLimiter(Limiter):
    """Let `rate` tokens pass in `per` seconds, and let others wait for the next.

    In any time t, at most `burst + rate / per * t` tokens pass (GCRA). Who waits is woken when his token is due.
    Nothing is released: a block holds nothing.

    Args:
        rate: How many tokens, above 0.
        per: In how many seconds, above 0.
        burst: How many may pass at once after a pause. As a rule as many as come in a second, and at least 1; with 1
            they are spread evenly.
        max_waiting: How many requests may wait; 0: none.
        max_wait: How long one may wait, in seconds. As the wait is known, who would wait longer is refused at once.
        name: What it is called in errors and statistics.

    Raises:
        ValueError: A number is too small.

    Example:
        api = tonnage.RateLimiter(100, per=60, max_wait=5, name="api")
        async with api:
            print("at most 100 a minute, spread evenly")
    """

    def __init__(
        self,
        rate: float,
        per: float = 1.0,
        *,
        burst: int | None = None,
        max_waiting: int | None = None,
        max_wait: float | None = None,
        name: str | None = None,
    ) -> None: ...
    @property
    def rate(self) -> float:
        """How many tokens pass in `per` seconds."""

    @property
    def per(self) -> float:
        """The seconds that `rate` is counted in."""

    @property
    def burst(self) -> int:
        """How many tokens may pass at once."""

# What as_completed() returns: both kinds of iterators.
@type_check_only
class _AsCompletedIterator(
    Iterator[Coroutine[Any, Any, _T]], AsyncIterator[asyncio.Future[_T]], Protocol[_T]
): ...

def as_completed(fs: Iterable[_FutureLike[_T]], *, timeout: float | None = None) -> _AsCompletedIterator[_T]:
    """Iterate over awaitables in the order in which they end.

    Coroutines become tasks. `async for` gives the futures and tasks themselves, each when it is done. A plain
    `for` gives coroutines: awaiting one waits for the next to end, and gives its result or raises its error.
    What has not ended when the iteration is left goes on.

    Args:
        fs: The awaitables.
        timeout: In seconds, for all of them together; by default for ever.

    Raises:
        TimeoutError: From the step that waits, if not all have ended in time. Nothing is cancelled.
        TypeError: `fs` is a single awaitable.

    Example:
        naps = [tonnage.sleep(0.2, "slow"), tonnage.sleep(0.1, "fast")]
        async for nap in tonnage.as_completed(naps):
            print(await nap)
    """

def create_task(
    coro: _Coro[_T],
    *,
    name: str | None = None,
    context: Context | None = None,
    eager_start: bool | None = None,
    **kwargs: Any,
) -> Task[_T]:
    """Schedule a coroutine as a task of the running loop.

    Nobody waits for it: a TaskGroup makes tasks that have an owner.

    Args:
        coro: The coroutine.
        name: The task's name; by default `Task-` and a number.
        context: Where to run it; by default a copy of the current context.
        eager_start: Run the first step at once.
        kwargs: For the loop's task factory.

    Raises:
        RuntimeError: No loop is running.

    Example:
        task = tonnage.create_task(tonnage.sleep(0.1, "done"), name="nap")
        print(await task)
    """

def current_effective_deadline() -> float:
    """Return by when what the current task does must end, in the loop's time; infinity is never.

    It is the nearest deadline of the `timeout()` and `move_on_after()` blocks (and their `_at` twins) that the
    task is inside of, of a `wait_for()` that runs its coroutine, and of what the task inherited: the children
    of a `TaskGroup`, of `gather()` and of `as_completed()` are under the deadline that the task which started
    them was under at that moment. A task that is made by `create_task()` alone has no owner, and inherits
    nothing; neither does a task on asyncio's own loop. A deadline that has passed stays what it is, and what is
    outside of a `shield_scope()` counts from the end of that scope on.

    Returns:
        Seconds of the loop's clock, as `loop.time()` returns them.

    Raises:
        RuntimeError: No loop is running.

    Example:
        async with tonnage.timeout(10):
            left = tonnage.current_effective_deadline() - tonnage.get_running_loop().time()
            print(f"{left:.0f} seconds left")
    """

@overload
def ensure_future(coro_or_future: _FT, *, loop: asyncio.AbstractEventLoop | None = None) -> _FT:  # type: ignore[overload-overlap]
    """Wrap a coroutine or an awaitable in a future.

    A future is returned as it is; anything else becomes a task.

    Args:
        coro_or_future: What to wait for.
        loop: Where to run the task; by default the running loop.

    Raises:
        TypeError: It cannot be awaited.
        ValueError: It is a future of a loop other than `loop`.

    Example:
        print(await tonnage.ensure_future(tonnage.sleep(0.1, "done")))
    """

@overload
def ensure_future(
    coro_or_future: Awaitable[_T], *, loop: asyncio.AbstractEventLoop | None = None
) -> Task[_T]: ...

# The overloads overlap as typeshed's do, to infer as much.
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1]]:
    """Run awaitables at once, and collect their results.

    The results are in the order of the awaitables. Coroutines become tasks. The first error leaves at once,
    and the others go on; a TaskGroup cancels them. If the gathering is cancelled, all that have not ended
    are. One that is cancelled by itself counts as one that raised CancelledError.

    With a limit, a coroutine becomes a task only when there is a slot for it, in their order. After the first
    error, or a cancellation, those that have not begun are closed and never run. Futures and tasks run already:
    they are not counted.

    The limit may also be a `Limiter`, or a sequence of them. Then a coroutine begins when it has a permit of each;
    they are asked in their order, for one coroutine at a time, and have their permits back in reverse when it has
    ended, with its outcome. If a limiter refuses a coroutine, that is closed, and `Overloaded` is its outcome.

    Args:
        coros_or_futures: The awaitables. The same one may be there twice.
        return_exceptions: Put errors among the results, and raise none.
        limit: How many of the coroutines may run at once, or the limiters that say so; None is no limit.

    Returns:
        A future whose result is the list of the results, typed as a tuple where their number is known.

    Raises:
        TypeError: One of them cannot be awaited, or `limit` is no int and no limiter.
        ValueError: They are futures of different loops, or `limit` is less than 1, an empty sequence, or has a
            limiter twice.

    Example:
        print(await tonnage.gather(tonnage.sleep(0.2, "first"), tonnage.sleep(0.1, "second")))
    """

@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1, _T2]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1, _T2, _T3]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1, _T2, _T3, _T4]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1, _T2, _T3, _T4, _T5]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    coro_or_future6: _FutureLike[_T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1, _T2, _T3, _T4, _T5, _T6]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    *coros_or_futures: _FutureLike[_T], return_exceptions: Literal[False] = False, limit: _Limit | None = None
) -> asyncio.Future[list[_T]]: ...
@overload
def gather(  # pyright: ignore[reportOverlappingOverload]
    coro_or_future1: _FutureLike[_T1], /, *, return_exceptions: bool, limit: _Limit | None = None
) -> asyncio.Future[tuple[_T1 | BaseException]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    /,
    *,
    return_exceptions: bool,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1 | BaseException, _T2 | BaseException]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    /,
    *,
    return_exceptions: bool,
    limit: _Limit | None = None,
) -> asyncio.Future[tuple[_T1 | BaseException, _T2 | BaseException, _T3 | BaseException]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    /,
    *,
    return_exceptions: bool,
    limit: _Limit | None = None,
) -> asyncio.Future[
    tuple[_T1 | BaseException, _T2 | BaseException, _T3 | BaseException, _T4 | BaseException]
]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    /,
    *,
    return_exceptions: bool,
    limit: _Limit | None = None,
) -> asyncio.Future[
    tuple[
        _T1 | BaseException,
        _T2 | BaseException,
        _T3 | BaseException,
        _T4 | BaseException,
        _T5 | BaseException,
    ]
]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    coro_or_future6: _FutureLike[_T6],
    /,
    *,
    return_exceptions: bool,
    limit: _Limit | None = None,
) -> asyncio.Future[
    tuple[
        _T1 | BaseException,
        _T2 | BaseException,
        _T3 | BaseException,
        _T4 | BaseException,
        _T5 | BaseException,
        _T6 | BaseException,
    ]
]: ...
@overload
def gather(
    *coros_or_futures: _FutureLike[_T], return_exceptions: bool, limit: _Limit | None = None
) -> asyncio.Future[list[_T | BaseException]]: ...
def move_on_after(delay: float | None) -> MoveOn:
    """Cancel the block after `delay` seconds, and go on after it; None is never.

    When the time is over, the task is cancelled where it waits in the block, and goes on after the block.
    `cancelled_caught` then says so.

    Args:
        delay: In seconds; None is no limit, until `reschedule()` sets one.

    Raises:
        RuntimeError: No loop is running; on entering, that no task is running.

    Example:
        answer = "none"
        async with tonnage.move_on_after(0.1):
            answer = await tonnage.sleep(3600, "late")
        print(answer)
    """

def move_on_at(when: float | None) -> MoveOn:
    """Cancel the block at the loop's time `when`, and go on after it; None is never.

    It is `move_on_after()` with a time of the loop's clock.

    Args:
        when: In seconds of the loop's clock; None is no limit.

    Raises:
        RuntimeError: On entering, that no task is running.

    Example:
        deadline = tonnage.get_running_loop().time() + 0.1
        for name in ["first", "second"]:
            async with tonnage.move_on_at(deadline) as attempt:
                await tonnage.sleep(0.06)
            print(name, "late" if attempt.cancelled_caught else "in time")
    """

async def race(
    *funcs: Callable[[], Awaitable[_T]], stagger: float | None = None, budget: Budget | None = None
) -> _T:
    """Call functions for one result: the first to succeed wins, the others are cancelled.

    They are waited for too, so nothing of them runs when it returns. Of those that succeed in the same turn of the
    loop, the first wins. A failure counts only if all have failed. What a loser raises because it is cancelled goes
    to the loop's exception handler. If the caller is cancelled, all are cancelled, and waited for.

    Args:
        funcs: Each is called without arguments; what it returns runs in a task.
        stagger: In seconds: each starts so much later than the one before, or as soon as one has failed. By
            default all start at once.
        budget: The first deposits there, and each further one starts only if it allows it. Once it refuses, no more
            are started.

    Returns:
        The result of the winner.

    Raises:
        Exception: All have failed: the error, or an ExceptionGroup if there are several, in the order of the
            functions. A note says how many the budget has refused.
        ValueError: There are no functions, or `stagger` is negative.

    Example:
        async def ask(mirror, delay):
            await tonnage.sleep(delay)
            return mirror

        print(await tonnage.race(lambda: ask("far", 3), lambda: ask("near", 0.1), stagger=0.05))
    """

def shield(arg: _FutureLike[_T]) -> asyncio.Future[_T]:
    """Wait for a future, shielding it from cancellation.

    If the wait is cancelled, it raises CancelledError, and the awaitable goes on. The loop keeps a task alive
    that nobody else holds. An error that comes when nobody waits any more goes to the loop's exception
    handler.

    Args:
        arg: A future, or a coroutine, which becomes a task.

    Returns:
        A future with the result or the error of `arg`; `arg` itself if it is a future that is done.

    Raises:
        TypeError: `arg` cannot be awaited.

    Example:
        saving = tonnage.create_task(tonnage.sleep(0.2, "saved"))
        try:
            await tonnage.wait_for(tonnage.shield(saving), 0.1)
        except TimeoutError:
            print(await saving)
    """

@overload
async def sleep(delay: float) -> None:
    """Let others run for `delay` seconds, then return `result`.

    0 or less lets other tasks run for one turn of the loop. If the wait is cancelled, its timer is gone at
    once.

    Args:
        delay: In seconds.
        result: What to return; by default None.

    Raises:
        ValueError: The delay is not a number (nan).

    Example:
        print(await tonnage.sleep(0.1, "rested"))
    """

@overload
async def sleep(delay: float, result: _T) -> _T: ...
def timeout(delay: float | None) -> Timeout:
    """Cancel the block after `delay` seconds, and raise TimeoutError; None is never.

    When the time is over, the task is cancelled where it waits in the block, and the exit raises
    TimeoutError.

    Args:
        delay: In seconds; None is no limit, until `reschedule()` sets one.

    Raises:
        RuntimeError: No loop is running; on entering, that no task is running.

    Example:
        try:
            async with tonnage.timeout(0.1):
                await tonnage.sleep(3600)
        except TimeoutError:
            print("too slow")
    """

def timeout_at(when: float | None) -> Timeout:
    """Cancel the block at the loop's time `when`, and raise TimeoutError; None is never.

    It is `timeout()` with a time of the loop's clock.

    Args:
        when: In seconds of the loop's clock; None is no limit.

    Raises:
        RuntimeError: On entering, that no task is running.

    Example:
        deadline = tonnage.get_running_loop().time() + 0.1
        try:
            async with tonnage.timeout_at(deadline):
                await tonnage.sleep(3600)
        except TimeoutError:
            print("too slow")
    """

async def wait(
    fs: Iterable[_FT], *, timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> tuple[set[_FT], set[_FT]]:
    """Wait for some or all of several futures.

    It tells which are done and which are pending. It raises none of their errors, and cancels nothing:
    neither after the timeout, nor if the wait itself is cancelled.

    Args:
        fs: Tasks and futures.
        timeout: In seconds; by default for ever.
        return_when: `ALL_COMPLETED`, `FIRST_COMPLETED` or `FIRST_EXCEPTION`.

    Returns:
        Those that are done, and those that are pending.

    Raises:
        TypeError: `fs` is a single future, or has a coroutine in it.
        ValueError: `fs` is empty, or `return_when` is none of these.

    Example:
        naps = [tonnage.create_task(tonnage.sleep(0.1)), tonnage.create_task(tonnage.sleep(0.2))]
        done, pending = await tonnage.wait(naps, return_when=tonnage.FIRST_COMPLETED)
        print(len(done), len(pending))
    """

async def wait_for(fut: _FutureLike[_T], timeout: float | None) -> _T:
    """Wait for an awaitable, at most `timeout` seconds; None is for ever.

    A coroutine runs in the calling task. When the time is over, the awaitable is cancelled and waited for; if
    it returns a value all the same, that is the result. If the wait is cancelled, so is the awaitable;
    `shield()` keeps it from that.

    Args:
        fut: A future or a coroutine.
        timeout: In seconds; None is no limit, and with 0 or less only what is done already is returned.

    Raises:
        TimeoutError: The time is over.

    Example:
        print(await tonnage.wait_for(tonnage.sleep(0.1, "in time"), timeout=10))
    """

def future_add_to_awaited_by(fut: object, waiter: object, /) -> None:
    """`asyncio.future_add_to_awaited_by(fut, waiter)`, for futures of ours too."""

def future_discard_from_awaited_by(fut: object, waiter: object, /) -> None:
    """`asyncio.future_discard_from_awaited_by(fut, waiter)`, for futures of ours too."""

def _live_objects() -> dict[str, int]:
    """Return how many objects of each class are alive; an empty dict in release builds."""
