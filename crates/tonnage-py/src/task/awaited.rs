//! What a task awaits that is not a future of ours, and what is said of what cannot be awaited.
//!
//! Any object with asyncio's protocol of a future may be awaited: it is told by a done callback. `step.rs` calls this
//! where a coroutine has yielded.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Task, TaskWakeup};
use crate::cpython::{Native, Object, coroutine};
use crate::names;

/// Makes the task wait for the object, which it awaits.
pub(super) fn wait_for_other<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
    value: &Object<'py>,
) -> PyResult<()> {
    let py = task.py();
    let blocking = value.getattr_opt(names::_asyncio_future_blocking(py))?;
    match blocking {
        Some(blocking) if !blocking.is_none() => wait_for_foreign(task, event_loop, value, &blocking),
        _ if coroutine::is_generator(value) => Err(PyRuntimeError::new_err(format!(
            "yield was used instead of yield from for generator in task {} with {}",
            task.repr()?,
            value.repr()?
        ))),
        _ => Err(PyRuntimeError::new_err(format!("Task got bad yield: {}", value.repr()?))),
    }
}

fn wait_for_foreign<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
    value: &Object<'py>,
    blocking: &Object<'py>,
) -> PyResult<()> {
    let py = task.py();
    let other = match value.getattr_opt(names::get_loop(py))? {
        Some(get_loop) => get_loop.call0()?,
        None => value.getattr(names::_loop(py))?,
    };
    if !other.is(event_loop) {
        return Err(other_loop(task, value)?);
    }
    if !blocking.is_truthy()? {
        return Err(not_awaited(task, value)?);
    }
    if value.is(task) {
        return Err(awaits_itself(task)?);
    }
    value.setattr(names::_asyncio_future_blocking(py), false)?;
    add_wakeup(task, value)
}

pub(super) fn add_wakeup<'py>(task: &Bound<'py, Task>, future: &Object<'py>) -> PyResult<()> {
    let py = task.py();
    let kwargs = PyDict::new(py);
    kwargs.set_item(names::context(py), task.value().context(py))?;
    let wakeup = TaskWakeup::create(task)?;
    future.call_method(names::add_done_callback(py), (wakeup,), Some(&kwargs)).map(drop)
}

pub(super) fn other_loop(task: &Bound<'_, Task>, value: &Object<'_>) -> PyResult<PyErr> {
    let text = format!("Task {} got Future {} attached to a different loop", task.repr()?, value.repr()?);
    Ok(PyRuntimeError::new_err(text))
}

pub(super) fn not_awaited(task: &Bound<'_, Task>, value: &Object<'_>) -> PyResult<PyErr> {
    let text =
        format!("yield was used instead of yield from in task {} with {}", task.repr()?, value.repr()?);
    Ok(PyRuntimeError::new_err(text))
}

pub(super) fn awaits_itself(task: &Bound<'_, Task>) -> PyResult<PyErr> {
    Ok(PyRuntimeError::new_err(format!("Task cannot await on itself: {}", task.repr()?)))
}
