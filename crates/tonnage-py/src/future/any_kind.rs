//! Futures of any implementation: ours are asked by pointer, all others by name.

use pyo3::prelude::*;

use super::{Future, Outcome};
use crate::cpython::native_class::{exact, is_exact, upcast};
use crate::cpython::{Mark, Native, Object};
use crate::structured::GatheringFuture;
use crate::sync::Entering;
use crate::task::Task;
use crate::{errors, names};

/// Is it exactly a class of ours, and no Python subclass? Then nobody overrides its methods, and `await`
/// resumes it by pointer.
#[inline]
pub(crate) fn is_ours(object: &Object<'_>) -> bool {
    is_exact::<Future>(object) || is_exact::<Task>(object) || is_exact::<GatheringFuture>(object)
}

/// The future behind `object`, if it is one of ours. Each class is met exactly, which spares a walk through bases.
#[inline(always)]
pub(crate) fn ours<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    if let Some(future) = exact::<Future>(object) {
        return Some(future);
    }
    if let Some(task) = exact::<Task>(object) {
        return Some(Task::as_future(task));
    }
    exact::<GatheringFuture>(object).map(upcast)
}

/// The future behind what a task waits for: as `ours`, or what waits for a slot in `async with`. That one is
/// a coroutine too, so it is never resumed as a future.
#[inline(always)]
pub(crate) fn waited_for<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    ours(object).or_else(|| entering(object))
}

/// The future behind `object`, if its `cancel` cancels nothing else.
#[inline]
pub(crate) fn simple<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    exact::<Future>(object).or_else(|| entering(object))
}

/// What waits for a slot in `async with`, once it waits.
#[inline]
fn entering<'a, 'py>(object: &'a Object<'py>) -> Option<&'a Bound<'py, Future>> {
    exact::<Entering>(object).filter(|entering| entering.value().is_future(object.py())).map(upcast)
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

/// How a future ended.
pub(crate) enum Ended<'py> {
    Result(Object<'py>),
    Exception(Object<'py>),
    Cancelled,
}

/// How a future that is done ended; its exception counts as retrieved from then on.
pub(crate) fn ended<'py>(future: &Object<'py>) -> PyResult<Ended<'py>> {
    let py = future.py();
    if let Some(ours) = ours(future) {
        let found = ours.value().state.with(py, |state| {
            state.event_loop.mark(Mark::LogTraceback, false);
            match &state.outcome {
                Outcome::Pending => None,
                Outcome::Cancelled => Some(Ended::Cancelled),
                Outcome::Result(value) => Some(Ended::Result(value.get_bound(py))),
                Outcome::Exception(exception) => Some(Ended::Exception(exception.get_bound(py))),
            }
        });
        return found.ok_or_else(|| errors::invalid_state(py, "Exception is not set."));
    }
    if is_cancelled(future)? {
        return Ok(Ended::Cancelled);
    }
    let exception = future.call_method0(names::exception(py))?;
    if exception.is_none() {
        return Ok(Ended::Result(future.call_method0(names::result(py))?));
    }
    Ok(Ended::Exception(exception))
}

/// `future.result()`.
pub(crate) fn result<'py>(future: &Object<'py>) -> PyResult<Object<'py>> {
    match ours(future) {
        Some(ours) => super::class::result(ours),
        None => future.call_method0(names::result(future.py())),
    }
}

/// The CancelledError of a future that was cancelled: once the one that ended its task, then others like it.
pub(crate) fn make_cancelled_error<'py>(future: &Object<'py>) -> PyResult<Object<'py>> {
    let py = future.py();
    match ours(future) {
        Some(ours) => Ok(errors::into_object(py, ours.value().cancelled_error(py))),
        None => future.call_method0(names::_make_cancelled_error(py)),
    }
}

/// The message with which a future was cancelled.
pub(crate) fn cancel_message<'py>(future: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    let py = future.py();
    if let Some(ours) = ours(future) {
        return Ok(ours.value().state.with(py, |state| {
            state
                .rare
                .as_ref()
                .and_then(|rare| rare.cancel_message.as_ref().map(|message| message.get_bound(py)))
        }));
    }
    Ok(future.getattr_opt(names::_cancel_message(py))?.filter(|message| !message.is_none()))
}
