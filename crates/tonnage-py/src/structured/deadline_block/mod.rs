//! DeadlineBlock: cancels the task that runs a block when its deadline passes. Timeout and MoveOn are of this kind.
//!
//! Same rules as asyncio: CPython 3.15, Lib/asyncio/timeouts.py. The cancellation becomes a TimeoutError, or is
//! swallowed, only if the block asked for it, and nobody else asked for one meanwhile; the task's count of
//! requests, taken at entry, decides it. On a loop of ours the block itself stands in the loop's timers, with no
//! handle.

mod expiry;
mod state;

use std::ffi::CStr;
use std::mem;

use pyo3::PyTypeCheck;
use pyo3::exceptions::{PyAssertionError, PyBaseException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::clock::Moment;

pub(crate) use expiry::expire;
use expiry::{Alarm, set_alarm, stop, stop_alarm};
pub(super) use state::Kind;
use state::{Left, Phase, State};

use super::deadline::{self, Linked};
use super::errors::explain_timeout;
use super::parent::Parent;
use crate::cpython::native_class::{Extends, upcast};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, number};
use crate::enter::error_of_block;
use crate::event_loop::EventLoop;
use crate::future::to_bool;
use crate::immediate::Immediate;
use crate::{errors, names, running};

#[repr(C)]
pub(crate) struct DeadlineBlock {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

impl DeadlineBlock {
    pub(super) fn new(kind: Kind, deadline: Option<Moment>) -> Self {
        let state = State {
            deadline,
            outer: None,
            requests: 0,
            stopped: 0,
            kind,
            phase: Phase::Created,
            suspended: false,
            caught: false,
            parent: None,
            alarm: Alarm::None,
        };
        Self { extras: Extras::new(), state: Guarded::new(state) }
    }

    pub(super) fn set_deadline(&self, py: Python<'_>, deadline: Option<Moment>) {
        self.state.with(py, |state| state.deadline = deadline);
    }

    /// The deadline in the loop's time; infinity is never. A scope of `shield_scope` puts it off. One that has passed
    /// while the block is in a generator that has yielded does not count, as it cannot cancel who runs meanwhile.
    pub(super) fn deadline(&self, py: Python<'_>) -> f64 {
        self.state.with(py, |state| match (state.when(), &state.parent) {
            (Some(when), Some(parent)) if !state.suspended && !when.is_nan() => {
                when.max(parent.shielded_until(py))
            }
            _ => f64::INFINITY,
        })
    }

    /// The next outer block of the same task.
    pub(super) fn outer<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Self>> {
        self.state.with(py, |state| state.outer.as_ref().map(|outer| outer.get_bound(py)))
    }

    /// Changes the next outer block, and returns what it was.
    pub(super) fn set_outer(&self, py: Python<'_>, outer: Option<Owned<Self>>) -> Option<Owned<Self>> {
        self.state.with(py, |state| mem::replace(&mut state.outer, outer))
    }

    /// Does it refer to nothing, as it was left?
    pub(super) fn is_spent(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.refers_to_nothing())
    }

    #[inline(always)]
    fn enter(&self, py: Python<'_>, linked: Linked, alarm: impl FnOnce() -> Alarm) {
        self.state.with(py, |state| state.enter(linked, alarm));
    }

    /// Was its own cancellation swallowed?
    pub(super) fn has_caught(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.caught)
    }
}

/// The time of the running loop in `delay_s` from now.
#[inline(always)]
pub(super) fn after(py: Python<'_>, delay_s: Option<f64>) -> PyResult<Option<Moment>> {
    let event_loop = running::event_loop(py)?;
    match delay_s {
        None => Ok(None),
        Some(delay_s) => Ok(Some(moment(&event_loop)?.plus(delay_s))),
    }
}

/// The time of the loop now.
#[inline(always)]
pub(super) fn moment(event_loop: &Object<'_>) -> PyResult<Moment> {
    match EventLoop::of(event_loop) {
        Some(native) => Ok(native.now(event_loop.py())),
        None => foreign_now(event_loop).map(Moment::at),
    }
}

/// `event_loop.time()`.
#[inline(always)]
pub(super) fn now(event_loop: &Object<'_>) -> PyResult<f64> {
    Ok(moment(event_loop)?.seconds)
}

#[cold]
fn foreign_now(event_loop: &Object<'_>) -> PyResult<f64> {
    event_loop.call_method0(names::time(event_loop.py()))?.extract()
}

/// The one parameter of a function.
pub(super) fn parameter(function: &'static str, name: &'static str) -> Parameters<1> {
    Parameters { function, names: [name], positional: 1, required: 1 }
}

/// A number of seconds of the loop's time, or None.
pub(super) fn moment_or_none(given: &Object<'_>) -> PyResult<Option<Moment>> {
    Ok(seconds_or_none(given)?.map(Moment::at))
}

