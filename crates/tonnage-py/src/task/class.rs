//! The class Task as Python sees it: asyncio's methods and attributes, those of 3.15 on each version.

use std::ffi::CStr;
use std::mem::ManuallyDrop;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Standing, Task, TaskState, finalizer, next_number, repr, step};
use crate::cpython::native_class::{create, create_unseen, is_exact};
use crate::cpython::{
    Args, Guarded, Native, NativeClass, Object, Owned, Parameters, PlainDrop, Slots, Visit, context,
    coroutine, current,
};
use crate::event_loop::EventLoop;
use crate::future::{self, Future};
use crate::{names, structured};

impl NativeClass for Task {
    const NAME: &'static CStr = c"tonnage.Task";
    const DOC: &'static CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\nA coroutine wrapped in a Future.";

    const PLAIN_DROP: PlainDrop = PlainDrop::ByFields;

    fn empty() -> Option<Self> {
        Some(Self::empty())
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        !self.future.has_plain_result(py) || self.may_hold_others(py)
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.future.needs_finalizer(py) || finalizer::is_lost(self, py)
    }

    fn may_be_finalized(&self, py: Python<'_>) -> bool {
        self.future.may_be_finalized(py)
    }

    #[inline(always)]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.future.has_ended_plainly(py) && !self.may_hold_others(py)
    }

    #[inline]
    fn drop_plainly(self) {
        self.future.drop_plainly();
        let TaskState { coro, context, waiter, bounds, .. } = self.state.into_inner();
        let _missing = ManuallyDrop::new((waiter, bounds));
        drop((coro, context));
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.finalizer(finalizer::report);
        slots.repr(|task| {
            let info = repr::info(task)?;
            future::named_repr(task.as_any(), &info)
        });
        slots.class_getitem();
        methods(slots);
        attributes(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.future.traverse(visit);
        if shown != 0 {
            return shown;
        }
        self.state.traverse(0, |state| {
            let mut shown = visit.option(state.coro.as_deref());
            if shown == 0 {
                shown = visit.option(state.context.as_deref());
            }
            if shown == 0 {
                shown = visit.option(state.waiter.as_deref());
            }
            match (shown, &state.bounds) {
                (0, Some(bounds)) => bounds.traverse(visit),
                _ => shown,
            }
        })
    }

    fn clear(&self, py: Python<'_>) {
        self.future.clear(py);
        let gone = self.state.with(py, |state| {
            (state.coro.take(), state.context.take(), state.waiter.take(), state.bounds.take())
        });
        drop(gone);
    }
}

impl Task {
    /// Does it keep an object that may hold others? A coroutine that has ended holds nothing.
    #[inline]
    fn may_hold_others(&self, py: Python<'_>) -> bool {
        let may_hold = |coro: &Owned| !coroutine::is_coroutine_object(coro.bind(py));
        self.state.with(py, |state| {
            state.waiter.is_some() || state.bounds.is_some() || state.coro.as_ref().is_some_and(may_hold)
        })
    }
}

fn methods(slots: &mut Slots<Task>) {
    slots.with_args(c"cancel", c"Request that this task cancel itself.", |task, args| {
        let [message] = args.parse(&future::CANCEL)?;
        let message = message.filter(|message| !message.is_none()).map(Owned::from);
        Ok(future::to_bool(args.py(), super::cancel(task, message)?))
    });
    slots.no_args(c"cancelling", c"Return the count of the task's cancellation requests.", |task| {
        Ok(task.value().cancelling(task.py()).into_pyobject(task.py())?.into_any())
    });
    slots.no_args(c"uncancel", c"Decrement the task's count of cancellation requests.", |task| {
        Ok(task.value().uncancel(task.py()).into_pyobject(task.py())?.into_any())
    });
    slots.no_args(c"get_coro", c"Return the coroutine.", coro);
    slots.no_args(c"get_context", c"Return the context of the task.", |task| {
        Ok(task.value().context(task.py()).unwrap_or_else(|| task.py().None().into_bound(task.py())))
    });
    slots.no_args(c"get_name", c"Return the name of the task.", name);
    slots.one_arg(c"set_name", c"Set the name of the task.", set_name);
    slots.with_args(
        c"get_stack",
        c"Return the list of stack frames for this task's coroutine.",
        |task, args| {
            const PARAMETERS: Parameters<1> =
                Parameters { function: "get_stack", names: ["limit"], positional: 0, required: 0 };
            let [limit] = args.parse(&PARAMETERS)?;
            names::task_get_stack(args.py())?.call1((task, limit))
        },
    );
    slots.with_args(
        c"print_stack",
        c"Print the stack or traceback for this task's coroutine.",
        |task, args| {
            const PARAMETERS: Parameters<2> =
                Parameters { function: "print_stack", names: ["limit", "file"], positional: 0, required: 0 };
            let [limit, file] = args.parse(&PARAMETERS)?;
            names::task_print_stack(args.py())?.call1((task, limit, file))
        },
    );
    slots.one_arg(c"set_result", c"Refused: a task's result is its coroutine's.", |_, _| {
        Err(PyRuntimeError::new_err("Task does not support set_result operation"))
    });
    slots.one_arg(c"set_exception", c"Refused: a task's exception is its coroutine's.", |_, _| {
        Err(PyRuntimeError::new_err("Task does not support set_exception operation"))
    });
    slots.no_args(c"_repr_info", c"The parts of the repr.", repr::info);
}

