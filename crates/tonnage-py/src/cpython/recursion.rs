//! The limit on nested calls, for our functions that call back into themselves.
//!
//! CPython's own limit is asked first. From 3.12 on it allows C code several thousand levels, whatever the size
//! of their frames; so ours is as many as Python code has by default.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;

/// As CPython's default for Python code. A level takes 2 KiB of the stack in debug builds.
const DEPTH_MAX: u32 = 1000;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work` one level deeper, or raises RecursionError. `place` follows the text of the error.
#[inline(always)]
pub(crate) fn checked<R>(
    py: Python<'_>,
    place: &'static CStr,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    // Found once: each look at a place of the thread is a call. Not inside of `with`, through which the outcome of
    // `work` would be copied.
    let depth = DEPTH.with(ptr::from_ref);
    // SAFETY: a place of this thread that has no destructor lives as long as the thread.
    let depth = unsafe { &*depth };
    if depth.get() >= DEPTH_MAX {
        return Err(too_deep(place));
    }
    // SAFETY: `py` proves that we are attached; the text lives for ever.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    depth.set(depth.get() + 1);
    let leave = Leave(depth);
    let outcome = work();
    drop(leave);
    outcome
}

#[cold]
fn too_deep(place: &CStr) -> PyErr {
    let place = place.to_string_lossy();
    PyRecursionError::new_err(format!("maximum recursion depth exceeded{place}"))
}

/// Leaves the level also when the work panics.
struct Leave<'a>(&'a Cell<u32>);

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        // SAFETY: made by `checked` after it entered, on this thread.
        unsafe { ffi::Py_LeaveRecursiveCall() };
    }
}