/// Seconds, or None.
#[inline(always)]
pub(super) fn seconds_or_none(given: &Object<'_>) -> PyResult<Option<f64>> {
    if given.is_none() { Ok(None) } else { number::seconds(given).map(Some) }
}

impl NativeClass for DeadlineBlock {
    const NAME: &'static CStr = c"tonnage._tonnage.DeadlineBlock";
    const DOC: &'static CStr = c"What Timeout and MoveOn have in common.";
    const LISTED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.outer.is_some())
    }

    fn slots(_slots: &mut Slots<Self>) {}

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let shown = match state.parent.as_ref().map_or(0, |parent| parent.traverse(visit)) {
                0 => visit.option(state.outer.as_deref()),
                shown => shown,
            };
            if shown == 0 { state.alarm.traverse(visit) } else { shown }
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, State::clear));
    }
}

/// A class of such blocks.
pub(super) trait Class: Extends<DeadlineBlock> + PyTypeCheck {
    /// The name of its method in errors.
    const RESCHEDULE: &'static str;
}

/// The methods of each class of such blocks.
pub(super) fn methods<T: Class>(slots: &mut Slots<T>) {
    slots.repr(|this| repr(upcast(this)));
    slots.no_args(c"when", c"Return the current deadline, in the loop's time, or None.", |this| {
        let when = upcast(this).value().state.with(this.py(), |state| state.when());
        Ok(when.into_pyobject(this.py())?)
    });
    slots.one_parameter(
        c"reschedule",
        c"Move the deadline to `when`, in the loop's time; None is never.",
        || parameter(T::RESCHEDULE, "when"),
        |this, when| {
            reschedule(upcast(this), moment_or_none(when)?)?;
            Ok(this.py().None().into_bound(this.py()))
        },
    );
    slots.no_args(c"expired", c"Return True once the deadline has passed inside the block.", |this| {
        let phase = upcast(this).value().state.with(this.py(), |state| state.phase);
        Ok(to_bool(this.py(), matches!(phase, Phase::Expiring | Phase::Expired)))
    });
    slots.no_args(c"_on_timeout", c"The deadline has passed.", |this| {
        expire(upcast(this))?;
        Ok(this.py().None().into_bound(this.py()))
    });
    slots.block(
        (c"Start to watch the clock for the current task.", |this| {
            crate::enter::enter(this.as_any(), |this| enter(upcast(this.cast::<T>()?)))
        }),
        (c"Stop the clock, and make something of the cancellation if it was this block's.", |this, args| {
            match exit(upcast(this), &error_of_block(&args)?)? {
                None => Immediate::none(args.py()),
                Some(swallowed) => Immediate::of(&to_bool(args.py(), swallowed)),
            }
        }),
    );
}

fn repr<'py>(this: &Bound<'py, DeadlineBlock>) -> PyResult<Object<'py>> {
    let py = this.py();
    let (kind, phase, when) = this.value().state.with(py, |state| (state.kind, state.phase, state.when()));
    let mut text = format!("<{} [{}]", kind.name(), name(phase));
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
fn enter(this: &Bound<'_, DeadlineBlock>) -> PyResult<()> {
    let event_loop = running::event_loop(this.py());
    let (kind, phase) = this.value().state.with(this.py(), |state| (state.kind, state.phase));
    if phase != Phase::Created {
        return Err(PyRuntimeError::new_err(format!("{} has already been entered", kind.name())));
    }
    enter_on(this, event_loop?, None)
}

/// Begins a block that was not entered before, on the running loop. `now` is the time, if it was just read.
#[inline(always)]
pub(super) fn enter_on(
    this: &Bound<'_, DeadlineBlock>,
    event_loop: Object<'_>,
    now: Option<Moment>,
) -> PyResult<()> {
    let deadline = this.value().state.with(this.py(), |state| state.deadline);
    match (deadline, deadline::plain_task(&event_loop)) {
        (Some(deadline), Some((native, task))) if !deadline.seconds.is_nan() => {
            let (outer, depth, requests) = task.value().enter_block(this);
            let linked = Linked { parent: Parent::at(task.into_any(), depth), requests, outer };
            match native.expire_at(this, deadline, now) {
                Some(key) => this.value().enter(this.py(), linked, || Alarm::Timer(event_loop.into(), key)),
                None => this.value().enter(this.py(), linked, || Alarm::Due),
            }
            Ok(())
        }
        _ => enter_with_care(this, event_loop, now),
    }
}

