//! Numbers that programs give.

use pyo3::ffi;
use pyo3::prelude::*;

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
