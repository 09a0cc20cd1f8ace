//! StopIteration as the carrier of an awaitable's result.

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::slots::Object;

/// The exception that carries `value`. A tuple or an exception as the value is wrapped, because
/// CPython would take it for the arguments of StopIteration, or for the exception itself.
pub(crate) fn with_value(value: Object<'_>) -> PyErr {
    let py = value.py();
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
        return match py.get_type::<PyStopIteration>().call1((value,)) {
            Ok(stop) => PyErr::from_value(stop),
            Err(error) => error,
        };
    }
    PyStopIteration::new_err((value.unbind(),))
}

/// Makes StopIteration with `value` the current exception, for an interpreter that takes the value out at
/// once. So the instance is made without a call, and its `args` stay empty.
#[cfg(Py_3_12)]
pub(super) fn raise(value: Object<'_>) {
    // SAFETY: the exception types live for ever.
    let class = unsafe { ffi::PyExc_StopIteration }.cast::<ffi::PyTypeObject>();
    // SAFETY: `value` proves that we are attached; the type is complete and has no items. The memory is zero.
    let instance = unsafe { ffi::PyType_GenericAlloc(class, 0) };
    if instance.is_null() {
        return; // MemoryError is set.
    }
    // SAFETY: takes a reference to the empty tuple, which CPython makes once.
    let args = unsafe { ffi::PyTuple_New(0) };
    let stop = instance.cast::<ffi::PyStopIterationObject>();
    // SAFETY: the instance is ours alone, of this layout, and the field is null.
    unsafe { (*stop).args = args };
    // SAFETY: as above; the instance owns the value from here on.
    unsafe { (*stop).value = value.into_ptr() };
    // SAFETY: gives the instance away, which is complete.
    unsafe { ffi::PyErr_SetRaisedException(instance) };
}

/// Makes StopIteration with `value` the current exception.
#[cfg(not(Py_3_12))]
pub(super) fn raise(value: Object<'_>) {
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
        let py = value.py();
        return with_value(value).restore(py);
    }
    // SAFETY: the exception types live for ever.
    let class = unsafe { ffi::PyExc_StopIteration };
    // SAFETY: as above; the reference is for the call below.
    unsafe { ffi::Py_INCREF(class) };
    // SAFETY: gives both references away. The instance is made only if somebody looks at it, from a value that
    // is neither a tuple nor an exception.
    unsafe { ffi::PyErr_Restore(class, value.into_ptr(), std::ptr::null_mut()) };
}
