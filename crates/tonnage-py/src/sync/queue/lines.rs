//! The lines of those who wait to get and to put, and what is promised to those who were woken.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList};
use tonnage_core::waiters::{Ticket, Waiters};

use super::class::{Queue, State};
use super::overridden::Overridden;
use super::storage::{self, overrides};
use crate::coroutine::Next;
use crate::cpython::{Native, Object, Visit};
use crate::names;
use crate::waiter::Waiter;

/// Those who wait for the same: items, or places.
pub(super) struct Line {
    pub(super) waiters: Waiters<Waiter>,
    /// How many were woken with a promise, and did not resume yet.
    pub(super) promised: usize,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self { waiters: Waiters::new(), promised: 0 }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Side {
    Getters,
    Putters,
}

/// `qsize()`: the items that are not promised.
#[inline]
pub(super) fn free_items(queue: &Bound<'_, Queue>) -> PyResult<usize> {
    let stored = storage::len(queue)?;
    // Programs that reach into `_queue` may have taken what was promised.
    Ok(stored.saturating_sub(queue.value().state.with(queue.py(), |state| state.getters.promised)))
}

/// `empty()`.
pub(super) fn is_empty(queue: &Bound<'_, Queue>) -> PyResult<bool> {
    Ok(free_items(queue)? == 0)
}

/// `full()`.
#[inline]
pub(super) fn is_full(queue: &Bound<'_, Queue>) -> PyResult<bool> {
    let (capacity, promised, overridden) = queue
        .value()
        .state
        .with(queue.py(), |state| (state.capacity, state.putters.promised, state.overridden));
    if capacity == usize::MAX {
        return Ok(false);
    }
    let stored = if overridden.has(Overridden::QSIZE) {
        queue.call_method0(names::qsize(queue.py()))?.extract()?
    } else {
        storage::len_by(queue, overridden)?
    };
    Ok(stored + promised >= capacity)
}

/// May an item be taken? Asks the subclass, if it has a word.
#[inline]
pub(super) fn has_item(queue: &Bound<'_, Queue>) -> PyResult<bool> {
    let (promised, overridden) =
        queue.value().state.with(queue.py(), |state| (state.getters.promised, state.overridden));
    if overridden.has(Overridden::EMPTY) {
        return Ok(!queue.call_method0(names::empty(queue.py()))?.is_truthy()?);
    }
    Ok(storage::len_by(queue, overridden)? > promised)
}

/// May an item be stored? Asks the subclass, if it has a word.
#[inline]
pub(super) fn has_room(queue: &Bound<'_, Queue>) -> PyResult<bool> {
    if overrides(queue, Overridden::FULL) {
        return Ok(!queue.call_method0(names::full(queue.py()))?.is_truthy()?);
    }
    Ok(!is_full(queue)?)
}

/// Promises what is free to those who wait for it, in their order.
#[inline]
pub(super) fn serve(queue: &Bound<'_, Queue>, side: Side) -> PyResult<()> {
    if queue.value().state.with(queue.py(), |state| state.line(side).waiters.is_empty()) {
        return Ok(());
    }
    serve_waiters(queue, side)
}

fn serve_waiters(queue: &Bound<'_, Queue>, side: Side) -> PyResult<()> {
    let py = queue.py();
    loop {
        let is_free = match side {
            Side::Getters => has_item(queue)?,
            Side::Putters => has_room(queue)?,
        };
        if !is_free {
            return Ok(());
        }
        let first = queue.value().state.with(py, |state| {
            let line = state.line(side);
            let first = line.waiters.pop();
            line.promised += usize::from(first.is_some());
            first
        });
        let Some(first) = first else { return Ok(()) };
        match first.wake(&promise(py)) {
            // A subclass that does not know of promises calls it free still: one is woken at a time.
            Ok(true) if queue.value().state.with(py, |state| state.overridden.has_sizes()) => return Ok(()),
            Ok(true) => {}
            Ok(false) => take_promise_back(queue, side),
            Err(error) => {
                take_promise_back(queue, side);
                return Err(error);
            }
        }
    }
}

/// As `serve`, where another error is to be raised.
#[cold]
pub(super) fn serve_after_error(queue: &Bound<'_, Queue>, side: Side) {
    if let Err(error) = serve(queue, side) {
        error.write_unraisable(queue.py(), Some(queue.as_any()));
    }
}

fn take_promise_back(queue: &Bound<'_, Queue>, side: Side) {
    queue.value().state.with(queue.py(), |state| {
        let line = state.line(side);
        line.promised = line.promised.saturating_sub(1);
    });
}

/// What a waiter is woken with that was promised something; others are told to look again, with None.
fn promise(py: Python<'_>) -> Object<'_> {
    PyBool::new(py, true).to_owned().into_any()
}

/// Tells all who wait that they shall look again.
pub(super) fn wake_all(py: Python<'_>, waiters: Vec<Waiter>) -> PyResult<()> {
    let none = py.None().into_bound(py);
    let mut outcome = Ok(());
    for waiter in waiters {
        outcome = outcome.and(waiter.wake(&none).map(drop));
    }
    outcome
}

/// The futures of those who wait, in a new deque.
pub(super) fn futures<'py>(queue: &Bound<'py, Queue>, side: Side) -> PyResult<Object<'py>> {
    let py = queue.py();
    let futures: Vec<_> = queue
        .value()
        .state
        .with(py, |state| state.line(side).waiters.iter().map(|waiter| waiter.future(py)).collect());
    names::deque(py)?.call1((PyList::new(py, futures)?,))
}

