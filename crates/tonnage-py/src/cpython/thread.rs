//! Which thread this is.

use pyo3::ffi;

/// `threading.get_ident()`.
#[inline]
pub(crate) fn thread_id() -> u64 {
    // SAFETY: may be called by any thread at any time.
    unsafe { ffi::PyThread_get_thread_ident() }
}
