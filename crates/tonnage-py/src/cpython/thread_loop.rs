//! What asyncio keeps of the running loop in the dictionary of each thread, up to 3.11.
//!
//! There its own function asks for the number of the process at each call, because a forked child does not run
//! its parent's loop: a system call, which costs as much as entering and leaving a timeout. From 3.12 on the
//! child is told at the fork, and the function is cheap.

use pyo3::prelude::*;

use super::slots::Object;

/// Is there such an entry?
pub(crate) const IS_KEPT: bool = cfg!(not(Py_3_12));

/// The entry of this thread: another object each time that a loop begins to run.
#[cfg(not(Py_3_12))]
#[inline]
pub(crate) fn entry(py: Python<'_>) -> Option<Object<'_>> {
    use crate::names;
    use pyo3::ffi;

    // SAFETY: `py` proves that we are attached. The dictionary is borrowed from the thread's state.
    let entries = unsafe { ffi::PyThreadState_GetDict() };
    if entries.is_null() {
        return None;
    }
    let name = names::__asyncio_running_event_loop__(py);
    // SAFETY: a dictionary, and a string that lives for ever; the entry is borrowed, or null.
    let entry = unsafe { ffi::PyDict_GetItemWithError(entries, name.as_ptr()) };
    if entry.is_null() {
        // Without an entry, asyncio's own function says what there is to say.
        drop(PyErr::take(py));
        return None;
    }
    // SAFETY: alive in its dictionary, and no Python code has run since.
    Some(unsafe { Bound::from_borrowed_ptr(py, entry) })
}

#[cfg(Py_3_12)]
#[inline]
pub(crate) fn entry(_py: Python<'_>) -> Option<Object<'_>> {
    None
}
