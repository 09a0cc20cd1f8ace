//! Permits: the limiters of a map, which say of each item whether it may begin.
//!
//! A worker takes an item, and asks by a door for it; nobody takes another item before that is answered, so that at
//! most one item was taken and has not begun. What the limiters give is lent to the worker until the item has
//! ended. A refusal is what the item fails with.

use pyo3::prelude::*;

use super::{AsyncMap, Plan};
use crate::cpython::{Native, Object, Visit};
use crate::errors;
use crate::future::Ended;
use crate::limits::Loans;
use crate::limits::door::{self, Door};
use crate::running;
use crate::structured::deadline;
use crate::waiter::Waiter;

/// The most items at once where the limiters say no number, and the most workers in any case.
const WORKERS_MAX: usize = 10_000;

/// By which future a worker waits for the limiters.
#[derive(Default)]
pub(super) struct Asking(Option<Waiter>);

impl Asking {
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.0.as_ref().map_or(0, |waiter| waiter.traverse(visit))
    }
}

impl Plan {
    /// How many items may be begun whose results were not handed out.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_add(self.buffersize.unwrap_or(self.limit))
    }
}

/// The number of workers, and so the room for results, is what the limiters lend at this moment.
pub(super) fn follow(map: &Bound<'_, AsyncMap>, door: &Bound<'_, Door>) -> PyResult<()> {
    let most = door::most(door)?.map_or(WORKERS_MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    map.value().state.with(map.py(), |state| {
        if let Some(plan) = &mut state.plan {
            plan.limit = most.clamp(1, WORKERS_MAX);
            state.results.set_room(plan.room());
        }
    });
    Ok(())
}

/// Asks whether an item may begin: true if so, or the future by which the worker is told.
pub(super) fn ask<'py>(map: &Bound<'py, AsyncMap>, door: &Bound<'py, Door>) -> PyResult<Option<Waiter>> {
    let py = map.py();
    if door::try_enter(door)? {
        return Ok(None);
    }
    let event_loop = map.value().event_loop(py)?;
    let waiter = Waiter::create(&event_loop)?;
    let shared = waiter.share(py);
    drop(map.value().state.with(py, |state| state.asking.0.replace(shared)));
    let deadline_ns = door::deadline_ns(deadline::effective(&event_loop)?);
    let asked = door::ask(door, map.as_any(), &event_loop, deadline_ns);
    if let Ok(false) = asked {
        return Ok(Some(waiter));
    }
    answered(map);
    asked.map(|_| None)
}

/// The limiters have answered, or the worker has given up.
fn answered(map: &Bound<'_, AsyncMap>) {
    drop(map.value().state.with(map.py(), |state| state.asking.0.take()));
}

/// The limiters say whether the item may begin.
pub(crate) fn door_opened<'py>(
    map: &Bound<'py, AsyncMap>,
    door: &Bound<'py, Door>,
    answer: PyResult<()>,
) -> PyResult<()> {
    let py = map.py();
    let waiter = map.value().state.with(py, |state| state.asking.0.as_ref().map(|waiter| waiter.share(py)));
    match (waiter, answer) {
        (Some(waiter), Ok(())) => match waiter.wake(&py.None().into_bound(py)) {
            Ok(true) => Ok(()),
            // It was cancelled.
            Ok(false) => door::put_back(door),
            Err(error) => door::put_back(door).and(Err(error)),
        },
        // It has left.
        (None, Ok(())) => door::put_back(door),
        (Some(waiter), Err(error)) => waiter.wake(&errors::into_object(py, error)).map(drop),
        (None, Err(error)) => {
            errors::swallow(error);
            Ok(())
        }
    }
}

/// A wait for the limiters has ended: with a permit of each, or by an error that refuses the item; else by one that
/// ends the worker.
pub(super) fn end_ask<'py>(
    map: &Bound<'py, AsyncMap>,
    door: &Bound<'py, Door>,
    waiter: &Waiter,
    awaited: PyResult<Object<'py>>,
) -> PyResult<PyResult<()>> {
    let py = map.py();
    answered(map);
    match awaited {
        Ok(value) if value.is_none() => Ok(Ok(())),
        Ok(error) => Ok(Err(PyErr::from_value(error))),
        Err(error) => {
            let was_granted = waiter.woken_with(py)?.is_some_and(|value| value.is_none());
            let left = if was_granted { door::put_back(door) } else { door::withdraw(door) };
            left.and(Err(error))
        }
    }
}

/// Lends the running worker what the limiters have given.
pub(super) fn lend<'py>(map: &Bound<'py, AsyncMap>, door: &Bound<'py, Door>) -> Loans {
    let event_loop = map.value().event_loop(map.py());
    let worker = event_loop.and_then(|event_loop| running::task(&event_loop));
    door::lend(door, worker.ok().flatten().as_ref())
}

/// The item has ended in this way.
pub(super) fn release(
    py: Python<'_>,
    door: &Bound<'_, Door>,
    loans: &Loans,
    outcome: &PyResult<Object<'_>>,
) -> PyResult<()> {
    let ended = match outcome {
        Ok(result) => Ended::Result(result.clone()),
        Err(error) if errors::is_cancelled(py, error) => Ended::Cancelled,
        Err(error) => Ended::Exception(error.value(py).clone().into_any()),
    };
    door::release(door, loans, &ended)
}
