//! QueueStats: a queue's size and counters at one moment.

use pyo3::prelude::*;
use tonnage_core::clock;

use super::class::Queue;
use super::delay::Delays;
use super::lines;
use crate::cpython::{Native, Object};

/// What `Queue.stats()` returns.
#[pyclass(frozen, get_all, eq, module = "tonnage")]
#[derive(PartialEq)]
pub(crate) struct QueueStats {
    /// The number of items that can be taken.
    size: usize,
    /// The most items that the queue holds; 0 or less is no bound.
    maxsize: usize,
    /// The most items that it has held.
    peak: usize,
    /// The number of tasks that wait for an item.
    getters: usize,
    /// The number of tasks that wait for a free place.
    putters: usize,
    /// The number of items that were dropped: the queue was full, or they had waited for too long.
    dropped: usize,
    /// How long the oldest item has waited, in seconds; 0.0 without `target_delay`, which measures it.
    delay: f64,
}

#[pymethods]
impl QueueStats {
    fn __repr__(&self) -> String {
        let Self { size, maxsize, peak, getters, putters, dropped, delay } = self;
        format!(
            "QueueStats(size={size}, maxsize={maxsize}, peak={peak}, getters={getters}, putters={putters}, \
             dropped={dropped}, delay={delay:?})"
        )
    }
}

/// `queue.stats()`.
pub(super) fn stats<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let py = queue.py();
    let size = lines::free_items(queue)?;
    let delay_s = |delays: &Delays| clock::to_seconds(delays.oldest_ns());
    let stats = queue.value().state.with(py, |state| QueueStats {
        size,
        maxsize: if state.capacity == usize::MAX { 0 } else { state.capacity },
        peak: state.counted.peak,
        getters: state.getters.waiters.len(),
        putters: state.putters.waiters.len(),
        dropped: state.counted.dropped,
        // A reading of the clock for each item would cost more than the rest of `put()`.
        delay: state.delays.as_ref().map_or(0.0, delay_s),
    });
    Ok(Bound::new(py, stats)?.into_any())
}