/// The place in a line of one coroutine.
pub(super) struct Place {
    side: Side,
    stands: Option<(Ticket, Waiter)>,
    /// It was woken for something that is not there any more: it goes on as the first.
    was_first: bool,
}

impl Place {
    pub(super) const fn new(side: Side) -> Self {
        Self { side, stands: None, was_first: false }
    }

    /// Stands in the line, and waits.
    pub(super) fn wait<'py>(&mut self, queue: &Bound<'py, Queue>) -> PyResult<Next<'py>> {
        let py = queue.py();
        let event_loop = queue.value().event_loop.get(queue.as_any())?;
        let waiter = Waiter::create(&event_loop)?;
        let (next, shared) = (waiter.wait(py), waiter.share(py));
        let ticket = queue.value().state.with(py, |state| {
            let line = state.line(self.side);
            if self.was_first { line.waiters.push_front(shared) } else { line.waiters.push(shared) }
        });
        self.stands = Some((ticket, waiter));
        Ok(next)
    }

    /// Leaves the line with what was promised, which is free until the caller takes it; or passes it on, if the
    /// wait ended with an error.
    #[inline]
    pub(super) fn leave<'py>(
        &mut self,
        queue: &Bound<'py, Queue>,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<()> {
        match self.stands.take() {
            None => awaited.map(drop),
            Some((ticket, waiter)) => self.left(queue, ticket, &waiter, awaited),
        }
    }

    fn left<'py>(
        &mut self,
        queue: &Bound<'py, Queue>,
        ticket: Ticket,
        waiter: &Waiter,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<()> {
        let py = queue.py();
        let side = self.side;
        let stood = queue.value().state.with(py, |state| state.line(side).waiters.remove(ticket));
        // Who stood in the line still was not promised anything, whoever has woken it.
        self.was_first = stood.is_none()
            && match &awaited {
                Ok(value) => value.is(promise(py)),
                Err(_) => has_promise(py, waiter).unwrap_or(false),
            };
        if self.was_first {
            take_promise_back(queue, side);
        }
        let Err(error) = awaited else { return Ok(()) };
        if self.was_first {
            serve_after_error(queue, side);
        }
        Err(error)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.stands.as_ref().map_or(0, |(_, waiter)| waiter.traverse(visit))
    }
}

/// Was it woken with a promise?
fn has_promise(py: Python<'_>, waiter: &Waiter) -> PyResult<bool> {
    Ok(waiter.was_woken(py)? && waiter.future(py).call_method0(names::result(py))?.is(promise(py)))
}

/// Empties both lines: nobody is promised anything any more that was not yet.
pub(super) fn drain(state: &mut State) -> Vec<Waiter> {
    let mut all = state.getters.waiters.drain();
    all.append(&mut state.putters.waiters.drain());
    all
}
