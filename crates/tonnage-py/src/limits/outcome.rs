//! Outcome: how what ran under a permit has ended, for limiters that learn from it.

use pyo3::exceptions::{PyConnectionError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::adaptive;
use super::limiter::Limiter;
use crate::cpython::Object;
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What it used has answered.
    Ok,
    /// What it used is overloaded, or gone.
    Dropped,
    /// It says nothing about what it used.
    Ignore,
}

impl Outcome {
    /// The argument of `release()`.
    pub(super) fn named(name: Option<&Object<'_>>) -> PyResult<Self> {
        let Some(name) = name else { return Ok(Self::Ok) };
        match name.extract::<&str>() {
            Ok("ok") => Ok(Self::Ok),
            Ok("dropped") => Ok(Self::Dropped),
            Ok("ignore") => Ok(Self::Ignore),
            _ => {
                let text = format!("outcome must be 'ok', 'dropped' or 'ignore', got {}", name.repr()?);
                Err(PyValueError::new_err(text))
            }
        }
    }

    /// The outcome of a block that an error leaves; None: it does not fail.
    #[inline]
    pub(super) fn of(limiter: &Bound<'_, Limiter>, error: &Object<'_>) -> Self {
        if error.is_none() { Self::Ok } else { adaptive::outcome_of(limiter, error).unwrap_or(Self::Ignore) }
    }

    /// The exceptions that say that the other side is overloaded, as a rule: the answer was late, was refused, or did
    /// not come.
    pub(super) fn dropped_by_rule(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        let (timeout, connection) = (py.get_type::<PyTimeoutError>(), py.get_type::<PyConnectionError>());
        // 3.10 has a TimeoutError of asyncio's own.
        let rest = [names::asyncio_timeout_error(py)?, names::overloaded(py)?];
        PyTuple::new(py, [timeout.as_any(), connection.as_any(), rest[0], rest[1]])
    }
}
