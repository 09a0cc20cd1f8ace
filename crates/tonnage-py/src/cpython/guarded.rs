//! `Guarded<T>`: mutable state of a Python object, guarded by the interpreter lock.
//!
//! Access needs a `Python` token, so that two threads are never inside at once (the module asks for
//! the interpreter lock on free-threaded builds). A flag catches re-entrance: code inside `with` must
//! not run Python code, so it must not drop, call or compare Python objects. A breach panics, and the
//! panic becomes a Python exception; it is never undefined behaviour. Code inside `enter` may.

use std::cell::{Cell, UnsafeCell};

use pyo3::Python;

pub(crate) struct Guarded<T> {
    value: UnsafeCell<T>,
    entered: Cell<bool>,
}

// SAFETY: each access holds the interpreter lock (a `Python` token, or a traversal of the collector,
// which runs under the same lock), so threads take turns; `T: Send` allows that.
unsafe impl<T: Send> Sync for Guarded<T> {}

struct Entered<'a>(&'a Cell<bool>);

impl<'a> Entered<'a> {
    #[inline]
    fn enter(flag: &'a Cell<bool>) -> Option<Self> {
        if flag.replace(true) { None } else { Some(Self(flag)) }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), entered: Cell::new(false) }
    }

    /// Calls `visit` with the state. `visit` must not run Python code.
    #[inline(always)]
    pub(crate) fn with<R>(&self, _py: Python<'_>, visit: impl FnOnce(&mut T) -> R) -> R {
        let _entered = Entered::enter(&self.entered)
            .expect("guarded state is entered once at a time: no Python code runs inside `with`");
        // SAFETY: the token proves that we hold the interpreter lock, and the flag that no other
        // reference to the value is alive.
        let value = unsafe { &mut *self.value.get() };
        visit(value)
    }

    /// As `with`, but `visit` may run Python code: who comes meanwhile gets what `entered` gives, so every
    /// access to such a state goes this way.
    #[inline(always)]
    pub(crate) fn enter<R>(
        &self,
        _py: Python<'_>,
        entered: impl FnOnce() -> R,
        visit: impl FnOnce(&mut T) -> R,
    ) -> R {
        let Some(_entered) = Entered::enter(&self.entered) else { return entered() };
        // SAFETY: as in `with`: other threads and Python code that come meanwhile find the flag.
        let value = unsafe { &mut *self.value.get() };
        visit(value)
    }

    /// Calls `visit` with the state for the collector, or skips it while the state is entered: an
    /// object whose references are not all visited is taken for reachable, and lives on.
    #[inline]
    pub(crate) fn traverse<R>(&self, skipped: R, visit: impl FnOnce(&T) -> R) -> R {
        let Some(_entered) = Entered::enter(&self.entered) else { return skipped };
        // SAFETY: the collector runs under the interpreter lock, and the flag says that no other
        // reference to the value is alive.
        let value = unsafe { &*self.value.get() };
        visit(value)
    }
}
