//! TaskGroup.create_task: a coroutine becomes a task of the group.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::bounded::Answer;
use super::{Abort, Key, Phase, TaskGroup, bounded, park, permits};
use crate::cpython::{Args, Native, Object, Owned, compat, native_loop};
use crate::errors::{self, Refusal};
use crate::event_loop::EventLoop;
use crate::future;
use crate::names;
use crate::structured::child_done::watch;
use crate::structured::deadline;
use crate::structured::ensure_future::{called_with, spawn_child, spawn_child_with};
use crate::task::{self, Task};

pub(super) fn create_task<'py>(group: &Bound<'py, TaskGroup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    if let Some(coro) = args.single() {
        return create_child(group, coro, None);
    }
    create_task_with(group, args)
}

/// As `create_task`, with more than a coroutine.
#[inline(never)]
fn create_task_with<'py>(group: &Bound<'py, TaskGroup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let (coro, keywords) = called_with(&args)?;
    let daemon = match keywords.get_item(names::daemon(py))? {
        Some(daemon) => {
            keywords.del_item(names::daemon(py))?;
            daemon.is_truthy()?
        }
        None => false,
    };
    if !daemon {
        return create_child(group, &coro, Some(&keywords));
    }
    let event_loop = event_loop_for(group, &coro)?;
    let task = spawn_child_with(&event_loop, &coro, &keywords)?;
    adopt(group, &task, true)?;
    Ok(task)
}

/// A child that is no daemon. Where the group has a limit, it may have to wait for a slot.
#[inline]
pub(super) fn create_child<'py>(
    group: &Bound<'py, TaskGroup>,
    coro: &Object<'py>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Object<'py>> {
    let place = place_for(group, coro)?;
    if place.is_bounded {
        return bounded_child(group, &place, (coro, options));
    }
    make_child(group, &place.event_loop, (coro, options), place.next).map(|(task, _)| task)
}

/// A child of a group with a limit.
#[inline(never)]
fn bounded_child<'py>(
    group: &Bound<'py, TaskGroup>,
    place: &Place<'py>,
    what: (&Object<'py>, Option<&Bound<'py, PyDict>>),
) -> PyResult<Object<'py>> {
    let event_loop = &place.event_loop;
    match group.value().state.with(group.py(), |state| state.slots().ask()) {
        Answer::Line => park::park(group, event_loop, what, place.next),
        Answer::Slot => start_child(group, event_loop, what).or_else(|error| {
            bounded::slot_unused(group)?;
            Err(error)
        }),
        Answer::Try => try_child(group, event_loop, what),
        Answer::Full { running, waiting } => Err(overloaded(group, what.0, (running, waiting))?),
    }
}

/// A child of a group whose limiters are to be asked, and which nobody is before.
fn try_child<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    what: (&Object<'py>, Option<&Bound<'py, PyDict>>),
) -> PyResult<Object<'py>> {
    let entered = permits::try_enter(group).or_else(|error| {
        close(what.0)?;
        Err(error)
    })?;
    if entered {
        return start_child(group, event_loop, what).or_else(|error| {
            bounded::slot_unused(group)?;
            Err(error)
        });
    }
    match group.value().state.with(group.py(), |state| state.slots().ask_for_place()) {
        Answer::Full { running, waiting } => Err(overloaded(group, what.0, (running, waiting))?),
        _ => park::park_any(group, event_loop, what),
    }
}

/// A child for which a slot was taken.
pub(super) fn start_child<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    what: (&Object<'py>, Option<&Bound<'py, PyDict>>),
) -> PyResult<Object<'py>> {
    let expected = group.value().state.with(group.py(), |state| state.children.next_key());
    let (task, index) = bounded::while_making(group, || make_child(group, event_loop, what, expected))?;
    bounded::hold(group, &task, index);
    Ok(task)
}

/// A task of the loop, which is a child under the index that comes with it: most likely the `expected` one.
#[inline(always)]
fn make_child<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Object<'py>,
    (coro, options): (&Object<'py>, Option<&Bound<'py, PyDict>>),
    expected: u32,
) -> PyResult<(Object<'py>, u32)> {
    let task = match options {
        Some(options) => spawn_child_with(event_loop, coro, options)?,
        None => {
            if let Some(native) = native_loop(event_loop)
                && native.get().spawns_directly(group.py())
            {
                return create_plain_child(group, native, (coro, expected));
            }
            spawn_child(event_loop, coro)?
        }
    };
    let index = adopt(group, &task, false)?;
    Ok((task, index))
}

#[cold]
fn overloaded(
    group: &Bound<'_, TaskGroup>,
    coro: &Object<'_>,
    (running, waiting): (usize, usize),
) -> PyResult<PyErr> {
    let py = group.py();
    close(coro)?;
    let name = group.value().state.with(py, |state| state.name.as_ref().map(|name| name.get_bound(py)));
    let shown = match &name {
        Some(name) => format!("group {}", name.repr()?),
        None => "group".to_owned(),
    };
    let name = name.map(|name| name.extract::<String>()).transpose()?;
    let text = format!(
        "{shown} is full: {running} running, {waiting} waiting; await submit(), which waits for a slot, or map \
         over the items with amap()"
    );
    Ok(errors::overloaded(py, &text, Refusal::Full, None, name.as_deref()))
}

