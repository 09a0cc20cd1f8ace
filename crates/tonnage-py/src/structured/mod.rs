//! Structured concurrency: those who start others, and wait for them.
//!
//! A parent (a group, a gather, …) is told by each child of ours at the moment that the child ends, by
//! pointer: the child keeps the parent and a key under which the parent knows the child. Children of
//! another kind, and children that had ended before, report through an ordinary callback (`ChildDone`).
//! Here is the second cycle of the crate: futures tell parents, and parents wait for futures. Its hinge is
//! `child_done`.

mod child_done;
mod ensure_future;
mod errors;
mod group;
mod parent;
mod sleep;
mod timeout;
mod turn;
mod wait_for;

use pyo3::prelude::*;

pub(crate) use child_done::ChildDone;
pub(crate) use ensure_future::WrapAwaitableCoroutine;
pub(crate) use group::{ExitCoroutine, StartCoroutine, TaskGroup, TaskStatus};
pub(crate) use sleep::SleepCoroutine;
pub(crate) use timeout::{Timeout, expire};
pub(crate) use turn::Turn;
pub(crate) use wait_for::WaitForCoroutine;

use crate::cpython::{Native, Object, add_function};
use crate::future::{self, Future};
use crate::waiter::Waiter;

/// Adds the functions to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"create_task",
        c"Schedule a coroutine as a task of the running loop.",
        ensure_future::create_task,
    )?;
    add_function(
        module,
        c"ensure_future",
        c"Wrap a coroutine or an awaitable in a future.",
        ensure_future::ensure_future,
    )?;
    add_function(
        module,
        c"sleep",
        c"Let others run for `delay` seconds, then return `result`.",
        sleep::sleep,
    )?;
    add_function(
        module,
        c"timeout",
        c"Cancel the block after `delay` seconds, and raise TimeoutError; None is never.",
        timeout::timeout,
    )?;
    add_function(
        module,
        c"timeout_at",
        c"Cancel the block at the loop's time `when`, and raise TimeoutError; None is never.",
        timeout::timeout_at,
    )?;
    add_function(
        module,
        c"wait_for",
        c"Wait for an awaitable, at most `timeout` seconds; None is for ever.",
        wait_for::wait_for,
    )?;
    Ok(())
}

/// Tells `parent` that the child it knows by `key` is done. A failure is told in the next turn, as asyncio does
/// it: who is ready in this turn still runs before a group cancels it.
pub(crate) fn child_done(parent: &Object<'_>, key: u32, child: &Bound<'_, Future>) -> PyResult<()> {
    if child.value().has_failed(child.py()) && parent.is_instance_of::<TaskGroup>() {
        return future::add_callback(child, ChildDone::create(parent, key)?);
    }
    child_of_any_kind_done(parent, key, child.as_any())
}

/// As `child_done`, for a future of any implementation.
fn child_of_any_kind_done(parent: &Object<'_>, key: u32, child: &Object<'_>) -> PyResult<()> {
    if let Ok(group) = parent.cast::<TaskGroup>() {
        return group::child_done(group, key, child);
    }
    // The future by which a coroutine of ours waits for the child's end.
    Waiter::of(parent).wake(&parent.py().None().into_bound(parent.py())).map(drop)
}

/// The task that waits for what `parent` waits for, for the call graph.
pub(crate) fn waiting_task<'py>(parent: &Object<'py>) -> Option<Object<'py>> {
    let group = parent.cast::<TaskGroup>().ok()?;
    group::parent_task(group)
}
