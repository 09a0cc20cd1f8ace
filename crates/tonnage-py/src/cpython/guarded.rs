//! `Guarded<T>`: mutable state of a Python object, guarded by the interpreter lock.
//!
//! Access needs a `Python` token, so that two threads are never inside at once (the module asks for
//! the interpreter lock on free-threaded builds). A flag catches re-entrance: code inside `with` must
//! not run Python code, so it must not drop, call or compare Python objects. A breach panics, and the
//! panic becomes a Python exception; it is never undefined behaviour. Code inside `enter` may.

use std::cell::{Cell, UnsafeCell};
use std::ops::{Deref, DerefMut};

use pyo3::Python;

pub(crate) struct Guarded<T> {
    value: UnsafeCell<T>,
    entered: Cell<bool>,
}

// SAFETY: each access holds the interpreter lock (a `Python` token, or a traversal of the collector,
// which runs under the same lock), so threads take turns; `T: Send` allows that.
unsafe impl<T: Send> Sync for Guarded<T> {}

/// The state while it is entered.
pub(crate) struct Entered<'a, T>(&'a Guarded<T>);

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: other threads and Python code that come meanwhile find the flag, as long as this lives.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Entered<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.entered.set(false);
    }
}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), entered: Cell::new(false) }
    }

    #[inline(always)]
    pub(crate) fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Calls `visit` with the state. `visit` must not run Python code.
    #[inline(always)]
    pub(crate) fn with<R>(&self, py: Python<'_>, visit: impl FnOnce(&mut T) -> R) -> R {
        let Some(mut entered) = self.try_enter(py) else { entered_twice() };
        visit(&mut entered)
    }

    /// As `with`, but `visit` may run Python code: who comes meanwhile gets what `entered` gives, so every
    /// access to such a state goes this way.
    #[inline(always)]
    pub(crate) fn enter<R>(
        &self,
        py: Python<'_>,
        entered: impl FnOnce() -> R,
        visit: impl FnOnce(&mut T) -> R,
    ) -> R {
        let Some(mut state) = self.try_enter(py) else { return entered() };
        visit(&mut state)
    }

    /// As `enter`, for as long as the result lives; nothing for who comes meanwhile.
    #[inline(always)]
    pub(crate) fn try_enter(&self, _py: Python<'_>) -> Option<Entered<'_, T>> {
        // The token proves that we hold the interpreter lock.
        if self.entered.replace(true) { None } else { Some(Entered(self)) }
    }

    /// Calls `visit` with the state for the collector, or skips it while the state is entered: an
    /// object whose references are not all visited is taken for reachable, and lives on.
    #[inline]
    pub(crate) fn traverse<R>(&self, skipped: R, visit: impl FnOnce(&T) -> R) -> R {
        if self.entered.replace(true) {
            return skipped;
        }
        // The collector runs under the interpreter lock.
        visit(&Entered(self))
    }
}

/// Apart, so that no place that enters prepares for it.
#[cold]
#[inline(never)]
fn entered_twice() -> ! {
    unreachable!("guarded state is entered once at a time: no Python code runs inside `with`")
}
