//! What structured concurrency does to exceptions: groups, notes, and reasons that are kept.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::cpython::{Object, Owned, compat};
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
        if errors::is_cancelled_error(&context) {
            let reason = errors::timed_out(&context)?;
            return error.setattr(names::__context__(py), reason.value(py));
        }
        error = context;
    }
}

/// The group of all that failed, raised from nothing; `context` is what was handled meanwhile.
pub(super) fn group_of(
    py: Python<'_>,
    text: &str,
    failures: &[Owned],
    context: Option<&Object<'_>>,
) -> PyResult<PyErr> {
    let members = PyList::new(py, failures.iter().map(|error| error.bind(py)))?;
    let class = compat::base_exception_group(py)?;
    let group = class.call1((text, members))?;
    group.setattr(names::__cause__(py), py.None())?;
    if let Some(context) = context {
        group.setattr(names::__context__(py), context)?;
    }
    Ok(PyErr::from_value(group))
}

/// Notes on an exception that leaves `place` bare, what else has failed: nobody would see it otherwise.
pub(super) fn add_hidden(error: &Object<'_>, place: &str, failures: &[Owned]) -> PyResult<()> {
    let py = error.py();
    for hidden in failures.iter().filter(|hidden| !hidden.is(error)) {
        let hidden = hidden.bind(py);
        let text = match hidden.repr() {
            Ok(repr) => format!("in the same {place} failed: {repr}"),
            Err(error) => {
                errors::swallow(error);
                format!("in the same {place} failed: {}", hidden.get_type().name()?)
            }
        };
        add_note(error, &text)?;
    }
    Ok(())
}

/// `error.add_note(text)`; on 3.10, where only `exceptiongroup` shows notes, by hand.
pub(super) fn add_note(error: &Object<'_>, text: &str) -> PyResult<()> {
    let py = error.py();
    match error.getattr_opt(names::__notes__(py))? {
        Some(notes) => notes.cast::<PyList>()?.append(text),
        None => error.setattr(names::__notes__(py), PyList::new(py, [text])?),
    }
}
