//! Counting the references to an object, as CPython does, in writes of the whole count.
//!
//! CPython 3.12 and 3.13 read and write half of the count where a reference is added, and read all of it where one is
//! dropped. A processor cannot hand half of what it needs from a write to a read that follows: each drop soon after
//! waits until the write is in the cache, 4 ns. Who awaits an object, or calls a function, drops a reference that was
//! added a moment ago. The other half of the count is 0 in all objects that are counted at all.

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
        // SAFETY: the caller's promise.
        let count = unsafe { lower_half(object) }.wrapping_add(1);
        // What lives for ever is not counted.
        if count != 0 {
            // SAFETY: the caller's promise.
            unsafe { set(object, count) };
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe { ffi::Py_INCREF(object) };
    }
}

/// # Safety
/// The object is valid.
#[inline(always)]
unsafe fn lower_half(object: *mut ffi::PyObject) -> u32 {
    let halves = object.cast::<[u32; 2]>();
    // SAFETY: an object begins with its count, of two halves in these versions.
    unsafe { (*halves)[usize::from(cfg!(target_endian = "big"))] }
}

/// # Safety
/// The object is valid, and one that is counted.
#[inline(always)]
unsafe fn set(object: *mut ffi::PyObject, count: u32) {
    // SAFETY: as above.
    unsafe { object.cast::<u64>().write(u64::from(count)) };
}
