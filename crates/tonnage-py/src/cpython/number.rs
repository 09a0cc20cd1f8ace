//! Numbers that programs give.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};

use super::slots::Object;

/// A time or a number of seconds. CPython makes a float of an int first; this does not.
#[inline(always)]
pub(crate) fn seconds(object: &Object<'_>) -> PyResult<f64> {
    // SAFETY: `object` is a valid object.
    if unsafe { ffi::PyLong_CheckExact(object.as_ptr()) } == 0 {
        return object.extract();
    }
    // SAFETY: an int, checked above.
    let seconds = unsafe { ffi::PyLong_AsDouble(object.as_ptr()) };
    // -1 also says that the int is too large for a float.
    if seconds == -1.0 { PyErr::take(object.py()).map_or(Ok(seconds), Err) } else { Ok(seconds) }
}

/// Is it None, an int or a float? Then no Python code runs where `seconds` reads it.
#[inline(always)]
pub(crate) fn is_plain_or_none(object: &Object<'_>) -> bool {
    object.is_exact_instance_of::<PyInt>() || object.is_exact_instance_of::<PyFloat>() || object.is_none()
}

/// An int of at least `least`; one without end is as many as can be counted.
pub(crate) fn count(name: &str, given: &Object<'_>, least: u64) -> PyResult<u64> {
    if !given.is_instance_of::<PyInt>() || given.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!("{name} must be an int, got {}", given.repr()?)));
    }
    match given.extract::<u64>() {
        Ok(count) if count >= least => Ok(count),
        Err(_) if given.gt(0)? => Ok(u64::MAX),
        _ => Err(PyValueError::new_err(format!("{name} must be {least} or more, got {}", given.str()?))),
    }
}
