//! FutureIter: what `await future` iterates over.

use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{Future, Polled};
use crate::cpython::native_class::create;
use crate::cpython::{
    Args, Guarded, Mark, Native, NativeClass, Object, Owned, Slots, Step, Visit, another, coroutine,
};
use crate::errors;

pub(crate) struct FutureIter {
    /// `None` once it has ended.
    future: Guarded<Option<Owned<Future>>>,
}

impl FutureIter {
    pub(crate) fn create<'py>(future: &Bound<'py, Future>) -> PyResult<Bound<'py, Self>> {
        create(future.py(), Self { future: Guarded::new(Some(future.into())) })
    }
}

impl NativeClass for FutureIter {
    const NAME: &'static CStr = c"tonnage._tonnage.FutureIter";
    const DOC: &'static CStr = c"The iterator of a future.";
    const SUBCLASSED: bool = false;

    fn is_link(&self, _py: Python<'_>) -> bool {
        // Nothing that one keeps holds another.
        false
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.iterator(next);
        slots.one_arg(c"send", c"Resume, as next().", |iter, _value| coroutine::sent(next(iter)?));
        slots.with_args(c"throw", c"Raise an exception at the await.", throw);
        slots.no_args(c"close", c"End it.", close);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.future.traverse(0, |future| visit.option(future.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.future.with(py, Option::take));
    }
}

/// What `await future` resumes: the future itself, which spares an object for each await. A Python
/// subclass has no slot of ours to be resumed by, so it gets an iterator.
pub(super) fn awaited<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    if super::is_ours(future.as_any()) {
        return Ok(another(future).into_any());
    }
    iterator(future)
}

/// What `iter(future)` and `future.__await__()` give.
pub(super) fn iterator<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    if future.value().state.with(future.py(), |state| state.event_loop.is_none()) {
        return Err(errors::not_initialised("Future"));
    }
    Ok(FutureIter::create(future)?.into_any())
}

/// One step of awaiting: yields the future to the task, or ends with its result.
#[inline]
pub(crate) fn resume<'py>(future: &Bound<'py, Future>) -> PyResult<Step<'py>> {
    let py = future.py();
    let first = future.value().state.with(py, |state| {
        let first = state.is_pending() && !state.event_loop.has(Mark::Blocking);
        if first {
            state.event_loop.mark(Mark::Blocking, true);
        }
        first
    });
    if first {
        return Ok(Step::Yielded(another(future).into_any()));
    }
    match future.value().poll(py) {
        Polled::Result(value) => Ok(Step::Returned(value)),
        Polled::Error(error) => Err(error),
        Polled::Pending => Err(PyRuntimeError::new_err("await wasn't used with future")),
    }
}

fn next<'py>(iter: &Bound<'py, FutureIter>) -> PyResult<Step<'py>> {
    let py = iter.py();
    let future = iter.value().future.with(py, |future| future.as_ref().map(|future| future.get_bound(py)));
    let Some(future) = future else { return Ok(Step::Returned(py.None().into_bound(py))) };
    let step = resume(&future);
    if !matches!(step, Ok(Step::Yielded(_))) {
        drop(iter.value().future.with(py, Option::take));
    }
    step
}

fn throw<'py>(iter: &Bound<'py, FutureIter>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let error = coroutine::thrown(&args)?;
    drop(iter.value().future.with(args.py(), Option::take));
    Err(error)
}

fn close<'py>(iter: &Bound<'py, FutureIter>) -> PyResult<Object<'py>> {
    let py = iter.py();
    drop(iter.value().future.with(py, Option::take));
    Ok(py.None().into_bound(py))
}
