//! Futures of any implementation: ours are asked by pointer, all others by name.

use pyo3::prelude::*;

use super::{Future, Outcome};
use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object};
use crate::names;
use crate::task::Task;

/// Is it exactly a class of ours, and no Python subclass? Then nobody overrides its methods, and `await`
/// resumes it by pointer.
#[inline]
pub(crate) fn is_ours(object: &Object<'_>) -> bool {
    is_exact::<Future>(object) || is_exact::<Task>(object)
}

/// The future behind `object`, if it is one of ours.
#[inline]
fn ours<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    if is_ours(object) { object.cast().ok() } else { None }
}

/// `asyncio.isfuture(object)`.
pub(crate) fn is_future(object: &Object<'_>) -> PyResult<bool> {
    if is_ours(object) {
        return Ok(true);
    }
    let blocking = names::_asyncio_future_blocking(object.py());
    let class = object.getattr(names::__class__(object.py()))?;
    Ok(class.hasattr(blocking)? && !object.getattr(blocking)?.is_none())
}

/// The loop of a future.
pub(crate) fn loop_of<'py>(future: &Object<'py>) -> PyResult<Object<'py>> {
    let py = future.py();
    if let Some(ours) = ours(future) {
        return ours.value().event_loop(py);
    }
    match future.getattr_opt(names::get_loop(py))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(names::_loop(py)),
    }
}

/// `future.done()`.
#[inline]
pub(crate) fn is_done(future: &Object<'_>) -> PyResult<bool> {
    let py = future.py();
    match ours(future) {
        Some(ours) => Ok(!ours.value().is_pending(py)),
        None => future.call_method0(names::done(py))?.is_truthy(),
    }
}

/// `future.cancelled()`.
pub(crate) fn is_cancelled(future: &Object<'_>) -> PyResult<bool> {
    let py = future.py();
    match ours(future) {
        Some(ours) => Ok(ours.value().state.with(py, |state| matches!(state.outcome, Outcome::Cancelled))),
        None => future.call_method0(names::cancelled(py))?.is_truthy(),
    }
}
