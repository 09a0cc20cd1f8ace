//! Serve: what is handed out, or refused, to those who wait.
//!
//! It is called whenever something may have changed, and takes one after the other out of the line. Waking a
//! task of another loop than ours runs Python code, which may come here again: each is out of the line by then.

use pyo3::prelude::*;
use tonnage_core::limits::{Entry, Served};

use super::door::{self, Door};
use super::limiter::{self, Limiter};
use super::refusal::{self, Cause};
use super::{adaptive, alarm, deadlock};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::waiter::Waiter;
use crate::{future, names, running};

/// Who waits for tokens. Each is handed what he waits for, and must then take it or give it back.
pub(crate) enum Payload {
    /// A coroutine of ours: its future gets True, or the error.
    Waiter(Waiter),
    /// An owner of tasks, the first of whose line may begin.
    Door(Owned<Door>),
}

impl Payload {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Waiter(waiter) => waiter.traverse(visit),
            Self::Door(door) => visit.call(door),
        }
    }

    /// Hands him his tokens (True), or the error; false if he does not want them any more.
    pub(super) fn hand(&self, what: &Object<'_>) -> bool {
        let py = what.py();
        match self {
            Self::Door(door) => door::told(door.bind(py), what),
            Self::Waiter(waiter) => match waiter.wake(what) {
                Ok(woken) => woken,
                // The loop could not be told: it is closed, or is not ours and has failed.
                Err(error) => {
                    error.write_unraisable(py, Some(&waiter.future(py)));
                    waiter.woken_with(py).is_ok_and(|value| value.is_some())
                }
            },
        }
    }
}

/// The alarm has rung, or another thread has given something back.
pub(crate) fn on_time(this: &Bound<'_, Limiter>) -> PyResult<()> {
    let due_ns = alarm::take_time(this).unwrap_or(0);
    serve_at(this, due_ns)
}

/// Serves all who can be served.
#[inline]
pub(super) fn serve(this: &Bound<'_, Limiter>) -> PyResult<()> {
    if Limiter::admission(this, |admission| admission.line().is_empty())? {
        deadlock::stop_looking(this);
        return alarm::stop(this);
    }
    serve_at(this, 0)
}

/// `due_ns` is a time that has come, whatever the clock says.
fn serve_at(this: &Bound<'_, Limiter>, due_ns: u64) -> PyResult<()> {
    let py = this.py();
    match whereabouts(this)? {
        Whereabouts::Here => {}
        Whereabouts::Elsewhere => return serve_on_its_loop(this),
        Whereabouts::Nowhere => return Ok(()),
    }
    let now_ns = limiter::now_ns(py)?.max(due_ns);
    adaptive::comes_up_at(this, now_ns)?;
    while let Some(served) = Limiter::admission(this, |admission| admission.serve(now_ns))? {
        hand_out(this, served, now_ns)?;
    }
    deadlock::look(this, now_ns)?;
    alarm::set(this, now_ns)
}

fn hand_out(this: &Bound<'_, Limiter>, served: Served<Payload>, now_ns: u64) -> PyResult<()> {
    let py = this.py();
    match served {
        Served::Granted(entry) => {
            if entry.waiter.hand(&future::to_bool(py, true)) {
                Limiter::admission(this, |admission| admission.count(now_ns.saturating_sub(entry.since_ns)))
            } else {
                Limiter::admission(this, |admission| admission.untake(&entry.request))
            }
        }
        Served::Shed(entry) => refuse(this, &entry, Cause::Shed { waited_ns: waited(&entry, now_ns) }),
        Served::Late(entry) => refuse(this, &entry, Cause::Late { waited_ns: waited(&entry, now_ns) }),
        Served::Closed(entry) => refuse(this, &entry, Cause::Closed),
    }
}

fn waited(entry: &Entry<Payload>, now_ns: u64) -> u64 {
    now_ns.saturating_sub(entry.since_ns)
}

fn refuse(this: &Bound<'_, Limiter>, entry: &Entry<Payload>, cause: Cause) -> PyResult<()> {
    let error = refusal::of_cause(this, cause, &entry.request)?;
    entry.waiter.hand(error.value(this.py()).as_any());
    Ok(())
}

/// Where the tasks are that wait.
enum Whereabouts {
    Here,
    /// On a loop that runs in another thread: they cannot be woken from this one.
    Elsewhere,
    /// Their loop is closed, and they will never run.
    Nowhere,
}

fn whereabouts(this: &Bound<'_, Limiter>) -> PyResult<Whereabouts> {
    let py = this.py();
    let event_loop = this.value().event_loop.object(py);
    if event_loop.is_none() || running::event_loop_or_none(py)?.is_some_and(|running| running.is(&event_loop))
    {
        return Ok(Whereabouts::Here);
    }
    if limiter::is_closed(&event_loop)? {
        return Ok(Whereabouts::Nowhere);
    }
    let runs = match EventLoop::of_any(&event_loop) {
        Some(native) => native.is_running(),
        None => event_loop.call_method0(names::is_running(py))?.is_truthy()?,
    };
    Ok(if runs { Whereabouts::Elsewhere } else { Whereabouts::Here })
}

fn serve_on_its_loop(this: &Bound<'_, Limiter>) -> PyResult<()> {
    let py = this.py();
    let on_time = this.getattr(names::_on_time(py))?;
    let event_loop = this.value().event_loop.object(py);
    event_loop.call_method1(names::call_soon_threadsafe(py), (on_time,)).map(drop)
}
