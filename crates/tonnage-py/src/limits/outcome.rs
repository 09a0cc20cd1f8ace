//! Outcome: how what ran under a permit has ended, for limiters that learn from it.

use pyo3::exceptions::{PyConnectionError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

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
    pub(super) fn of(error: &Object<'_>) -> PyResult<Self> {
        if error.is_none() { Ok(Self::Ok) } else { Self::of_error(error) }
    }

    /// That the answer was late, refused, or did not come says that the other side is overloaded.
    fn of_error(error: &Object<'_>) -> PyResult<Self> {
        let py = error.py();
        let is_dropped = error.is_instance_of::<PyTimeoutError>()
            || error.is_instance_of::<PyConnectionError>()
            || error.is_instance(names::overloaded(py)?)?
            // 3.10 has another of its own.
            || error.is_instance(names::asyncio_timeout_error(py)?)?;
        Ok(if is_dropped { Self::Dropped } else { Self::Ignore })
    }
}
