//! Unowned: a reference that does not keep its object alive.
//!
//! Who waits stands in a line, and must leave it when nobody has him any more; so the line must not keep him.
//! Invariant: an object counts its unowned references (`Lent`), and its memory is not freed while there is one
//! (`dealloc.rs`). Its finalizer takes them back; where it fails to, the object leaks.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;

use super::native_class::{NativeLayout, lent};

/// A field of those classes whose objects have unowned references: how many.
pub(crate) struct Lent(Cell<u32>);

// SAFETY: used under the interpreter's lock only.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(0))
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.0.get() != 0
    }
}

/// To be dropped while the thread is attached, as `Owned`.
pub(crate) struct Unowned<T: NativeLayout>(*mut ffi::PyObject, PhantomData<fn() -> T>);

// SAFETY: used under the interpreter's lock only.
unsafe impl<T: NativeLayout> Send for Unowned<T> {}
// SAFETY: as above.
unsafe impl<T: NativeLayout> Sync for Unowned<T> {}

impl<T: NativeLayout> Unowned<T> {
    const CHECK: () = assert!(T::LENT.is_some(), "only objects that count their unowned references have any");

    #[inline]
    pub(crate) fn of(object: &Bound<'_, T>) -> Self {
        let () = Self::CHECK;
        let this = Self(object.as_ptr(), PhantomData);
        let count = this.count();
        count.set(count.get() + 1);
        this
    }

    #[inline]
    fn count(&self) -> &Cell<u32> {
        // SAFETY: the memory of the object is not freed before this reference has gone.
        let lent = unsafe { lent::<T>(self.0) };
        &lent.expect("checked when it was made").0
    }

    /// Calls `look` with the object; nothing if it is about to be freed. `look` must not run Python code, so that the
    /// object stays as alive as it is.
    #[inline(always)]
    pub(crate) fn with<R>(&self, py: Python<'_>, look: impl FnOnce(&Bound<'_, T>) -> R) -> Option<R> {
        // SAFETY: the memory of the object is not freed before this reference has gone.
        if unsafe { ffi::Py_REFCNT(self.0) } == 0 {
            return None;
        }
        // SAFETY: it is alive, and nobody else comes to run before `look` is done. Borrowed, and never dropped.
        let object = ManuallyDrop::new(unsafe { Bound::from_owned_ptr(py, self.0) });
        // SAFETY: it was made of an object of this class.
        Some(look(unsafe { object.cast_unchecked() }))
    }

    /// The object; nothing if it is about to be freed.
    #[inline]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // SAFETY: as above.
        if unsafe { ffi::Py_REFCNT(self.0) } == 0 {
            return None;
        }
        // SAFETY: it is alive, and one more reference keeps it so.
        let object = unsafe { Bound::from_borrowed_ptr(py, self.0) };
        // SAFETY: it was made of an object of this class.
        Some(unsafe { object.cast_into_unchecked() })
    }
}

impl<T: NativeLayout> Drop for Unowned<T> {
    #[inline]
    fn drop(&mut self) {
        let count = self.count();
        count.set(count.get() - 1);
    }
}
