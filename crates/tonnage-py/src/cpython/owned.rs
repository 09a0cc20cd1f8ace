//! `Owned<T>`: a strong reference that is a field of one of our objects.
//!
//! As `Py<T>`, but dropping it is one decrement: `Py<T>` asks a thread-local counter first whether the
//! thread is attached, which costs more than all else when a task has ten references. Invariant: an
//! `Owned` is dropped only while the thread is attached. It lives in the state of Python objects and on
//! the stack of code that holds a `Python` token, and is never handed to a detached closure.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use pyo3::ffi;
use pyo3::prelude::*;

#[repr(transparent)]
pub(crate) struct Owned<T = PyAny>(ManuallyDrop<Py<T>>);

/// One more reference, as `bound.clone()`.
///
/// CPython 3.12 and 3.13 count up in half a word, and down in a whole one: a processor that reads a word of which it
/// has just written a half waits until that is in the cache, which is longer than most of what we do with a reference.
/// So the whole word is written.
#[inline(always)]
pub(super) fn another<'py, T>(bound: &Bound<'py, T>) -> Bound<'py, T> {
    #[cfg(all(
        Py_3_12,
        not(Py_3_14),
        not(Py_GIL_DISABLED),
        not(py_sys_config = "Py_REF_DEBUG"),
        target_pointer_width = "64"
    ))]
    {
        let object = bound.as_ptr();
        // SAFETY: a valid object, whose count is ours to use under the interpreter's lock.
        let count = unsafe { &mut (*object).ob_refcnt };
        // SAFETY: both fields of the union are numbers of the same bytes.
        let more = unsafe { count.ob_refcnt } + 1;
        // The count of what is immortal ends in 32 ones; the upper half of all others is zero.
        if more.trailing_zeros() < u32::BITS {
            count.ob_refcnt = more;
        }
        // SAFETY: the reference that was just counted.
        let object = unsafe { Bound::from_owned_ptr(bound.py(), object) };
        // SAFETY: to an object of the same type.
        return unsafe { object.cast_into_unchecked() };
    }
    #[allow(unreachable_code, reason = "other versions get here")]
    bound.clone()
}

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
        another(self.0.bind(py))
    }
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
        Self(ManuallyDrop::new(another(bound).unbind()))
    }
}
