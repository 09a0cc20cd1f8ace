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

/// Makes StopIteration with `value` the current exception.
pub(super) fn raise(value: Object<'_>) {
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>() {
        let py = value.py();
        return with_value(value).restore(py);
    }
    // SAFETY: the exception types live for ever.
    let class = unsafe { ffi::PyExc_StopIteration };
    // SAFETY: both are valid objects, and we are attached; CPython makes the instance.
    unsafe { ffi::PyErr_SetObject(class, value.as_ptr()) };
}
