//! TaskGroup.start: a task of the group whose creator waits until it says that it has started.
//!
//! trio's rules: until the task calls `task_status.started(value)`, its failure is raised by `start()`, and a
//! cancel of `start()` cancels it; from then on it is a task of the group like all others.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::caller::{self, Turn};
use super::create::{adopt, event_loop_for};
use super::failure::exception_of;
use super::{TaskGroup, bounded, permits};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::structured::ensure_future::spawn_child_with;
use crate::waiter::Waiter;
use crate::{errors, future, names, running, task};

pub(crate) type StartCoroutine = Coroutine<Start>;

/// A child whose `start()` still waits.
pub(super) struct Starting(Waiter);

impl Starting {
    /// The child has ended, or has started.
    pub(super) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.0.wake(&py.None().into_bound(py)).map(drop)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.0.traverse(visit)
    }
}

pub(crate) struct Start {
    group: Owned<TaskGroup>,
    function: Owned,
    args: Owned<PyTuple>,
    name: Option<Owned>,
    /// It waits for a slot.
    turn: Option<Turn>,
    child: Option<Child>,
}

struct Child {
    task: Owned,
    index: u32,
    status: Owned<TaskStatus>,
    /// The cancel of `start()`, to be raised when the task has ended.
    cancelled: Option<Owned>,
}

/// Whose slot the task has.
#[derive(Clone, Copy)]
enum Slot {
    Own,
    /// That of the member who starts it.
    Borrowed,
}

impl Slot {
    fn hold(self, group: &Bound<'_, TaskGroup>, child: &Child) -> PyResult<()> {
        let task = child.task.bind(group.py());
        match self {
            Self::Own => {
                bounded::hold(group, task, child.index);
                Ok(())
            }
            Self::Borrowed => {
                bounded::hold_borrowed(group, task, child.index);
                permits::note_starter(group, child.index)
            }
        }
    }

    fn give_back(self, group: &Bound<'_, TaskGroup>) -> PyResult<()> {
        match self {
            Self::Own => caller::give_back(group),
            Self::Borrowed => caller::unborrow(group),
        }
    }
}

/// `group.start(function, *args, name=None)`.
pub(super) fn start<'py>(group: &Bound<'py, TaskGroup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let Some((function, rest)) = args.positional().split_first() else {
        return Err(PyTypeError::new_err("start() missing 1 required positional argument: 'func'"));
    };
    let name = args.only_keyword("start", "name")?.map(Owned::from);
    let args = PyTuple::new(py, rest)?;
    let (group, function) = (group.into(), function.into());
    let body = Start { group, function, args: args.into(), name, turn: None, child: None };
    Coroutine::create(py, body)
}

impl Body for Start {
    const QUALNAME: &'static str = "TaskGroup.start";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let Some(mut child) = self.child.take() else {
            return match (self.turn.take(), awaited) {
                (None, awaited) => awaited.and_then(|_| self.begin(py)),
                (Some(_), Ok(value)) => {
                    caller::granted(self.group.bind(py), value)?;
                    self.begin_in_slot(py, Slot::Own)
                }
                (Some(turn), Err(error)) => {
                    turn.give_up(self.group.bind(py))?;
                    Err(error)
                }
            };
        };
        if let Err(error) = awaited {
            if !errors::is_cancelled(py, &error) {
                // Closed, it can wait for nothing: the task is the group's, which hears of its failure.
                let group = self.group.bind(py);
                drop(group.value().state.with(py, |state| state.starting.remove(&child.index)));
                return Err(error);
            }
            let error = Owned::from(errors::into_object(py, error));
            if child.status.value().has_started(py) {
                // It has started in the same turn: it is the group's.
                return Err(PyErr::from_value(error.into_bound(py)));
            }
            child.cancelled = Some(error);
            task::cancel_any(child.task.bind(py), None)?;
        }
        if child.status.value().has_started(py) {
            return child.started(py);
        }
        if future::is_done(child.task.bind(py))? {
            return child.ended(py);
        }
        // It was cancelled with its start(), and is waited for.
        let waiter = Waiter::create(&self.group.bind(py).value().event_loop(py)?)?;
        let next = waiter.wait(py);
        let starting = Starting(waiter);
        let group = self.group.bind(py);
        drop(group.value().state.with(py, |state| state.starting.insert(child.index, starting)));
        self.child = Some(child);
        Ok(next)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let child = self.child.as_ref();
        let cancelled = child.and_then(|child| child.cancelled.as_ref());
        let task = child.map(|child| &child.task);
        let owned = [Some(&self.function), self.name.as_ref(), task, cancelled].into_iter().flatten();
        let mut shown = visit.each(owned);
        if shown == 0 {
            shown = visit.call(&self.group);
        }
        if shown == 0 {
            shown = visit.call(&self.args);
        }
        if shown == 0 {
            shown = child.map_or(0, |child| visit.call(&child.status));
        }
        if shown == 0 {
            shown = self.turn.as_ref().map_or(0, |turn| turn.traverse(visit));
        }
        shown
    }
}

