//! WakeTimer: wakes a waiter after a time, on a loop of any kind.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tonnage_core::timers::TimerKey;

use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::names;
use crate::waiter::Waiter;

/// The argument `timeout` of wait() and as_completed(), in seconds.
pub(super) fn timeout_s(timeout: Option<&Object<'_>>) -> PyResult<Option<f64>> {
    let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else { return Ok(None) };
    let timeout_s: f64 = timeout.extract()?;
    if timeout_s.is_nan() {
        return Err(PyValueError::new_err("Invalid timeout: NaN (not a number)"));
    }
    Ok(Some(timeout_s))
}

pub(super) enum WakeTimer {
    /// In the timers of a loop of ours.
    Timer(Owned, TimerKey),
    /// A handle of another loop.
    Handle(Owned),
}

impl WakeTimer {
    /// Has `waiter` get None after a time, unless it is woken or gives up before.
    pub(super) fn start(event_loop: &Object<'_>, delay_s: f64, waiter: &Waiter) -> PyResult<Self> {
        let py = event_loop.py();
        match EventLoop::of(event_loop) {
            Some(native) => {
                let key = native.wake_later(py, delay_s, waiter.future(py).cast_into()?);
                Ok(Self::Timer(event_loop.into(), key))
            }
            None => {
                let args = (delay_s, names::release_waiter(py)?, waiter.future(py));
                Ok(Self::Handle(event_loop.call_method1(names::call_later(py), args)?.into()))
            }
        }
    }

    /// Wakes nobody any more.
    pub(super) fn stop(self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Timer(event_loop, key) => {
                if let Some(native) = EventLoop::of_any(event_loop.bind(py)) {
                    drop(native.remove_timer(py, key));
                }
                Ok(())
            }
            Self::Handle(handle) => handle.bind(py).call_method0(names::cancel(py)).map(drop),
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Timer(owner, _) | Self::Handle(owner) => visit.call(owner),
        }
    }
}
