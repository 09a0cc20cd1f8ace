//! The class TaskGroup as Python sees it.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet, PyString};

use super::bounded::Bounded;
use super::{Abort, OnError, Phase, TaskGroup, abort_with_parent, create, exit, start, submit};
use crate::cpython::{Args, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, compat};
use crate::future::{CANCEL, to_bool};
use crate::running;
use crate::structured::limit;
use crate::structured::parent::Parent;

impl NativeClass for TaskGroup {
    const NAME: &'static CStr = c"tonnage.TaskGroup";
    const DOC: &'static CStr =
        c"TaskGroup(*, limit=None, max_pending=10000, on_error='cancel', name=None)\n--\n\nTasks that belong together, in a block that ends when all of them have ended.";

    fn empty() -> Option<Self> {
        Some(Self::new())
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(compat::asyncio_task_group);
        slots.init(init);
        slots.repr(repr);
        slots.block(
            (c"Begin the block.", |group| crate::enter::enter(group.as_any(), |group| enter(group.cast()?))),
            (c"Wait for the tasks, and raise what failed.", exit::leave),
        );
        slots.with_args(c"create_task", c"Start a coroutine as a task of the group.", create::create_task);
        slots.with_args(
            c"submit",
            c"Wait for a slot, then start a task that runs what `func` returns.",
            submit::submit,
        );
        slots.with_args(c"start", c"Start a task, and wait until it says that it has started.", start::start);
        slots.with_args(c"cancel", c"Cancel all tasks of the group, and its body.", |group, args| {
            let [message] = args.parse(&CANCEL)?;
            let message = message.filter(|message| !message.is_none()).map(Owned::from);
            cancel(group, message.as_ref())?;
            Ok(args.py().None().into_bound(args.py()))
        });
        slots.property(
            c"active",
            c"How many tasks the group waits for, those that wait for a slot included; no daemons.",
            |group| {
                let members = group.value().state.with(group.py(), |state| state.members());
                Ok(members.into_pyobject(group.py())?.into_any())
            },
        );
        slots.property(
            c"waiting",
            c"How many wait for a slot: tasks that have not begun, and callers of `submit` and `start`.",
            |group| {
                let waiting = group
                    .value()
                    .state
                    .with(group.py(), |state| state.bounded.as_ref().map_or(0, |bounded| bounded.waiting()));
                Ok(waiting.into_pyobject(group.py())?.into_any())
            },
        );
        slots.property(c"name", c"What the group was named.", |group| {
            let py = group.py();
            let name =
                group.value().state.with(py, |state| state.name.as_ref().map(|name| name.get_bound(py)));
            Ok(name.unwrap_or_else(|| py.None().into_bound(py)))
        });
        inspected(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let owned = [&state.name, &state.event_loop, &state.base_error].into_iter().flatten();
            let all = owned.chain(state.children.iter()).chain(&state.errors);
            let mut shown = visit.each(all);
            if shown == 0 {
                shown = state.parent.as_ref().map_or(0, |parent| parent.traverse(visit));
            }
            if shown == 0 {
                shown = state.waiter.as_ref().map_or(0, |waiter| waiter.traverse(visit));
            }
            if shown == 0 {
                let starting = state.starting.values().map(|starting| starting.traverse(visit));
                shown = starting.into_iter().find(|shown| *shown != 0).unwrap_or(0);
            }
            if shown == 0 {
                shown = state.bounded.as_ref().map_or(0, |bounded| bounded.traverse(visit));
            }
            shown
        })
    }

    fn clear(&self, py: Python<'_>) {
        super::permits::abandon(self, py);
        let gone = self.state.with(py, |state| {
            let references = (state.name.take(), state.event_loop.take(), state.base_error.take());
            let tasks = (state.children.drain(), std::mem::take(&mut state.starting));
            let errors = std::mem::take(&mut state.errors);
            state.daemons = 0;
            let bounded = state.bounded.as_mut().map(|bounded| bounded.clear());
            (references, tasks, errors, (state.parent.take(), state.waiter.take(), bounded))
        });
        drop(gone);
    }
}

/// What CPython's own tests and some tools look at.
fn inspected(slots: &mut Slots<TaskGroup>) {
    slots.getter(c"_tasks", |group| {
        let py = group.py();
        let tasks: Vec<_> = group
            .value()
            .state
            .with(py, |state| state.children.iter().map(|child| child.get_bound(py)).collect());
        Ok(PySet::new(py, tasks)?.into_any())
    });
    slots.getter(c"_errors", |group| {
        let py = group.py();
        let (left, errors) = group.value().state.with(py, |state| {
            let errors: Vec<_> = state.errors.iter().map(|error| error.get_bound(py)).collect();
            (state.phase == Phase::Left, errors)
        });
        if left { Ok(py.None().into_bound(py)) } else { Ok(PyList::new(py, errors)?.into_any()) }
    });
    slots.getter(c"_parent_task", |group| {
        Ok(super::parent_task(group).unwrap_or_else(|| group.py().None().into_bound(group.py())))
    });
    slots.getter(c"_base_error", |group| {
        let py = group.py();
        let error =
            group.value().state.with(py, |state| state.base_error.as_ref().map(|error| error.get_bound(py)));
        Ok(error.unwrap_or_else(|| py.None().into_bound(py)))
    });
    slots.getter(c"_aborting", |group| Ok(to_bool(group.py(), group.value().is_aborting(group.py()))));
}

