//! Future: a result that is not there yet, and those who wait for it.
//!
//! The object is asyncio's Future in each method, attribute and text. Invariants: the outcome is set
//! once; a callback leaves the list when it is scheduled, so that it runs once; nothing of the state
//! is entered while Python code can run.

mod any_kind;
pub(crate) mod awaited_by;
mod awaiting;
mod callbacks;
mod class;
mod finalizer;

use std::mem::{self, ManuallyDrop};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

pub(crate) use any_kind::{
    Ended, cancel_message, ended, is_cancelled, is_done, is_future, is_ours, loop_of, make_cancelled_error,
    ours, result, simple, waited_for,
};
pub(crate) use awaiting::{FutureIter, resume};
pub(crate) use callbacks::{
    Callback, Callbacks, add_parent, key_of_parent, parents, remove_parent, run as run_callback,
    waiting_tasks, who_waits,
};
pub(crate) use class::{
    CANCEL, create_native, is_blocking, named_repr, receiver_of_set_result, repr, set_blocking, to_bool,
};
pub(crate) use finalizer::{add_source_traceback, report_unretrieved};

use crate::cpython::native_class::is_collected;
use crate::cpython::{Extras, Guarded, LoopRef, Mark, Native, Object, Owned, Visit};
use crate::event_loop::EventLoop;
use crate::task::Task;
use crate::{errors, names, structured};

#[repr(C)]
pub(crate) struct Future {
    pub(crate) extras: Extras,
    pub(crate) state: Guarded<FutureState>,
}

pub(crate) struct FutureState {
    pub(crate) event_loop: LoopRef,
    pub(crate) outcome: Outcome,
    pub(crate) callbacks: Callbacks,
    pub(crate) rare: Option<Box<Rare>>,
}

pub(crate) enum Outcome {
    Pending,
    Cancelled,
    Result(Owned),
    Exception(Owned),
}

/// What few futures have.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) source_traceback: Option<Owned>,
    pub(crate) cancel_message: Option<Owned>,
    /// The CancelledError that ended a task, raised again by `result`.
    pub(crate) cancelled_error: Option<Owned>,
    /// The exception's traceback when it was set: each `result` starts from it.
    pub(crate) exception_traceback: Option<Owned>,
    /// The name that a task was given.
    pub(crate) name: Option<Owned>,
    /// Raised inside the coroutine of a task at its next step.
    pub(crate) throw_next: Option<Owned>,
    /// Who awaits it, for the call graph.
    pub(crate) awaited_by: Option<Owned>,
}

impl Rare {
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let all = [
            &self.source_traceback,
            &self.cancel_message,
            &self.cancelled_error,
            &self.exception_traceback,
            &self.awaited_by,
            &self.throw_next,
            &self.name,
        ];
        visit.each(all.into_iter().flatten())
    }
}

