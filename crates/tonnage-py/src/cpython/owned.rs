//! `Owned<T>`: a strong reference that is a field of one of our objects.
//!
//! As `Py<T>`, but dropping it is one decrement: `Py<T>` asks a thread-local counter first whether the
//! thread is attached, which costs more than all else when a task has ten references. Invariant: an
//! `Owned` is dropped only while the thread is attached. It lives in the state of Python objects and on
//! the stack of code that holds a `Python` token, and is never handed to a detached closure.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::refcount;

#[repr(transparent)]
pub(crate) struct Owned<T = PyAny>(ManuallyDrop<Py<T>>);

impl<T> Owned<T> {
    /// The reference for use on the stack.
    #[inline]
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped nor used again, so the reference moves out once.
        unsafe { ManuallyDrop::take(&mut this.0) }.into_bound(py)
    }

    /// One more reference.
    #[inline]
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self::from(self.0.bind(py))
    }

    /// One more reference, for use on the stack.
    #[inline]
    pub(crate) fn get_bound<'py>(&self, py: Python<'py>) -> Bound<'py, T> {
        self.share(py).into_bound(py)
    }
}

/// One more reference, for use on the stack. As `clone()`, in a write of the whole count (`refcount`).
#[inline(always)]
pub(crate) fn another<'py, T>(object: &Bound<'py, T>) -> Bound<'py, T> {
    Owned::from(object).into_bound(object.py())
}

impl<T> Drop for Owned<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the one reference that we own, given back once; the invariant above says that the
        // thread is attached.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

impl<T> Deref for Owned<T> {
    type Target = Py<T>;

    #[inline]
    fn deref(&self) -> &Py<T> {
        &self.0
    }
}

impl<T> From<Bound<'_, T>> for Owned<T> {
    #[inline]
    fn from(bound: Bound<'_, T>) -> Self {
        Self(ManuallyDrop::new(bound.unbind()))
    }
}

impl<T> From<&Bound<'_, T>> for Owned<T> {
    #[inline]
    fn from(bound: &Bound<'_, T>) -> Self {
        // SAFETY: a bound object is valid, and its thread attached.
        unsafe { refcount::add(bound.as_ptr()) };
        let added = ptr::from_ref(bound.as_unbound());
        // SAFETY: a pointer to the object, which owns the reference that was added.
        Self(ManuallyDrop::new(unsafe { added.read() }))
    }
}
