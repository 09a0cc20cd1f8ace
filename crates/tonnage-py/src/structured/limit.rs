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
    if !given.is_instance_of::<PyInt>() || given.is_instance_of::<PyBool>() {
        let text = format!("limit must be an int, got {}", given.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    match given.extract::<i128>() {
        Ok(count @ 1..) => Ok(Some(Limit::Count(usize::try_from(count).unwrap_or(usize::MAX)))),
        _ if given.gt(0)? => Ok(Some(Limit::Count(usize::MAX))),
        _ => Err(PyValueError::new_err(format!("limit must be 1 or more, got {}", given.str()?))),
    }
}
