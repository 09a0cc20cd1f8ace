//! Limit: what `limit=` was given, for everything that takes it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

use crate::cpython::Object;

/// How many may run at once.
pub(crate) enum Limit {
    /// As many as this, 1 or more.
    Count(usize),
}

/// The value of `limit=`; None and nothing are no limit.
pub(crate) fn limit(given: Option<&Object<'_>>) -> PyResult<Option<Limit>> {
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
    count("limit", given, 1).map(|count| Some(Limit::Count(count)))
}

/// The value of `max_pending=`.
pub(crate) fn max_pending(given: &Object<'_>) -> PyResult<usize> {
    count("max_pending", given, 0)
}

/// A number that is `least` or more; more than there can be of anything is as much as there can be.
fn count(name: &str, given: &Object<'_>, least: usize) -> PyResult<usize> {
    if !given.is_instance_of::<PyInt>() || given.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!("{name} must be an int, got {}", given.repr()?)));
    }
    if given.lt(least)? {
        return Err(PyValueError::new_err(format!("{name} must be {least} or more, got {}", given.str()?)));
    }
    Ok(given.extract().unwrap_or(usize::MAX))
}
