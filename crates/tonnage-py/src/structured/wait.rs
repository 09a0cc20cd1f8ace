//! wait: until some of several futures have ended.
//!
//! `Waiting` is the parent that the futures tell; it counts, and wakes the coroutine. When the coroutine goes
//! on, for whatever reason, no future tells it any more.

use std::ffi::CStr;
use std::mem;

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PySet, PyTuple};

use super::wake_timer::{WakeTimer, timeout_s};
use super::{call_graph, child_done, ensure_future};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::future::{self, Ended};
use crate::waiter::Waiter;
use crate::{names, running};

pub(crate) type WaitCoroutine = Coroutine<Wait>;

pub(crate) struct Wait {
    futures: Owned,
    timeout: Option<Owned>,
    return_when: Option<Owned>,
    phase: Phase,
}

enum Phase {
    Begun,
    /// Enough of the futures had ended before: others run for a turn.
    Turn(Vec<Owned>),
    Waiting {
        futures: Vec<Owned>,
        waiting: Owned<Waiting>,
        timer: Option<WakeTimer>,
    },
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReturnWhen {
    FirstCompleted,
    FirstException,
    AllCompleted,
}

/// `asyncio.wait(fs, *, timeout=None, return_when=ALL_COMPLETED)`.
pub(super) fn wait<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<3> =
        Parameters { function: "wait", names: ["fs", "timeout", "return_when"], positional: 1, required: 1 };
    let [futures, timeout, return_when] = args.parse(&PARAMETERS)?;
    let body = Wait {
        futures: futures.expect("required").into(),
        timeout: timeout.map(Owned::from),
        return_when: return_when.map(Owned::from),
        phase: Phase::Begun,
    };
    Coroutine::create(args.py(), body)
}

impl Body for Wait {
    const QUALNAME: &'static str = "wait";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Begun => self.begin(py),
            Phase::Turn(futures) => {
                awaited?;
                sort(py, &futures)
            }
            Phase::Waiting { futures, waiting, timer } => {
                let ended = end(waiting.bind(py), &futures, timer);
                awaited?;
                ended?;
                if waiting.value().met.with(py, |met| *met) {
                    // asyncio's callback of the future would wake us in this turn: who ends in it counts too.
                    self.phase = Phase::Turn(futures);
                    return Ok(Next::Yield);
                }
                sort(py, &futures)
            }
            Phase::Over => Ok(Next::none(py)),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let (futures, waiting, timer) = match &self.phase {
            Phase::Begun | Phase::Over => (&[][..], None, None),
            Phase::Turn(futures) => (&futures[..], None, None),
            Phase::Waiting { futures, waiting, timer } => (&futures[..], Some(waiting), timer.as_ref()),
        };
        let shown = waiting.map_or(0, |waiting| visit.call(waiting));
        if shown != 0 {
            return shown;
        }
        let shown = timer.map_or(0, |timer| timer.traverse(visit));
        if shown != 0 {
            return shown;
        }
        let own = [Some(&self.futures), self.timeout.as_ref(), self.return_when.as_ref()];
        visit.each(futures.iter().chain(own.into_iter().flatten()))
    }
}

impl Wait {
    /// Same order of checks as asyncio: CPython 3.15, Lib/asyncio/tasks.py, wait.
    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let return_when = self.check(py)?;
        let set = py.get_type::<PySet>().call1((self.futures.bind(py),))?.cast_into::<PySet>()?;
        for future in &set {
            if ensure_future::is_coroutine(&future)? {
                return Err(PyTypeError::new_err("Passing coroutines is forbidden, use tasks explicitly."));
            }
        }
        let event_loop = running::event_loop(py)?;
        if set.is_empty() {
            return Err(PyAssertionError::new_err("Set of Futures is empty."));
        }
        let futures: Vec<_> = set.iter().map(Owned::from).collect();
        let mut left = futures.len();
        let mut enough = false;
        for future in &futures {
            let future = future.bind(py);
            if is_done(future)? {
                left -= 1;
                enough |= left == 0 || return_when.is_met_by(future)?;
            }
        }
        if enough {
            self.phase = Phase::Turn(futures);
            return Ok(Next::Yield);
        }
        let waiter = Waiter::create(&event_loop)?;
        let timer = match timeout_s(self.timeout.as_ref().map(|timeout| timeout.bind(py)))? {
            Some(timeout_s) => Some(WakeTimer::start(&event_loop, timeout_s, &waiter)?),
            None => None,
        };
        let caller = running::task(&event_loop)?;
        let next = waiter.wait(py);
        let waiting = Waiting {
            waiter,
            return_when,
            caller: Guarded::new(caller.map(Owned::from)),
            left: Guarded::new(left),
            met: Guarded::new(false),
        };
        let waiting = create(py, waiting)?;
        if let Err(error) = watch(&waiting, &futures) {
            end(&waiting, &futures, timer)?;
            return Err(error);
        }
        self.phase = Phase::Waiting { futures, waiting: waiting.into(), timer };
        Ok(next)
    }

    fn check(&self, py: Python<'_>) -> PyResult<ReturnWhen> {
        let futures = self.futures.bind(py);
        if future::is_future(futures)? || ensure_future::is_coroutine(futures)? {
            let kind = futures.get_type().name()?;
            return Err(PyTypeError::new_err(format!("expect a list of futures, not {kind}")));
        }
        if !futures.is_truthy()? {
            return Err(PyValueError::new_err("Set of Tasks/Futures is empty."));
        }
        let Some(return_when) = self.return_when.as_ref().map(|wanted| wanted.bind(py)) else {
            return Ok(ReturnWhen::AllCompleted);
        };
        for (known, name) in [
            (ReturnWhen::FirstCompleted, pyo3::intern!(py, "FIRST_COMPLETED")),
            (ReturnWhen::FirstException, pyo3::intern!(py, "FIRST_EXCEPTION")),
            (ReturnWhen::AllCompleted, pyo3::intern!(py, "ALL_COMPLETED")),
        ] {
            if return_when.is(name) || return_when.eq(name)? {
                return Ok(known);
            }
        }
        Err(PyValueError::new_err(format!("Invalid return_when value: {}", return_when.str()?)))
    }
}

