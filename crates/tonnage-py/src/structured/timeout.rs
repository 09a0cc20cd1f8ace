//! Timeout: cancels the task that runs a block when its deadline passes, and makes that a TimeoutError.
//!
//! Same rules as asyncio: CPython 3.15, Lib/asyncio/timeouts.py. The cancellation becomes a TimeoutError only if
//! the timeout asked for it, and nobody else asked for one meanwhile; the task's count of requests, taken at
//! entry, decides it. On a loop of ours the timeout itself stands in the loop's timers, with no handle.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::timers::TimerKey;

use super::errors::explain_timeout;
use super::parent::Parent;
use crate::coroutine::Immediate;
use crate::cpython::native_class::create;
use crate::cpython::{
    Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, compat, number,
};
use crate::enter::error_of_block;
use crate::event_loop::EventLoop;
use crate::future::to_bool;
use crate::{errors, names, running};

#[repr(C)]
pub(crate) struct Timeout {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

struct State {
    phase: Phase,
    when: Option<f64>,
    parent: Option<Parent>,
    /// The requests to cancel the task that were open when the block was entered.
    requests: u32,
    alarm: Alarm,
    /// Alarms that were stopped when they stood in the ready queue already: it comes to them first.
    stopped: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

enum Alarm {
    None,
    /// In the timers of a loop of ours.
    Timer(Owned, TimerKey),
    /// A handle of another loop.
    Handle(Owned),
    /// In the ready queue of a loop of ours: it was due when it was set.
    Due,
}

impl Timeout {
    fn new(when: Option<f64>) -> Self {
        let state =
            State { phase: Phase::Created, when, parent: None, requests: 0, alarm: Alarm::None, stopped: 0 };
        Self { extras: Extras::new(), state: Guarded::new(state) }
    }

    /// A timeout that ends `delay_s` from now, for the running loop.
    #[inline(always)]
    pub(super) fn after<'py>(py: Python<'py>, delay_s: Option<f64>) -> PyResult<Bound<'py, Self>> {
        let event_loop = running::event_loop(py)?;
        let when = match delay_s {
            None => None,
            Some(delay_s) => Some(now(&event_loop)? + delay_s),
        };
        create(py, Self::new(when))
    }
}

/// `event_loop.time()`.
#[inline(always)]
fn now(event_loop: &Object<'_>) -> PyResult<f64> {
    match EventLoop::of(event_loop) {
        Some(_) => Ok(EventLoop::now()),
        None => foreign_now(event_loop),
    }
}

#[cold]
fn foreign_now(event_loop: &Object<'_>) -> PyResult<f64> {
    event_loop.call_method0(names::time(event_loop.py()))?.extract()
}

/// `asyncio.timeout(delay)`.
pub(super) fn timeout<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "timeout", names: ["delay"], positional: 1, required: 1 };
    let delay = single(&args, &PARAMETERS)?;
    Ok(Timeout::after(args.py(), delay)?.into_any())
}

/// `asyncio.timeout_at(when)`.
pub(super) fn timeout_at<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "timeout_at", names: ["when"], positional: 1, required: 1 };
    let when = single(&args, &PARAMETERS)?;
    Ok(create(args.py(), Timeout::new(when))?.into_any())
}

#[inline(always)]
fn single(args: &Args<'_, '_>, parameters: &Parameters<1>) -> PyResult<Option<f64>> {
    let seconds = match args.single() {
        Some(seconds) => seconds.clone(),
        None => parse(args, parameters)?,
    };
    if seconds.is_none() { Ok(None) } else { number::seconds(&seconds).map(Some) }
}

#[cold]
fn parse<'py>(args: &Args<'_, 'py>, parameters: &Parameters<1>) -> PyResult<Object<'py>> {
    let [seconds] = args.parse(parameters)?;
    Ok(seconds.expect("required"))
}

impl NativeClass for Timeout {
    const NAME: &'static CStr = c"tonnage.Timeout";
    const DOC: &'static CStr =
        c"Timeout(when)\n--\n\nCancel what runs in an `async with` block when a deadline passes.";

