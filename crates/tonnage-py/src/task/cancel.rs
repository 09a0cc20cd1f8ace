//! Cancelling a task: the request, its count, and its way to what the task waits for.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Task;
use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, Owned};
use crate::future::{self, Future};
use crate::names;

/// `Task.cancel(msg)`. Same order as asyncio: CPython 3.15, Lib/asyncio/tasks.py, `Task.cancel`.
pub(crate) fn cancel(task: &Bound<'_, Task>, message: Option<Owned>) -> PyResult<bool> {
    let py = task.py();
    let pending = task.value().future.state.with(py, |state| {
        state.log_traceback = false;
        state.is_pending()
    });
    if !pending {
        return Ok(false);
    }
    let waiter = task.value().state.with(py, |state| {
        state.cancels_requested = state.cancels_requested.saturating_add(1);
        state.waiter.as_ref().map(|waiter| waiter.get_bound(py))
    });
    if let Some(waiter) = waiter
        && cancel_waiter(&waiter, message.as_ref())?
    {
        // The waiter stays: it may be a task that refuses, and then it is cancelled again.
        return Ok(true);
    }
    set_must_cancel(task, message);
    Ok(true)
}

fn set_must_cancel(task: &Bound<'_, Task>, message: Option<Owned>) {
    let py = task.py();
    task.value().state.with(py, |state| state.must_cancel = true);
    let old = task.value().future.state.with(py, |state| {
        if message.is_none() && state.rare.is_none() {
            return None;
        }
        std::mem::replace(&mut state.rare().cancel_message, message)
    });
    drop(old);
}

/// `waiter.cancel(msg=message)`.
pub(super) fn cancel_waiter(waiter: &Object<'_>, message: Option<&Owned>) -> PyResult<bool> {
    let py = waiter.py();
    let message = message.map(|message| message.share(py));
    if is_exact::<Future>(waiter) {
        return future::cancel(waiter.cast::<Future>()?, message);
    }
    if is_exact::<Task>(waiter) && !crate::cpython::native_class::has_instance_dict(waiter.cast::<Task>()?) {
        return cancel(waiter.cast::<Task>()?, message);
    }
    let kwargs = PyDict::new(py);
    kwargs.set_item(names::msg(py), message.as_deref())?;
    waiter.call_method(names::cancel(py), (), Some(&kwargs))?.is_truthy()
}

/// A cancel that was requested while the task ran meets what it now waits for.
pub(super) fn deliver(task: &Bound<'_, Task>, waiter: &Object<'_>) -> PyResult<()> {
    let py = task.py();
    if !task.value().state.with(py, |state| state.must_cancel) {
        return Ok(());
    }
    let message = task.value().future.state.with(py, |state| {
        state.rare.as_ref().and_then(|rare| rare.cancel_message.as_ref().map(|message| message.share(py)))
    });
    if cancel_waiter(waiter, message.as_ref())? {
        task.value().state.with(py, |state| state.must_cancel = false);
    }
    Ok(())
}