/// A task of a loop of ours, which is made as a child: the group is to know it by the `expected` index.
#[inline(always)]
fn create_plain_child<'py>(
    group: &Bound<'py, TaskGroup>,
    event_loop: &Bound<'py, EventLoop>,
    (coro, expected): (&Object<'py>, u32),
) -> PyResult<(Object<'py>, u32)> {
    let py = group.py();
    let deadline = deadline::of_creator_on(event_loop)?;
    let key = Key { index: expected, daemon: false }.pack();
    let task = task::create_plain(event_loop, coro, Some(group.as_any()), key)?;
    if let Some(deadline) = deadline {
        task.value().inherit(py, deadline);
    }
    let child = Owned::from(task.as_any());
    let (index, aborting) =
        group.value().state.with(py, |state| (state.children.insert(child), state.abort != Abort::No));
    if index != expected || aborting {
        was_used_meanwhile(group, &task, (key, index), aborting)?;
    }
    Ok((task.into_any(), index))
}

/// Making the task made the collector run, and a finalizer used the group.
#[cold]
fn was_used_meanwhile<'py>(
    group: &Bound<'py, TaskGroup>,
    task: &Bound<'py, Task>,
    (key, index): (u32, u32),
    aborting: bool,
) -> PyResult<()> {
    future::remove_parent(Task::as_future(task), group.as_any(), key);
    watch(task.as_any(), group.as_any(), Key { index, daemon: false }.pack())?;
    if aborting { task::cancel_any(task.as_any(), None).map(drop) } else { Ok(()) }
}

/// The loop of the group, if it takes children; else `coro` is closed.
pub(super) fn event_loop_for<'py>(
    group: &Bound<'py, TaskGroup>,
    coro: &Object<'py>,
) -> PyResult<Object<'py>> {
    place_for(group, coro).map(|place| place.event_loop)
}

/// Where the next child of a group is made.
struct Place<'py> {
    event_loop: Object<'py>,
    /// Its index.
    next: u32,
    /// Has the group a limit?
    is_bounded: bool,
}

/// As `event_loop_for`, and what else is to be known of the group.
#[inline(always)]
fn place_for<'py>(group: &Bound<'py, TaskGroup>, coro: &Object<'py>) -> PyResult<Place<'py>> {
    let py = group.py();
    let place = group.value().state.with(py, |state| {
        let is_open = match state.phase {
            Phase::Entered => true,
            Phase::Exiting => state.members() > 0,
            Phase::Created | Phase::CancelledEarly | Phase::Clearing | Phase::Left => false,
        };
        let event_loop = state.event_loop.as_ref().filter(|_| is_open && state.abort == Abort::No)?;
        let (next, is_bounded) = (state.children.next_key(), state.bounded.is_some());
        Some(Place { event_loop: event_loop.get_bound(py), next, is_bounded })
    });
    match place {
        Some(place) => Ok(place),
        None => Err(refuse(group, coro)?),
    }
}

#[cold]
fn refuse(group: &Bound<'_, TaskGroup>, coro: &Object<'_>) -> PyResult<PyErr> {
    let py = group.py();
    close(coro)?;
    let (phase, abort, members) =
        group.value().state.with(py, |state| (state.phase, state.abort, state.members()));
    let why = match phase {
        Phase::Created | Phase::CancelledEarly => "has not been entered",
        Phase::Exiting if members > 0 && abort != Abort::No => "is shutting down",
        Phase::Entered => "is shutting down",
        _ => "is finished",
    };
    Ok(PyRuntimeError::new_err(format!("TaskGroup {} {why}", group.repr()?)))
}

/// Closes a coroutine that is refused.
fn close(coro: &Object<'_>) -> PyResult<()> {
    match coro.getattr_opt(names::close(coro.py()))? {
        Some(close) => close.call0().map(drop),
        None => Ok(()),
    }
}

/// Makes the task a child of the group, and returns the key by which the group knows it.
#[inline]
pub(super) fn adopt<'py>(group: &Bound<'py, TaskGroup>, task: &Object<'py>, daemon: bool) -> PyResult<u32> {
    let py = group.py();
    let child = task.into();
    let index = group.value().state.with(py, |state| {
        state.daemons += usize::from(daemon);
        state.children.insert(child)
    });
    if !task.is_instance_of::<Task>()
        && let Some(add) = compat::add_to_awaited_by(py)?
    {
        add.call1((task, super::parent_task(group)))?;
    }
    // An eager task that has ended reports a turn later, as in asyncio: gh-128550, gh-128588.
    watch(task, group.as_any(), Key { index, daemon }.pack())?;
    // An eager task can cancel the group before it is one of it: gh-155418.
    if group.value().is_aborting(py) && !future::is_done(task)? {
        task::cancel_any(task, None)?;
    }
    Ok(index)
}
