//! The end of a block's time: the alarm that is set for it, and what it does.

use pyo3::prelude::*;
use tonnage_core::clock::Moment;
use tonnage_core::timers::TimerKey;

use super::state::Phase;
use super::{DeadlineBlock, now};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::{names, running};

pub(super) enum Alarm {
    None,
    /// In the timers of a loop of ours.
    Timer(Owned, TimerKey),
    /// A handle of another loop.
    Handle(Owned),
    /// In the ready queue of a loop of ours: it was due when it was set.
    Due,
}

impl Alarm {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Timer(owner, _) | Self::Handle(owner) => visit.call(owner),
            Self::None | Self::Due => 0,
        }
    }
}

/// Has the block expire at `deadline`; if that is past, in the loop's next turn. `now` is the time, if it was just read.
pub(super) fn set_alarm(
    this: &Bound<'_, DeadlineBlock>,
    event_loop: Object<'_>,
    deadline: Moment,
    now: Option<Moment>,
) -> PyResult<()> {
    let py = this.py();
    let alarm = match EventLoop::of(&event_loop) {
        Some(native) => {
            native.check_expiry(deadline)?;
            match native.expire_at(this, deadline, now) {
                Some(key) => Alarm::Timer(event_loop.into(), key),
                None => Alarm::Due,
            }
        }
        None => Alarm::Handle(foreign_alarm(this, &event_loop, deadline.seconds)?.into()),
    };
    drop(this.value().state.with(py, |state| std::mem::replace(&mut state.alarm, alarm)));
    Ok(())
}

#[cold]
fn foreign_alarm<'py>(
    this: &Bound<'py, DeadlineBlock>,
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

pub(super) fn stop_alarm(this: &Bound<'_, DeadlineBlock>) -> PyResult<()> {
    let alarm = this.value().state.with(this.py(), |state| std::mem::replace(&mut state.alarm, Alarm::None));
    stop(this, alarm)
}

/// As `stop_alarm`, of the alarm that was taken out.
pub(super) fn stop(this: &Bound<'_, DeadlineBlock>, alarm: Alarm) -> PyResult<()> {
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
pub(crate) fn expire(this: &Bound<'_, DeadlineBlock>) -> PyResult<()> {
    let py = this.py();
    let (parent, alarm) = this.value().state.with(py, |state| {
        // A block that stood in the ready queue may have been stopped or moved meanwhile.
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
    let suspended = is_suspended(this, &event_loop, parent.bind(py))?;
    this.value().state.with(py, |state| state.suspended = suspended);
    if suspended {
        return look_again(this, &event_loop);
    }
    parent.cancel(py, None)?;
    this.value().state.with(py, |state| state.phase = Phase::Expiring);
    Ok(())
}

/// Is the block in an async generator that the task is not inside of, so that a cancel would hit its caller?
fn is_suspended(
    this: &Bound<'_, DeadlineBlock>,
    event_loop: &Object<'_>,
    task: &Object<'_>,
) -> PyResult<bool> {
    let py = this.py();
    match event_loop.getattr_opt(names::_asyncgens(py))? {
        Some(generators) if generators.is_truthy()? => {
            names::is_suspended(py)?.call1((task, this))?.is_truthy()
        }
        _ => Ok(false),
    }
}

/// Nobody tells when a generator is resumed, so the block looks again: soon, and more and more rarely.
fn look_again(this: &Bound<'_, DeadlineBlock>, event_loop: &Object<'_>) -> PyResult<()> {
    /// How long a block may run on after it was resumed, in seconds.
    const SOON_S: f64 = 0.01;
    const LATER: f64 = 0.1;
    let now = now(event_loop)?;
    let when = this.value().state.with(this.py(), |state| state.when()).unwrap_or(now);
    set_alarm(this, event_loop.clone(), Moment::at(now + SOON_S + LATER * (now - when)), None)
}
