//! Counting the references to an object, as CPython does, in writes of the whole count.
//!
//! CPython 3.12 and 3.13 read and write half of the count where a reference is added, and read all of it where one is
//! dropped. A processor cannot hand half of what it needs from a write to a read that follows: each drop soon after
//! waits until the write is in the cache, 4 ns. Who awaits an object, or calls a function, drops a reference that was
//! added a moment ago.

use pyo3::ffi;

/// Is it one of those versions?
const IN_HALVES: bool = cfg!(all(
    Py_3_12,
    not(Py_3_14),
    target_pointer_width = "64",
    not(Py_GIL_DISABLED),
    not(py_sys_config = "Py_REF_DEBUG")
));

/// Adds a reference.
///
/// # Safety
/// The object is valid, and the thread attached.
#[inline(always)]
pub(super) unsafe fn add(object: *mut ffi::PyObject) {
    if IN_HALVES {
        let count = object.cast::<u64>();
        // SAFETY: an object begins with its count, of two halves in these versions.
        let more = unsafe { count.read() }.wrapping_add(1);
        // The lower half of the count of what lives for ever is all ones. The upper half is 0, but in objects that
        // extensions built for older versions have counted as others.
        if more.trailing_zeros() < u32::BITS {
            // SAFETY: the caller's promise.
            unsafe { count.write(more) };
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { ffi::Py_INCREF(object) };
    }
}