impl FutureState {
    const fn empty() -> Self {
        Self { event_loop: LoopRef::NONE, outcome: Outcome::Pending, callbacks: Callbacks::None, rare: None }
    }

    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.outcome, Outcome::Pending)
    }

    #[inline]
    fn has_plain_result(&self, py: Python<'_>) -> bool {
        self.rare.is_none()
            && matches!(&self.outcome, Outcome::Result(value) if !is_collected(value.bind(py)))
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// What `poll` finds.
pub(crate) enum Polled<'py> {
    Pending,
    Result(Object<'py>),
    /// The exception, or the CancelledError, to raise.
    Error(PyErr),
}

impl Future {
    pub(crate) const fn empty() -> Self {
        Self { extras: Extras::new(), state: Guarded::new(FutureState::empty()) }
    }

    /// A pending future of `event_loop`, which is one of ours.
    #[inline]
    pub(crate) fn of_native_loop(event_loop: &Bound<'_, EventLoop>) -> Self {
        let mut state = FutureState::empty();
        state.event_loop = LoopRef::native(event_loop);
        Self { extras: Extras::new(), state: Guarded::new(state) }
    }

    /// As `of_native_loop`, whose end `parent` is told by `key`, if there is one.
    #[inline(always)]
    pub(crate) fn told_to<'py>(
        event_loop: &Bound<'py, EventLoop>,
        parent: Option<&Object<'py>>,
        key: u32,
    ) -> Self {
        let event_loop = LoopRef::native(event_loop);
        let callbacks = match parent {
            Some(parent) => Callbacks::One(Callback::Report { parent: parent.into(), key }),
            None => Callbacks::None,
        };
        // In full: what `empty` has would be made to be dropped.
        let state = FutureState { event_loop, outcome: Outcome::Pending, callbacks, rare: None };
        Self { extras: Extras::new(), state: Guarded::new(state) }
    }

    pub(crate) fn is_pending(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.is_pending())
    }

    /// Has it a plain result, does nobody wait for it, and was it never finalized? Then it has nothing to finalize either.
    #[inline(always)]
    pub(crate) fn has_ended_plainly(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            state.has_plain_result(py)
                && matches!(state.callbacks, Callbacks::None)
                && !state.event_loop.has(Mark::Finalized)
        })
    }

    /// Drops one that has ended plainly.
    #[inline(always)]
    pub(crate) fn drop_plainly(self) {
        let FutureState { event_loop, outcome, callbacks, rare } = self.state.into_inner();
        let _missing = ManuallyDrop::new((callbacks, rare));
        drop((outcome, event_loop));
    }

    /// Does it keep nothing alive but its loop and, as its result, an object that refers to no other?
    #[inline]
    pub(crate) fn has_plain_result(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.has_plain_result(py))
    }

    pub(crate) fn has_failed(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| matches!(state.outcome, Outcome::Exception(_)))
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let found = self.state.with(py, |state| state.event_loop.get_bound(py));
        found.ok_or_else(|| errors::not_initialised("Future"))
    }

    /// Binds it to a loop, as `__init__` does; once only, as in CPython 3.15.
    pub(crate) fn initialise(
        &self,
        py: Python<'_>,
        event_loop: Option<Object<'_>>,
        class: &Bound<'_, PyType>,
    ) -> PyResult<()> {
        if self.state.with(py, |state| !state.event_loop.is_none()) {
            let name = class.name()?;
            return Err(PyRuntimeError::new_err(format!("{name} object is already initialized")));
        }
        let event_loop = match event_loop {
            Some(event_loop) if !event_loop.is_none() => event_loop,
            _ => names::get_event_loop(py)?.call0()?,
        };
        let debug = match EventLoop::of(&event_loop) {
            Some(native) => native.debug(),
            None => event_loop.call_method0(names::get_debug(py))?.is_truthy()?,
        };
        let source_traceback =
            if debug { Some(Owned::from(names::extract_stack(py)?.call0()?)) } else { None };
        let event_loop = LoopRef::of(&event_loop);
        self.state.with(py, |state| {
            // There was none.
            drop(state.event_loop.replace(event_loop));
            if source_traceback.is_some() {
                state.rare().source_traceback = source_traceback;
            }
        });
        Ok(())
    }

    /// The result, the error to raise, or that there is none yet.
    pub(crate) fn poll<'py>(&self, py: Python<'py>) -> Polled<'py> {
        enum Found {
            Pending,
            Cancelled,
            Result(Owned),
            Exception(Owned, Option<Owned>),
        }
        let found = self.state.with(py, |state| match &state.outcome {
            Outcome::Pending => Found::Pending,
            Outcome::Cancelled => Found::Cancelled,
            Outcome::Result(value) => {
                let value = value.share(py);
                state.event_loop.mark(Mark::LogTraceback, false);
                Found::Result(value)
            }
            Outcome::Exception(exception) => {
                let exception = exception.share(py);
                let traceback = state
                    .rare
                    .as_ref()
                    .and_then(|rare| rare.exception_traceback.as_ref().map(|traceback| traceback.share(py)));
                state.event_loop.mark(Mark::LogTraceback, false);
                Found::Exception(exception, traceback)
            }
        });
        match found {
            Found::Pending => Polled::Pending,
            Found::Result(value) => Polled::Result(value.into_bound(py)),
            Found::Cancelled => Polled::Error(self.cancelled_error(py)),
            Found::Exception(exception, traceback) => {
                let exception = exception.into_bound(py);
                let traceback =
                    traceback.map_or_else(|| py.None().into_bound(py), |traceback| traceback.into_bound(py));
                if let Err(error) = exception.setattr(names::__traceback__(py), traceback) {
                    return Polled::Error(error);
                }
                Polled::Error(PyErr::from_value(exception))
            }
        }
    }

    /// The CancelledError to raise: the one that ended the task, once; then new ones.
    pub(crate) fn cancelled_error(&self, py: Python<'_>) -> PyErr {
        let (kept, message) = self.state.with(py, |state| match state.rare.as_mut() {
            Some(rare) => {
                (rare.cancelled_error.take(), rare.cancel_message.as_ref().map(|message| message.share(py)))
            }
            None => (None, None),
        });
        match kept {
            Some(error) => PyErr::from_value(error.into_bound(py)),
            None => errors::cancelled(py, message.as_ref().map(|message| message.bind(py))),
        }
    }
}

/// `add_done_callback(callback)`.
pub(crate) fn add_callback(future: &Bound<'_, Future>, callback: Object<'_>) -> PyResult<()> {
    callbacks::add(future, callback, None)
}

