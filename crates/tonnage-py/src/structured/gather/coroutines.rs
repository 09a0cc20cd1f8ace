//! gather of nothing but coroutines, each given once, on a loop of ours: the tasks are made as children.
//!
//! So none of them has to be told afterwards whose child it is. None can tell that it has ended before all are
//! there, as no step is made meanwhile.

use pyo3::prelude::*;

use super::start::{call_off, keep_quiet_when_lost};
use super::{Gathering, GatheringFuture, Wish};
use crate::cpython::{Native, Object, Owned};
use crate::event_loop::EventLoop;
use crate::structured::{call_graph, child_done, deadline, ensure_future};
use crate::{errors, task};

pub(super) fn gather<'py>(
    event_loop: &Bound<'py, EventLoop>,
    coros: &[Object<'py>],
    mut gathering: Gathering,
) -> PyResult<Bound<'py, GatheringFuture>> {
    let py = event_loop.py();
    let deadline = deadline::of_creator_on(event_loop)?;
    gathering.unfinished = coros.len();
    gathering.children.reserve(coros.len());
    let outer = GatheringFuture::create(event_loop.as_any(), gathering)?;
    for (key, coro) in (0..).zip(coros) {
        match start(&outer, event_loop, (coro, key), deadline) {
            Ok(child) => outer.value().state.with(py, |state| state.children.push(child)),
            Err(refused) => {
                refuse(&outer, coros, &refused)?;
                return Err(refused);
            }
        }
    }
    Ok(outer)
}

/// The child with this key.
#[inline]
fn start<'py>(
    outer: &Bound<'py, GatheringFuture>,
    event_loop: &Bound<'py, EventLoop>,
    (coro, key): (&Object<'py>, u32),
    deadline: Option<f64>,
) -> PyResult<Owned> {
    let py = outer.py();
    if !event_loop.get().spawns_directly(py) {
        return start_by_name(outer, event_loop.as_any(), (coro, key), deadline);
    }
    let task = task::create_plain(event_loop, coro, Some(outer.as_any()), key)?;
    task.value().state.with(py, |state| state.log_destroy_pending = false);
    if let Some(deadline) = deadline {
        task.value().inherit(py, deadline);
    }
    Ok(task.into_any().into())
}

/// There are as many tasks as are looked at, or a finalizer has changed the loop meanwhile.
#[cold]
fn start_by_name<'py>(
    outer: &Bound<'py, GatheringFuture>,
    event_loop: &Object<'py>,
    (coro, key): (&Object<'py>, u32),
    deadline: Option<f64>,
) -> PyResult<Owned> {
    let child = ensure_future::child_of(coro, Some(event_loop), deadline)?;
    keep_quiet_when_lost(&child)?;
    call_graph::declare(&child, outer.value().caller(outer.py()).as_ref())?;
    child_done::watch(&child, outer.as_any(), key)?;
    Ok(child.into())
}

/// Nobody will see the future. The children run on, unless the program has too many tasks.
#[cold]
fn refuse(outer: &Bound<'_, GatheringFuture>, coros: &[Object<'_>], refused: &PyErr) -> PyResult<()> {
    let py = outer.py();
    let (caller, children) = outer.value().state.with(py, |state| {
        state.unfinished -= coros.len() - state.children.len();
        state.wish = Wish::Nothing;
        let children: Vec<_> = state.children.iter().map(|child| child.share(py)).collect();
        (state.caller.take(), children)
    });
    drop(caller);
    if errors::is_overloaded(py, refused) { call_off(coros.iter(), &children) } else { Ok(()) }
}