    fn empty() -> Option<Self> {
        Some(Self::new(None))
    }

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(compat::asyncio_timeout);
        slots.init(|this, args| {
            const PARAMETERS: Parameters<1> =
                Parameters { function: "Timeout", names: ["when"], positional: 1, required: 1 };
            let when = single(&args, &PARAMETERS)?;
            this.value().state.with(args.py(), |state| state.when = when);
            Ok(())
        });
        slots.repr(repr);
        slots.no_args(c"when", c"Return the current deadline, in the loop's time, or None.", |this| {
            let when = this.value().state.with(this.py(), |state| state.when);
            Ok(when.into_pyobject(this.py())?)
        });
        slots.with_args(
            c"reschedule",
            c"Move the deadline to `when`, in the loop's time; None is never.",
            |this, args| {
                const PARAMETERS: Parameters<1> = Parameters {
                    function: "Timeout.reschedule",
                    names: ["when"],
                    positional: 1,
                    required: 1,
                };
                reschedule(this, single(&args, &PARAMETERS)?)?;
                Ok(this.py().None().into_bound(this.py()))
            },
        );
        slots.no_args(c"expired", c"Return True once the deadline has passed inside the block.", |this| {
            let phase = this.value().state.with(this.py(), |state| state.phase);
            Ok(to_bool(this.py(), matches!(phase, Phase::Expiring | Phase::Expired)))
        });
        slots.no_args(c"_on_timeout", c"The deadline has passed.", |this| {
            expire(this)?;
            Ok(this.py().None().into_bound(this.py()))
        });
        slots.no_args(c"__aenter__", c"Start to watch the clock for the current task.", |this| {
            crate::enter::enter(this.as_any(), |this| enter(this.cast()?))
        });
        slots.with_args(
            c"__aexit__",
            c"Stop the clock, and raise TimeoutError if it was this timeout that cancelled.",
            |this, args| {
                exit(this, &error_of_block(&args)?)?;
                Immediate::none(args.py())
            },
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let shown = state.parent.as_ref().map_or(0, |parent| parent.traverse(visit));
            match &state.alarm {
                Alarm::Timer(owner, _) | Alarm::Handle(owner) if shown == 0 => visit.call(owner),
                _ => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self
            .state
            .with(py, |state| (state.parent.take(), std::mem::replace(&mut state.alarm, Alarm::None)));
        drop(gone);
    }
}

fn repr<'py>(this: &Bound<'py, Timeout>) -> PyResult<Object<'py>> {
    let py = this.py();
    let (phase, when) = this.value().state.with(py, |state| (state.phase, state.when));
    let mut text = format!("<Timeout [{}]", name(phase));
    if phase == Phase::Entered {
        let when = match when {
            None => py.None().into_bound(py),
            Some(when) => names::round(py)?.call1((when, 3))?,
        };
        text.push_str(&format!(" when={}", when.repr()?));
    }
    text.push('>');
    Ok(PyString::new(py, &text).into_any())
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Created => "created",
        Phase::Entered => "active",
        Phase::Expiring => "expiring",
        Phase::Expired => "expired",
        Phase::Exited => "finished",
    }
}

/// Begins the block.
pub(super) fn enter(this: &Bound<'_, Timeout>) -> PyResult<()> {
    let py = this.py();
    if this.value().state.with(py, |state| state.phase != Phase::Created) {
        return Err(PyRuntimeError::new_err("Timeout has already been entered"));
    }
    let event_loop = running::event_loop(py)?;
    let Some(parent) = Parent::current(&event_loop)? else {
        return Err(PyRuntimeError::new_err("Timeout should be used inside a task"));
    };
    let requests = parent.cancelling(py)?;
    let (when, replaced) = this.value().state.with(py, |state| {
        state.phase = Phase::Entered;
        state.requests = requests;
        (state.when, state.parent.replace(parent))
    });
    drop(replaced);
    match when {
        Some(when) => set_alarm(this, event_loop, when),
        None => Ok(()),
    }
}

fn reschedule(this: &Bound<'_, Timeout>, when: Option<f64>) -> PyResult<()> {
    let py = this.py();
    let phase = this.value().state.with(py, |state| state.phase);
    match phase {
        Phase::Created => return Err(PyRuntimeError::new_err("Timeout has not been entered")),
        Phase::Entered => {}
        other => {
            let text = format!("Cannot change state of {} Timeout", name(other));
            return Err(PyRuntimeError::new_err(text));
        }
    }
    this.value().state.with(py, |state| state.when = when);
    stop_alarm(this)?;
    match when {
        Some(when) => set_alarm(this, running::event_loop(py)?, when),
        None => Ok(()),
    }
}

/// Has the timeout expire at `when`; if that is past, in the loop's next turn.
#[inline(always)]
fn set_alarm(this: &Bound<'_, Timeout>, event_loop: Object<'_>, when: f64) -> PyResult<()> {
    let py = this.py();
    let alarm = match EventLoop::of(&event_loop) {
        Some(native) => match native.expire_at(py, when, this)? {
            Some(key) => Alarm::Timer(event_loop.into(), key),
            None => Alarm::Due,
        },
        None => Alarm::Handle(foreign_alarm(this, &event_loop, when)?.into()),
    };
    drop(this.value().state.with(py, |state| std::mem::replace(&mut state.alarm, alarm)));
    Ok(())
}

