//! Parking: a coroutine for which there is no slot becomes a task that waits in the line.

use pyo3::exceptions::{PyNotImplementedError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::bounded::{self, Waiting};
use super::create::adopt;
use super::postponed::Postponed;
use super::{Abort, Key, TaskGroup};
use crate::cpython::{Native, Object, Owned};
use crate::event_loop::EventLoop;
use crate::names;
use crate::structured::deadline;
use crate::structured::ensure_future::{spawn_child, spawn_child_with};
use crate::task::{self, Parking, Standing, Task, TaskOptions};
use crate::waiter::Waiter;

/// A child in the line, which is most likely to have the `expected` index.
#[inline(always)]
pub(super) fn park<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    (coro, options): (&Object<'py>, Option<&Bound<'py, PyDict>>),
    expected: u32,
) -> PyResult<Object<'py>> {
    if let Some(native) = EventLoop::bound(event_loop)
        && options.is_none()
        && native.get().is_plain_and_quiet()
        && !native.get().has_task_factory()
    {
        let deadline = deadline::of_creator_on(native)?;
        let task = task::create_parked_plain(native, coro, parking(group, expected))?;
        return stand(group, task, deadline, expected);
    }
    park_any(group, event_loop, (coro, options))
}

/// As `park`, on any loop.
#[inline(never)]
pub(super) fn park_any<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    (coro, options): (&Object<'py>, Option<&Bound<'py, PyDict>>),
) -> PyResult<Object<'py>> {
    if makes_its_own_tasks(event_loop)? {
        return postpone(group, event_loop, (coro, options));
    }
    let options = options.map(read).transpose()?;
    let deadline = deadline::of_creator(event_loop)?;
    let expected = group.value().state.with(group.py(), |state| state.children.next_key());
    let options = options.unwrap_or_default();
    let task = task::create_parked(event_loop, coro, options, parking(group, expected))?;
    stand(group, task, deadline, expected)
}

fn parking<'a, 'py>(group: &'a Bound<'py, TaskGroup>, index: u32) -> Parking<'a, 'py> {
    Parking { group, index, key: Key { index, daemon: false }.pack() }
}

/// The task is a child of the group, and stands in the line.
#[inline(always)]
fn stand<'py>(
    group: &Bound<'py, TaskGroup>,
    task: Bound<'py, Task>,
    deadline: Option<f64>,
    expected: u32,
) -> PyResult<Object<'py>> {
    let py = group.py();
    if let Some(deadline) = deadline {
        task.value().inherit(py, deadline);
    }
    let child = Owned::from(task.as_any());
    let (index, aborting, may_admit) = group.value().state.with(py, |state| {
        let index = state.children.insert(child);
        let slots = state.slots();
        slots.stand(index, Waiting::Parked(index));
        let may_admit = slots.may_admit();
        (index, state.abort != Abort::No, may_admit)
    });
    if index != expected {
        // Making the task made the collector run, and a finalizer used the group.
        task::move_parked(&task, parking(group, expected), parking(group, index));
    }
    if aborting || may_admit {
        settle(group, task.as_any(), aborting)?;
    }
    Ok(task.into_any())
}

/// Has the program a say in what the loop's tasks are? Then one cannot be made without being started.
fn makes_its_own_tasks(event_loop: &Object<'_>) -> PyResult<bool> {
    let py = event_loop.py();
    if let Some(native) = EventLoop::of_any(event_loop) {
        return Ok(!native.is_plain() || native.has_task_factory());
    }
    match event_loop.call_method0(names::get_task_factory(py)) {
        Ok(factory) => Ok(!factory.is_none()),
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The options of `create_task`, for a task that does not start eagerly.
fn read<'py>(options: &Bound<'py, PyDict>) -> PyResult<TaskOptions<'py>> {
    let mut read = TaskOptions::default();
    for (name, value) in options {
        match name.extract::<&str>()? {
            "name" => read.name = Some(value),
            "context" => read.context = Some(value),
            "eager_start" => {}
            other => {
                let text = format!("create_task() got an unexpected keyword argument '{other}'");
                return Err(PyTypeError::new_err(text));
            }
        }
    }
    Ok(read)
}

/// A task that the loop makes in its own way, and that waits before it begins the coroutine.
fn postpone<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    (coro, options): (&Object<'py>, Option<&Bound<'py, PyDict>>),
) -> PyResult<Object<'py>> {
    let py = group.py();
    task::check_coroutine(coro)?;
    let waiter = Waiter::create(event_loop)?;
    let postponed = Postponed::create(coro, waiter.share(py))?;
    let task = match options {
        Some(options) => spawn_child_with(event_loop, &postponed, options),
        None => spawn_child(event_loop, &postponed),
    };
    let task = match task {
        Ok(task) => task,
        Err(error) => {
            postponed.call_method0(names::close(py))?;
            return Err(error);
        }
    };
    let index = adopt(group, &task, false)?;
    if let Ok(task) = task.cast::<Task>() {
        task.value().stand(py, Standing::Postponed);
    }
    let aborting = group.value().state.with(py, |state| {
        state.slots().stand(index, Waiting::Postponed(index, waiter));
        state.abort != Abort::No
    });
    settle(group, &task, aborting)?;
    Ok(task)
}

/// Making the task may have run other code, which has aborted the group or given a slot back.
#[inline(never)]
fn settle(group: &Bound<'_, TaskGroup>, task: &Object<'_>, aborting: bool) -> PyResult<()> {
    if aborting {
        task::cancel_any(task, None)?;
    }
    bounded::admit(group)
}
