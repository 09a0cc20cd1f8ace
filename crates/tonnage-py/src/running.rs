//! The running loop, and the task that runs on it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::{Object, call};
use crate::event_loop::EventLoop;
use crate::names;

/// `asyncio.get_running_loop()`.
#[inline]
pub(crate) fn event_loop(py: Python<'_>) -> PyResult<Object<'_>> {
    let found = event_loop_or_none(py)?;
    found.ok_or_else(|| PyRuntimeError::new_err("no running event loop"))
}

/// The running loop of this thread, if there is one.
#[inline]
pub(crate) fn event_loop_or_none(py: Python<'_>) -> PyResult<Option<Object<'_>>> {
    let found = call::no_args(names::get_running_loop(py)?)?;
    Ok(if found.is_none() { None } else { Some(found) })
}

/// `asyncio.current_task(event_loop)`.
#[inline]
pub(crate) fn task<'py>(event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    if let Some(native) = EventLoop::of(event_loop)
        && let Some(task) = native.running_task(event_loop.py())
    {
        return Ok(Some(task.into_any()));
    }
    let found = call::one_arg(names::current_task(event_loop.py())?, event_loop)?;
    Ok(if found.is_none() { None } else { Some(found) })
}