#[cold]
fn foreign_alarm<'py>(
    this: &Bound<'py, Timeout>,
    event_loop: &Object<'py>,
    when: f64,
) -> PyResult<Object<'py>> {
    let py = this.py();
    let expire = this.getattr(names::_on_timeout(py))?;
    if when <= now(event_loop)? {
        event_loop.call_method1(names::call_soon(py), (expire,))
    } else {
        event_loop.call_method1(names::call_at(py), (when, expire))
    }
}

fn stop_alarm(this: &Bound<'_, Timeout>) -> PyResult<()> {
    let alarm = this.value().state.with(this.py(), |state| std::mem::replace(&mut state.alarm, Alarm::None));
    stop(this, alarm)
}

#[inline(always)]
fn stop(this: &Bound<'_, Timeout>, alarm: Alarm) -> PyResult<()> {
    let py = this.py();
    let is_queued = match alarm {
        Alarm::None => false,
        Alarm::Due => true,
        // Or else it was due in this turn.
        Alarm::Timer(event_loop, key) => EventLoop::of_any(event_loop.bind(py))
            .is_some_and(|native| native.remove_timer(py, key).is_none()),
        Alarm::Handle(handle) => {
            handle.bind(py).call_method0(names::cancel(py))?;
            false
        }
    };
    if is_queued {
        this.value().state.with(py, |state| state.stopped += 1);
    }
    Ok(())
}

/// The deadline has passed.
pub(crate) fn expire(this: &Bound<'_, Timeout>) -> PyResult<()> {
    let py = this.py();
    let (parent, alarm) = this.value().state.with(py, |state| {
        // A timeout that stood in the ready queue may have been stopped or moved meanwhile.
        if state.stopped > 0 {
            state.stopped -= 1;
            return (None, Alarm::None);
        }
        if state.phase != Phase::Entered || matches!(state.alarm, Alarm::None) {
            return (None, Alarm::None);
        }
        let alarm = std::mem::replace(&mut state.alarm, Alarm::None);
        (state.parent.as_ref().map(|parent| parent.share(py)), alarm)
    });
    drop(alarm);
    let Some(parent) = parent else { return Ok(()) };
    let event_loop = running::event_loop(py)?;
    if is_suspended(this, &event_loop, &parent)? {
        return look_again(this, &event_loop);
    }
    parent.cancel(py, None)?;
    this.value().state.with(py, |state| state.phase = Phase::Expiring);
    Ok(())
}

/// Is the block in an async generator that the task is not inside of, so that a cancel would hit its caller?
fn is_suspended(this: &Bound<'_, Timeout>, event_loop: &Object<'_>, parent: &Parent) -> PyResult<bool> {
    let py = this.py();
    match event_loop.getattr_opt(names::_asyncgens(py))? {
        Some(generators) if generators.is_truthy()? => {
            names::is_suspended(py)?.call1((parent.task(py), this))?.is_truthy()
        }
        _ => Ok(false),
    }
}

/// Nobody tells when a generator is resumed, so the timeout looks again: soon, and more and more rarely.
fn look_again(this: &Bound<'_, Timeout>, event_loop: &Object<'_>) -> PyResult<()> {
    /// How long a block may run on after it was resumed, in seconds.
    const SOON_S: f64 = 0.01;
    const LATER: f64 = 0.1;
    let now = now(event_loop)?;
    let when = this.value().state.with(this.py(), |state| state.when).unwrap_or(now);
    set_alarm(this, event_loop.clone(), now + SOON_S + LATER * (now - when))
}

/// Ends the block, which `error` leaves (None: it does not fail).
pub(super) fn exit(this: &Bound<'_, Timeout>, error: &Object<'_>) -> PyResult<()> {
    let py = this.py();
    if this.value().state.with(py, |state| matches!(state.alarm, Alarm::Handle(_))) {
        // Before the state changes: what it calls may raise.
        stop_alarm(this)?;
    }
    let (alarm, phase, parent, requests) = this.value().state.with(py, |state| {
        let phase = state.phase;
        state.phase = match phase {
            Phase::Entered => Phase::Exited,
            Phase::Expiring => Phase::Expired,
            other => other,
        };
        let alarm = std::mem::replace(&mut state.alarm, Alarm::None);
        (alarm, phase, state.parent.take(), state.requests)
    });
    stop(this, alarm)?;
    match (phase, parent) {
        (Phase::Entered, _) => Ok(()),
        (Phase::Expiring, Some(parent)) => {
            if parent.uncancel(py)? > requests || error.is_none() {
                return Ok(());
            }
            let error = error.cast::<PyBaseException>()?;
            if !errors::is_cancelled_error(error) {
                return explain_timeout(error);
            }
            Err(errors::timed_out(error)?)
        }
        _ => Err(PyAssertionError::new_err("the block of a Timeout is left once, after it was entered")),
    }
}
