//! What every trampoline does: find its function, attach, catch panics, turn errors into exceptions.
//!
//! A function item has no size, so a trampoline needs no pointer to it: it is compiled for the function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use super::args::borrowed;

/// The function itself: a function item has no size, so any aligned address holds one.
pub(super) fn body<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "only function items, which have no size, are methods") }
    // SAFETY: a read of no bytes from an aligned address; a value of `F` was handed to `Slots`, so
    // values of it exist.
    unsafe { ptr::NonNull::<F>::dangling().as_ptr().read() }
}

/// Runs a trampoline's work: errors and panics become the current exception and `failed`.
#[inline]
pub(super) fn run<R>(failed: R, work: impl FnOnce(Python<'_>) -> PyResult<R>) -> R {
    // SAFETY: CPython calls slots and methods on an attached thread. PyO3's own counter is not told:
    // our state holds `Owned`, whose drop does not ask it, and a `Py` that is dropped here is at worst
    // released at the next call that tells it.
    let py = unsafe { Python::assume_attached() };
    let error = match catch_unwind(AssertUnwindSafe(|| work(py))) {
        Ok(Ok(result)) => return result,
        Ok(Err(error)) => error,
        Err(panic) => panicked(&*panic),
    };
    error.restore(py);
    told();
    failed
}

/// Tells PyO3 that the thread is attached, which is when it drops the exceptions that were put off. On a loop that
/// is not ours nobody else tells it. No answer: the interpreter ends.
#[cold]
pub(crate) fn told() {
    let _told: Option<()> = Python::try_attach(|_| ());
}

#[cold]
fn panicked(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    PyRuntimeError::new_err(format!("tonnage has a bug, please report it: {text}"))
}

/// # Safety
/// `object` is a valid object of class `T`, borrowed for the call.
#[inline]
pub(super) unsafe fn receiver<'a, 'py, T>(
    py: Python<'py>,
    object: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, T> {
    // SAFETY: CPython checks the receiver's type before it calls a slot or a method of it.
    unsafe { borrowed(py, object) }
}