/// Who is to be told that a future is done.
enum Told {
    /// Nobody, or a task that stands in its loop's ready queue already, as that of most futures.
    All,
    Parent(Owned, u32),
    Others(Callbacks, LoopRef),
    /// It was done before.
    Refused(Outcome),
}

/// Sets the outcome, if there is none yet, and schedules the callbacks. Returns whether it did.
#[inline]
pub(crate) fn settle(future: &Bound<'_, Future>, outcome: Outcome) -> PyResult<bool> {
    settle_in_words(future, outcome).map_err(|error| *error)
}

/// As `settle`. With its error boxed the result is two words, which are returned in registers.
pub(crate) fn settle_in_words(future: &Bound<'_, Future>, outcome: Outcome) -> Result<bool, Box<PyErr>> {
    let py = future.py();
    let failed = matches!(outcome, Outcome::Exception(_));
    let told = future.value().state.with(py, |state| {
        if !state.is_pending() {
            return Told::Refused(outcome);
        }
        state.outcome = outcome;
        // Before a parent is told, which may look at the exception at once.
        state.event_loop.mark(Mark::LogTraceback, failed);
        match state.callbacks.take() {
            Callbacks::None => Told::All,
            // Told at once, whatever the loop is.
            Callbacks::One(Callback::Report { parent, key }) => Told::Parent(parent, key),
            Callbacks::One(Callback::Wakeup(task)) => match schedule_step(&state.event_loop, task, py) {
                None => Told::All,
                Some(task) => {
                    Told::Others(Callbacks::One(Callback::Wakeup(task)), state.event_loop.share(py))
                }
            },
            callbacks => Told::Others(callbacks, state.event_loop.share(py)),
        }
    });
    match told {
        Told::All => Ok(true),
        Told::Parent(parent, key) => {
            structured::child_done(parent.bind(py), key, future)?;
            Ok(true)
        }
        Told::Others(callbacks, event_loop) => {
            callbacks::schedule(future, callbacks, event_loop)?;
            Ok(true)
        }
        Told::Refused(outcome) => {
            drop(outcome);
            Ok(false)
        }
    }
}

/// As `settle`, with a result for the one task that waits, if its loop, one of ours, has nothing to say. Runs no Python
/// code. False: nothing was done.
#[inline(always)]
pub(crate) fn settle_quietly(future: &Bound<'_, Future>, result: &Object<'_>) -> bool {
    let py = future.py();
    future.value().state.with(py, |state| {
        let Some(native) = state.event_loop.get_native(py) else { return false };
        if !state.is_pending() || !native.is_quiet() {
            return false;
        }
        let Some(task) = state.callbacks.take_only_task() else { return false };
        native.push_step(py, task);
        // Nothing was there to be dropped.
        let _pending = ManuallyDrop::new(mem::replace(&mut state.outcome, Outcome::Result(result.into())));
        true
    })
}

/// Hands the task back where its loop is not ours, or has something to say. Runs no Python code.
#[inline]
fn schedule_step(event_loop: &LoopRef, task: Owned<Task>, py: Python<'_>) -> Option<Owned<Task>> {
    match event_loop.get_native(py) {
        Some(native) => native.schedule_step(py, task).err(),
        None => Some(task),
    }
}

/// `Future.cancel(msg)`.
pub(crate) fn cancel(future: &Bound<'_, Future>, message: Option<Owned>) -> PyResult<bool> {
    let py = future.py();
    let old = future.value().state.with(py, |state| {
        state.event_loop.mark(Mark::LogTraceback, false);
        if !state.is_pending() || (message.is_none() && state.rare.is_none()) {
            return message;
        }
        mem::replace(&mut state.rare().cancel_message, message)
    });
    drop(old);
    settle(future, Outcome::Cancelled)
}

/// `Future.set_exception`: a class is called, StopIteration is refused entry.
pub(crate) fn set_exception(future: &Bound<'_, Future>, exception: &Object<'_>) -> PyResult<bool> {
    let py = future.py();
    let mut exception =
        if exception.is_instance_of::<PyType>() { exception.call0()? } else { exception.clone() };
    if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(PyTypeError::new_err("invalid exception object"));
    }
    if exception.is_instance_of::<PyStopIteration>() {
        let wrapped = PyRuntimeError::new_err(
            "StopIteration interacts badly with generators and cannot be raised into a Future",
        );
        let value = wrapped.value(py);
        value.setattr("__cause__", &exception)?;
        value.setattr("__context__", &exception)?;
        exception = value.clone().into_any();
    }
    let traceback = exception.getattr(names::__traceback__(py))?;
    if !traceback.is_none() {
        let old = future.value().state.with(py, |state| {
            if state.is_pending() { state.rare().exception_traceback.replace(traceback.into()) } else { None }
        });
        drop(old);
    }
    settle(future, Outcome::Exception(exception.into()))
}
