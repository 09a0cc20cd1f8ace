//! Which task runs, as asyncio itself keeps it, so that `asyncio.current_task()` is right for all.
//!
//! Up to 3.13 that is a dictionary from loop to task; from 3.14 on a field of the thread, reached
//! through `_asyncio._swap_current_task`.

#[cfg(not(Py_3_14))]
use std::ffi::c_int;

#[cfg(not(Py_3_14))]
use pyo3::exceptions::PyKeyError;
#[cfg(not(Py_3_14))]
use pyo3::ffi;
use pyo3::prelude::*;
#[cfg(not(Py_3_14))]
use pyo3::sync::PyOnceLock;
#[cfg(not(Py_3_14))]
use pyo3::types::PyDict;

use super::compat;
use super::slots::Object;

#[cfg(not(Py_3_14))]
unsafe extern "C" {
    /// Exported by CPython for asyncio's own extension. Returns -1 with an exception set if it fails.
    fn _PyDict_SetItem_KnownHash(
        dict: *mut ffi::PyObject,
        key: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
        hash: ffi::Py_hash_t,
    ) -> c_int;
}

/// Does who asks for the running task of a loop hash the loop first?
pub(crate) const ASKERS_HASH: bool = cfg!(not(Py_3_14));

/// Makes `task` the running task of `event_loop`.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn enter(event_loop: &Object<'_>, task: &Object<'_>) -> PyResult<()> {
    enter_hashed(event_loop, task, event_loop.hash()?)
}

/// As `enter`, of a loop whose hash is known.
#[cfg(not(Py_3_14))]
#[inline(always)]
pub(crate) fn enter_hashed(event_loop: &Object<'_>, task: &Object<'_>, hash: isize) -> PyResult<()> {
    let py = event_loop.py();
    let tasks = tasks(py)?;
    let (key, value) = (event_loop.as_ptr(), task.as_ptr());
    // SAFETY: all three are bound, the first is a dictionary, and the hash is the key's.
    if unsafe { _PyDict_SetItem_KnownHash(tasks.as_ptr(), key, value, hash) } < 0 {
        return Err(fetched(py));
    }
    Ok(())
}

/// No task of `event_loop` runs.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn leave(event_loop: &Object<'_>) -> PyResult<()> {
    let py = event_loop.py();
    match tasks(py)?.del_item(event_loop) {
        // Somebody else left it already.
        Err(error) if error.is_instance_of::<PyKeyError>(py) => Ok(()),
        outcome => outcome,
    }
}

/// The running task of `event_loop`.
#[cfg(not(Py_3_14))]
pub(crate) fn get<'py>(event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    tasks(event_loop.py())?.get_item(event_loop)
}

#[cfg(not(Py_3_14))]
static TASKS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

#[cfg(not(Py_3_14))]
#[inline]
fn tasks(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    match TASKS.get(py) {
        Some(tasks) => Ok(tasks.bind(py)),
        None => find_tasks(py),
    }
}

#[cfg(not(Py_3_14))]
#[cold]
fn find_tasks(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    let found = compat::current_tasks(py)?.cast::<PyDict>()?;
    Ok(TASKS.get_or_init(py, || found.clone().unbind()).bind(py))
}

#[cfg(not(Py_3_14))]
#[cold]
fn fetched(py: Python<'_>) -> PyErr {
    PyErr::fetch(py)
}

/// Makes `task` the running task of `event_loop`.
#[cfg(Py_3_14)]
#[inline]
pub(crate) fn enter(event_loop: &Object<'_>, task: &Object<'_>) -> PyResult<()> {
    compat::swap_current_task(event_loop.py())?.call1((event_loop, task)).map(drop)
}

/// No task of `event_loop` runs.
#[cfg(Py_3_14)]
#[inline]
pub(crate) fn leave(event_loop: &Object<'_>) -> PyResult<()> {
    let py = event_loop.py();
    compat::swap_current_task(py)?.call1((event_loop, py.None())).map(drop)
}

/// As `enter`; only older versions ask for a hash.
#[cfg(Py_3_14)]
#[inline]
pub(crate) fn enter_hashed(event_loop: &Object<'_>, task: &Object<'_>, _hash: isize) -> PyResult<()> {
    enter(event_loop, task)
}

/// The running task of `event_loop`.
#[cfg(Py_3_14)]
pub(crate) fn get<'py>(event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    let task = compat::current_task(event_loop.py())?.call1((event_loop,))?;
    Ok(if task.is_none() { None } else { Some(task) })
}
