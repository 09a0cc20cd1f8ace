//! Alarm: the one timer of a limiter, on a loop of any kind: for the next token of a rate, or the end of a wait.

use pyo3::prelude::*;
use tonnage_core::clock;
use tonnage_core::timers::TimerKey;

use super::limiter::Limiter;
use super::{adaptive, deadlock};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::names;

#[derive(Default)]
pub(super) enum Alarm {
    #[default]
    None,
    /// In the timers of a loop of ours.
    Timer { at_ns: u64, event_loop: Owned, key: TimerKey },
    /// A handle of another loop.
    Handle { at_ns: u64, handle: Owned },
}

impl Alarm {
    fn at_ns(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Timer { at_ns, .. } | Self::Handle { at_ns, .. } => Some(*at_ns),
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::None => 0,
            Self::Timer { event_loop: object, .. } | Self::Handle { handle: object, .. } => {
                visit.call(object)
            }
        }
    }
}

/// Has `serve` called when something is due though nothing else happens.
pub(super) fn set(this: &Bound<'_, Limiter>, now_ns: u64) -> PyResult<()> {
    let py = this.py();
    let (next_ns, is_empty) =
        Limiter::admission(this, |admission| (admission.next_event_ns(now_ns), admission.line().is_empty()))?;
    let comes_up_ns = adaptive::lowered_until_ns(this).filter(|_| !is_empty);
    let look_ns = deadlock::next_look_ns(this, now_ns)?;
    let next_ns = next_ns.into_iter().chain(comes_up_ns).chain(look_ns).min();
    if this.value().state.with(py, |state| state.alarm.at_ns()) == next_ns {
        return Ok(());
    }
    stop(this)?;
    let Some(at_ns) = next_ns else { return Ok(()) };
    let event_loop = this.value().event_loop.object(py);
    let alarm = start(this, &event_loop, at_ns)?;
    // A loop of another kind has run Python code.
    let before = this.value().state.with(py, |state| std::mem::replace(&mut state.alarm, alarm));
    end(py, before)
}

fn start(this: &Bound<'_, Limiter>, event_loop: &Object<'_>, at_ns: u64) -> PyResult<Alarm> {
    let py = this.py();
    if let Some(native) = EventLoop::of(event_loop) {
        let key = native.serve_at(py, at_ns, this)?;
        return Ok(Alarm::Timer { at_ns, event_loop: event_loop.into(), key });
    }
    let on_time = this.getattr(names::_on_time(py))?;
    let handle = event_loop.call_method1(names::call_at(py), (clock::to_seconds(at_ns), on_time))?;
    Ok(Alarm::Handle { at_ns, handle: handle.into() })
}

/// Nothing is due.
pub(super) fn stop(this: &Bound<'_, Limiter>) -> PyResult<()> {
    let py = this.py();
    end(py, this.value().state.with(py, |state| std::mem::take(&mut state.alarm)))
}

fn end(py: Python<'_>, alarm: Alarm) -> PyResult<()> {
    match alarm {
        Alarm::None => Ok(()),
        Alarm::Timer { event_loop, key, .. } => {
            if let Some(native) = EventLoop::of_any(event_loop.bind(py)) {
                drop(native.remove_timer(py, key));
            }
            Ok(())
        }
        Alarm::Handle { handle, .. } => handle.bind(py).call_method0(names::cancel(py)).map(drop),
    }
}

/// It has rung: what was due is due, though a loop's clock may be a little early.
pub(super) fn take_time(this: &Bound<'_, Limiter>) -> Option<u64> {
    let alarm = this.value().state.with(this.py(), |state| std::mem::take(&mut state.alarm));
    alarm.at_ns()
}
