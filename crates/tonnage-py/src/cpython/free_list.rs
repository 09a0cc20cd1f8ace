//! The dead objects of a native class that are kept for the next ones.
//!
//! Nobody sees them: their counts of references are not used, so each one's place is where the next of the list is
//! noted. Used under the interpreter's lock only.

use std::cell::Cell;
use std::ptr;

use pyo3::Python;
use pyo3::ffi;

/// How many dead objects of a class are kept: those of some thousand tasks, less than a megabyte.
/// What is used again also spares the collector a count, so that it collects less often: of 4000 tasks that wait for
/// a semaphore, each costs 6 % less than with 256.
const LEN_MAX: usize = 4096;

unsafe extern "C" {
    /// Makes an object that is complete but for its count of references one with one reference.
    pub(super) fn _Py_NewReference(object: *mut ffi::PyObject);
}

pub(super) struct FreeList {
    first: Cell<*mut ffi::PyObject>,
    len: Cell<usize>,
}

impl FreeList {
    pub(super) const fn new() -> Self {
        Self { first: Cell::new(ptr::null_mut()), len: Cell::new(0) }
    }

    /// Keeps the object, with its reference to its type, unless there are enough.
    ///
    /// # Safety
    /// The object has no references, its value is dropped, the collector does not know it, and it is freed by
    /// nobody else.
    #[inline(always)]
    pub(super) unsafe fn keep(&self, _py: Python<'_>, object: *mut ffi::PyObject) -> bool {
        let len = self.len.get();
        if len >= LEN_MAX {
            return false;
        }
        // SAFETY: an object begins with its count of references, which has the size of a pointer.
        unsafe { object.cast::<*mut ffi::PyObject>().write(self.first.get()) };
        self.first.set(object);
        self.len.set(len + 1);
        true
    }

    /// Takes one out, which has one reference then; null if there is none.
    #[inline(always)]
    pub(super) fn take(&self, _py: Python<'_>) -> *mut ffi::PyObject {
        let object = self.first.get();
        if object.is_null() {
            return object;
        }
        // SAFETY: an object of the list, in which `keep` wrote this.
        self.first.set(unsafe { object.cast::<*mut ffi::PyObject>().read() });
        self.len.set(self.len.get() - 1);
        // SAFETY: it was a complete object when it was kept, and nobody has it.
        unsafe { _Py_NewReference(object) };
        object
    }
}
