//! Names of attributes and imported objects of the standard library, each listed once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

macro_rules! attribute_names {
    ($($name:ident),* $(,)?) => {
        $(
            #[inline]
            pub(crate) fn $name(py: Python<'_>) -> &Bound<'_, PyString> {
                pyo3::intern!(py, stringify!($name))
            }
        )*
    };
}

attribute_names!(
    __asyncio_running_event_loop__,
    _asyncio_future_blocking,
    _cancel_message,
    _log_destroy_pending,
    _must_cancel,
    _loop,
    _make_cancelled_error,
    _source_traceback,
    __class__,
    __self__,
    __traceback__,
    __cause__,
    __context__,
    __notes__,
    __aiter__,
    __anext__,
    __iter__,
    __getitem__,
    _on_timeout,
    _asyncgens,
    exception,
    exceptions,
    cancelling,
    uncancel,
    _init,
    _put,
    _get,
    _qsize,
    _format,
    qsize,
    empty,
    full,
    put_nowait,
    get_nowait,
    task_done,
    append,
    popleft,
    pop,
    clear,
    time,
    add_done_callback,
    remove_done_callback,
    call_exception_handler,
    call_at,
    call_later,
    call_soon,
    cancel,
    cancelled,
    close,
    context,
    current_task,
    eager_start,
    get_debug,
    get_loop,
    get_name,
    get_task_factory,
    is_running,
    is_closed,
    msg,
    name,
    daemon,
    task_status,
    result,
    set_name,
    slow_callback_duration,
    throw,
    value,
    data_received,
    eof_received,
    connection_lost,
    connection_made,
    pause_writing,
    resume_writing,
    get_buffer,
    buffer_updated,
    datagram_received,
    error_received,
    recvfrom,
    sendto,
    family,
    dropped,
    fileno,
    errno,
    recv,
    recv_into,
    send,
    cast,
    _check_socket,
    _ensure_fd_no_transport,
    _transports,
    data,
    set_result,
    getsockname,
    getpeername,
    shutdown,
    _accept,
    _attach,
    _connection_ended,
    _failed,
    _set_up,
    protocol_factory,
    server,
    sock,
    _detach,
    warning,
    debug,
    info,
    done,
    set_exception,
    create_future,
    create_task,
    __hash__,
    coro,
    socket,
    pipe,
    sockname,
    proto,
    setsockopt,
    peername,
    _call_connection_lost,
    _send_again,
    _start_again,
    _start_reading,
    aclose,
    deposit,
    withdraw,
    acquire,
    release,
    locked,
    update,
    wait,
    setdefault,
    call_soon_threadsafe,
    read,
    write,
    pending,
    join,
    wrap_bio,
    server_side,
    server_hostname,
    check_hostname,
    do_handshake,
    unwrap,
    getpeercert,
    cipher,
    compression,
    sslcontext,
    peercert,
    ssl_object,
    _sslobj,
    _force_close,
    abort,
    is_closing,
    pause_reading,
    resume_reading,
    get_extra_info,
    _do_read,
    _resume,
    _check_handshake_timeout,
    _check_shutdown_timeout,
    _on_time,
    _task_ended,
);

/// A keyword of Rust's, which the list cannot hold.
#[inline]
pub(crate) fn r#type(py: Python<'_>) -> &Bound<'_, PyString> {
    pyo3::intern!(py, "type")
}

