//! The callbacks of a future, and how they reach the loop.

use std::mem;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::Future;
use crate::cpython::{LoopOf, LoopRef, Native, Object, Owned, Visit, call, context};
use crate::event_loop::{DoneCallback, Ready};
use crate::task::{Task, TaskWakeup, step_soon};
use crate::{errors, names};

pub(crate) enum Callback {
    /// A task of a native loop waits: it is scheduled itself, with no callback in between.
    Wakeup(Owned<Task>),
    Call {
        callback: Owned,
        context: Owned,
    },
}

/// Most futures have no callback or one.
pub(crate) enum Callbacks {
    None,
    Wakeup(Owned<Task>),
    Call {
        callback: Owned,
        context: Owned,
    },
    /// Bounded by those who wait: each entry was added by somebody who holds the future.
    Many(Vec<Callback>),
}

impl Callbacks {
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::None)
    }

    pub(crate) fn push(&mut self, callback: Callback) {
        *self = match (self.take(), callback) {
            (Self::None, Callback::Wakeup(task)) => Self::Wakeup(task),
            (Self::None, Callback::Call { callback, context }) => Self::Call { callback, context },
            (first, callback) => {
                let mut many = first.into_vec();
                many.push(callback);
                Self::Many(many)
            }
        };
    }

    fn into_vec(self) -> Vec<Callback> {
        match self {
            Self::None => vec![],
            Self::Wakeup(task) => vec![Callback::Wakeup(task)],
            Self::Call { callback, context } => vec![Callback::Call { callback, context }],
            Self::Many(many) => many,
        }
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let one = |callback: &Callback| match callback {
            Callback::Wakeup(task) => visit.call(task),
            Callback::Call { callback, context } => match visit.call(callback) {
                0 => visit.call(context),
                shown => shown,
            },
        };
        match self {
            Self::None => 0,
            Self::Wakeup(task) => visit.call(task),
            Self::Call { callback, context } => match visit.call(callback) {
                0 => visit.call(context),
                shown => shown,
            },
            Self::Many(many) => many.iter().map(one).find(|shown| *shown != 0).unwrap_or(0),
        }
    }

    /// Copies of all entries, as pairs of Python objects.
    fn pairs<'py>(&self, py: Python<'py>) -> Vec<(CallbackKey, Option<Object<'py>>)> {
        let call = |callback: &Owned, context: &Owned| {
            (CallbackKey::Call(callback.share(py)), Some(context.get_bound(py)))
        };
        match self {
            Self::None => vec![],
            Self::Wakeup(task) => vec![(CallbackKey::Wakeup(task.share(py)), None)],
            Self::Call { callback, context } => vec![call(callback, context)],
            Self::Many(many) => many
                .iter()
                .map(|entry| match entry {
                    Callback::Wakeup(task) => (CallbackKey::Wakeup(task.share(py)), None),
                    Callback::Call { callback, context } => call(callback, context),
                })
                .collect(),
        }
    }
}

enum CallbackKey {
    Wakeup(Owned<Task>),
    Call(Owned),
}

impl CallbackKey {
    fn as_object<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        match self {
            Self::Wakeup(task) => Ok(TaskWakeup::create(task.bind(py))?.into_any()),
            Self::Call(callback) => Ok(callback.bind(py).clone()),
        }
    }
}

/// Hands the callbacks of a future that is done to its loop.
pub(super) fn schedule(
    future: &Bound<'_, Future>,
    callbacks: Callbacks,
    event_loop: &LoopRef,
) -> PyResult<()> {
    let one = |callback| schedule_one(future, callback, event_loop);
    match callbacks {
        Callbacks::None => Ok(()),
        Callbacks::Wakeup(task) => one(Callback::Wakeup(task)),
        Callbacks::Call { callback, context } => one(Callback::Call { callback, context }),
        Callbacks::Many(many) => many.into_iter().try_for_each(one),
    }
}

