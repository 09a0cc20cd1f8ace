//! A child has ended: its group lets go of it, and acts on its failure.

use pyo3::prelude::*;

use super::start::Starting;
use super::{Abort, Key, OnError, TaskGroup, abort_with_parent, bounded, report};
use crate::cpython::native_class::exact;
use crate::cpython::{Mark, Native, Object, Owned, compat};
use crate::future::{self, Future, Outcome};
use crate::limits::Loans;
use crate::task::{self, Task};
use crate::waiter::Waiter;
use crate::{errors, names};

/// Tells the group that the child with this key is done.
pub(crate) fn child_done(group: &Bound<'_, TaskGroup>, key: u32, child: &Object<'_>) -> PyResult<()> {
    let py = group.py();
    let Some(left) = let_go(group, key)? else { return Ok(()) };
    if !child.is_instance_of::<Task>()
        && let Some(discard) = compat::discard_from_awaited_by(py)?
    {
        discard.call1((child, super::parent_task(group)))?;
    }
    let heard = match left.starting {
        // Who waits in `start()` finds out how it ended.
        Some(starting) => starting.wake(py),
        None => match exception_of(child)? {
            Some(error) => failed(group, child, error),
            None => Ok(()),
        },
    };
    // After an abort, which leaves nobody in the line.
    match left.of_bounded {
        Some(loans) => heard.and(bounded::child_left(group, child, loans)),
        None => heard,
    }
}

/// As `child_done`, of a task of ours that has not failed.
#[inline]
pub(crate) fn child_ended(group: &Bound<'_, TaskGroup>, key: u32, child: &Object<'_>) -> PyResult<()> {
    let py = group.py();
    let (index, daemon) = (Key::unpack(key).index, Key::unpack(key).daemon);
    // Of most groups by far: nobody waits for anything but the end of all children.
    let left = group.value().state.with(py, |state| {
        if daemon || !state.starting.is_empty() {
            return None;
        }
        let next = match &mut state.bounded {
            None => None,
            Some(bounded) => bounded.pass_on(index).ok()?,
        };
        let gone = state.children.remove(index);
        // Who is waited for as well.
        if let Some(next) = next.and_then(|next| state.children.get(next)) {
            return Some((gone, Then::Begin(next.share(py))));
        }
        let waiter = if gone.is_some() && state.is_quiet() { state.waiter.take() } else { None };
        Some((gone, waiter.map_or(Then::Nothing, Then::Wake)))
    });
    let Some((gone, then)) = left else { return leave(group, key, child) };
    drop(gone);
    match then {
        Then::Nothing => Ok(()),
        Then::Wake(waiter) => wake_parent(&waiter, py),
        // What is parked is a task of ours.
        Then::Begin(next) => exact(next.bind(py)).map_or(Ok(()), task::start_parked),
    }
}

/// What the end of a child leads to.
enum Then {
    Nothing,
    Wake(Waiter),
    /// The child of the line that has its slot.
    Begin(Owned),
}

#[inline(never)]
fn wake_parent(waiter: &Waiter, py: Python<'_>) -> PyResult<()> {
    waiter.wake(&py.None().into_bound(py)).map(drop)
}

/// As `child_ended`, of any child.
#[inline(never)]
fn leave(group: &Bound<'_, TaskGroup>, key: u32, child: &Object<'_>) -> PyResult<()> {
    let Some(left) = let_go(group, key)? else { return Ok(()) };
    let told = left.starting.map_or(Ok(()), |starting| starting.wake(group.py()));
    match left.of_bounded {
        Some(loans) => told.and(bounded::child_left(group, child, loans)),
        None => told,
    }
}

/// What is to be done when a child has left its group.
struct Left {
    /// Its `start()` waits still.
    starting: Option<Starting>,
    /// The group has a limit: somebody may be next. What the child had of limiters.
    of_bounded: Option<Option<Loans>>,
}

/// The child is one no longer; nothing: the group was cleared meanwhile.
#[inline]
fn let_go(group: &Bound<'_, TaskGroup>, key: u32) -> PyResult<Option<Left>> {
    let py = group.py();
    let key = Key::unpack(key);
    let (gone, left_line, waiter, left) = group.value().state.with(py, |state| {
        let gone = state.children.remove(key.index);
        if gone.is_some() && key.daemon {
            state.daemons -= 1;
        }
        let (left_line, of_bounded) = match &mut state.bounded {
            Some(bounded) if gone.is_some() => {
                (bounded.leave(key.index), Some(bounded.take_loans(key.index)))
            }
            _ => (None, None),
        };
        let waiter = if state.is_quiet() { state.waiter.take() } else { None };
        let starting = if state.starting.is_empty() { None } else { state.starting.remove(&key.index) };
        (gone, left_line, waiter, Left { starting, of_bounded })
    });
    if gone.is_none() {
        return Ok(None);
    }
    drop((gone, left_line));
    if let Some(waiter) = waiter {
        wake_parent(&waiter, py)?;
    }
    Ok(Some(left))
}

/// The exception of a task that is done, which counts as retrieved; none if it was cancelled or returned.
pub(super) fn exception_of<'py>(task: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    let py = task.py();
    if let Ok(native) = task.cast::<Future>() {
        return Ok(native.value().state.with(py, |state| {
            let Outcome::Exception(error) = &state.outcome else { return None };
            let error = error.get_bound(py);
            state.event_loop.mark(Mark::LogTraceback, false);
            Some(error)
        }));
    }
    if future::is_cancelled(task)? {
        return Ok(None);
    }
    let error = task.call_method0(names::exception(py))?;
    Ok(if error.is_none() { None } else { Some(error) })
}

fn failed(group: &Bound<'_, TaskGroup>, child: &Object<'_>, error: Object<'_>) -> PyResult<()> {
    let py = group.py();
    let is_base = errors::is_exit_error(&error);
    let on_error = group.value().state.with(py, |state| state.on_error);
    if on_error == OnError::Report && !is_base {
        return report(group, "A task of a TaskGroup failed", child, &error);
    }
    let kept = error.clone().into();
    let (parent, abort) = group.value().state.with(py, |state| {
        if is_base && state.base_error.is_none() {
            state.base_error = Some(error.clone().into());
        }
        state.errors.push(kept);
        (state.parent.as_ref().map(|parent| parent.share(py)), state.abort)
    });
    let Some(parent) = parent else { return Ok(()) };
    if parent.is_done(py)? {
        let text = format!(
            "Task {} has errored out but its parent task {} is already completed",
            child.repr()?,
            parent.task(py).repr()?
        );
        return report(group, &text, child, &error);
    }
    if abort != Abort::No || (on_error == OnError::Collect && !is_base) {
        return Ok(());
    }
    abort_with_parent(group, None)
}
