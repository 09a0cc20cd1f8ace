//! Calls of Python callables with few arguments and no tuple.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

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

/// `receiver.name(arg)`.
#[inline]
pub(crate) fn method<'py>(
    receiver: &Object<'py>,
    name: &Bound<'py, PyString>,
    arg: &Object<'py>,
) -> PyResult<Object<'py>> {
    let args = [receiver.as_ptr(), arg.as_ptr()];
    // SAFETY: the name and all arguments are bound, so they outlive the call.
    let result =
        unsafe { ffi::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), args.len(), ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(receiver.py(), result) }
}
