//! The callbacks of a future, and how they reach the loop.

use std::mem::{self, ManuallyDrop};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::Future;
use crate::cpython::native_class::is_exact;
use crate::cpython::{LoopOf, LoopRef, Native, Object, Owned, Visit, call, context};
use crate::event_loop::{DoneCallback, Ready};
use crate::structured::{self, ChildDone};
use crate::task::{Task, TaskWakeup, step_soon};
use crate::{errors, names};

pub(crate) enum Callback {
    /// A task of a native loop waits: it is scheduled itself, with no callback in between.
    Wakeup(Owned<Task>),
    /// A group, a gather or their like waits for all its children: it is told at once, by the child's key.
    Report { parent: Owned, key: u32 },
    /// What `add_done_callback` was given.
    Call { callback: Owned, context: Owned },
}

/// Most futures have no callback or one. Boxed, so that the others pay a word less for the few.
#[allow(clippy::box_collection, reason = "a vector in place would make each future a word larger")]
pub(crate) enum Callbacks {
    None,
    One(Callback),
    /// Bounded by those who wait: each entry was added by somebody who holds the future.
    Many(Box<Vec<Callback>>),
}

impl Callback {
    #[inline]
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Wakeup(task) => visit.call(task),
            Self::Report { parent, .. } => visit.call(parent),
            Self::Call { callback, context } => match visit.call(callback) {
                0 => visit.call(context),
                shown => shown,
            },
        }
    }

    fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::Wakeup(task) => Self::Wakeup(task.share(py)),
            Self::Report { parent, key } => Self::Report { parent: parent.share(py), key: *key },
            Self::Call { callback, context } => {
                Self::Call { callback: callback.share(py), context: context.share(py) }
            }
        }
    }

    /// The address and the key by which an entry is found again.
    fn identity(&self) -> (usize, u32) {
        match self {
            Self::Wakeup(task) => (task.as_ptr() as usize, 0),
            Self::Report { parent, key } => (parent.as_ptr() as usize, *key),
            Self::Call { callback, .. } => (callback.as_ptr() as usize, 0),
        }
    }

    /// The entry as an object that can be called.
    fn as_object<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        match self {
            Self::Wakeup(task) => Ok(TaskWakeup::create(task.bind(py))?.into_any()),
            Self::Report { parent, key } => ChildDone::create(parent.bind(py), *key),
            Self::Call { callback, .. } => Ok(callback.get_bound(py)),
        }
    }
}

impl Callbacks {
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::None)
    }

    /// The task that waits, if nobody else does.
    #[inline(always)]
    pub(super) fn take_only_task(&mut self) -> Option<Owned<Task>> {
        if !matches!(self, Self::One(Callback::Wakeup(_))) {
            return None;
        }
        match self.take() {
            Self::One(Callback::Wakeup(task)) => Some(task),
            _ => None,
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, callback: Callback) {
        self.push_with(|| callback);
    }

    /// As `push`, of one that is made where it is to stay.
    #[inline(always)]
    pub(crate) fn push_with(&mut self, callback: impl FnOnce() -> Callback) {
        if matches!(self, Self::None) {
            // Nothing was there to be dropped.
            let _nothing = ManuallyDrop::new(mem::replace(self, Self::One(callback())));
        } else {
            self.push_second(callback());
        }
    }

    fn push_second(&mut self, callback: Callback) {
        *self = match self.take() {
            Self::None => Self::One(callback),
            Self::One(first) => Self::Many(Box::new(vec![first, callback])),
            Self::Many(mut many) => {
                many.push(callback);
                Self::Many(many)
            }
        };
    }

    fn as_slice(&self) -> &[Callback] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn into_vec(self) -> Vec<Callback> {
        match self {
            Self::None => vec![],
            Self::One(one) => vec![one],
            Self::Many(many) => *many,
        }
    }

    #[inline]
    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::None => 0,
            Self::One(one) => one.traverse(visit),
            Self::Many(many) => {
                many.iter().map(|one| one.traverse(visit)).find(|shown| *shown != 0).unwrap_or(0)
            }
        }
    }

    /// Copies of all entries, to be looked at while the state is not entered.
    fn copies(&self, py: Python<'_>) -> Vec<Callback> {
        self.as_slice().iter().map(|one| one.share(py)).collect()
    }
}
/// Hands the callbacks of a future that is done to its loop.
#[inline(never)]
pub(super) fn schedule(
    future: &Bound<'_, Future>,
    callbacks: Callbacks,
    event_loop: LoopRef,
) -> PyResult<()> {
    match callbacks {
        Callbacks::None => Ok(()),
        Callbacks::One(one) => schedule_one(future, one, &event_loop),
        Callbacks::Many(many) => {
            // Each is told, whatever becomes of the others.
            let tell = |callback| schedule_one(future, callback, &event_loop);
            many.into_iter().map(tell).fold(Ok(()), Result::and)
        }
    }
}

