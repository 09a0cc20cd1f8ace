//! Calls of Python callables with few arguments and no tuple.

use std::ffi::c_int;
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

/// `callable()`, of what is a function of C without arguments, or else of anything.
#[inline(always)]
pub(crate) fn builtin<'py>(callable: &Object<'py>) -> PyResult<Object<'py>> {
    const KINDS: c_int = ffi::METH_VARARGS | ffi::METH_KEYWORDS | ffi::METH_NOARGS | ffi::METH_O;
    const OTHERS: c_int = ffi::METH_FASTCALL | ffi::METH_METHOD;
    // SAFETY: `callable` is a valid object.
    if unsafe { ffi::PyCFunction_CheckExact(callable.as_ptr()) } == 0 {
        return no_args(callable);
    }
    // SAFETY: it is a built-in function, and so has this layout.
    let function = unsafe { &*callable.as_ptr().cast::<ffi::PyCFunctionObject>() };
    // SAFETY: the definition of a function lives as long as the function.
    let definition = unsafe { &*function.m_ml };
    if definition.ml_flags & (KINDS | OTHERS) != ffi::METH_NOARGS {
        return no_args(callable);
    }
    // SAFETY: the flags say that it is this variant.
    let call = unsafe { definition.ml_meth.PyCFunction };
    // SAFETY: called as CPython calls such a function: with what it is bound to, and no argument.
    let result = unsafe { call(function.m_self, ptr::null_mut()) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// `callable(first, second)`.
#[inline]
pub(crate) fn two_args<'py>(
    callable: &Object<'py>,
    first: &Object<'py>,
    second: &Object<'py>,
) -> PyResult<Object<'py>> {
    let args = [first.as_ptr(), second.as_ptr()];
    // SAFETY: `callable` and the arguments are bound, so they outlive the call.
    let result =
        unsafe { ffi::PyObject_Vectorcall(callable.as_ptr(), args.as_ptr(), args.len(), ptr::null_mut()) };
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