#[inline]
fn schedule_one(future: &Bound<'_, Future>, callback: Callback, event_loop: &LoopRef) -> PyResult<()> {
    let py = future.py();
    match (callback, event_loop.get(py)) {
        (_, LoopOf::None) => Err(errors::not_initialised("Future")),
        (Callback::Wakeup(task), LoopOf::Native(native)) => native.schedule(py, Ready::Step(task)),
        (Callback::Wakeup(task), LoopOf::Foreign(event_loop)) => step_soon(task.bind(py), &event_loop),
        (Callback::Call { callback, context }, LoopOf::Native(native)) => {
            let done = Box::new(DoneCallback { callback, future: future.into(), context });
            native.schedule(py, Ready::Callback(done))
        }
        (Callback::Call { callback, context }, LoopOf::Foreign(event_loop)) => {
            let kwargs = PyDict::new(py);
            kwargs.set_item(names::context(py), &*context)?;
            event_loop.call_method(names::call_soon(py), (&*callback, future), Some(&kwargs)).map(drop)
        }
    }
}

/// `Future.add_done_callback`.
pub(super) fn add(
    future: &Bound<'_, Future>,
    callback: Object<'_>,
    context: Option<Object<'_>>,
) -> PyResult<()> {
    let py = future.py();
    let context = match context {
        Some(context) => context,
        None => context::copy_current(py)?,
    };
    let callback = Owned::from(callback);
    let context = Owned::from(context);
    let refused = future.value().state.with(py, |state| {
        if !state.is_pending() {
            return Some((callback, context));
        }
        state.callbacks.push(Callback::Call { callback, context });
        None
    });
    match refused {
        None => Ok(()),
        Some((callback, context)) => {
            let event_loop = future.value().state.with(py, |state| state.event_loop.share(py));
            schedule_one(future, Callback::Call { callback, context }, &event_loop)
        }
    }
}

/// Registers a task of a native loop as one that waits. Says whether the future was still pending.
pub(crate) fn add_waiting_task(future: &Bound<'_, Future>, task: &Bound<'_, Task>) -> bool {
    let py = future.py();
    let task = Owned::from(task);
    let refused = future.value().state.with(py, |state| {
        if !state.is_pending() {
            return Some(task);
        }
        state.callbacks.push(Callback::Wakeup(task));
        None
    });
    refused.is_none()
}

/// `Future.remove_done_callback`: comparing runs users' code, which may change the list meanwhile.
pub(super) fn remove(future: &Bound<'_, Future>, callback: &Object<'_>) -> PyResult<usize> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.pairs(py));
    let mut equal = vec![];
    for (key, _) in &entries {
        if key.as_object(py)?.eq(callback)? {
            equal.push(match key {
                CallbackKey::Wakeup(task) => task.as_ptr() as usize,
                CallbackKey::Call(callback) => callback.as_ptr() as usize,
            });
        }
    }
    if equal.is_empty() {
        return Ok(0);
    }
    let removed = future.value().state.with(py, |state| {
        let (gone, kept): (Vec<_>, Vec<_>) =
            state.callbacks.take().into_vec().into_iter().partition(|entry| {
                let address = match entry {
                    Callback::Wakeup(task) => task.as_ptr() as usize,
                    Callback::Call { callback, .. } => callback.as_ptr() as usize,
                };
                equal.contains(&address)
            });
        for entry in kept {
            state.callbacks.push(entry);
        }
        gone
    });
    Ok(removed.len())
}

/// The tasks that wait for the future.
pub(super) fn waiting_tasks<'py>(future: &Bound<'py, Future>) -> PyResult<Vec<Object<'py>>> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.pairs(py));
    let mut tasks = vec![];
    for (key, _) in entries {
        match key {
            CallbackKey::Wakeup(task) => tasks.push(task.get_bound(py).into_any()),
            CallbackKey::Call(callback) => {
                if let Ok(wakeup) = callback.bind(py).cast::<TaskWakeup>() {
                    tasks.extend(wakeup.value().task(py));
                }
            }
        }
    }
    Ok(tasks)
}

/// The attribute `_callbacks`: a list of (callback, context), or None.
pub(super) fn list<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.pairs(py));
    if entries.is_empty() {
        return Ok(py.None().into_bound(py));
    }
    let list = PyList::empty(py);
    for (key, context) in entries {
        let context = match (context, &key) {
            (None, CallbackKey::Wakeup(task)) => {
                task.value().context(py).unwrap_or_else(|| py.None().into_bound(py))
            }
            (context, _) => context.unwrap_or_else(|| py.None().into_bound(py)),
        };
        list.append((key.as_object(py)?, context))?;
    }
    Ok(list.into_any())
}

/// Calls a done callback, in its context.
pub(crate) fn run(callback: &Object<'_>, future: &Object<'_>, in_context: &Object<'_>) -> PyResult<()> {
    context::run(in_context, || call::one_arg(callback, future).map(drop))
}
