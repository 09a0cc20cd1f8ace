//! wait_for: one awaitable under a timeout.
//!
//! Same rules as asyncio from CPython 3.12 on: the awaitable is awaited by the caller itself, so that a cancel
//! and a result that come in the same turn are never mixed up. Lib/asyncio/tasks.py, `wait_for`.

use pyo3::prelude::*;

use super::timeout::{self, Timeout};
use super::{child_done, ensure_future};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Parameters, Visit, number};
use crate::waiter::Waiter;
use crate::{errors, names, running};

pub(crate) type WaitForCoroutine = Coroutine<WaitFor>;

pub(crate) struct WaitFor {
    awaitable: Owned,
    timeout: Owned,
    phase: Phase,
}

enum Phase {
    Begun,
    /// The awaitable runs.
    Running(Option<Owned<Timeout>>),
    /// There was no time: the future was cancelled before it began, and is waited for.
    Cancelled(Owned, Waiter),
}

/// `asyncio.wait_for(fut, timeout)`.
pub(super) fn wait_for<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "wait_for", names: ["fut", "timeout"], positional: 2, required: 2 };
    let [awaitable, timeout] = args.parse(&PARAMETERS)?.map(|given| given.expect("both are required"));
    let body = WaitFor { awaitable: awaitable.into(), timeout: timeout.into(), phase: Phase::Begun };
    Coroutine::create(args.py(), body)
}

impl Body for WaitFor {
    const QUALNAME: &'static str = "wait_for";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match std::mem::replace(&mut self.phase, Phase::Running(None)) {
            Phase::Begun => self.begin(py),
            Phase::Running(None) => awaited.map(Next::Return),
            Phase::Running(Some(timeout)) => timeout::end(timeout.bind(py), awaited).map(Next::Return),
            Phase::Cancelled(future, waiter) => {
                let future = future.into_bound(py);
                child_done::unwatch(&future, &waiter.future(py), 0)?;
                awaited?;
                outcome_in_time(&future)
            }
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let phase = match &self.phase {
            Phase::Begun | Phase::Running(None) => 0,
            Phase::Running(Some(timeout)) => visit.call(timeout),
            Phase::Cancelled(future, waiter) => match visit.call(future) {
                0 => waiter.traverse(visit),
                shown => shown,
            },
        };
        match (phase, visit.call(&self.awaitable)) {
            (0, 0) => visit.call(&self.timeout),
            (0, shown) | (shown, _) => shown,
        }
    }
}

impl WaitFor {
    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let given = self.timeout.bind(py);
        if given.is_none() {
            return Ok(Next::Await(self.awaitable.get_bound(py)));
        }
        let seconds = number::seconds(given)?;
        if seconds <= 0.0 {
            return self.cancel_at_once(py);
        }
        self.phase = Phase::Running(Some(timeout::begin(py, seconds)?.into()));
        Ok(Next::Await(self.awaitable.get_bound(py)))
    }

    /// Without time, nothing of the awaitable runs, unless it is a future that is done.
    fn cancel_at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let future = ensure_future::future_of(self.awaitable.bind(py), None)?;
        if future.call_method0(names::done(py))?.is_truthy()? {
            return Ok(Next::Return(future.call_method0(names::result(py))?));
        }
        // Waiting for the future itself would hand a cancel of ours to it a second time.
        let waiter = Waiter::create(&running::event_loop(py)?)?;
        child_done::watch(&future, &waiter.future(py), 0)?;
        future.call_method0(names::cancel(py))?;
        let next = waiter.wait(py);
        self.phase = Phase::Cancelled(future.into(), waiter);
        Ok(next)
    }
}

/// The result of the future that was cancelled, if it did not let itself be cancelled.
fn outcome_in_time<'py>(future: &Object<'py>) -> PyResult<Next<'py>> {
    let py = future.py();
    match future.call_method0(names::result(py)) {
        Ok(value) => Ok(Next::Return(value)),
        Err(error) if errors::is_cancelled(py, &error) => Err(errors::timed_out(error.value(py))?),
        Err(error) => Err(error),
    }
}