impl ReturnWhen {
    /// Is one future that has ended so enough?
    fn is_met_by(self, future: &Object<'_>) -> PyResult<bool> {
        match self {
            Self::FirstCompleted => Ok(true),
            Self::FirstException => Ok(matches!(future::ended(future)?, Ended::Exception(_))),
            Self::AllCompleted => Ok(false),
        }
    }
}

/// As `future.done()`, with asyncio's error for what is no future.
fn is_done(object: &Object<'_>) -> PyResult<bool> {
    if !future::is_ours(object) && !object.hasattr(names::done(object.py()))? {
        object.getattr(names::add_done_callback(object.py()))?;
    }
    future::is_done(object)
}

fn watch(waiting: &Bound<'_, Waiting>, futures: &[Owned]) -> PyResult<()> {
    let py = waiting.py();
    let caller = waiting.value().caller(py);
    for future in futures {
        let future = future.bind(py);
        if !future::is_done(future)? {
            child_done::watch(future, waiting.as_any(), 0)?;
            call_graph::declare(future, caller.as_ref())?;
        }
    }
    Ok(())
}

/// The coroutine goes on: the futures tell it nothing more.
fn end(waiting: &Bound<'_, Waiting>, futures: &[Owned], timer: Option<WakeTimer>) -> PyResult<()> {
    let py = waiting.py();
    let caller = waiting.value().caller(py);
    let mut ended = timer.map_or(Ok(()), |timer| timer.stop(py));
    for future in futures {
        let future = future.bind(py);
        // Each is asked, whatever becomes of the others.
        ended = ended
            .and(child_done::unwatch(future, waiting.as_any(), 0))
            .and(call_graph::withdraw(future, caller.as_ref()));
    }
    drop(waiting.value().caller.with(py, Option::take));
    ended
}

/// Two sets: those that are done, and those that are not.
fn sort<'py>(py: Python<'py>, futures: &[Owned]) -> PyResult<Next<'py>> {
    let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
    for future in futures {
        let future = future.bind(py);
        let set = if future::is_done(future)? { &done } else { &pending };
        set.add(future)?;
    }
    Ok(Next::Return(PyTuple::new(py, [done, pending])?.into_any()))
}

/// The parent that the futures tell.
pub(crate) struct Waiting {
    waiter: Waiter,
    return_when: ReturnWhen,
    left: Guarded<usize>,
    /// Have enough of them ended?
    met: Guarded<bool>,
    caller: Guarded<Option<Owned>>,
}

impl Waiting {
    /// What the coroutine waits by.
    pub(super) fn waiter<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.waiter.future(py)
    }

    /// Has the coroutine neither been woken nor given up?
    pub(super) fn is_waited_for(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.caller(py).is_some() && !future::is_done(&self.waiter(py))?)
    }

    /// The task that waits.
    pub(super) fn caller<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.caller.with(py, |caller| caller.as_ref().map(|caller| caller.get_bound(py)))
    }
}

/// A future has ended: wakes the coroutine if that is enough.
pub(super) fn report(waiting: &Bound<'_, Waiting>, future: &Object<'_>) -> PyResult<()> {
    let py = waiting.py();
    let value = waiting.value();
    call_graph::withdraw(future, value.caller(py).as_ref())?;
    let last = value.left.with(py, |left| {
        *left = left.saturating_sub(1);
        *left == 0
    });
    if last || value.return_when.is_met_by(future)? {
        value.met.with(py, |met| *met = true);
        value.waiter.wake(py.None().bind(py))?;
    }
    Ok(())
}

impl NativeClass for Waiting {
    const NAME: &'static CStr = c"tonnage._tonnage.Waiting";
    const DOC: &'static CStr = c"Whom futures tell that wait() waits for.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(_slots: &mut Slots<Self>) {}

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self.waiter.traverse(visit) {
            0 => self.caller.traverse(0, |caller| visit.option(caller.as_deref())),
            shown => shown,
        }
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.caller.with(py, Option::take));
    }
}
