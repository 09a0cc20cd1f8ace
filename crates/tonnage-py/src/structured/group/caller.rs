//! A caller of `submit` or `start`, who needs a slot of a bounded group before it makes its task.
//!
//! It counts from the moment that it waits or has a slot until `caller_done`, and so long the block waits for it.
//! Who is granted a slot and does not use it gives it back.

use pyo3::prelude::*;
use tonnage_core::waiters::Ticket;

use super::TaskGroup;
use super::bounded::{admit, slot_unused};
use crate::coroutine::Next;
use crate::cpython::{Native, Object, Visit};
use crate::waiter::Waiter;

/// A caller's place in the line.
pub(super) struct Turn {
    waiter: Waiter,
    ticket: Ticket,
}

impl Turn {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.waiter.traverse(visit)
    }

    /// Waits for a slot; nothing if there is one, which is taken. In both cases the caller counts until
    /// `caller_done` or `give_up`.
    pub(super) fn take<'py>(
        group: &Bound<'py, TaskGroup>,
        event_loop: &Object<'py>,
    ) -> PyResult<Option<(Self, Next<'py>)>> {
        let py = group.py();
        if group.value().state.with(py, |state| state.slots().serve_caller()) {
            return Ok(None);
        }
        let waiter = Waiter::create(event_loop)?;
        let next = waiter.wait(py);
        let shared = waiter.share(py);
        let ticket = group.value().state.with(py, |state| state.slots().keep_caller(shared));
        // Making the waiter may have run a finalizer that gave a slot back.
        admit(group)?;
        Ok(Some((Self { waiter, ticket }, next)))
    }

    /// The wait was cancelled: a slot that was granted meanwhile is for the next.
    pub(super) fn give_up(self, group: &Bound<'_, TaskGroup>) -> PyResult<()> {
        let py = group.py();
        let left = group.value().state.with(py, |state| state.slots().remove_caller(self.ticket));
        let was_granted = left.is_none() && self.waiter.was_woken(py)?;
        drop(left);
        if was_granted { give_back(group) } else { caller_done(group) }
    }
}

/// A caller has no task for the slot that it was granted.
pub(super) fn give_back(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let admitted = slot_unused(group);
    admitted.and(caller_done(group))
}

/// A caller has its task, or gave up.
pub(super) fn caller_done(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let py = group.py();
    let waiter = group.value().state.with(py, |state| {
        state.slots().caller_done();
        if state.is_quiet() { state.waiter.take() } else { None }
    });
    waiter.map_or(Ok(()), |waiter| waiter.wake(&py.None().into_bound(py)).map(drop))
}

/// A member calls: it gets a slot above the limit, as it waits for whom it starts.
pub(super) fn borrow(group: &Bound<'_, TaskGroup>) {
    group.value().state.with(group.py(), |state| state.slots().lend_to_caller());
}
