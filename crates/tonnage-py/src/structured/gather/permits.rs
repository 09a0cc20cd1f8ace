//! Permits: the limiters of a gather, which decide in place of slots who may begin.
//!
//! It asks by a door for the next coroutine, one at a time; slots only count. A coroutine that a limiter refuses is
//! closed, and the refusal is its outcome.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use super::bounded::{self, Unstarted};
use super::{Gathering, GatheringFuture};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::limits::Loans;
use crate::limits::door::{self, Door};
use crate::waiter::Waiter;
use crate::{errors, future, names};

pub(super) struct Permits {
    door: Owned<Door>,
    /// Of each child that has something, by its place.
    lent: BTreeMap<u32, Loans>,
    /// Somebody starts coroutines at the moment, and whoever comes meanwhile leaves it to that.
    starting: bool,
}

impl Permits {
    pub(super) fn new(door: Owned<Door>) -> Self {
        Self { door, lent: BTreeMap::new(), starting: false }
    }

    pub(super) fn take_loans(&mut self, place: u32) -> Option<Loans> {
        self.lent.remove(&place)
    }

    /// The gather is gone: whatever its limiters have given goes back.
    pub(super) fn abandon(self, py: Python<'_>) {
        door::abandon(self.door.bind(py), self.lent.into_values());
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.door)
    }
}

impl Gathering {
    fn permits(&mut self) -> Option<&mut Permits> {
        self.bounded.as_mut()?.permits.as_mut()
    }
}

/// The door of a gather whose limit is limiters.
pub(super) fn door<'py>(outer: &Bound<'py, GatheringFuture>) -> Option<Bound<'py, Door>> {
    let py = outer.py();
    outer.value().state.with(py, |state| state.permits().map(|permits| permits.door.get_bound(py)))
}

/// Starts as many as the limiters let in.
pub(super) fn start_next<'py>(outer: &Bound<'py, GatheringFuture>, door: &Bound<'py, Door>) -> PyResult<()> {
    alone(outer, || start_each(outer, door))
}

/// The limiters have answered for the next one.
pub(crate) fn door_opened<'py>(
    outer: &Bound<'py, GatheringFuture>,
    door: &Bound<'py, Door>,
    answer: PyResult<()>,
) -> PyResult<()> {
    alone(outer, || {
        let_in(outer, door, answer)?;
        start_each(outer, door)
    })
}

/// Calls `start`, unless that is being done.
fn alone(outer: &Bound<'_, GatheringFuture>, start: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    let py = outer.py();
    let set = |starting| {
        let set = |state: &mut Gathering| {
            state.permits().map(|permits| std::mem::replace(&mut permits.starting, starting))
        };
        outer.value().state.with(py, set)
    };
    if set(true) != Some(false) {
        return Ok(());
    }
    let started = start();
    set(false);
    started
}

fn start_each<'py>(outer: &Bound<'py, GatheringFuture>, door: &Bound<'py, Door>) -> PyResult<()> {
    let py = outer.py();
    let event_loop = outer.value().future.event_loop(py)?;
    loop {
        let deadline_s = outer.value().state.with(py, |state| {
            let bounded = state.bounded.as_ref()?;
            if bounded.unstarted.is_empty() { None } else { Some(bounded.deadline) }
        });
        let Some(deadline_s) = deadline_s else {
            // Nobody is left for whom to ask.
            return door::withdraw(door);
        };
        let deadline_ns = door::deadline_ns(deadline_s);
        let answer = match door::ask(door, outer.as_any(), &event_loop, deadline_ns) {
            Ok(false) => return Ok(()),
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        let_in(outer, door, answer)?;
    }
}

/// Starts the next one, or refuses it, as the limiters say.
fn let_in<'py>(
    outer: &Bound<'py, GatheringFuture>,
    door: &Bound<'py, Door>,
    answer: PyResult<()>,
) -> PyResult<()> {
    let py = outer.py();
    match (bounded::take_next(outer), answer) {
        // The whole has ended meanwhile.
        (None, Ok(())) => door::put_back(door),
        (None, Err(error)) => {
            errors::swallow(error);
            Ok(())
        }
        (Some(next), Ok(())) => {
            let place = next.place();
            let started = bounded::start_one(outer, next);
            let Ok(Some(task)) = &started else {
                return started.map(drop).and(door::put_back(door));
            };
            let loans = door::lend(door, Some(task));
            outer.value().state.with(py, |state| {
                if let Some(permits) = state.permits() {
                    permits.lent.insert(place, loans);
                }
            });
            Ok(())
        }
        (Some(next), Err(error)) => refuse(outer, next, &errors::into_object(py, error)),
    }
}

/// The next one is not started: this error is its outcome.
fn refuse<'py>(outer: &Bound<'py, GatheringFuture>, next: Unstarted, error: &Object<'py>) -> PyResult<()> {
    let py = outer.py();
    let place = next.place();
    next.close(py);
    let refused = Waiter::create(&outer.value().future.event_loop(py)?)?.future(py);
    refused.call_method1(names::set_exception(py), (error,))?;
    // The whole has it, and tells it.
    future::ended(&refused)?;
    bounded::put(outer, &refused, place);
    super::report(outer, place, &refused)
}

/// A child has ended that has these.
pub(super) fn release(
    outer: &Bound<'_, GatheringFuture>,
    child: &Object<'_>,
    loans: Option<Loans>,
) -> PyResult<()> {
    match (loans, door(outer)) {
        (Some(loans), Some(door)) => door::release(&door, &loans, &future::ended(child)?),
        _ => Ok(()),
    }
}

/// Nothing more is to be started.
pub(super) fn withdraw(outer: &Bound<'_, GatheringFuture>) {
    if let Some(door) = door(outer)
        && let Err(error) = door::withdraw(&door)
    {
        error.write_unraisable(outer.py(), Some(outer.as_any()));
    }
}
