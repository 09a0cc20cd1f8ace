//! The objects of the standard library that another version of CPython has elsewhere.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::names::imported;

imported! {
    /// The dictionary from loop to running task.
    #[cfg(not(Py_3_14))]
    current_tasks = "_asyncio", "_current_tasks";
    #[cfg(Py_3_14)]
    swap_current_task = "_asyncio", "_swap_current_task";
    #[cfg(Py_3_14)]
    current_task = "_asyncio", "current_task";
    #[cfg(Py_3_14)]
    declare_awaited_by = "_asyncio", "future_add_to_awaited_by";
    #[cfg(Py_3_14)]
    withdraw_awaited_by = "_asyncio", "future_discard_from_awaited_by";
    #[cfg(Py_3_14)]
    thread_safe_handle = "asyncio.events", "_ThreadSafeHandle";
    #[cfg(not(Py_3_14))]
    thread_safe_handle = "asyncio", "Handle";
    #[cfg(Py_3_13)]
    queue_shut_down = "asyncio.queues", "QueueShutDown";
    #[cfg(not(Py_3_13))]
    queue_shut_down = "tonnage.errors", "QueueShutDown";
    #[cfg(Py_3_11)]
    base_exception_group = "builtins", "BaseExceptionGroup";
    #[cfg(not(Py_3_11))]
    base_exception_group = "exceptiongroup", "BaseExceptionGroup";
    #[cfg(Py_3_11)]
    exception_group = "builtins", "ExceptionGroup";
    #[cfg(not(Py_3_11))]
    exception_group = "exceptiongroup", "ExceptionGroup";
    #[cfg(Py_3_11)]
    asyncio_task_group = "asyncio.taskgroups", "TaskGroup";
    #[cfg(not(Py_3_11))]
    asyncio_task_group = "tonnage._tonnage", "TaskGroup";
    #[cfg(Py_3_11)]
    asyncio_timeout = "asyncio.timeouts", "Timeout";
    #[cfg(not(Py_3_11))]
    asyncio_timeout = "tonnage._tonnage", "Timeout";
    #[cfg(Py_3_11)]
    asyncio_barrier = "asyncio.locks", "Barrier";
    #[cfg(not(Py_3_11))]
    asyncio_barrier = "tonnage._tonnage", "Barrier";
    /// Also knows functions that asyncio has marked: those of `@asyncio.coroutine` on 3.10, and mocks.
    #[cfg(not(Py_3_14))]
    is_coroutine_function = "asyncio.coroutines", "iscoroutinefunction";
    #[cfg(Py_3_14)]
    is_coroutine_function = "asyncio.coroutines", "_iscoroutinefunction";
}

/// Do asyncio's futures know who awaits them?
pub(crate) const HAS_CALL_GRAPH: bool = cfg!(Py_3_14);

/// `_asyncio.future_add_to_awaited_by`, from 3.14 on.
#[allow(clippy::unnecessary_wraps, reason = "older versions have no such function")]
pub(crate) fn add_to_awaited_by(_py: Python<'_>) -> PyResult<Option<&Bound<'_, PyAny>>> {
    #[cfg(Py_3_14)]
    return declare_awaited_by(_py).map(Some);
    #[cfg(not(Py_3_14))]
    Ok(None)
}

/// `_asyncio.future_discard_from_awaited_by`, from 3.14 on.
#[allow(clippy::unnecessary_wraps, reason = "older versions have no such function")]
pub(crate) fn discard_from_awaited_by(_py: Python<'_>) -> PyResult<Option<&Bound<'_, PyAny>>> {
    #[cfg(Py_3_14)]
    return withdraw_awaited_by(_py).map(Some);
    #[cfg(not(Py_3_14))]
    Ok(None)
}
