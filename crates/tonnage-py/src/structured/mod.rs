//! Structured concurrency: those who start others, and wait for them.
//!
//! A parent (a group, a gather, …) is told by each child of ours at the moment that the child ends, by
//! pointer: the child keeps the parent and a key under which the parent knows the child. Children of
//! another kind, and children that had ended before, report through an ordinary callback (`ChildDone`).
//! Here is the second cycle of the crate: futures tell parents, and parents wait for futures. Its hinge is
//! `child_done`.

mod amap;
mod as_completed;
mod call_graph;
mod child_done;
pub(crate) mod deadline;
mod deadline_block;
mod ensure_future;
mod errors;
mod foreign_blocks;
mod gather;
mod group;
mod limit;
mod move_on;
mod nesting;
mod parent;
mod race;
mod shield;
pub(crate) mod shield_scope;
mod sleep;
mod slots;
mod timeout;
mod turn;
mod wait;
mod wait_for;
mod wake_timer;

use pyo3::prelude::*;

pub(crate) use amap::{
    AsyncMap, BeginCoroutine, CollectCoroutine, DrainCoroutine, LeaveCoroutine, MapResults,
    NextMappedCoroutine, WorkerCoroutine,
};
pub(crate) use as_completed::{AsCompletedIterator, NextFutureCoroutine, NextResultCoroutine};
pub(crate) use child_done::ChildDone;
pub(crate) use deadline::handed_down;
pub(crate) use deadline_block::{DeadlineBlock, expire};
pub(crate) use gather::{GatheringFuture, begin_cancel, end_cancel};
pub(crate) use group::{
    ExitCoroutine, PostponedCoroutine, StartCoroutine, SubmitCoroutine, TaskGroup, TaskStatus, leave_line,
    seek, seek_by_callback, suspended,
};
pub(crate) use move_on::MoveOn;
pub(crate) use race::RaceCoroutine;
pub(crate) use shield_scope::ShieldScope;
pub(crate) use sleep::SleepCoroutine;
pub(crate) use timeout::Timeout;
pub(crate) use turn::Turn;
pub(crate) use wait::{WaitCoroutine, Waiting};
pub(crate) use wait_for::WaitForCoroutine;

use deadline_block::parameter;

use crate::cpython::native_class::{exact, is_exact};
use crate::cpython::{Native, Object, add_function, add_function_of_one, recursion};
use crate::future::{self, Future};
use crate::limits::Door;
use crate::task::Task;
use crate::waiter::Waiter;

/// Adds the functions to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_deadlines(module)?;
    add_function(
        module,
        c"amap",
        c"Call a function with each item of a source, at most `limit` at a time.",
        amap::amap,
    )?;
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
        c"wait_for",
        c"Wait for an awaitable, at most `timeout` seconds; None is for ever.",
        wait_for::wait_for,
    )?;
    add_function(module, c"gather", c"Run awaitables at once, and collect their results.", gather::gather)?;
    add_function(
        module,
        c"race",
        c"Call functions for one result: the first to succeed wins, the others are cancelled.",
        race::race,
    )?;
    add_function(module, c"shield", c"Wait for a future, shielding it from cancellation.", shield::shield)?;
    add_function(module, c"wait", c"Wait for some or all of several futures.", wait::wait)?;
    add_function(
        module,
        c"as_completed",
        c"Iterate over awaitables in the order in which they end.",
        as_completed::as_completed,
    )
}

fn add_deadlines(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function_of_one(
        module,
        c"timeout",
        c"Cancel the block after `delay` seconds, and raise TimeoutError; None is never.",
        || parameter("timeout", "delay"),
        timeout::timeout,
    )?;
    add_function_of_one(
        module,
        c"timeout_at",
        c"Cancel the block at the loop's time `when`, and raise TimeoutError; None is never.",
        || parameter("timeout_at", "when"),
        timeout::timeout_at,
    )?;
    add_function_of_one(
        module,
        c"move_on_after",
        c"Cancel the block after `delay` seconds, and go on after it; None is never.",
        || parameter("move_on_after", "delay"),
        move_on::move_on_after,
    )?;
    add_function_of_one(
        module,
        c"move_on_at",
        c"Cancel the block at the loop's time `when`, and go on after it; None is never.",
        || parameter("move_on_at", "when"),
        move_on::move_on_at,
    )?;
    add_function(
        module,
        c"current_effective_deadline",
        c"Return by when what the current task does must end, in the loop's time; infinity is never.",
        deadline::current_effective_deadline,
    )
}