fn attributes(slots: &mut Slots<Task>) {
    slots.getter(c"__class__", |task| {
        if is_exact::<Task>(task.as_any()) {
            return names::asyncio_task(task.py()).cloned();
        }
        Ok(task.get_type().into_any())
    });
    slots.getter(c"_coro", coro);
    slots.getter(c"_context", |task| {
        Ok(task.value().context(task.py()).unwrap_or_else(|| task.py().None().into_bound(task.py())))
    });
    slots.getter(c"_must_cancel", |task| {
        Ok(future::to_bool(task.py(), task.value().state.with(task.py(), |state| state.must_cancel)))
    });
    slots.getter(c"_num_cancels_requested", |task| {
        Ok(task.value().cancelling(task.py()).into_pyobject(task.py())?.into_any())
    });
    slots.getter(c"_fut_waiter", |task| {
        let py = task.py();
        let waiter = task.value().state.with(py, |state| {
            // A group is no future.
            state
                .waiter
                .as_ref()
                .filter(|_| state.standing != Standing::Parked)
                .map(|waiter| waiter.get_bound(py))
        });
        Ok(waiter.unwrap_or_else(|| py.None().into_bound(py)))
    });
    slots.attribute_pair(
        c"_log_destroy_pending",
        |task| {
            Ok(future::to_bool(
                task.py(),
                task.value().state.with(task.py(), |state| state.log_destroy_pending),
            ))
        },
        |task, value| {
            let value = value.is_truthy()?;
            task.value().state.with(task.py(), |state| state.log_destroy_pending = value);
            Ok(())
        },
    );
}

fn coro<'py>(task: &Bound<'py, Task>) -> PyResult<Object<'py>> {
    let py = task.py();
    let coro = task.value().state.with(py, |state| state.coro.as_ref().map(|coro| coro.get_bound(py)));
    Ok(coro.unwrap_or_else(|| py.None().into_bound(py)))
}

fn name<'py>(task: &Bound<'py, Task>) -> PyResult<Object<'py>> {
    let py = task.py();
    let given = task.value().future.state.with(py, |state| {
        state.rare.as_ref().and_then(|rare| rare.name.as_ref().map(|name| name.get_bound(py)))
    });
    if let Some(given) = given {
        return Ok(given);
    }
    let number = task.value().state.with(py, |state| state.number);
    Ok(PyString::new(py, &format!("Task-{number}")).into_any())
}

fn set_name<'py>(task: &Bound<'py, Task>, value: &Object<'py>) -> PyResult<Object<'py>> {
    let py = task.py();
    let value = Owned::from(value.str()?.into_any());
    drop(task.value().future.state.with(py, |state| state.rare().name.replace(value)));
    Ok(py.None().into_bound(py))
}

/// The arguments of a task's constructor.
#[derive(Default)]
pub(crate) struct TaskOptions<'py> {
    pub(crate) name: Option<Object<'py>>,
    pub(crate) context: Option<Object<'py>>,
    pub(crate) eager_start: bool,
}

fn init(task: &Bound<'_, Task>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<5> = Parameters {
        function: "Task",
        names: ["coro", "loop", "name", "context", "eager_start"],
        positional: 1,
        required: 1,
    };
    let [coro, event_loop, name, context, eager_start] = args.parse(&PARAMETERS)?;
    let py = args.py();
    // A name that cannot be a string leaves the task as it was, and it can be initialised again.
    let name = match name.filter(|name| !name.is_none()) {
        Some(name) => Some(name.str()?.into_any()),
        None => None,
    };
    task.value().future.initialise(py, event_loop, &task.get_type())?;
    let eager_start = match eager_start {
        Some(eager_start) => eager_start.is_truthy()?,
        None => false,
    };
    let event_loop = task.value().future.event_loop(py)?;
    start(task, &event_loop, &coro.expect("required"), TaskOptions { name, context, eager_start })
}

/// Creates a task of one of our loops, which runs, that has nothing but a coroutine, where nobody overrides or watches
/// anything (`EventLoop::spawns_directly`), and whose end `parent` is told by `key`. It is made in one piece: groups
/// make tasks by the hundred thousand.
#[inline(never)]
pub(crate) fn create_plain<'py>(
    event_loop: &Bound<'py, EventLoop>,
    coro: &Object<'py>,
    parent: Option<&Object<'py>>,
    key: u32,
) -> PyResult<Bound<'py, Task>> {
    let py = event_loop.py();
    check_coroutine(coro)?;
    let context = context::copy_current(py)?;
    // The loop keeps it until it ends, and runs: no collection could find that the task is garbage.
    let task = create_unseen(py, || Task {
        future: Future::told_to(event_loop, parent, key),
        state: Guarded::new(TaskState {
            coro: Some(coro.into()),
            context: Some(context.into()),
            number: next_number(py),
            ..TaskState::empty()
        }),
    })?;
    let at = event_loop.get().start_task(py, &task);
    task.value().state.with(py, |state| state.kept_at = Some(at));
    Ok(task)
}