impl Start {
    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let group = self.group.get_bound(py);
        let event_loop = event_loop_for(&group, &py.None().into_bound(py))?;
        if !group.value().is_bounded(py) {
            return self.run(&group, &event_loop);
        }
        if running::task(&event_loop)?.is_some_and(|task| bounded::is_member(&group, &task)) {
            // It has a slot, and waits for the task that it starts: this one has that slot meanwhile.
            caller::borrow(&group);
            return self.begin_in_slot(py, Slot::Borrowed);
        }
        if let Some((turn, next)) = Turn::take(&group, &event_loop)? {
            self.turn = Some(turn);
            return Ok(next);
        }
        self.begin_in_slot(py, Slot::Own)
    }

    fn begin_in_slot<'py>(&mut self, py: Python<'py>, slot: Slot) -> PyResult<Next<'py>> {
        let group = self.group.get_bound(py);
        if group.value().is_aborting(py) {
            // It was granted the slot in the same turn.
            slot.give_back(&group)?;
            return Err(errors::cancelled(py, None));
        }
        let begun = event_loop_for(&group, &py.None().into_bound(py))
            .and_then(|event_loop| bounded::while_making(&group, || self.run(&group, &event_loop)));
        match &self.child {
            Some(child) => {
                let held = slot.hold(&group, child);
                caller::caller_done(&group)?;
                held?;
            }
            None => slot.give_back(&group)?,
        }
        begun
    }

    fn run<'py>(&mut self, group: &Bound<'py, TaskGroup>, event_loop: &Object<'py>) -> PyResult<Next<'py>> {
        let py = group.py();
        let none = py.None().into_bound(py);
        let status = create(py, TaskStatus::new())?;
        let options = PyDict::new(py);
        options.set_item(names::task_status(py), &status)?;
        let coro = self.function.bind(py).call(self.args.bind(py), Some(&options))?;
        options.clear();
        if let Some(name) = &self.name {
            options.set_item(names::name(py), &**name)?;
        }
        let waiter = Waiter::create(event_loop)?;
        let task = spawn_child_with(event_loop, &coro, &options)?;
        let index = adopt(group, &task, false)?;
        let next = waiter.wait(py);
        let is_over = status.value().has_started(py) || future::is_done(&task)?;
        if is_over {
            // It started eagerly.
            waiter.wake(&none)?;
        }
        if !status.value().has_started(py) {
            let starting = Starting(waiter);
            drop(group.value().state.with(py, |state| state.starting.insert(index, starting)));
            let place = Some((Owned::from(group), index));
            status.value().state.with(py, |state| state.place = place);
        }
        self.child = Some(Child { task: task.into(), index, status: status.into(), cancelled: None });
        Ok(next)
    }
}

impl Child {
    fn started<'py>(self, py: Python<'py>) -> PyResult<Next<'py>> {
        if let Some(cancelled) = self.cancelled {
            return Err(PyErr::from_value(cancelled.into_bound(py)));
        }
        let value = self.status.value().state.with(py, |state| state.value.take());
        Ok(value.map_or_else(|| Next::none(py), |value| Next::Return(value.into_bound(py))))
    }

    fn ended<'py>(self, py: Python<'py>) -> PyResult<Next<'py>> {
        if let Some(error) = exception_of(self.task.bind(py))? {
            return Err(PyErr::from_value(error));
        }
        if let Some(cancelled) = self.cancelled {
            return Err(PyErr::from_value(cancelled.into_bound(py)));
        }
        let text = format!(
            "{} ended before it called task_status.started(); call it when the task is ready",
            self.task.bind(py).repr()?
        );
        Err(PyRuntimeError::new_err(text))
    }
}

/// What the started function gets as `task_status`.
pub(crate) struct TaskStatus {
    state: Guarded<StatusState>,
}

struct StatusState {
    started: bool,
    value: Option<Owned>,
    /// Where its `start()` waits.
    place: Option<(Owned<TaskGroup>, u32)>,
}

impl TaskStatus {
    fn new() -> Self {
        Self { state: Guarded::new(StatusState { started: false, value: None, place: None }) }
    }

    fn has_started(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.started)
    }
}

impl NativeClass for TaskStatus {
    const NAME: &'static CStr = c"tonnage._tonnage.TaskStatus";
    const DOC: &'static CStr = c"Tells TaskGroup.start() that the task has started.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.with_args(c"started", c"Say that the task has started, and with which value.", started);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let group = state.place.as_ref().map(|(group, _)| group);
            match visit.option(state.value.as_deref()) {
                0 => group.map_or(0, |group| visit.call(group)),
                shown => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| (state.value.take(), state.place.take())));
    }
}

fn started<'py>(status: &Bound<'py, TaskStatus>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "started", names: ["value"], positional: 1, required: 0 };
    let py = args.py();
    let [value] = args.parse(&PARAMETERS)?;
    let value = value.map(Owned::from);
    let place = status.value().state.with(py, |state| {
        if state.started {
            return Err(value);
        }
        state.started = true;
        state.value = value;
        Ok(state.place.take())
    });
    let place = match place {
        Ok(place) => place,
        Err(refused) => {
            drop(refused);
            return Err(PyRuntimeError::new_err("started() was called before; a task starts once"));
        }
    };
    if let Some((group, index)) = place {
        let starting = group.value().state.with(py, |state| state.starting.remove(&index));
        if let Some(starting) = starting {
            starting.wake(py)?;
        }
    }
    Ok(py.None().into_bound(py))
}
