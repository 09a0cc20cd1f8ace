//! Context variables: copying the current context, and running code in another one.

use pyo3::ffi;
use pyo3::prelude::*;

use super::owned::another;
use super::slots::Object;

/// `contextvars.copy_context()`.
#[inline]
pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Object<'_>> {
    // SAFETY: `py` proves that we are attached.
    let context = unsafe { ffi::PyContext_CopyCurrent() };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, context) }
}

/// `context.copy()`.
#[inline]
pub(crate) fn copy<'py>(context: &Object<'py>) -> PyResult<Object<'py>> {
    // SAFETY: `context` is bound; anything but a context is refused with an exception.
    let copied = unsafe { ffi::PyContext_Copy(context.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), copied) }
}

/// Is it a `contextvars.Context`?
pub(crate) fn is_context(object: &Object<'_>) -> bool {
    // SAFETY: `object` is a valid object.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}

/// Runs `work` in `context`, as `context.run` does.
#[inline]
pub(crate) fn run<'py, R>(context: &Object<'py>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    let entered = enter(another(context))?;
    let result = work();
    drop(entered);
    result
}

/// Enters `context`, until what is returned is dropped, which must be before it is entered again or another left.
#[inline]
pub(crate) fn enter(context: Object<'_>) -> PyResult<Entered<'_>> {
    // SAFETY: `context` is bound; anything but a context is refused with an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
        return Err(PyErr::fetch(context.py()));
    }
    Ok(Entered(context))
}

/// Leaves the context also when the work panics.
pub(crate) struct Entered<'py>(Object<'py>);

impl<'py> Entered<'py> {
    /// Is it this context that was entered?
    #[inline]
    pub(crate) fn is(&self, context: &Object<'py>) -> bool {
        self.0.is(context)
    }
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: entered by `enter` on this thread, and still the current one: whoever enters another
        // leaves it before we get here.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            was_left(&self.0);
        }
    }
}

/// Python code left our context itself; there is nobody to tell but the unraisable hook.
#[cold]
fn was_left(context: &Object<'_>) {
    PyErr::fetch(context.py()).write_unraisable(context.py(), Some(context));
}
