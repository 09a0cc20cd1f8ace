//! LimiterStats: a limiter's state and counters at one moment.

use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};
use tonnage_core::limits::Supply;

use super::limiter::{self, Limiter};
use crate::cpython::{Native, Object};
use crate::names;
use tonnage_core::clock::to_seconds;

/// What `Limiter.stats()` returns.
#[pyclass(frozen, get_all, module = "tonnage")]
pub(crate) struct LimiterStats {
    /// The tokens that may be in use at once; for a rate, its burst.
    limit: f64,
    /// The tokens that are in use; for a rate, those of its burst that are used up.
    in_use: u64,
    /// The number of requests that wait.
    waiting: usize,
    /// How many requests were served.
    admitted: u64,
    /// How many requests were refused, by reason.
    refused: Py<PyAny>,
    /// How many of those who were served have waited for how long: upper bounds in seconds, and counts.
    wait_seconds: Py<PyTuple>,
    /// Who holds tokens, the longest first.
    borrowers: Py<PyTuple>,
}

#[pymethods]
impl LimiterStats {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let Self { limit, in_use, waiting, admitted, refused, .. } = self;
        let refused = names::dict(py)?.call1((refused,))?;
        Ok(format!(
            "LimiterStats(limit={limit:?}, in_use={in_use}, waiting={waiting}, admitted={admitted}, \
             refused={}, borrowers={})",
            refused.repr()?,
            self.borrowers.bind(py).repr()?,
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.refused)?;
        visit.call(&self.wait_seconds)?;
        visit.call(&self.borrowers)
    }
}

/// `limiter.stats()`.
pub(super) fn stats<'py>(this: &Bound<'py, Limiter>) -> PyResult<Object<'py>> {
    let py = this.py();
    let now_ns = limiter::now_ns(py)?;
    let (limit, in_use, waiting, admitted, (at_once, waits)) = Limiter::admission(this, |admission| {
        let (limit, in_use) = match admission.supply() {
            Supply::Capacity(capacity) => (super::capacity::as_float(capacity.total()), capacity.in_use()),
            Supply::Rate(rate) => (super::capacity::as_float(rate.burst()), rate.in_use(now_ns)),
        };
        (limit, in_use, admission.line().len(), admission.admitted(), admission.waits())
    })?;
    let mut wait_seconds = vec![(0.0, at_once)];
    wait_seconds
        .extend(waits.buckets().map(|(bound, count)| (bound.map_or(f64::INFINITY, to_seconds), count)));
    let (refused, borrowers) = this.value().state.with(py, |state| (state.refused, state.holders.all(py)));
    let by_reason = PyDict::new(py);
    for (reason, count) in refused.iter() {
        by_reason.set_item(reason, count)?;
    }
    let stats = LimiterStats {
        limit,
        in_use,
        waiting,
        admitted,
        refused: names::mapping_proxy(py)?.call1((by_reason,))?.unbind(),
        wait_seconds: PyTuple::new(py, wait_seconds)?.unbind(),
        borrowers: PyTuple::new(py, borrowers)?.unbind(),
    };
    Ok(Bound::new(py, stats)?.into_any())
}
