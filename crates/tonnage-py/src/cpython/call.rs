//! Calls of Python callables with few arguments and no tuple.

use std::ffi::CStr;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::args::borrowed;
use super::native_class::{NativeClass, is_exact};
use super::slots::Object;

/// `callable()`.
#[inline]
pub(crate) fn no_args<'py>(callable: &Object<'py>) -> PyResult<Object<'py>> {
    // SAFETY: `callable` is bound; there are no arguments.
    let result = unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), ptr::null(), 0, ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// `callable(arg)`.
#[inline]
pub(crate) fn one_arg<'py>(callable: &Object<'py>, arg: &Object<'py>) -> PyResult<Object<'py>> {
    let args = [arg.as_ptr()];
    // SAFETY: `callable` and the argument are bound, so they outlive the call.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), args.as_ptr(), args.len(), ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// Is it the method `name` of an object of exactly class `T`, as `object.name` gives it? The name is
/// compared by its address: it is the one that the class's definition was made with.
#[inline]
pub(crate) fn is_method_of<T: NativeClass>(callable: &Object<'_>, name: &'static CStr) -> bool {
    // SAFETY: `callable` is a valid object.
    if unsafe { ffi::PyCFunction_CheckExact(callable.as_ptr()) } == 0 {
        return false;
    }
    let function = callable.as_ptr().cast::<ffi::PyCFunctionObject>();
    // SAFETY: checked above; the receiver is alive as long as the function, or null.
    let receiver = unsafe { (*function).m_self };
    if receiver.is_null() {
        return false;
    }
    // SAFETY: checked above; the definition lives as long as the function.
    let definition = unsafe { (*function).m_ml };
    // SAFETY: as above.
    let named = unsafe { (*definition).ml_name };
    // SAFETY: the receiver is alive, see above.
    named == name.as_ptr() && is_exact::<T>(unsafe { borrowed::<PyAny>(callable.py(), &receiver) })
}
