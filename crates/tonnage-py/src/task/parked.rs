//! A parked task: it belongs to a bounded group, and waits for its slot.
//!
//! It is pending, but has made no step and stands in no queue of the loop: its group keeps it and its coroutine
//! until there is a slot. Then it is started as any task is. A cancel ends it at once, and closes the coroutine,
//! which never runs.

use pyo3::prelude::*;

use super::class::prepare;
use super::{KeptAt, Task, TaskOptions, TaskState, check_coroutine, next_number, step};
use crate::cpython::native_class::{create, create_with};
use crate::cpython::{Guarded, Native, Object, Owned, context};
use crate::event_loop::EventLoop;
use crate::future::{self, Future};
use crate::structured::{self, TaskGroup};
use crate::{errors, names};

/// What a task is to the line of its group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Plain,
    /// It stands there, and is not started.
    Parked,
    /// It stands there, and waits in its first step.
    Postponed,
    /// It may come to wait for one that stands there.
    Seeks,
}

impl Task {
    #[inline]
    pub(crate) fn is_in_line(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| matches!(state.standing, Standing::Parked | Standing::Postponed))
    }

    #[inline]
    pub(crate) fn seeks(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.standing == Standing::Seeks)
    }

    pub(crate) fn stand(&self, py: Python<'_>, standing: Standing) {
        self.state.with(py, |state| state.standing = standing);
    }
}

/// Where a task is parked.
#[derive(Clone, Copy)]
pub(crate) struct Parking<'a, 'py> {
    pub(crate) group: &'a Bound<'py, TaskGroup>,
    /// By which the group keeps it.
    pub(crate) index: u32,
    /// By which it reports to the group that it has ended.
    pub(crate) key: u32,
}

/// Creates a task that is not started: it is about to stand in the line of its group.
pub(crate) fn create_parked<'py>(
    event_loop: &Object<'py>,
    coro: &Object<'py>,
    options: TaskOptions<'py>,
    parking: Parking<'_, 'py>,
) -> PyResult<Bound<'py, Task>> {
    let py = coro.py();
    let native = EventLoop::bound(event_loop).filter(|native| native.get().is_plain_and_quiet());
    let task = match native {
        Some(native) => create(
            py,
            Task { future: Future::of_native_loop(native), state: Guarded::new(TaskState::empty()) },
        )?,
        None => {
            let task = create(py, Task::empty())?;
            task.value().future.initialise(py, Some(event_loop.clone()), &task.get_type())?;
            task
        }
    };
    prepare(&task, coro, options)?;
    park(&task, parking);
    Ok(task)
}

/// As `create_parked`, of a task that has nothing but a coroutine, on a loop of ours where nobody overrides or watches
/// anything. It is made in one piece: groups with a limit park tasks by the hundred thousand.
#[inline(never)]
pub(crate) fn create_parked_plain<'py>(
    event_loop: &Bound<'py, EventLoop>,
    coro: &Object<'py>,
    Parking { group, index, key }: Parking<'_, 'py>,
) -> PyResult<Bound<'py, Task>> {
    let py = coro.py();
    check_coroutine(coro)?;
    let context = context::copy_current(py)?;
    create_with(py, || Task {
        future: Future::told_to(event_loop, Some(group.as_any()), key),
        state: Guarded::new(TaskState {
            coro: Some(coro.into()),
            context: Some(context.into()),
            waiter: Some(group.as_any().into()),
            number: next_number(py),
            kept_at: Some(KeptAt::of(index)),
            standing: Standing::Parked,
            ..TaskState::empty()
        }),
    })
}

fn park(task: &Bound<'_, Task>, Parking { group, index, key }: Parking<'_, '_>) {
    let waiter = Owned::from(group.as_any());
    let replaced = task.value().state.with(task.py(), |state| {
        state.standing = Standing::Parked;
        state.kept_at = Some(KeptAt::of(index));
        state.waiter.replace(waiter)
    });
    drop(replaced);
    future::add_parent(Task::as_future(task), group.as_any(), key);
}

/// The group keeps it by another index than it was to.
#[cold]
pub(crate) fn move_parked(task: &Bound<'_, Task>, from: Parking<'_, '_>, to: Parking<'_, '_>) {
    future::remove_parent(Task::as_future(task), from.group.as_any(), from.key);
    park(task, to);
}

/// There is a slot: the loop keeps it, and makes its first step.
#[inline(never)]
pub(crate) fn start_parked(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let at = task.value().future.state.with(py, |state| {
        let native = state.event_loop.get_native(py).filter(|native| native.takes_steps())?;
        Some(native.start_task(py, task))
    });
    if at.is_none() {
        return start_on_other(task);
    }
    let group = task.value().state.with(py, |state| {
        state.standing = Standing::Plain;
        state.kept_at = at;
        state.waiter.take()
    });
    drop(group);
    Ok(())
}

/// As `start_parked`, on a loop that has a say in it.
#[cold]
fn start_on_other(task: &Bound<'_, Task>) -> PyResult<()> {
    drop(unpark(task));
    let event_loop = task.value().future.event_loop(task.py())?;
    step::wake(task, step::On::of(&event_loop))?;
    Task::register(task, &event_loop)
}

/// A cancel ends it: it leaves the line, its coroutine is closed.
pub(crate) fn end_parked(task: &Bound<'_, Task>, message: Option<Owned>) -> PyResult<()> {
    let py = task.py();
    let Some((group, key)) = unpark(task) else { return Ok(()) };
    structured::leave_line(group.bind(py), key)?;
    let future = Task::as_future(task);
    let coro = task.value().state.with(py, |state| state.coro.as_ref().map(|coro| coro.get_bound(py)));
    let closed = coro.map_or(Ok(()), |coro| coro.call_method0(names::close(py)).map(drop));
    match closed {
        Ok(()) => future::cancel(future, message).map(drop),
        // Only a coroutine of another kind than `async def` runs code here.
        Err(error) => {
            let is_exit = errors::is_exit(py, &error);
            let error = errors::into_object(py, error);
            future::set_exception(future, &error)?;
            if is_exit { Err(PyErr::from_value(error)) } else { Ok(()) }
        }
    }
}

/// It will not be started, for this error: its coroutine is closed, and it ends with the error. Its group has taken
/// it out of the line.
pub(crate) fn refuse_parked(task: &Bound<'_, Task>, error: &Object<'_>) -> PyResult<()> {
    let py = task.py();
    let Some(parked) = unpark(task) else { return Ok(()) };
    drop(parked);
    let coro = task.value().state.with(py, |state| state.coro.as_ref().map(|coro| coro.get_bound(py)));
    let closed = coro.map_or(Ok(()), |coro| coro.call_method0(names::close(py)).map(drop));
    let refused = future::set_exception(Task::as_future(task), error).map(drop);
    closed.and(refused)
}

/// The group that it was parked in, and the group's key.
fn unpark(task: &Bound<'_, Task>) -> Option<(Owned, u32)> {
    task.value().state.with(task.py(), |state| {
        if state.standing != Standing::Parked {
            return None;
        }
        state.standing = Standing::Plain;
        let key = state.kept_at.take().map(KeptAt::key);
        state.waiter.take().zip(key)
    })
}
