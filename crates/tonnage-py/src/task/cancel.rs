//! Cancelling a task: the request, its count, and its way to what the task waits for.

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Task;
use crate::cpython::native_class::{has_instance_dict, is_exact};
use crate::cpython::{Mark, Native, Object, Owned};
use crate::future::{self, Future};
use crate::names;

/// `Task.cancel(msg)`. Same order as asyncio: CPython 3.15, Lib/asyncio/tasks.py, `Task.cancel`.
///
/// A chain of tasks that await each other may be long, so it is walked, and not descended by recursion.
pub(crate) fn cancel(task: &Bound<'_, Task>, message: Option<Owned>) -> PyResult<bool> {
    let py = task.py();
    if !request(task) {
        return Ok(false);
    }
    let mut last = task.clone();
    let mut steps: u64 = 0;
    // A task of the chain, taken anew at each power of two: meeting it again proves a cycle (Brent).
    let mut seen = task.clone();
    loop {
        let waiter =
            last.value().state.with(py, |state| state.waiter.as_ref().map(|waiter| waiter.get_bound(py)));
        let Some(waiter) = waiter else { break };
        let Some(next) = as_plain_task(&waiter) else {
            if cancel_waiter(&waiter, message.as_ref())? {
                // The waiter stays: it may be a task that refuses, and then it is cancelled again.
                return Ok(true);
            }
            break;
        };
        if next.is(&seen) {
            return Err(PyRecursionError::new_err("cannot cancel tasks that await each other in a cycle"));
        }
        if !request(next) {
            break;
        }
        last = next.clone();
        steps += 1;
        if steps.is_power_of_two() {
            seen = last.clone();
        }
    }
    set_must_cancel(&last, message);
    Ok(true)
}

/// Counts a request to cancel, unless the task is done.
fn request(task: &Bound<'_, Task>) -> bool {
    let py = task.py();
    let pending = task.value().future.state.with(py, |state| {
        state.event_loop.mark(Mark::LogTraceback, false);
        state.is_pending()
    });
    if pending {
        task.value()
            .state
            .with(py, |state| state.cancels_requested = state.cancels_requested.saturating_add(1));
    }
    pending
}

/// The task that `waiter` is, if its `cancel` can only be ours.
fn as_plain_task<'a, 'py>(waiter: &'a Object<'py>) -> Option<&'a Bound<'py, Task>> {
    if !is_exact::<Task>(waiter) {
        return None;
    }
    waiter.cast::<Task>().ok().filter(|task| !has_instance_dict(task))
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

/// `task.cancel()` of a task or future of any implementation; with a message, `cancel(msg=message)`.
pub(crate) fn cancel_any(task: &Object<'_>, message: Option<&Owned>) -> PyResult<bool> {
    if message.is_none() && as_plain_task(task).is_none() && !is_exact::<Future>(task) {
        return task.call_method0(names::cancel(task.py()))?.is_truthy();
    }
    cancel_waiter(task, message)
}

/// `waiter.cancel(msg=message)`.
pub(super) fn cancel_waiter(waiter: &Object<'_>, message: Option<&Owned>) -> PyResult<bool> {
    let py = waiter.py();
    let message = message.map(|message| message.share(py));
    if is_exact::<Future>(waiter) {
        return future::cancel(waiter.cast::<Future>()?, message);
    }
    if let Some(task) = as_plain_task(waiter) {
        return cancel(task, message);
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
