//! Shutting a queue down: nothing can be put any more, and nothing got once it is empty.

use pyo3::prelude::*;

use super::class::Queue;
use super::delay::Delays;
use super::lines;
use super::overridden::Overridden;
use super::storage::{self, overrides};
use super::unfinished::finish;
use crate::cpython::{Args, Native, Object, Parameters};
use crate::{errors, names};

/// QueueShutDown.
#[cold]
pub(super) fn shut_down(py: Python<'_>) -> PyErr {
    errors::queue_shut_down(py)
}

#[inline]
pub(super) fn is_shutdown(queue: &Bound<'_, Queue>) -> bool {
    queue.value().state.with(queue.py(), |state| state.is_shutdown)
}

/// `queue.shutdown(immediate=False)`.
pub(super) fn shutdown<'py>(queue: &Bound<'py, Queue>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Queue.shutdown", names: ["immediate"], positional: 1, required: 0 };
    let py = queue.py();
    let [immediate] = args.parse(&PARAMETERS)?;
    let immediate = immediate.is_some_and(|immediate| immediate.is_truthy().unwrap_or(true));
    queue.value().state.with(py, |state| state.is_shutdown = true);
    let drained = if immediate { drain(queue) } else { Ok(()) };
    let waiters = queue.value().state.with(py, lines::drain);
    lines::wake_all(py, waiters)?;
    drained?;
    Ok(py.None().into_bound(py))
}

/// Throws all items away, promised ones too.
fn drain(queue: &Bound<'_, Queue>) -> PyResult<()> {
    let by_methods = [Overridden::GET, Overridden::EMPTY, Overridden::STORED];
    if !by_methods.into_iter().any(|method| overrides(queue, method)) {
        let storage = storage::storage(queue)?;
        let count = storage.len()?;
        storage.call_method0(names::clear(queue.py()))?;
        queue.value().state.with(queue.py(), |state| state.delays.as_mut().map(Delays::cleared));
        return finish(queue, count);
    }
    loop {
        let is_empty = if overrides(queue, Overridden::EMPTY) {
            !lines::has_item(queue)?
        } else {
            storage::len(queue)? == 0
        };
        if is_empty {
            // Wakes those who join, if nothing is left to be done.
            return finish(queue, 0);
        }
        drop(storage::get(queue, storage::overridden(queue))?);
        let unfinished = queue.value().state.with(queue.py(), |state| state.unfinished);
        if unfinished > 0 {
            finish(queue, 1)?;
        }
    }
}
