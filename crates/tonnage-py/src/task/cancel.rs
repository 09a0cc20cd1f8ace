//! Cancelling a task: the request, its count, and its way to what the task waits for.
//!
//! A task hands a cancel on to what it awaits, a gather to its children, and so on: a tree, and maybe a deep
//! one. It is walked, and not descended by recursion: `Cancelling` keeps those whose answer hangs on others.

use pyo3::PyTypeCheck;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Deferred, Standing, Task, end_parked};
use crate::cpython::native_class::{has_instance_dict, is_exact};
use crate::cpython::{Mark, Native, NativeClass, Object, Owned};
use crate::event_loop::EventLoop;
use crate::future::{self, Future};
use crate::names;
use crate::structured::{self, GatheringFuture, shield_scope};

/// `Task.cancel(msg)`. Same order as asyncio: CPython 3.15, Lib/asyncio/tasks.py, `Task.cancel`.
pub(crate) fn cancel(task: &Bound<'_, Task>, message: Option<Owned>) -> PyResult<bool> {
    Cancelling::run(message.as_ref(), |cancelling| cancelling.ask_task(task))
}

/// `_GatheringFuture.cancel(msg)`.
pub(crate) fn cancel_gather(gather: &Bound<'_, GatheringFuture>, message: Option<&Owned>) -> PyResult<bool> {
    Cancelling::run(message, |cancelling| cancelling.ask_gather(gather))
}

/// `object.cancel()` of a task or future of any implementation; with a message, `cancel(msg=message)`.
pub(crate) fn cancel_any(object: &Object<'_>, message: Option<&Owned>) -> PyResult<bool> {
    let is_plain = is_exact::<Future>(object)
        || as_plain::<Task>(object).is_some()
        || as_plain::<GatheringFuture>(object).is_some();
    if message.is_none() && !is_plain {
        return object.call_method0(names::cancel(object.py()))?.is_truthy();
    }
    cancel_waiter(object, message)
}

/// `waiter.cancel(msg=message)`.
pub(super) fn cancel_waiter(waiter: &Object<'_>, message: Option<&Owned>) -> PyResult<bool> {
    Cancelling::run(message, |cancelling| cancelling.ask(waiter))
}

/// Delivers requests that a scope has deferred, unless another one defers them too.
pub(crate) fn deliver_deferred(task: &Bound<'_, Task>, deferred: Deferred) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.value().future.event_loop(py)?;
    if !task.value().future.is_pending(py) || EventLoop::of_any(&event_loop).is_some_and(EventLoop::is_closed)
    {
        return Ok(());
    }
    match shield_scope::defer(task, deferred)? {
        Some(deferred) => {
            Cancelling::run(deferred.message.as_ref(), |cancelling| cancelling.pass_on(task)).map(drop)
        }
        None => Ok(()),
    }
}

/// Those that were asked, and whose answer hangs on what they wait for; the innermost last.
struct Cancelling<'a, 'py> {
    message: Option<&'a Owned>,
    levels: Vec<Level<'py>>,
}

enum Level<'py> {
    Task(Bound<'py, Task>),
    /// It asks its children, one after another.
    Gather {
        gather: Bound<'py, GatheringFuture>,
        next: usize,
        agreed: bool,
    },
}

impl<'a, 'py> Cancelling<'a, 'py> {
    /// Asks, and returns the answer: was anything cancelled?
    #[inline]
    fn run(
        message: Option<&'a Owned>,
        ask: impl FnOnce(&mut Self) -> PyResult<Option<bool>>,
    ) -> PyResult<bool> {
        let mut cancelling = Self { message, levels: vec![] };
        let answered = match ask(&mut cancelling) {
            Ok(Some(answer)) if cancelling.levels.is_empty() => return Ok(answer),
            Ok(answer) => cancelling.ask_all(answer),
            Err(error) => Err(error),
        };
        if answered.is_err() {
            cancelling.give_up()?;
        }
        answered
    }

    /// Asks until the outermost has its answer. `answer` is that of the last that was asked, unless it is now
    /// the innermost level itself.
    fn ask_all(&mut self, mut answer: Option<bool>) -> PyResult<bool> {
        loop {
            answer = match self.levels.last_mut() {
                None => return Ok(answer.expect("the outermost level has gone with its answer")),
                Some(Level::Task(_)) => {
                    let Some(Level::Task(task)) = self.levels.pop() else { unreachable!("seen above") };
                    if answer == Some(false) {
                        set_must_cancel(&task, self.message);
                    }
                    // What it waits for stays: it may be a task that refuses, and then it is cancelled again.
                    Some(true)
                }
                Some(Level::Gather { gather, next, agreed }) => {
                    *agreed |= answer == Some(true);
                    let child = gather.value().child(gather.py(), *next);
                    *next += 1;
                    match child {
                        // One that is just being made hears of it later.
                        Some(child) if child.is_none() => Some(false),
                        Some(child) => self.ask(&child)?,
                        None => Some(self.end_gather()?),
                    }
                }
            };
        }
    }

    fn end_gather(&mut self) -> PyResult<bool> {
        let Some(Level::Gather { gather, agreed, .. }) = self.levels.pop() else {
            unreachable!("called for the innermost level, which is a gather")
        };
        structured::end_cancel(&gather, agreed)?;
        Ok(agreed)
    }

    /// Something raised an error, which goes to the caller: what was begun is brought to an end.
    #[cold]
    fn give_up(&mut self) -> PyResult<()> {
        let mut ended = Ok(());
        while let Some(level) = self.levels.pop() {
            if let Level::Gather { gather, .. } = level {
                ended = ended.and(structured::end_cancel(&gather, false));
            }
        }
        ended
    }

