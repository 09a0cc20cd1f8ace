//! Putting and getting without a wait, as most do: by a queue of no subclass whose items are in a deque.
//!
//! It does what the long way does in `put` and `get`, and enters the state once or twice. Nothing is done where
//! a method of a subclass has a word, or somebody must wait, or the queue is to refuse or to drop.

use pyo3::prelude::*;

use super::class::{Queue, State};
use super::lines::{self, Side, serve_after_error};
use super::storage;
use crate::cpython::{Deque, Deques, Native, Object};

/// The items, if the queue is as plain as most.
#[inline(always)]
fn items<'a, 'py>(py: Python<'py>, state: &'a State, deques: &'a Deques) -> Option<Deque<'a, 'py>> {
    if state.is_plain { deques.exact(state.storage.as_ref()?.bind(py)) } else { None }
}

/// Stores the item if there is room for it; false: it is to go the long way.
#[inline(always)]
pub(super) fn put<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<bool> {
    let py = queue.py();
    let deques = storage::deques(py)?;
    let found = queue.value().state.with(py, |state| {
        // The capacity of a queue without a bound is more than can be stored.
        let has_room = items(py, state, deques)?.len() + state.putters.promised < state.capacity;
        let stores = has_room && state.overflow.waits() && !state.is_shutdown;
        state.storage.as_ref().filter(|_| stores).map(|storage| storage.get_bound(py))
    });
    let Some(storage) = found else { return Ok(false) };
    // Python code may run in here, if it is a deque that drops what is too much.
    let Some(items) = deques.exact(&storage) else { return Ok(false) };
    if let Err(error) = items.append(item) {
        return Err(serve_after(queue, error));
    }
    let size = items.len();
    let nobody_waits = queue.value().state.with(py, |state| {
        state.unfinished += 1;
        state.counted.peak = state.counted.peak.max(size);
        state.getters.waiters.is_empty()
    });
    if !nobody_waits {
        lines::serve(queue, Side::Getters)?;
    }
    Ok(true)
}

#[cold]
fn serve_after(queue: &Bound<'_, Queue>, error: PyErr) -> PyErr {
    serve_after_error(queue, Side::Putters);
    serve_after_error(queue, Side::Getters);
    error
}

/// Takes the next item that is not promised; nothing: the long way is to be gone.
#[inline(always)]
pub(super) fn get<'py>(queue: &Bound<'py, Queue>) -> PyResult<Option<Object<'py>>> {
    let py = queue.py();
    let deques = storage::deques(py)?;
    let taken = queue.value().state.with(py, |state| {
        let items = items(py, state, deques)?;
        if items.len() <= state.getters.promised {
            return None;
        }
        // Runs no Python code, as there is an item.
        Some((items.popleft(), state.putters.waiters.is_empty()))
    });
    let Some((item, nobody_waits)) = taken else { return Ok(None) };
    let item = item?;
    if !nobody_waits {
        lines::serve(queue, Side::Putters)?;
    }
    Ok(Some(item))
}
