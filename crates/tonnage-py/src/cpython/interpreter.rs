//! Which interpreter of the process this is.
//!
//! Types, names and imported objects are kept once for the process, so they belong to one interpreter.
//! CPython refuses other interpreters itself only from 3.12 on, and only those that are isolated.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// No interpreter has this number.
const NOBODY: i64 = -1;

/// The interpreter that imported the module first.
static OWNER: AtomicI64 = AtomicI64::new(NOBODY);

/// Refuses all interpreters but the first.
pub(crate) fn claim(py: Python<'_>) -> PyResult<()> {
    // SAFETY: `py` proves that we are attached, so there is a current interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the current interpreter is alive.
    let id = unsafe { ffi::PyInterpreterState_GetID(interpreter) };
    if id < 0 {
        return Err(PyErr::fetch(py));
    }
    match OWNER.compare_exchange(NOBODY, id, Ordering::Relaxed, Ordering::Relaxed) {
        Err(owner) if owner != id => Err(PyImportError::new_err(
            "tonnage does not support subinterpreters; another interpreter of this process has imported it",
        )),
        _ => Ok(()),
    }
}