#[inline]
fn schedule_one(future: &Bound<'_, Future>, callback: Callback, event_loop: &LoopRef) -> PyResult<()> {
    let py = future.py();
    match (callback, event_loop.get(py)) {
        (Callback::Report { parent, key }, _) => structured::report(parent.bind(py), key, future),
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
    if is_exact::<Task>(future.as_any())
        && let Ok(task) = future.as_any().cast::<Task>()
        && task.value().is_in_line(py)
    {
        structured::seek_by_callback(task, &callback)?;
    }
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

/// Registers a parent that is told when its child is done. Says whether the child was still pending.
pub(crate) fn add_parent(future: &Bound<'_, Future>, parent: &Object<'_>, key: u32) -> bool {
    future.value().state.with(future.py(), |state| {
        let pending = state.is_pending();
        if pending {
            state.callbacks.push(Callback::Report { parent: parent.into(), key });
        }
        pending
    })
}

/// Takes the report to `parent` back.
pub(crate) fn remove_parent(future: &Bound<'_, Future>, parent: &Object<'_>, key: u32) {
    let wanted = (parent.as_ptr() as usize, key);
    let removed =
        take_out(future, |entry| matches!(entry, Callback::Report { .. }) && entry.identity() == wanted);
    drop(removed);
}

/// The key by which the future tells this parent.
pub(crate) fn key_of_parent(future: &Bound<'_, Future>, parent: &Object<'_>) -> Option<u32> {
    future.value().state.with(future.py(), |state| {
        state.callbacks.as_slice().iter().find_map(|entry| match entry {
            Callback::Report { parent: told, key } if told.is(parent) => Some(*key),
            _ => None,
        })
    })
}

/// The parents that the future tells, and their keys.
pub(crate) fn parents<'py>(future: &Bound<'py, Future>) -> Vec<(Object<'py>, u32)> {
    let py = future.py();
    future.value().state.with(py, |state| {
        let entries = state.callbacks.as_slice().iter();
        let told = entries.filter_map(|entry| match entry {
            Callback::Report { parent, key } => Some((parent.get_bound(py), *key)),
            _ => None,
        });
        told.collect()
    })
}

/// Takes the chosen entries out; the caller drops them.
fn take_out(future: &Bound<'_, Future>, chosen: impl Fn(&Callback) -> bool) -> Vec<Callback> {
    future.value().state.with(future.py(), |state| {
        let all = state.callbacks.take().into_vec();
        let (gone, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(chosen);
        for entry in kept {
            state.callbacks.push(entry);
        }
        gone
    })
}

/// `Future.remove_done_callback`: comparing runs users' code, which may change the list meanwhile.
pub(super) fn remove(future: &Bound<'_, Future>, callback: &Object<'_>) -> PyResult<usize> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.copies(py));
    let mut equal = vec![];
    for entry in &entries {
        if entry.as_object(py)?.eq(callback)? {
            equal.push(entry.identity());
        }
    }
    if equal.is_empty() {
        return Ok(0);
    }
    Ok(take_out(future, |entry| equal.contains(&entry.identity())).len())
}

/// The tasks that wait for the future.
pub(crate) fn waiting_tasks<'py>(future: &Bound<'py, Future>) -> PyResult<Vec<Object<'py>>> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.copies(py));
    let mut tasks = vec![];
    for entry in &entries {
        match entry {
            Callback::Wakeup(task) => tasks.push(task.get_bound(py).into_any()),
            Callback::Report { parent, key } => {
                tasks.extend(structured::waiting_tasks(parent.bind(py), *key)?);
            }
            Callback::Call { callback, .. } => {
                if let Ok(wakeup) = callback.bind(py).cast::<TaskWakeup>() {
                    tasks.extend(wakeup.value().task(py));
                }
            }
        }
    }
    Ok(tasks)
}

/// The tasks that are woken when the future is done, and the parents that are told: groups, gathers, …
pub(crate) fn who_waits<'py>(future: &Object<'py>) -> Vec<Object<'py>> {
    let py = future.py();
    let Ok(future) = future.cast::<Future>() else { return vec![] };
    let entries = future.value().state.with(py, |state| state.callbacks.copies(py));
    let parent = |entry: &Callback| match entry {
        Callback::Wakeup(task) => Some(task.get_bound(py).into_any()),
        Callback::Report { parent, .. } => Some(parent.get_bound(py)),
        Callback::Call { callback, .. } => callback.bind(py).cast::<TaskWakeup>().ok()?.value().task(py),
    };
    entries.iter().filter_map(parent).collect()
}

/// The attribute `_callbacks`: a list of (callback, context), or None.
pub(super) fn list<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let entries = future.value().state.with(py, |state| state.callbacks.copies(py));
    if entries.is_empty() {
        return Ok(py.None().into_bound(py));
    }
    let list = PyList::empty(py);
    for entry in &entries {
        let in_context = match entry {
            Callback::Wakeup(task) => task.value().context(py),
            Callback::Report { .. } => None,
            Callback::Call { context, .. } => Some(context.get_bound(py)),
        };
        list.append((entry.as_object(py)?, in_context))?;
    }
    Ok(list.into_any())
}

/// Calls a done callback, in its context.
pub(crate) fn run(callback: &Object<'_>, future: &Object<'_>, in_context: &Object<'_>) -> PyResult<()> {
    context::run(in_context, || call::one_arg(callback, future).map(drop))
}
