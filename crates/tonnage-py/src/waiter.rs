//! Waiter: the future by which a coroutine of ours waits, on a loop of any kind.
//!
//! Who holds what is waited for wakes the waiter (`wake`), which hands the thing over at that moment. A waiter
//! whose task was cancelled refuses, and the next is asked. A task that is cancelled after it was woken finds
//! out by `was_woken`, and must pass on what it was given.

use pyo3::prelude::*;

use crate::coroutine::Next;
use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::future::{self, Future, Outcome};
use crate::names;

pub(crate) struct Waiter(Owned);

impl Waiter {
    /// A future of `event_loop` that waits.
    #[inline]
    pub(crate) fn create(event_loop: &Object<'_>) -> PyResult<Self> {
        let py = event_loop.py();
        if let Some(native) = EventLoop::bound(event_loop) {
            return Ok(Self(Owned::from(future::create_native(native)?.into_any())));
        }
        Ok(Self(event_loop.call_method0(names::create_future(py))?.into()))
    }

    /// A future that waits already.
    #[inline]
    pub(crate) fn of(future: &Object<'_>) -> Self {
        Self(future.into())
    }

    /// One more reference to the same future.
    #[inline]
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.share(py))
    }

    /// What a body returns to wait.
    #[inline]
    pub(crate) fn wait<'py>(&self, py: Python<'py>) -> Next<'py> {
        Next::Await(self.0.get_bound(py))
    }

    /// The future itself.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.0.get_bound(py)
    }

    /// Is this the future?
    pub(crate) fn is(&self, future: &Object<'_>) -> bool {
        self.0.is(future)
    }

    /// Ends the wait with `value`, unless the waiter gave up: then it says false.
    #[inline]
    pub(crate) fn wake(&self, value: &Object<'_>) -> PyResult<bool> {
        let future = self.0.bind(value.py());
        if is_exact::<Future>(future) {
            return future::settle(future.cast()?, Outcome::Result(value.into()));
        }
        if future::is_done(future)? {
            return Ok(false);
        }
        future.call_method1(names::set_result(value.py()), (value,))?;
        Ok(true)
    }

    /// Ends the wait with CancelledError, as if its task were cancelled.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let future = self.0.bind(py);
        if is_exact::<Future>(future) {
            return future::cancel(future.cast()?, None).map(drop);
        }
        future.call_method0(names::cancel(py)).map(drop)
    }

    /// Was it woken? False if it still waits, or gave up.
    pub(crate) fn was_woken(&self, py: Python<'_>) -> PyResult<bool> {
        let future = self.0.bind(py);
        if is_exact::<Future>(future) {
            let future = future.cast::<Future>()?;
            return Ok(future.value().state.with(py, |state| matches!(state.outcome, Outcome::Result(_))));
        }
        Ok(future::is_done(future)? && !future::is_cancelled(future)?)
    }

    /// What it was woken with; nothing if it still waits, or gave up.
    pub(crate) fn woken_with<'py>(&self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        let future = self.0.bind(py);
        if is_exact::<Future>(future) {
            let future = future.cast::<Future>()?;
            return Ok(future.value().state.with(py, |state| match &state.outcome {
                Outcome::Result(value) => Some(value.get_bound(py)),
                _ => None,
            }));
        }
        if self.was_woken(py)? { future.call_method0(names::result(py)).map(Some) } else { Ok(None) }
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.0)
    }
}
