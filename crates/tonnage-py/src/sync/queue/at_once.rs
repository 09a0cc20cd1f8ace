//! Putting and getting without a wait, as most do: by a queue of no subclass whose items are in a deque.
//!
//! It does what the long way does in `put` and `get`, and enters the state once or twice. Nothing is done where
//! a method of a subclass has a word, or somebody must wait, or the queue is to refuse or to drop.

use pyo3::prelude::*;

use super::class::{Queue, State};
use super::lines::{self, Side, serve_after_error};
use super::overridden::Overridden;
use super::storage::{self, Kind};
use crate::cpython::{Deques, Native, Object, Owned};

/// The deque of the items, and how many there are.
#[inline]
fn deque<'a>(py: Python<'_>, state: &'a State, deques: &Deques) -> Option<(&'a Owned, usize)> {
    if state.overridden != Overridden::NOTHING || state.delays.is_some() {
        return None;
    }
    let deque = state.storage.as_ref()?;
    Some((deque, deques.len(py, deque)?))
}

/// Stores the item if there is room for it; false: it is to go the long way.
#[inline]
pub(super) fn put<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<bool> {
    let py = queue.py();
    let deques = storage::deques(py)?;
    if queue.value().kind != Kind::Fifo {
        return Ok(false);
    }
    let found = queue.value().state.with(py, |state| {
        let (deque, stored) = deque(py, state, deques)?;
        let has_room = state.capacity == usize::MAX || stored + state.putters.promised < state.capacity;
        let stores = has_room && state.overflow.waits() && !state.is_shutdown;
        if stores { Some(deque.get_bound(py)) } else { None }
    });
    let Some(deque) = found else { return Ok(false) };
    match deques.append(&deque, item) {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            serve_after_error(queue, Side::Putters);
            serve_after_error(queue, Side::Getters);
            return Err(error);
        }
        None => return Ok(false),
    }
    let size = deques.len(py, deque.as_unbound()).unwrap_or(0);
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

/// Takes the next item that is not promised; nothing: the long way is to be gone.
#[inline]
pub(super) fn get<'py>(queue: &Bound<'py, Queue>) -> PyResult<Option<Object<'py>>> {
    let py = queue.py();
    let deques = storage::deques(py)?;
    if queue.value().kind != Kind::Fifo {
        return Ok(None);
    }
    let found = queue.value().state.with(py, |state| {
        let (deque, stored) = deque(py, state, deques)?;
        let nobody_waits = state.putters.waiters.is_empty();
        if stored > state.getters.promised { Some((deque.get_bound(py), nobody_waits)) } else { None }
    });
    let Some((deque, nobody_waits)) = found else { return Ok(None) };
    // No Python code has run since, so it is a deque still, and has the item.
    let Some(item) = deques.popleft(&deque).transpose()? else { return Ok(None) };
    if !nobody_waits {
        lines::serve(queue, Side::Putters)?;
    }
    Ok(Some(item))
}
