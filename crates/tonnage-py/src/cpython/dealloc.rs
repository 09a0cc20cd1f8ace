//! Dealloc: the end of a native object.
//!
//! Most objects end plainly: with nothing to finalize, and no chain behind them. They skip the questions that the
//! others are asked, and their memory is kept for the next ones. Whoever ends, ends once: no Python code reaches the
//! object after its value was dropped.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::native_class::{Extras, NativeClass, PlainDrop, extras, lent, value_ptr};
use super::trash;
use super::unowned::Lent;

pub(super) unsafe extern "C" fn dealloc<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: CPython deallocates on an attached thread; see `trampoline::run`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an object that is being deallocated is valid until it is freed below.
    let exact = unsafe { ffi::Py_TYPE(object) } == T::cell().type_ptr(py);
    // SAFETY: the object is of T's layout, and its value alive.
    if !exact || !unsafe { &*value_ptr::<T>(object) }.ends_plainly(py) || unsafe { has_more::<T>(object) } {
        // SAFETY: called once, for an object without references.
        return unsafe { dealloc_with_care::<T>(object) };
    }
    if T::IS_COLLECTED {
        // SAFETY: the object is one with a collector's head.
        unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    }
    let value = value_ptr::<T>(object);
    match T::PLAIN_DROP {
        // SAFETY: nobody can reach the object any more, and it is dropped in its place, once.
        PlainDrop::InPlace => unsafe { ptr::drop_in_place(value) },
        // SAFETY: as above, and the value moves out once.
        PlainDrop::ByFields => unsafe { value.read() }.drop_plainly(),
        PlainDrop::NotAtAll => {}
    }
    T::cell().count(-1);
    // SAFETY: the value has gone, and nobody can reach the object.
    if !unsafe { T::cell().free.keep(py, object) } {
        // SAFETY: as above.
        unsafe { free_object(object) };
    }
}

/// Has the object attributes of its own, or is it referred to by weak or unowned references?
///
/// # Safety
/// The object is alive, and of T's layout.
#[inline]
unsafe fn has_more<T: NativeClass>(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise.
    let extras = unsafe { extras::<T>(object) };
    extras.is_some_and(Extras::is_any)
        // SAFETY: the caller's promise.
        || unsafe { lent::<T>(object) }.is_some_and(Lent::is_any)
}

/// As `dealloc`, for all objects.
#[inline(never)]
unsafe extern "C" fn dealloc_with_care<T: NativeClass>(object: *mut ffi::PyObject) {
    // SAFETY: CPython deallocates on an attached thread; see `trampoline::run`.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an object that is being deallocated is valid until it is freed below.
    let type_object = unsafe { ffi::Py_TYPE(object) };
    let exact = type_object == T::cell().type_ptr(py);
    // SAFETY: as above; the value is alive.
    if unsafe { &*value_ptr::<T>(object) }.needs_finalizer(py) {
        // SAFETY: called once, from the deallocator, on an object with no references.
        if unsafe { ffi::PyObject_CallFinalizerFromDealloc(object) } < 0 {
            return; // It was resurrected.
        }
    }
    // SAFETY: a type is valid as long as its objects.
    let has_finalizer = unsafe { (*type_object).tp_finalize }.is_some();
    // SAFETY: the value is alive.
    let may_be_finalized =
        T::IS_COLLECTED && has_finalizer && unsafe { &*value_ptr::<T>(object) }.may_be_finalized(py);
    if T::IS_COLLECTED {
        // SAFETY: the object is one with a collector's head; untracking twice is allowed.
        unsafe { ffi::PyObject_GC_UnTrack(object.cast()) };
    }
    // SAFETY: the object is of T's layout, and alive until it is freed below.
    let extras = unsafe { extras::<T>(object) };
    if extras.is_some_and(|extras| !extras.weakrefs.get().is_null()) {
        // SAFETY: the weak references are the object's, and are cleared before the value goes.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
    // SAFETY: as above.
    if unsafe { lent::<T>(object) }.is_some_and(Lent::is_any) {
        return; // What refers to it would read freed memory.
    }
    let dict = extras.map_or(ptr::null_mut(), |extras| extras.dict.replace(ptr::null_mut()));
    // SAFETY: nobody can reach the object any more; the value is dropped once.
    unsafe { drop_value::<T>(py, value_ptr(object)) };
    T::cell().count(-1);
    // SAFETY: the dictionary was the object's, or is null.
    unsafe { ffi::Py_XDECREF(dict) };
    // SAFETY: asks for a bit in the collector's head of a valid object, which has one.
    let finalized = may_be_finalized && unsafe { ffi::PyObject_GC_IsFinalized(object) } != 0;
    // SAFETY: the value has gone, and nobody can reach the object.
    if !exact || finalized || !unsafe { T::cell().free.keep(py, object) } {
        // SAFETY: as above.
        unsafe { free_object(object) };
    }
}

/// # Safety
/// The object is valid but for its value, untracked, and without references.
unsafe fn free_object(object: *mut ffi::PyObject) {
    // SAFETY: the caller's promise.
    let type_object = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: the type's own function frees what its own allocator made.
    let free = unsafe { (*type_object).tp_free }.expect("each type has tp_free");
    // SAFETY: as above.
    unsafe { free(object.cast()) };
    // SAFETY: an object of a heap type owns a reference to its type.
    unsafe { ffi::Py_DECREF(type_object.cast()) };
}

/// # Safety
/// As for `ptr::drop_in_place`.
#[inline]
unsafe fn drop_value<T: NativeClass>(py: Python<'_>, value: *mut T) {
    // SAFETY: the value is valid until it is dropped.
    if unsafe { &*value }.is_link(py) {
        // SAFETY: the caller's promise.
        unsafe { trash::drop_value(value) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { ptr::drop_in_place(value) };
    }
}
