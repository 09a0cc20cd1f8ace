//! Resuming coroutines and other generators.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use super::slots::{Object, Step};
use crate::names;

/// Resumes `coro` with `None`, and says how it came back.
///
/// Objects without the send slot (mocks, coroutines compiled by others) are sent to by name.
#[inline]
pub(crate) fn resume<'py>(coro: &Object<'py>) -> PyResult<Step<'py>> {
    let py = coro.py();
    let none = py.None();
    let mut result = ptr::null_mut();
    // SAFETY: `coro` and `none` are bound, so both outlive the call; `py` proves that we are attached.
    let sent = unsafe { ffi::PyIter_Send(coro.as_ptr(), none.as_ptr(), &raw mut result) };
    if sent == ffi::PySendResult::PYGEN_ERROR {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: except on error, CPython leaves one owned reference in `result`.
    let value = unsafe { Bound::from_owned_ptr(py, result) };
    Ok(if sent == ffi::PySendResult::PYGEN_RETURN { Step::Returned(value) } else { Step::Yielded(value) })
}

/// Raises `exception` inside `coro`, at the point where it waits.
pub(crate) fn throw<'py>(coro: &Object<'py>, exception: &Object<'py>) -> PyResult<Step<'py>> {
    let py = coro.py();
    match coro.call_method1(names::throw(py), (exception,)) {
        Ok(value) => Ok(Step::Yielded(value)),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => {
            let value = error.value(py).getattr(names::value(py))?;
            Ok(Step::Returned(value))
        }
        Err(error) => Err(error),
    }
}

/// Is it a coroutine that `async def` made?
#[inline]
pub(crate) fn is_coroutine_object(object: &Object<'_>) -> bool {
    // SAFETY: `object` is a valid object.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}

/// Is it a generator?
pub(crate) fn is_generator(object: &Object<'_>) -> bool {
    // SAFETY: `object` is a valid object.
    unsafe { ffi::PyGen_CheckExact(object.as_ptr()) != 0 }
}
