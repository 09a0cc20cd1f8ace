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

use super::coroutine;
use super::slots::{Object, Step};

/// As CPython's default for Python code. A level takes 2 KiB of the stack in debug builds.
const DEPTH_MAX: u32 = 1000;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Resumes what is awaited one level deeper, as `checked`. A coroutine of the interpreter asks for CPython's limit
/// itself.
#[inline(always)]
pub(crate) fn checked_resume<'py>(place: &'static CStr, awaited: &Object<'py>) -> PyResult<Step<'py>> {
    let py = awaited.py();
    if !coroutine::is_coroutine_object(awaited) {
        return checked(py, place, || coroutine::resume(awaited));
    }
    let depth = depth();
    if depth.get() >= DEPTH_MAX {
        return Err(too_deep(place));
    }
    let _level = Level::enter(depth);
    coroutine::resume(awaited)
}

/// Runs `work` one level deeper, or raises RecursionError. `place` follows the text of the error.
#[inline(always)]
pub(crate) fn checked<R>(
    py: Python<'_>,
    place: &'static CStr,
    work: impl FnOnce() -> PyResult<R>,
) -> PyResult<R> {
    let depth = depth();
    if depth.get() >= DEPTH_MAX {
        return Err(too_deep(place));
    }
    // SAFETY: `py` proves that we are attached; the text lives for ever.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let level = Level::enter(depth);
    let leave = Leave;
    let outcome = work();
    drop((leave, level));
    outcome
}

/// Found once: each look at a place of the thread is a call. Not inside of `with`, through which the outcome of the work
/// would be copied.
#[inline(always)]
fn depth<'a>() -> &'a Cell<u32> {
    let depth = DEPTH.with(ptr::from_ref);
    // SAFETY: a place of this thread that has no destructor lives as long as the thread.
    unsafe { &*depth }
}

#[cold]
#[inline(never)]
fn too_deep(place: &CStr) -> PyErr {
    let place = place.to_string_lossy();
    PyRecursionError::new_err(format!("maximum recursion depth exceeded{place}"))
}

/// One level, which is left also when the work panics.
struct Level<'a>(&'a Cell<u32>);

impl<'a> Level<'a> {
    #[inline(always)]
    fn enter(depth: &'a Cell<u32>) -> Self {
        depth.set(depth.get() + 1);
        Self(depth)
    }
}

impl Drop for Level<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The same of CPython's own count.
struct Leave;

impl Drop for Leave {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: made by `checked` after it entered, on this thread.
        unsafe { ffi::Py_LeaveRecursiveCall() };
    }
}