/// As `enter_on`, for each loop and task, and also without a deadline.
#[inline(never)]
fn enter_with_care(
    this: &Bound<'_, DeadlineBlock>,
    event_loop: Object<'_>,
    now: Option<Moment>,
) -> PyResult<()> {
    let py = this.py();
    let Some(linked) = deadline::link(this, &event_loop)? else {
        let kind = this.value().state.with(py, |state| state.kind);
        return Err(PyRuntimeError::new_err(format!("{} should be used inside a task", kind.name())));
    };
    // What was asked for the task may have entered the block meanwhile.
    let (deadline, replaced) = this.value().state.with(py, |state| {
        let replaced = state.clear();
        state.enter(linked, || Alarm::None);
        (state.deadline, replaced)
    });
    drop(replaced);
    let Some(deadline) = deadline else { return Ok(()) };
    set_alarm(this, event_loop, deadline, now).or_else(|error| {
        let (parent, outer) = this.value().state.with(py, |state| (state.parent.take(), state.outer.take()));
        parent.map_or(Ok(()), |parent| deadline::unlink(this, parent.bind(py), outer))?;
        Err(error)
    })
}

fn reschedule(this: &Bound<'_, DeadlineBlock>, deadline: Option<Moment>) -> PyResult<()> {
    let py = this.py();
    let (kind, phase) = this.value().state.with(py, |state| (state.kind, state.phase));
    match phase {
        Phase::Created => {
            return Err(PyRuntimeError::new_err(format!("{} has not been entered", kind.name())));
        }
        Phase::Entered => {}
        other => {
            let text = format!("Cannot change state of {} {}", name(other), kind.name());
            return Err(PyRuntimeError::new_err(text));
        }
    }
    this.value().state.with(py, |state| {
        state.deadline = deadline;
        state.suspended = false;
    });
    stop_alarm(this)?;
    match deadline {
        Some(deadline) => set_alarm(this, running::event_loop(py)?, deadline, None),
        None => Ok(()),
    }
}

/// Ends the block, which `error` leaves (None: it does not fail). Says whether the error is swallowed, in a block
/// that can do so.
#[inline(always)]
pub(super) fn exit(this: &Bound<'_, DeadlineBlock>, error: &Object<'_>) -> PyResult<Option<bool>> {
    match exit_in_time(this)? {
        Some(kind) => Ok(kind.goes_on()),
        None => exit_with_care(this, error),
    }
}

/// Ends a block whose timer on a loop of ours is not due, and says of which kind it is. Nothing: it did nothing.
#[inline(always)]
fn exit_in_time(this: &Bound<'_, DeadlineBlock>) -> PyResult<Option<Kind>> {
    let py = this.py();
    let left = this.value().state.with(py, |state| {
        let Alarm::Timer(event_loop, key) = &state.alarm else { return None };
        if state.phase != Phase::Entered {
            return None;
        }
        let timer = EventLoop::of_any(event_loop.bind(py))?.remove_timer(py, *key)?;
        Some((timer, state.leave()))
    });
    let Some((timer, Left { alarm, kind, parent, outer, .. })) = left else { return Ok(None) };
    timer.let_go();
    drop(alarm);
    if let Some(parent) = &parent {
        deadline::unlink(this, parent.bind(py), outer)?;
    }
    Ok(Some(kind))
}

/// As `exit`, of each block.
#[inline(never)]
fn exit_with_care(this: &Bound<'_, DeadlineBlock>, error: &Object<'_>) -> PyResult<Option<bool>> {
    let py = this.py();
    let left = this
        .value()
        .state
        .with(py, |state| if matches!(state.alarm, Alarm::Handle(_)) { None } else { Some(state.leave()) });
    let Left { alarm, kind, phase, parent, outer, requests } = match left {
        Some(left) => left,
        None => {
            // Before the state changes: what it calls may raise.
            stop_alarm(this)?;
            this.value().state.with(py, State::leave)
        }
    };
    stop(this, alarm)?;
    if let Some(parent) = &parent {
        deadline::unlink(this, parent.bind(py), outer)?;
    }
    match (phase, parent) {
        (Phase::Entered, _) => Ok(kind.goes_on()),
        (Phase::Expiring, Some(parent)) => {
            if parent.uncancel(py)? > requests || error.is_none() {
                return Ok(kind.goes_on());
            }
            end_cancel(this, kind, error.cast::<PyBaseException>()?)
        }
        _ => {
            let text = format!("the block of a {} is left once, after it was entered", kind.name());
            Err(PyAssertionError::new_err(text))
        }
    }
}

/// The block asked for a cancellation, and nobody else did: what becomes of the error that leaves it.
fn end_cancel(
    this: &Bound<'_, DeadlineBlock>,
    kind: Kind,
    error: &Bound<'_, PyBaseException>,
) -> PyResult<Option<bool>> {
    match (kind, errors::is_cancelled_error(error)) {
        (Kind::Timeout, true) => Err(errors::timed_out(error)?),
        (Kind::Timeout, false) => explain_timeout(error).map(|()| kind.goes_on()),
        (Kind::MoveOn, true) => {
            this.value().state.with(this.py(), |state| state.caught = true);
            Ok(Some(true))
        }
        (Kind::MoveOn, false) => Ok(kind.goes_on()),
    }
}
