//! CPython's limit on nested calls, for our functions that call back into themselves.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `work` one level deeper, or raises RecursionError. `place` follows the text of the error.
pub(crate) fn checked<R>(
    py: Python<'_>,
    place: &'static CStr,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    // SAFETY: `py` proves that we are attached; the text lives for ever.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let leave = Leave;
    let outcome = work();
    drop(leave);
    outcome
}

/// Leaves the level also when the work panics.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // SAFETY: made by `checked` after it entered, on this thread.
        unsafe { ffi::Py_LeaveRecursiveCall() };
    }
}
