//! Line: the tasks that wait for one thing, first come, first served.
//!
//! Who is woken leaves the line at that moment, so that nobody passes it; a task that finds itself out of the
//! line, and woken, has what it waited for, and must pass it on if it is cancelled in the same turn of the loop.

use pyo3::prelude::*;
use pyo3::types::PyList;
use tonnage_core::waiters::{Ticket, Waiters};

use super::entering::{self, Entering};
use crate::coroutine::Next;
use crate::cpython::{Guarded, Object, Unowned, Visit};
use crate::waiter::Waiter;

pub(crate) struct Line(Guarded<Waiters<Standing>>);

/// Who stands in a line.
enum Standing {
    Waiter(Waiter),
    /// It keeps itself in the line, and leaves it before it goes.
    Entering(Unowned<Entering>),
}

/// Where a task stands in a line, and by which future it waits.
pub(crate) struct Place {
    ticket: Ticket,
    waiter: Waiter,
}

/// What became of the first of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Nobody waits.
    Nobody,
    /// It was given what it waits for.
    Granted,
    /// It is to be woken by `wake_first`.
    Waits,
}

/// How a task left the line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It was woken: it has what it waited for.
    Woken,
    /// It was not, and leaves no trace.
    GaveUp,
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self(Guarded::new(Waiters::new()))
    }

    #[inline]
    pub(crate) fn len(&self, py: Python<'_>) -> usize {
        self.0.with(py, |waiters| waiters.len())
    }

    /// Lets a task stand at the end of the line, and wait.
    #[inline(always)]
    pub(crate) fn join<'py>(&self, py: Python<'py>, waiter: Waiter) -> (Place, Next<'py>) {
        let next = waiter.wait(py);
        let shared = waiter.share(py);
        let ticket = self.0.with(py, |waiters| waiters.push(Standing::Waiter(shared)));
        (Place { ticket, waiter }, next)
    }

    /// Lets `entering` stand at the end of the line, until it is given what it waits for or leaves.
    #[inline]
    pub(super) fn stand(&self, entering: &Bound<'_, Entering>) -> Ticket {
        let standing = Standing::Entering(Unowned::of(entering));
        self.0.with(entering.py(), |waiters| waiters.push(standing))
    }

    /// Who stands in the line leaves it, if he does still.
    pub(super) fn give_up(&self, py: Python<'_>, ticket: Ticket) {
        drop(self.0.with(py, |waiters| waiters.remove(ticket)));
    }

    /// The end of a wait, whatever ended it.
    #[inline(always)]
    pub(crate) fn leave(&self, py: Python<'_>, place: &Place) -> PyResult<Left> {
        let waited_still = self.0.with(py, |waiters| waiters.remove(place.ticket)).is_some();
        Ok(if !waited_still && place.waiter.was_woken(py)? { Left::Woken } else { Left::GaveUp })
    }

    /// Gives the first of the line True, where that runs no Python code.
    #[inline(never)]
    pub(super) fn grant_first(&self, py: Python<'_>) -> First {
        let grants = |first: &Standing| match first {
            Standing::Entering(first) => first.with(py, entering::grant_quietly).unwrap_or(false),
            Standing::Waiter(_) => false,
        };
        let (granted, nobody) = self.0.with(py, |waiters| (waiters.pop_if(grants), waiters.is_empty()));
        match granted {
            Some(_) => First::Granted,
            None if nobody => First::Nobody,
            None => First::Waits,
        }
    }

    /// Wakes the first task that has not given up; false if there is none. An error comes from the loop of a
    /// task that was woken.
    pub(crate) fn wake_first(&self, value: &Object<'_>) -> PyResult<bool> {
        let py = value.py();
        loop {
            let first = match self.0.with(py, Waiters::pop) {
                None => return Ok(false),
                Some(Standing::Waiter(first)) => first,
                Some(Standing::Entering(first)) => {
                    let entering = first.get(py);
                    // Before the other, which may be the last reference: an object that is lent does not end.
                    drop(first);
                    match entering {
                        Some(entering) if entering::grant(&entering, value)? => return Ok(true),
                        _ => continue,
                    }
                }
            };
            match first.wake(value) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if first.was_woken(py).unwrap_or(false) => return Err(error),
                Err(error) => error.write_unraisable(py, Some(&first.future(py))),
            }
        }
    }

    /// Wakes up to `count` tasks of those that wait at this moment.
    pub(crate) fn wake(&self, count: usize, value: &Object<'_>) -> PyResult<()> {
        let mut outcome = Ok(());
        for _ in 0..count.min(self.len(value.py())) {
            match self.wake_first(value) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self, value: &Object<'_>) -> PyResult<()> {
        self.wake(usize::MAX, value)
    }

    /// The futures by which the tasks wait.
    pub(crate) fn futures<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let futures: Vec<_> =
            self.0.with(py, |waiters| waiters.iter().filter_map(|standing| standing.future(py)).collect());
        Ok(PyList::new(py, futures)?.into_any())
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.0.traverse(0, |waiters| {
            waiters.iter().map(|standing| standing.traverse(visit)).find(|shown| *shown != 0).unwrap_or(0)
        })
    }

    pub(crate) fn clear(&self, py: Python<'_>) {
        drop(self.0.with(py, Waiters::drain));
    }
}

impl Standing {
    fn future<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        match self {
            Self::Waiter(waiter) => Some(waiter.future(py)),
            Self::Entering(entering) => entering.get(py).map(Bound::into_any),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Waiter(waiter) => waiter.traverse(visit),
            Self::Entering(_) => 0,
        }
    }
}

impl Place {
    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.waiter.traverse(visit)
    }
}