/// How many tasks may wait for a slot, unless told otherwise.
const MAX_PENDING: usize = 10_000;

fn init(group: &Bound<'_, TaskGroup>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<4> = Parameters {
        function: "TaskGroup",
        names: ["limit", "max_pending", "on_error", "name"],
        positional: 0,
        required: 0,
    };
    let py = args.py();
    let [limit, max_pending, on_error, name] = args.parse(&PARAMETERS)?;
    let limit = limit::limit(limit.as_ref())?;
    let max_pending = max_pending.map_or(Ok(MAX_PENDING), |given| limit::max_pending(&given))?;
    let bounded = limit.map(|limit| Box::new(Bounded::new(limit, max_pending)));
    let on_error = match on_error {
        None => OnError::Cancel,
        Some(given) => match given.extract::<&str>() {
            Ok("cancel") => OnError::Cancel,
            Ok("collect") => OnError::Collect,
            Ok("report") => OnError::Report,
            _ => {
                let text = format!("on_error must be 'cancel', 'collect' or 'report', got {}", given.repr()?);
                return Err(PyValueError::new_err(text));
            }
        },
    };
    let name = match name.filter(|name| !name.is_none()) {
        Some(name) => Some(Owned::from(name.str()?.into_any())),
        None => None,
    };
    let replaced = group.value().state.with(py, |state| {
        state.on_error = on_error;
        let name = std::mem::replace(&mut state.name, name);
        // Called again while the group is used, it changes no slots.
        let is_unused = matches!(state.phase, Phase::Created | Phase::CancelledEarly);
        (if is_unused { std::mem::replace(&mut state.bounded, bounded) } else { bounded }, name)
    });
    drop(replaced);
    Ok(())
}

fn repr<'py>(group: &Bound<'py, TaskGroup>) -> PyResult<Object<'py>> {
    let py = group.py();
    let (name, counts, abort, phase) = group.value().state.with(py, |state| {
        let name = state.name.as_ref().map(|name| name.get_bound(py));
        let waiting = state.bounded.as_ref().map_or(0, |bounded| bounded.waiting());
        let counts = [("tasks", state.children.len()), ("waiting", waiting), ("errors", state.errors.len())];
        (name, counts, state.abort, state.phase)
    });
    let mut text = "<TaskGroup".to_owned();
    if let Some(name) = name {
        text.push_str(&format!(" {}", name.repr()?));
    }
    for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        text.push_str(&format!(" {what}={count}"));
    }
    if abort != Abort::No {
        text.push_str(" cancelling");
    } else if !matches!(phase, Phase::Created | Phase::CancelledEarly) {
        text.push_str(" entered");
    }
    text.push('>');
    Ok(PyString::new(py, &text).into_any())
}

fn enter(group: &Bound<'_, TaskGroup>) -> PyResult<()> {
    let py = group.py();
    let phase = group.value().state.with(py, |state| state.phase);
    if !matches!(phase, Phase::Created | Phase::CancelledEarly) {
        let text = format!("TaskGroup {} has already been entered", group.repr()?);
        return Err(PyRuntimeError::new_err(text));
    }
    let event_loop = running::event_loop(py)?;
    let Some(parent) = Parent::current(&event_loop)? else {
        let text = format!("TaskGroup {} cannot determine the parent task", group.repr()?);
        return Err(PyRuntimeError::new_err(text));
    };
    parent.check_counts(py, "TaskGroup")?;
    let event_loop = Owned::from(event_loop);
    let replaced = group.value().state.with(py, |state| {
        state.phase = Phase::Entered;
        (state.event_loop.replace(event_loop), state.parent.replace(parent))
    });
    drop(replaced);
    if phase == Phase::CancelledEarly { abort_with_parent(group, None) } else { Ok(()) }
}

/// `TaskGroup.cancel(msg)`: before the block it is remembered, after it nothing happens.
fn cancel(group: &Bound<'_, TaskGroup>, message: Option<&Owned>) -> PyResult<()> {
    let py = group.py();
    let is_now = group.value().state.with(py, |state| match state.phase {
        Phase::Created | Phase::CancelledEarly => {
            state.phase = Phase::CancelledEarly;
            false
        }
        Phase::Entered => state.abort == Abort::No,
        Phase::Exiting | Phase::Clearing => state.abort == Abort::No && !state.is_empty(),
        Phase::Left => false,
    });
    if is_now { abort_with_parent(group, message) } else { Ok(()) }
}
