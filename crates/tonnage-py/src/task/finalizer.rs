//! What a task says when it goes while it is pending.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Task;
use crate::cpython::Native;
use crate::{future, names};

pub(super) fn report(task: &Bound<'_, Task>) {
    let py = task.py();
    let lost = is_lost(task.value(), py);
    if lost && let Err(error) = report_lost(task) {
        error.write_unraisable(py, Some(task));
    }
    future::report_unretrieved(Task::as_future(task));
}

/// Is it pending, started properly, and not told to be silent?
pub(super) fn is_lost(task: &Task, py: Python<'_>) -> bool {
    let pending = task.future.state.with(py, |state| state.is_pending() && !state.event_loop.is_none());
    pending && task.state.with(py, |state| state.log_destroy_pending && state.coro.is_some())
}

fn report_lost(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let details = PyDict::new(py);
    details.set_item("task", task)?;
    details.set_item("message", "Task was destroyed but it is pending!")?;
    future::add_source_traceback(Task::as_future(task), &details)?;
    let event_loop = task.value().future.event_loop(py)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
