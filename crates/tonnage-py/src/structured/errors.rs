//! What structured concurrency does to exceptions: groups, notes, and reasons that are kept.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use crate::cpython::compat;
use crate::{errors, names};

/// Puts TimeoutError between `error` (or the members of a group) and the cancellation it was raised from.
///
/// Same as asyncio: CPython 3.15, Lib/asyncio/timeouts.py, `_insert_timeout_error`.
pub(super) fn explain_timeout(error: &Bound<'_, PyBaseException>) -> PyResult<()> {
    let py = error.py();
    insert_timeout_error(error)?;
    if error.is_instance(compat::exception_group(py)?)? {
        for member in error.getattr(names::exceptions(py))?.try_iter()? {
            insert_timeout_error(member?.cast()?)?;
        }
    }
    Ok(())
}

fn insert_timeout_error(error: &Bound<'_, PyBaseException>) -> PyResult<()> {
    let py = error.py();
    let mut error = error.clone();
    loop {
        let context = error.getattr(names::__context__(py))?;
        let Ok(context) = context.cast_into::<PyBaseException>() else { return Ok(()) };
        if errors::is_cancelled(py, &PyErr::from_value(context.clone().into_any())) {
            let reason = errors::timed_out(&context)?;
            return error.setattr(names::__context__(py), reason.value(py));
        }
        error = context;
    }
}
