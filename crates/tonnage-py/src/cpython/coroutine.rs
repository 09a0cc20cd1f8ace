//! Resuming coroutines and other generators.

use std::ptr;

use pyo3::exceptions::{PyBaseException, PyDeprecationWarning, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTraceback, PyType};

use super::args::{Args, Parameters};
use super::slots::{Object, Step};
use super::stop_iteration;
use crate::names;

/// What `await object` resumes: the object itself if it is a coroutine, else what its `__await__` gives.
pub(crate) fn awaited<'py>(object: &Object<'py>) -> PyResult<Object<'py>> {
    if is_coroutine_object(object) {
        return Ok(object.clone());
    }
    // SAFETY: a valid object has a type.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    // SAFETY: a type is valid as long as its objects.
    let methods = unsafe { (*class).tp_as_async };
    // SAFETY: the table is the type's own, or null.
    let am_await = unsafe { methods.as_ref() }.and_then(|methods| methods.am_await);
    let Some(am_await) = am_await else { return marked_generator(object) };
    // SAFETY: called with an object of the type that it is a slot of.
    let iterator = unsafe { am_await(object.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let iterator = unsafe { Bound::from_owned_ptr_or_err(object.py(), iterator)? };
    // SAFETY: a valid object.
    if unsafe { ffi::PyIter_Check(iterator.as_ptr()) } == 0 {
        let kind = iterator.get_type().name()?;
        return Err(PyTypeError::new_err(format!("__await__() returned non-iterator of type '{kind}'")));
    }
    if is_coroutine_object(&iterator) {
        return Err(PyTypeError::new_err("__await__() returned a coroutine"));
    }
    Ok(iterator)
}

/// May it stand behind `await`?
#[inline]
pub(crate) fn is_awaitable(object: &Object<'_>) -> PyResult<bool> {
    if is_coroutine_object(object) {
        return Ok(true);
    }
    // SAFETY: a valid object has a type.
    let class = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    // SAFETY: a type is valid as long as its objects.
    let methods = unsafe { (*class).tp_as_async };
    // SAFETY: the table is the type's own, or null.
    let has_await = unsafe { methods.as_ref() }.is_some_and(|methods| methods.am_await.is_some());
    Ok(has_await || is_marked_generator(object)?)
}

/// Is it a generator that `types.coroutine` has marked? It is a coroutine too.
fn is_marked_generator(object: &Object<'_>) -> PyResult<bool> {
    /// `inspect.CO_ITERABLE_COROUTINE`.
    const ITERABLE_COROUTINE: u32 = 0x100;
    if !is_generator(object) {
        return Ok(false);
    }
    let flags: u32 = object.getattr("gi_code")?.getattr("co_flags")?.extract()?;
    Ok(flags & ITERABLE_COROUTINE != 0)
}

#[cold]
fn marked_generator<'py>(object: &Object<'py>) -> PyResult<Object<'py>> {
    if is_marked_generator(object)? {
        return Ok(object.clone());
    }
    let kind = object.get_type().name()?;
    Err(PyTypeError::new_err(format!("object {kind} can't be used in 'await' expression")))
}

/// The exception that the arguments of `throw` mean.
pub(crate) fn thrown(args: &Args<'_, '_>) -> PyResult<PyErr> {
    const PARAMETERS: Parameters<3> =
        Parameters { function: "throw", names: ["type", "value", "traceback"], positional: 3, required: 1 };
    let py = args.py();
    let [class, value, traceback] = args.parse(&PARAMETERS)?;
    if value.is_some() && py.version_info() >= (3, 12) {
        // Same text and versions as asyncio: CPython 3.12, Modules/_asynciomodule.c, FutureIter_throw.
        let text =
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), text, 1)?;
    }
    let class = class.expect("required");
    let value = value.filter(|value| !value.is_none());
    let traceback = traceback.filter(|traceback| !traceback.is_none());
    if let Some(traceback) = &traceback
        && !traceback.is_instance_of::<PyTraceback>()
    {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback object"));
    }
    let exception = if let Ok(class) = class.cast::<PyType>() {
        match value {
            Some(value) if value.is_instance(class)? => value,
            Some(value) => class.call1((value,))?,
            None => class.call0()?,
        }
    } else if value.is_some() {
        return Err(PyTypeError::new_err("instance exception may not have a separate value"));
    } else {
        class
    };
    if !exception.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err(
            "exceptions must be classes deriving BaseException or instances of such a class",
        ));
    }
    let error = PyErr::from_value(exception);
    if let Some(traceback) = traceback {
        error.set_traceback(py, Some(traceback.cast_into()?));
    }
    Ok(error)
}

/// What the method `send` of a coroutine or an iterator gives for this step.
pub(crate) fn sent(step: Step<'_>) -> PyResult<Object<'_>> {
    match step {
        Step::Yielded(value) => Ok(value),
        Step::Returned(value) => Err(stop_iteration::with_value(value)),
    }
}

/// Resumes `coro` with `None`, and says how it came back.
///
/// Objects without the send slot (mocks, coroutines compiled by others) are sent to by name.
#[inline(always)]
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