    /// Asks something of any kind. `None`: it is the innermost level, and asks others first.
    fn ask(&mut self, object: &Object<'py>) -> PyResult<Option<bool>> {
        let py = object.py();
        if let Some(future) = future::simple(object) {
            let message = self.message.map(|message| message.share(py));
            return future::cancel(future, message).map(Some);
        }
        if let Some(task) = as_plain::<Task>(object) {
            return self.ask_task(task);
        }
        if let Some(gather) = as_plain::<GatheringFuture>(object) {
            return self.ask_gather(gather);
        }
        let kwargs = PyDict::new(py);
        kwargs.set_item(names::msg(py), self.message.map(|message| message.bind(py)))?;
        object.call_method(names::cancel(py), (), Some(&kwargs))?.is_truthy().map(Some)
    }

    fn ask_gather(&mut self, gather: &Bound<'py, GatheringFuture>) -> PyResult<Option<bool>> {
        let Some(agreed) = structured::begin_cancel(gather, self.message)? else { return Ok(Some(false)) };
        self.levels.push(Level::Gather { gather: gather.clone(), next: 0, agreed });
        Ok(None)
    }

    /// Asks a task, and all tasks that it waits for by way of tasks.
    fn ask_task(&mut self, task: &Bound<'py, Task>) -> PyResult<Option<bool>> {
        if !request(task) {
            return Ok(Some(false));
        }
        if self.is_deferred(task)? { Ok(Some(true)) } else { self.pass_on(task) }
    }

    /// Is the request held back by a scope that the task is inside of?
    #[inline]
    fn is_deferred(&self, task: &Bound<'py, Task>) -> PyResult<bool> {
        let py = task.py();
        if !task.value().is_shielded(py) {
            return Ok(false);
        }
        let message = self.message.map(|message| message.share(py));
        let deferred = Deferred { depth: task.value().asking(py), requests: 1, message };
        Ok(shield_scope::defer(task, deferred)?.is_none())
    }

    /// Hands a request that the task has on to what it waits for.
    fn pass_on(&mut self, task: &Bound<'py, Task>) -> PyResult<Option<bool>> {
        let py = task.py();
        let mut last = task.clone();
        let mut steps: u64 = 0;
        // A task of the chain, taken anew at each power of two: meeting it again proves a cycle (Brent).
        let mut seen = task.clone();
        loop {
            let (waiter, parked) = last.value().state.with(py, |state| {
                (state.waiter.as_ref().map(|waiter| waiter.get_bound(py)), state.standing == Standing::Parked)
            });
            let Some(waiter) = waiter else { break };
            if parked {
                end_parked(&last, self.message.map(|message| message.share(py)))?;
                return Ok(Some(true));
            }
            if future::simple(&waiter).is_some() {
                if self.ask(&waiter)? == Some(true) {
                    return Ok(Some(true));
                }
                break;
            }
            let Some(next) = as_plain::<Task>(&waiter) else {
                self.levels.push(Level::Task(last));
                return self.ask(&waiter);
            };
            if next.is(&seen) {
                return Err(PyRecursionError::new_err(
                    "cannot cancel tasks that await each other in a cycle",
                ));
            }
            if !request(next) {
                break;
            }
            if self.is_deferred(next)? {
                return Ok(Some(true));
            }
            last = next.clone();
            steps += 1;
            if steps.is_power_of_two() {
                seen = last.clone();
            }
        }
        set_must_cancel(&last, self.message);
        Ok(Some(true))
    }
}

/// Counts a request to cancel, unless the task is done.
fn request(task: &Bound<'_, Task>) -> bool {
    let py = task.py();
    let pending = task.value().future.state.with(py, |state| {
        state.event_loop.mark(Mark::LogTraceback, false);
        state.is_pending()
    });
    if pending {
        task.value()
            .state
            .with(py, |state| state.cancels_requested = state.cancels_requested.saturating_add(1));
    }
    pending
}

/// The object as a `T`, if its `cancel` can only be ours.
fn as_plain<'a, 'py, T: NativeClass + PyTypeCheck>(object: &'a Object<'py>) -> Option<&'a Bound<'py, T>> {
    if !is_exact::<T>(object) {
        return None;
    }
    object.cast::<T>().ok().filter(|object| !has_instance_dict(object))
}

fn set_must_cancel(task: &Bound<'_, Task>, message: Option<&Owned>) {
    let py = task.py();
    task.value().state.with(py, |state| state.must_cancel = true);
    let message = message.map(|message| message.share(py));
    let old = task.value().future.state.with(py, |state| {
        if message.is_none() && state.rare.is_none() {
            return None;
        }
        std::mem::replace(&mut state.rare().cancel_message, message)
    });
    drop(old);
}

impl Task {
    /// The message of the last cancel that was not delivered at once.
    pub(super) fn cancel_message(&self, py: Python<'_>) -> Option<Owned> {
        self.future.state.with(py, |state| {
            state.rare.as_ref().and_then(|rare| rare.cancel_message.as_ref().map(|message| message.share(py)))
        })
    }
}

/// A cancel that was requested while the task ran meets what it now waits for.
#[cold]
pub(super) fn deliver(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let Some(waiter) = task.value().awaits(py) else { return Ok(()) };
    let message = task.value().cancel_message(py);
    if cancel_waiter(&waiter, message.as_ref())? {
        task.value().state.with(py, |state| state.must_cancel = false);
    }
    Ok(())
}
