//! How long items wait, in a queue with `target_delay`; what has waited for too long is dropped when it would
//! be taken.
//!
//! Invariant: there is one time for each item that is stored, in the same order. Such queues are first in,
//! first out, and no subclass stores their items.

use std::collections::VecDeque;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use tonnage_core::clock;
use tonnage_core::limits::codel::Codel;

use super::class::Queue;
use super::dropped::{Reason, was_dropped};
use super::lines::{self, Side};
use super::overridden::Overridden;
use super::storage::{self, Kind};
use super::unfinished::finish;
use crate::cpython::{Native, Object, number};

pub(super) struct Delays {
    codel: Codel,
    /// When each stored item was put. Bounded as the queue is.
    put_ns: VecDeque<u64>,
}

impl Delays {
    /// The argument `target_delay`.
    pub(super) fn parse(
        target_delay: Option<&Object<'_>>,
        kind: Kind,
        overridden: Overridden,
    ) -> PyResult<Option<Self>> {
        let Some(given) = target_delay.filter(|given| !given.is_none()) else { return Ok(None) };
        let target_s = number::seconds(given)?;
        if !(target_s > 0.0 && target_s.is_finite()) {
            let text = format!("target_delay must be a number of seconds above 0, got {}", given.repr()?);
            return Err(PyValueError::new_err(text));
        }
        if kind != Kind::Fifo {
            return Err(PyValueError::new_err(
                "target_delay needs a queue that is first in, first out; use Queue",
            ));
        }
        if overridden.stores() {
            return Err(PyTypeError::new_err(
                "target_delay needs the queue's own storage, and this subclass has another: _init, _put, _get \
                 or _qsize",
            ));
        }
        Ok(Some(Self { codel: Codel::new(clock::from_seconds(target_s)), put_ns: VecDeque::new() }))
    }

    pub(super) fn stored(&mut self) {
        self.put_ns.push_back(clock::now_ns());
    }

    pub(super) fn taken(&mut self) {
        self.put_ns.pop_front();
    }

    pub(super) fn cleared(&mut self) {
        self.put_ns.clear();
    }

    /// How long the oldest item has waited, in nanoseconds.
    pub(super) fn oldest_ns(&self) -> u64 {
        self.put_ns.front().map_or(0, |put_ns| clock::now_ns().saturating_sub(*put_ns))
    }

    fn is_late(&mut self) -> bool {
        let Some(put_ns) = self.put_ns.front() else {
            self.codel.saw_no_delay();
            return false;
        };
        let now_ns = clock::now_ns();
        self.codel.refuses(now_ns, now_ns.saturating_sub(*put_ns))
    }
}

/// Drops what has waited for too long from the head of the queue.
#[inline]
pub(super) fn shed(queue: &Bound<'_, Queue>) -> PyResult<()> {
    if queue.value().state.with(queue.py(), |state| state.delays.is_none()) {
        return Ok(());
    }
    shed_late(queue)
}

fn shed_late(queue: &Bound<'_, Queue>) -> PyResult<()> {
    let py = queue.py();
    loop {
        let is_late =
            queue.value().state.with(py, |state| state.delays.as_mut().is_some_and(Delays::is_late));
        if !is_late || storage::len(queue)? == 0 {
            return Ok(());
        }
        let item = storage::get(queue, storage::overridden(queue))?;
        finish(queue, 1)?;
        was_dropped(queue, &item, Reason::Delay)?;
        lines::serve(queue, Side::Putters)?;
    }
}
