//! A caller of `submit` or `start`, who needs a slot of a bounded group before it makes its task.
//!
//! It counts from the moment that it waits or has a slot until `caller_done`, and so long the block waits for it.
//! Who is granted a slot and does not use it gives it back.

use pyo3::prelude::*;
use tonnage_core::waiters::Ticket;

use super::TaskGroup;
use super::bounded::{admit, borrowed_unused, slot_unused};
use super::permits;
use crate::coroutine::Next;
use crate::cpython::{Native, Object, Visit};
use crate::limits::door;
use crate::structured::deadline;
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
        if permits::decide(group) {
            if permits::try_enter(group)? {
                group.value().state.with(py, |state| state.slots().count_caller());
                return Ok(None);
            }
        } else if group.value().state.with(py, |state| state.slots().serve_caller()) {
            return Ok(None);
        }
        let deadline_ns =
            if permits::decide(group) { door::deadline_ns(deadline::effective(event_loop)?) } else { None };
        let waiter = Waiter::create(event_loop)?;
        let next = waiter.wait(py);
        let shared = waiter.share(py);
        let ticket = group.value().state.with(py, |state| state.slots().keep_caller(shared, deadline_ns));
        // Making the waiter may have run a finalizer that gave a slot back.
        admit(group)?;
        Ok(Some((Self { waiter, ticket }, next)))
    }

    /// The wait was cancelled: a slot that was granted meanwhile is for the next.
    pub(super) fn give_up(self, group: &Bound<'_, TaskGroup>) -> PyResult<()> {
        let py = group.py();
        let left = group.value().state.with(py, |state| state.slots().remove_caller(self.ticket));
        // What it was woken with otherwise is the error of a limiter.
        let was_granted = left.is_none() && self.waiter.woken_with(py)?.is_some_and(|value| value.is_none());
        drop(left);
        if was_granted {
            return give_back(group);
        }
        let withdrawn = permits::line_left(group);
        withdrawn.and(caller_done(group))
    }
}

/// A caller has no task for the slot that it was granted.
pub(super) fn give_back(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let admitted = slot_unused(group);
    admitted.and(caller_done(group))
}

/// What the wait has given: a slot, if it is None, or the error by which a limiter refuses the caller.
pub(super) fn granted(group: &Bound<'_, TaskGroup>, value: Object<'_>) -> PyResult<()> {
    if value.is_none() {
        return Ok(());
    }
    caller_done(group)?;
    Err(PyErr::from_value(value))
}

/// A caller has no task for the slot that a member lends it.
pub(super) fn unborrow(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let admitted = borrowed_unused(group);
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