/// Tells `parent` that the child it knows by `key` is done. A failure is told in the next turn, as asyncio does
/// it: who is ready in this turn still runs before a group cancels it.
#[inline(always)]
pub(crate) fn child_done(parent: &Object<'_>, key: u32, child: &Bound<'_, Future>) -> PyResult<()> {
    if !child.value().has_failed(child.py()) && key != shield::OUTER {
        // Most children by far. These two tell no other parent, so that no stack can grow.
        if let Some(group) = exact::<TaskGroup>(parent)
            && is_exact::<Task>(child)
        {
            return group::child_ended(group, key, child.as_any());
        }
        if let Some(gather) = exact::<GatheringFuture>(parent)
            && gather::count(gather, child)
        {
            return Ok(());
        }
    }
    report(parent, key, child)
}

/// As `child_done`, of any child.
#[inline(never)]
pub(crate) fn report(parent: &Object<'_>, key: u32, child: &Bound<'_, Future>) -> PyResult<()> {
    if child.value().has_failed(child.py()) && parent.is_instance_of::<TaskGroup>() {
        return future::add_callback(child, ChildDone::create(parent, key)?);
    }
    tell(parent, key, child.as_any())
}

/// As `child_done`, for a future of any implementation.
fn tell(parent: &Object<'_>, key: u32, child: &Object<'_>) -> PyResult<()> {
    nesting::limited(parent, key, child, |parent, key, child| {
        if key == shield::OUTER {
            return shield::outer_done(parent, child);
        }
        // Has no subclass, so this one test is cheap also for all others.
        if let Some(gather) = exact::<GatheringFuture>(parent) {
            return gather::report(gather, key, child);
        }
        if let Ok(group) = parent.cast::<TaskGroup>() {
            return group::child_done(group, key, child);
        }
        if let Ok(map) = parent.cast::<AsyncMap>() {
            return amap::worker_done(map, key, child);
        }
        if let Ok(waiting) = parent.cast::<Waiting>() {
            return wait::report(waiting, child);
        }
        if let Ok(iterator) = parent.cast::<AsCompletedIterator>() {
            return as_completed::report(iterator, key, child);
        }
        if key == shield::INNER
            && let Ok(outer) = parent.cast::<Future>()
        {
            return shield::inner_done(outer, child);
        }
        // The future by which a coroutine of ours waits for the child's end.
        Waiter::of(parent).wake(&parent.py().None().into_bound(parent.py())).map(drop)
    })
}

/// The future that is awaited for the end of all children of a parent, and those that have not ended; nothing if it
/// does not wait for all of them.
pub(crate) fn end_of_all<'py>(parent: &Object<'py>) -> PyResult<Option<(Object<'py>, Vec<Object<'py>>)>> {
    if let Ok(gather) = parent.cast::<GatheringFuture>() {
        return Ok(Some((parent.clone(), gather.value().pending_children(parent.py())?)));
    }
    Ok(parent.cast::<TaskGroup>().ok().and_then(group::exit_of))
}

/// Tells the owner that asks by a door that the first of its line may begin, or is refused.
pub(crate) fn door_opened<'py>(
    owner: &Object<'py>,
    door: &Bound<'py, Door>,
    answer: PyResult<()>,
) -> PyResult<()> {
    if let Ok(group) = owner.cast::<TaskGroup>() {
        return group::door_opened(group, door, answer);
    }
    if let Ok(map) = owner.cast::<AsyncMap>() {
        return amap::door_opened(map, door, answer);
    }
    gather::door_opened(owner.cast()?, door, answer)
}

/// The tasks that wait for what `parent` waits for, for the call graph.
pub(crate) fn waiting_tasks<'py>(parent: &Object<'py>, key: u32) -> PyResult<Vec<Object<'py>>> {
    let py = parent.py();
    if key == shield::OUTER {
        return Ok(vec![]);
    }
    if let Ok(group) = parent.cast::<TaskGroup>() {
        return Ok(group::parent_task(group).into_iter().collect());
    }
    if let Ok(map) = parent.cast::<AsyncMap>() {
        return Ok(amap::parent_task(map).into_iter().collect());
    }
    if let Ok(gather) = parent.cast::<GatheringFuture>() {
        return Ok(gather.value().caller(py).into_iter().collect());
    }
    if let Ok(waiting) = parent.cast::<Waiting>() {
        return Ok(waiting.value().caller(py).into_iter().collect());
    }
    if let Ok(iterator) = parent.cast::<AsCompletedIterator>() {
        return Ok(iterator.value().caller(py).into_iter().collect());
    }
    if let Ok(outer) = parent.cast::<Future>() {
        return recursion::checked(py, c" while looking for who awaits", || future::waiting_tasks(outer));
    }
    Ok(vec![])
}
