//! TaskGroup: tasks that belong together, and a block that ends when all of them have ended.
//!
//! Same rules as asyncio: CPython 3.15, Lib/asyncio/taskgroups.py. A child of ours tells its group at the moment
//! that it ends (`failure.rs`). Invariants: each child is known by a key from its creation to its end, and is
//! told of an abort once; the parent is un-cancelled once for the one cancel that the group requested; when the
//! block is left, the group holds no task and no exception, so that no cycle keeps a traceback.

mod bounded;
mod caller;
mod class;
mod create;
mod exit;
mod failure;
mod lending;
mod park;
mod permits;
mod postponed;
mod start;
mod submit;

use std::collections::BTreeMap;

use pyo3::prelude::*;
use tonnage_core::slab::Slab;

use bounded::Bounded;
pub(crate) use bounded::leave_line;
pub(crate) use exit::ExitCoroutine;
pub(crate) use failure::{child_done, child_ended};
pub(crate) use lending::{seek, seek_by_callback, suspended};
pub(crate) use permits::door_opened;
pub(crate) use postponed::PostponedCoroutine;
pub(crate) use start::{StartCoroutine, TaskStatus};
pub(crate) use submit::SubmitCoroutine;

use super::parent::Parent;
use crate::cpython::{Extras, Guarded, Native, Object, Owned};
use crate::waiter::Waiter;
use crate::{errors, future, names, task};

#[repr(C)]
pub(crate) struct TaskGroup {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

struct State {
    phase: Phase,
    abort: Abort,
    on_error: OnError,
    name: Option<Owned>,
    event_loop: Option<Owned>,
    parent: Option<Parent>,
    /// Bounded by the tasks that are alive: a child leaves when it has ended.
    children: Slab<Owned>,
    /// How many of the children are daemons.
    daemons: usize,
    /// Children whose `start()` still waits, by their index.
    starting: BTreeMap<u32, start::Starting>,
    /// One for each child that failed; nothing with `on_error="report"`.
    errors: Vec<Owned>,
    /// KeyboardInterrupt or SystemExit, which leaves the group bare.
    base_error: Option<Owned>,
    /// The parent waits in `__aexit__` for the children.
    waiter: Option<Waiter>,
    /// With `limit=`: who has a slot, and who waits for one.
    bounded: Option<Box<Bounded>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    /// Cancelled before it was entered.
    CancelledEarly,
    Entered,
    /// The body has ended; members are waited for.
    Exiting,
    /// Only daemons are left, and were cancelled.
    Clearing,
    Left,
}

/// How far an abort has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abort {
    No,
    Children,
    /// The parent was cancelled too, and must be un-cancelled.
    Parent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnError {
    Cancel,
    Collect,
    Report,
}

/// By what a child names itself to its group.
#[derive(Clone, Copy)]
struct Key {
    index: u32,
    daemon: bool,
}

impl Key {
    fn pack(self) -> u32 {
        self.index << 1 | u32::from(self.daemon)
    }

    fn unpack(packed: u32) -> Self {
        Self { index: packed >> 1, daemon: packed & 1 != 0 }
    }
}

impl TaskGroup {
    const fn new() -> Self {
        let state = State {
            phase: Phase::Created,
            abort: Abort::No,
            on_error: OnError::Cancel,
            name: None,
            event_loop: None,
            parent: None,
            children: Slab::new(),
            daemons: 0,
            starting: BTreeMap::new(),
            errors: Vec::new(),
            base_error: None,
            waiter: None,
            bounded: None,
        };
        Self { extras: Extras::new(), state: Guarded::new(state) }
    }

    /// The loop of a group that was entered.
    fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let found = self.state.with(py, |state| state.event_loop.as_ref().map(|it| it.get_bound(py)));
        found.ok_or_else(|| errors::not_initialised("TaskGroup"))
    }

    fn is_bounded(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.bounded.is_some())
    }

    fn is_aborting(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.abort != Abort::No)
    }
}

impl State {
    /// What is waited for: children, and callers who will have one.
    fn members(&self) -> usize {
        let callers = self.bounded.as_ref().map_or(0, |bounded| bounded.callers());
        self.children.len() - self.daemons + callers
    }

    /// Is there nothing left at all?
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.members() == 0
    }

    /// Is there nothing left for which `__aexit__` waits in this phase?
    fn is_quiet(&self) -> bool {
        match self.phase {
            Phase::Clearing => self.children.is_empty(),
            _ => self.members() == 0,
        }
    }
}

/// The task that the group runs in, for the call graph.
pub(super) fn parent_task<'py>(group: &Bound<'py, TaskGroup>) -> Option<Object<'py>> {
    let py = group.py();
    group.value().state.with(py, |state| state.parent.as_ref().map(|parent| parent.task(py)))
}

/// The future by which the parent waits for the children at the end of the block, and these; nothing before.
pub(super) fn exit_of<'py>(group: &Bound<'py, TaskGroup>) -> Option<(Object<'py>, Vec<Object<'py>>)> {
    let py = group.py();
    group.value().state.with(py, |state| {
        let waiter = state.waiter.as_ref()?;
        Some((waiter.future(py), state.children.iter().map(|child| child.get_bound(py)).collect()))
    })
}

/// Cancels the children, and takes no new ones.
fn abort(group: &Bound<'_, TaskGroup>, message: Option<&Owned>) -> PyResult<()> {
    group.value().state.with(group.py(), |state| {
        if state.abort == Abort::No {
            state.abort = Abort::Children;
        }
    });
    let closed = bounded::close_line(group);
    cancel_children(group, message).and(closed)
}

/// Cancels the children that have not ended; what one of them raises does not spare the others.
fn cancel_children(group: &Bound<'_, TaskGroup>, message: Option<&Owned>) -> PyResult<()> {
    let py = group.py();
    let children: Vec<_> =
        group.value().state.with(py, |state| state.children.iter().map(|child| child.share(py)).collect());
    let mut outcome = Ok(());
    for child in children {
        let child = child.bind(py);
        let cancelled = future::is_done(child)
            .and_then(|done| if done { Ok(false) } else { task::cancel_any(child, message) });
        if let Err(error) = cancelled {
            let error = errors::into_object(py, error);
            outcome = outcome.and_then(|()| report(group, "A task could not be cancelled", child, &error));
        }
    }
    outcome
}

/// Cancels the children and, once, the parent.
fn abort_with_parent(group: &Bound<'_, TaskGroup>, message: Option<&Owned>) -> PyResult<()> {
    let py = group.py();
    abort(group, message)?;
    let parent = group.value().state.with(py, |state| {
        if state.abort == Abort::Parent {
            return None;
        }
        state.abort = Abort::Parent;
        state.parent.as_ref().map(|parent| parent.share(py))
    });
    parent.map_or(Ok(()), |parent| parent.cancel(py, message))
}

/// Tells the loop's exception handler.
fn report(
    group: &Bound<'_, TaskGroup>,
    message: &str,
    task: &Object<'_>,
    error: &Object<'_>,
) -> PyResult<()> {
    let py = group.py();
    let event_loop =
        group.value().state.with(py, |state| state.event_loop.as_ref().map(|it| it.get_bound(py)));
    let Some(event_loop) = event_loop else { return Ok(()) };
    let details = pyo3::types::PyDict::new(py);
    details.set_item("message", message)?;
    details.set_item("exception", error)?;
    details.set_item("task", task)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