macro_rules! imported {
    ($($(#[$meta:meta])* $name:ident = $module:literal, $attribute:literal;)*) => {
        $(
            $(#[$meta])*
            #[inline]
            pub(crate) fn $name(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
                static CELL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
                let found = CELL.get_or_try_init(py, || {
                    py.import($module)?.getattr($attribute).map(Bound::unbind)
                })?;
                Ok(found.bind(py))
            }
        )*
    };
}
pub(crate) use imported;

imported! {
    get_running_loop = "asyncio.events", "_get_running_loop";
    asyncio_tasks = "asyncio", "tasks";
    get_event_loop = "asyncio.events", "get_event_loop";
    asyncio_future = "_asyncio", "Future";
    asyncio_task = "_asyncio", "Task";
    asyncio_lock = "asyncio.locks", "Lock";
    asyncio_event = "asyncio.locks", "Event";
    asyncio_condition = "asyncio.locks", "Condition";
    asyncio_semaphore = "asyncio.locks", "Semaphore";
    asyncio_bounded_semaphore = "asyncio.locks", "BoundedSemaphore";
    asyncio_queue = "asyncio.queues", "Queue";
    asyncio_lifo_queue = "asyncio.queues", "LifoQueue";
    asyncio_priority_queue = "asyncio.queues", "PriorityQueue";
    asyncio_handle = "asyncio", "Handle";
    asyncio_timer_handle = "asyncio", "TimerHandle";
    /// A subclass of asyncio.Transport, which sendfile asks for.
    asyncio_transport = "asyncio.transports", "_FlowControlMixin";
    /// A subclass of both of asyncio's classes there.
    datagram_class = "tonnage.datagram", "DatagramClass";
    python_socket = "_socket", "socket";
    asyncio_tls_transport = "asyncio.sslproto", "_SSLProtocolTransport";
    asyncio_read_transport = "asyncio.transports", "ReadTransport";
    transport_socket = "asyncio.trsock", "TransportSocket";
    buffered_protocol = "asyncio.protocols", "BufferedProtocol";
    set_result_unless_cancelled = "asyncio.futures", "_set_result_unless_cancelled";
    release_waiter = "asyncio.tasks", "_release_waiter";
    sendfile_mode = "asyncio.constants", "_SendfileMode";
    shut_wr = "socket", "SHUT_WR";
    ssl_object_class = "ssl", "SSLObject";
    memory_bio = "ssl", "MemoryBIO";
    environ = "os", "environ";
    c_memory_bio = "_ssl", "MemoryBIO";
    c_ssl_file = "_ssl", "__file__";
    ssl_error = "ssl", "SSLError";
    ssl_want_read_error = "ssl", "SSLWantReadError";
    ssl_syscall_error = "ssl", "SSLSyscallError";
    certificate_error = "ssl", "CertificateError";
    socket_class = "socket", "socket";
    warn = "warnings", "warn";
    /// A coroutine of the interpreter's own kind, which debuggers look into.
    wrap_awaitable = "tonnage.awaitable", "wrap_awaitable";
    is_suspended = "tonnage.suspended", "is_suspended";
    round = "builtins", "round";
    /// Both of 3.10's classes there.
    timeout_error = "tonnage.errors", "TimeoutError";
    exc_info = "sys", "exc_info";
    broken_barrier_error = "tonnage.errors", "BrokenBarrierError";
    overloaded = "tonnage.errors", "Overloaded";
    limiter_deadlock = "tonnage.errors", "LimiterDeadlock";
    warn_of_tasks = "tonnage.policy", "warn_of_tasks";
    limited = "tonnage.limited", "limited";
    asyncio_timeout_error = "asyncio.exceptions", "TimeoutError";
    mapping_proxy = "types", "MappingProxyType";
    dict = "builtins", "dict";
    cancelled_error = "asyncio.exceptions", "CancelledError";
    invalid_state_error = "asyncio.exceptions", "InvalidStateError";
    queue_empty = "asyncio.queues", "QueueEmpty";
    queue_full = "asyncio.queues", "QueueFull";
    deque = "collections", "deque";
    heappush = "heapq", "heappush";
    heappop = "heapq", "heappop";
    extract_stack = "asyncio.format_helpers", "extract_stack";
    format_callback_source = "asyncio.format_helpers", "_format_callback_source";
    future_repr_info = "asyncio.base_futures", "_future_repr_info";
    format_coroutine = "asyncio.coroutines", "_format_coroutine";
    task_get_stack = "asyncio.base_tasks", "_task_get_stack";
    task_print_stack = "asyncio.base_tasks", "_task_print_stack";
    is_coroutine = "asyncio.coroutines", "iscoroutine";
    is_awaitable = "inspect", "isawaitable";
    signature = "inspect", "signature";
    register_task = "asyncio.tasks", "_register_task";
    asyncio_logger = "asyncio.log", "logger";
}

/// asyncio's logger as its loop sees it at this moment: a test may have put its own there.
pub(crate) fn loop_logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("asyncio.base_events")?.getattr("logger")
}

/// What `ssl=True` calls, as `ssl` has it at this moment: a program may have put its own there.
pub(crate) fn create_default_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("ssl")?.getattr("create_default_context")
}

/// Looks asyncio's classes up while they are asyncio's, and what a lost task or transport needs to say so when
/// the interpreter ends and nothing can be imported any more.
pub(crate) fn keep_asyncio_classes(py: Python<'_>) -> PyResult<()> {
    let of_loops = [
        asyncio_future,
        asyncio_task,
        asyncio_handle,
        asyncio_timer_handle,
        asyncio_transport,
        asyncio_read_transport,
    ];
    let of_locks =
        [asyncio_lock, asyncio_event, asyncio_condition, asyncio_semaphore, asyncio_bounded_semaphore];
    let of_queues = [asyncio_queue, asyncio_lifo_queue, asyncio_priority_queue];
    for class in of_loops.into_iter().chain(of_locks).chain(of_queues) {
        class(py)?;
    }
    let at_the_end = [
        cancelled_error,
        invalid_state_error,
        format_callback_source,
        future_repr_info,
        format_coroutine,
        warn,
    ];
    for needed_late in at_the_end {
        needed_late(py)?;
    }
    Ok(())
}
