//! shield_scope: what cancels the current task from outside waits for the end of the block, for a bounded time.
//!
//! What is deferred, and by which of several scopes, the task itself knows: `task/shields.rs`. Here are the class,
//! and the alarm that ends a scope; it is set when there is something to deliver, so that most scopes need none.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::deadline_block::now;
use crate::cpython::{
    Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, number,
};
use crate::enter::error_of_block;
use crate::event_loop::EventLoop;
use crate::immediate::Immediate;
use crate::task::{self, Deferred, Task};
use crate::{names, running};

#[repr(C)]
pub(crate) struct ShieldScope {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

struct State {
    timeout_s: f64,
    phase: Phase,
    /// The handle that ends the scope, once there is something to deliver.
    alarm: Option<Owned>,
}

enum Phase {
    Created,
    Entered {
        task: Owned<Task>,
        /// By which the task knows it.
        depth: u32,
        /// In the loop's time.
        until: f64,
    },
    Left,
}

impl NativeClass for ShieldScope {
    const NAME: &'static CStr = c"tonnage.shield_scope";
    const DOC: &'static CStr = c"shield_scope(timeout)\n--\n\nDefer cancellations of the current task to the end of the block, for at most `timeout` seconds.";

    fn empty() -> Option<Self> {
        let state = State { timeout_s: 0.0, phase: Phase::Created, alarm: None };
        Some(Self { extras: Extras::new(), state: Guarded::new(state) })
    }

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.repr(|this| {
            let (name, timeout_s) = this.value().state.with(this.py(), |state| {
                let name = match state.phase {
                    Phase::Created => "created",
                    Phase::Entered { .. } => "active",
                    Phase::Left => "finished",
                };
                (name, state.timeout_s)
            });
            Ok(PyString::new(this.py(), &format!("<shield_scope [{name}] timeout={timeout_s}>")).into_any())
        });
        slots.block(
            (c"Begin to defer the cancellations of the current task.", |this| {
                crate::enter::enter(this.as_any(), |this| enter(this.cast()?))
            }),
            (c"Let a cancellation that was deferred come at the next await.", |this, args| {
                error_of_block(&args)?;
                exit(this)?;
                Immediate::none(args.py())
            }),
        );
        slots.no_args(c"_on_timeout", c"The time of the scope is over.", |this| {
            end(this)?;
            Ok(this.py().None().into_bound(this.py()))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let shown = match &state.phase {
                Phase::Entered { task, .. } => visit.call(task),
                Phase::Created | Phase::Left => 0,
            };
            if shown == 0 { visit.option(state.alarm.as_deref()) } else { shown }
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self
            .state
            .with(py, |state| (std::mem::replace(&mut state.phase, Phase::Left), state.alarm.take()));
        drop(gone);
    }
}

fn init(this: &Bound<'_, ShieldScope>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "shield_scope", names: ["timeout"], positional: 1, required: 1 };
    let [timeout] = args.parse(&PARAMETERS)?.map(|given| given.expect("required"));
    let timeout_s = number::seconds(&timeout)?;
    if !timeout_s.is_finite() || timeout_s < 0.0 {
        let text = format!(
            "timeout must be a finite number of seconds, 0 or more, got {}; a shield without an end could \
             keep the program from ending",
            timeout.repr()?
        );
        return Err(PyValueError::new_err(text));
    }
    this.value().state.with(args.py(), |state| state.timeout_s = timeout_s);
    Ok(())
}

fn enter(this: &Bound<'_, ShieldScope>) -> PyResult<()> {
    let py = this.py();
    let (is_new, timeout_s) =
        this.value().state.with(py, |state| (matches!(state.phase, Phase::Created), state.timeout_s));
    if !is_new {
        return Err(PyRuntimeError::new_err("shield_scope has already been entered"));
    }
    let event_loop = running::event_loop(py)?;
    let Some(task) = running::task(&event_loop)? else {
        return Err(PyRuntimeError::new_err("shield_scope should be used inside a task"));
    };
    let Ok(task) = task.cast::<Task>() else { return Err(needs_our_task(&task)?) };
    let now = now(&event_loop)?;
    let entered = task.value().enter_shield(py, this.into(), (now, now + timeout_s));
    let phase = Phase::Entered { task: task.into(), depth: entered.depth, until: entered.until };
    this.value().state.with(py, |state| state.phase = phase);
    if entered.holds { set_alarm(this) } else { Ok(()) }
}

#[cold]
fn needs_our_task(task: &Object<'_>) -> PyResult<PyErr> {
    Ok(PyRuntimeError::new_err(format!(
        "shield_scope needs a task of tonnage, got {:?} of another implementation, which cannot defer its \
         cancellations; run the program with tonnage.run()",
        task.get_type().name()?.to_string_lossy()
    )))
}

/// Ends the scope; what it deferred is delivered as by a `cancel()` at this moment.
fn exit(this: &Bound<'_, ShieldScope>) -> PyResult<()> {
    let py = this.py();
    let (phase, alarm) = this
        .value()
        .state
        .with(py, |state| (std::mem::replace(&mut state.phase, Phase::Left), state.alarm.take()));
    let Phase::Entered { task, depth, .. } = phase else {
        return Err(PyAssertionError::new_err(
            "the block of a shield_scope is left once, after it was entered",
        ));
    };
    let task = task.into_bound(py);
    let deferred = task.value().leave_shield(py, depth);
    if let Some(alarm) = alarm {
        alarm.bind(py).call_method0(names::cancel(py))?;
    }
    deferred.map_or(Ok(()), |deferred| task::deliver_deferred(&task, deferred))
}

/// The time of the scope is over: what it deferred is delivered at once.
fn end(this: &Bound<'_, ShieldScope>) -> PyResult<()> {
    let py = this.py();
    let (entered, alarm) = this.value().state.with(py, |state| {
        let entered = match &state.phase {
            Phase::Entered { task, depth, .. } => Some((task.get_bound(py), *depth)),
            Phase::Created | Phase::Left => None,
        };
        (entered, state.alarm.take())
    });
    drop(alarm);
    let Some((task, depth)) = entered else { return Ok(()) };
    let deferred = task.value().end_shield(py, depth);
    deferred.map_or(Ok(()), |deferred| task::deliver_deferred(&task, deferred))
}

/// Has a scope hold the requests, if one defers them; else they are given back.
pub(crate) fn defer(task: &Bound<'_, Task>, deferred: Deferred) -> PyResult<Option<Deferred>> {
    let py = task.py();
    let now = now(&task.value().future.event_loop(py)?)?;
    match task.value().hold(py, deferred, now) {
        Ok(scope) => set_alarm(&scope).map(|()| None),
        Err(deferred) => Ok(Some(deferred)),
    }
}

/// Has the scope end when its time is over.
fn set_alarm(this: &Bound<'_, ShieldScope>) -> PyResult<()> {
    let py = this.py();
    let entered = this.value().state.with(py, |state| match &state.phase {
        Phase::Entered { task, until, .. } if state.alarm.is_none() => Some((task.get_bound(py), *until)),
        _ => None,
    });
    let Some((task, until)) = entered else { return Ok(()) };
    let event_loop = task.value().future.event_loop(py)?;
    if EventLoop::of_any(&event_loop).is_some_and(EventLoop::is_closed) {
        // Nothing runs any more.
        return Ok(());
    }
    let end = this.getattr(names::_on_timeout(py))?;
    let alarm = event_loop.call_method1(names::call_at(py), (until, end))?;
    drop(this.value().state.with(py, |state| state.alarm.replace(alarm.into())));
    Ok(())
}