#[inline(always)]
pub(crate) fn check_coroutine(coro: &Object<'_>) -> PyResult<()> {
    if coroutine::is_coroutine_object(coro) { Ok(()) } else { check_other(coro) }
}

#[cold]
fn check_other(coro: &Object<'_>) -> PyResult<()> {
    if names::is_coroutine(coro.py())?.call1((coro,))?.is_truthy()? {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!("a coroutine was expected, got {}", coro.repr()?)))
}

/// Creates a task of one of our loops.
pub(crate) fn create_native<'py>(
    event_loop: &Bound<'py, EventLoop>,
    coro: &Object<'py>,
    options: TaskOptions<'py>,
) -> PyResult<Bound<'py, Task>> {
    let py = event_loop.py();
    let mut value = Task::empty();
    let task = if event_loop.get().is_plain_and_quiet() {
        value.future = Future::of_native_loop(event_loop);
        create(py, value)?
    } else {
        let task = create(py, value)?;
        task.value().future.initialise(py, Some(event_loop.clone().into_any()), &task.get_type())?;
        task
    };
    start(&task, event_loop.as_any(), coro, options)?;
    Ok(task)
}

/// The part of the constructor behind the future's.
fn start<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
    coro: &Object<'py>,
    options: TaskOptions<'py>,
) -> PyResult<()> {
    let eager_start = options.eager_start;
    prepare(task, coro, options)?;
    if eager_start && is_running(event_loop)? {
        return start_eagerly(task, event_loop);
    }
    step::wake(task, step::On::of(event_loop))?;
    Task::register(task, event_loop)
}

/// Gives the task its coroutine, its context and its name.
pub(super) fn prepare<'py>(
    task: &Bound<'py, Task>,
    coro: &Object<'py>,
    options: TaskOptions<'py>,
) -> PyResult<()> {
    let py = task.py();
    check_coroutine(coro)?;
    let name = match options.name.filter(|name| !name.is_none()) {
        Some(name) => Some(Owned::from(name.str()?.into_any())),
        None => None,
    };
    let context = match options.context.filter(|context| !context.is_none()) {
        None => context::copy_current(py)?,
        Some(context) if context::is_context(&context) => context,
        Some(other) => {
            let kind = other.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a contextvars.Context was expected, got {kind}")));
        }
    };
    let number = if name.is_none() { next_number(py) } else { 0 };
    if options.eager_start
        && let Some(deadline) = structured::handed_down(coro)
    {
        task.value().inherit(py, deadline);
    }
    let coro = Owned::from(coro);
    let context = Owned::from(context);
    let replaced = task.value().state.with(py, |state| {
        state.number = number;
        (state.coro.replace(coro), state.context.replace(context))
    });
    drop(replaced);
    if name.is_some() {
        drop(task.value().future.state.with(py, |state| std::mem::replace(&mut state.rare().name, name)));
    }
    Ok(())
}

fn is_running(event_loop: &Object<'_>) -> PyResult<bool> {
    match EventLoop::of(event_loop) {
        Some(native) => Ok(native.is_running()),
        None => event_loop.call_method0(names::is_running(event_loop.py()))?.is_truthy(),
    }
}

/// Runs the first step at once. Same order as asyncio: CPython 3.15, `Task.__eager_start`.
fn start_eagerly<'py>(task: &Bound<'py, Task>, event_loop: &Object<'py>) -> PyResult<()> {
    let py = task.py();
    Task::register(task, event_loop)?;
    let native = EventLoop::of(event_loop);
    let previous = match native {
        Some(native) => native.current_task(event_loop)?,
        None => current::get(event_loop)?,
    };
    match native {
        Some(native) => native.enter_task(event_loop, task)?,
        None => current::enter(event_loop, task.as_any())?,
    }
    let stepped = crate::cpython::recursion::checked(py, c" while starting a task eagerly", || {
        step::resume_whole::<true>(task, step::On::of(event_loop))
    });
    let restored = match (native, previous) {
        (Some(native), previous) => native.restore_task(event_loop, previous),
        (None, Some(previous)) => current::enter(event_loop, &previous),
        (None, None) => current::leave(event_loop),
    };
    if !task.value().future.is_pending(py) {
        // Breaks the cycle of a finished task, its coroutine and an exception's traceback.
        drop(task.value().state.with(py, |state| state.coro.take()));
    }
    if stepped.is_err() {
        task.value().state.with(py, |state| state.log_destroy_pending = false);
    }
    stepped.and(restored)
}
