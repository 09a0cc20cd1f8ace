//! Items that a queue drops: they are counted, and `on_drop` is told.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::class::Queue;
use super::overflow::Overflow;
use crate::cpython::{Native, Object, Owned};
use crate::{errors, names, running};

/// Why an item was dropped.
#[derive(Clone, Copy)]
pub(super) enum Reason {
    /// The queue was full.
    Overflow,
    /// The item had waited for too long.
    Delay,
}

/// The argument `on_drop`, for a queue that may drop.
pub(super) fn parse<'py>(
    on_drop: Option<Object<'py>>,
    overflow: Overflow,
    drops_late: bool,
) -> PyResult<Option<Owned>> {
    let Some(on_drop) = on_drop.filter(|on_drop| !on_drop.is_none()) else { return Ok(None) };
    if !on_drop.is_callable() {
        return Err(PyTypeError::new_err(format!("on_drop must be callable, got {}", on_drop.repr()?)));
    }
    if !overflow.drops() && !drops_late {
        return Err(PyValueError::new_err(format!(
            "on_drop needs a queue that drops, got overflow='{}'; use overflow='drop_oldest' or 'drop_newest', \
             or target_delay",
            overflow.name()
        )));
    }
    Ok(Some(on_drop.into()))
}

/// Counts what was dropped, and tells `on_drop`.
pub(super) fn was_dropped<'py>(
    queue: &Bound<'py, Queue>,
    item: &Object<'py>,
    reason: Reason,
) -> PyResult<()> {
    let py = queue.py();
    let (on_drop, overflow) = queue.value().state.with(py, |state| {
        state.counted.dropped += 1;
        (state.on_drop.as_ref().map(|on_drop| on_drop.get_bound(py)), state.overflow)
    });
    let Some(on_drop) = on_drop else { return Ok(()) };
    let reason = match reason {
        Reason::Overflow => overflow.name(),
        Reason::Delay => "delay",
    };
    match on_drop.call1((item, reason)) {
        Ok(_) => Ok(()),
        Err(error) if errors::is_exit(py, &error) => Err(error),
        Err(error) => report(queue, &on_drop, error),
    }
}

/// Tells the exception handler of the running loop, or `sys.unraisablehook` if none runs, that `on_drop` failed.
fn report<'py>(queue: &Bound<'py, Queue>, on_drop: &Object<'py>, error: PyErr) -> PyResult<()> {
    let py = queue.py();
    let Some(event_loop) = running::event_loop_or_none(py)? else {
        error.write_unraisable(py, Some(on_drop));
        return Ok(());
    };
    let details = PyDict::new(py);
    details.set_item("message", format!("Exception in on_drop {}", on_drop.repr()?))?;
    details.set_item("exception", errors::into_object(py, error))?;
    details.set_item("queue", queue)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
