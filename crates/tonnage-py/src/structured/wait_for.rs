//! wait_for: one awaitable under a timeout.
//!
//! Same rules as asyncio from CPython 3.12 on: the awaitable is awaited by the caller itself, so that a cancel
//! and a result that come in the same turn are never mixed up. Lib/asyncio/tasks.py, `wait_for`.

use pyo3::prelude::*;

use super::deadline_block::seconds_or_none;
use super::timeout::{self, Timeout};
use super::{child_done, ensure_future};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Object, Owned, Parameters, Visit, another, coroutine, number};
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
    if let [awaitable, timeout] = args.positional()
        && !args.has_keywords()
    {
        return create(args.py(), awaitable, timeout);
    }
    let [awaitable, timeout] = args.parse(&PARAMETERS)?.map(|given| given.expect("both are required"));
    create(args.py(), &awaitable, &timeout)
}

#[inline(always)]
fn create<'py>(py: Python<'py>, awaitable: &Object<'py>, timeout: &Object<'py>) -> PyResult<Object<'py>> {
    Coroutine::create_with(py, || WaitFor {
        awaitable: awaitable.into(),
        timeout: timeout.into(),
        phase: Phase::Begun,
    })
}

impl Body for WaitFor {
    const QUALNAME: &'static str = "wait_for";
    const IS_LINK: bool = true;

    #[inline(always)]
    fn awaits<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        let (awaitable, timeout) = (self.awaitable.bind(py), self.timeout.bind(py));
        let is_plain = coroutine::is_coroutine_object(awaitable) && number::is_plain_or_none(timeout);
        if !is_plain || !matches!(self.phase, Phase::Begun) {
            return Ok(None);
        }
        let timeout = match self.seconds(py)? {
            None => None,
            Some(seconds) if seconds > 0.0 => Some(timeout::begin(py, seconds)?.into()),
            Some(_) => return Ok(None),
        };
        self.phase = Phase::Running(timeout);
        Ok(Some(another(awaitable)))
    }

    #[inline(always)]
    fn ends<'py>(
        &mut self,
        py: Python<'py>,
        given: Object<'py>,
    ) -> Result<PyResult<Object<'py>>, Object<'py>> {
        match &self.phase {
            Phase::Running(Some(timeout)) => Ok(timeout::end_in_time(timeout.bind(py)).map(|()| given)),
            Phase::Running(None) => Ok(Ok(given)),
            Phase::Begun | Phase::Cancelled(..) => Err(given),
        }
    }

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
        let Some(seconds) = self.seconds(py)? else {
            return Ok(Next::Await(self.awaitable.get_bound(py)));
        };
        if seconds <= 0.0 {
            return self.cancel_at_once(py);
        }
        self.phase = Phase::Running(Some(timeout::begin(py, seconds)?.into()));
        Ok(Next::Await(self.awaitable.get_bound(py)))
    }

    /// How long it may take; nothing is for ever.
    #[inline(always)]
    fn seconds(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        seconds_or_none(self.timeout.bind(py))
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
