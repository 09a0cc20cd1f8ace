//! One step of a task: resume its coroutine, and act on how it came back.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Standing, Task, TaskWakeup, cancel};
use crate::cpython::native_class::is_exact;
use crate::cpython::{Mark, Native, Object, Owned, Step, context, coroutine, current};
use crate::event_loop::{EventLoop, Ready};
use crate::future::{self, Future, Outcome, Polled};
use crate::{errors, names, structured};

/// Runs one step of a task of `event_loop`, which is ours. Only what must leave the loop
/// (KeyboardInterrupt, SystemExit) comes back as an error.
#[inline]
pub(crate) fn step_on<'py>(task: &Bound<'py, Task>, event_loop: &Bound<'py, EventLoop>) -> PyResult<()> {
    event_loop.get().enter_task(event_loop.as_any(), task)?;
    resume::<true>(task, event_loop.as_any())
}

/// Runs one step from a callback that is run in the task's context, on a loop of any kind.
pub(crate) fn step(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.value().future.event_loop(py)?;
    if let Some(native) = EventLoop::of(&event_loop) {
        native.enter_task(&event_loop, task)?;
        return resume::<false>(task, &event_loop);
    }
    current::enter(&event_loop, task.as_any())?;
    let stepped = resume::<false>(task, &event_loop);
    current::leave(&event_loop)?;
    stepped
}

/// What stands between two steps: taken at once, before Python code can run.
struct Due<'py> {
    coro: Option<Object<'py>>,
    context: Option<Object<'py>>,
    waiter: Option<Owned>,
    must_cancel: bool,
}

/// Resumes the coroutine; the running task is set already. It `ENTERS` the task's context, unless that was entered
/// already, as by the handle of a foreign loop.
pub(super) fn resume<'py, const ENTERS: bool>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
) -> PyResult<()> {
    let py = task.py();
    let due = task.value().state.with(py, |state| Due {
        coro: state.coro.as_ref().map(|coro| coro.get_bound(py)),
        context: state.context.as_ref().map(|context| context.get_bound(py)),
        waiter: state.waiter.take(),
        must_cancel: std::mem::take(&mut state.must_cancel),
    });
    let (Some(coro), Some(in_context)) = (due.coro, due.context) else {
        return Err(errors::not_initialised("Task"));
    };
    let (pending, throw) =
        task.value().future.state.with(py, |state| {
            (state.is_pending(), state.rare.as_mut().and_then(|rare| rare.throw_next.take()))
        });
    if !pending {
        let repr = task.repr()?;
        return Err(errors::invalid_state(py, format!("__step(): already done: {repr}, None")));
    }
    let mut throw = match (throw, due.waiter) {
        (Some(error), _) => Some(error.into_bound(py)),
        (None, Some(waiter)) => error_of(waiter.bind(py)),
        (None, None) => None,
    };
    if due.must_cancel {
        let is_cancel = throw.as_ref().is_some_and(errors::is_cancelled_error);
        if !is_cancel {
            throw = Some(task.value().future.cancelled_error(py).into_value(py).into_bound(py).into_any());
        }
    }
    let work = || {
        let came_back = match &throw {
            None => coroutine::resume(&coro),
            Some(error) => coroutine::throw(&coro, error),
        };
        drop(throw);
        match came_back {
            Ok(Step::Yielded(value)) => yielded(task, event_loop, &value),
            Ok(Step::Returned(value)) => returned(task, event_loop, value),
            Err(error) => raised(task, event_loop, error),
        }
    };
    if ENTERS { context::run(&in_context, work) } else { work() }
}

/// The error of a native future that the task waited for, to be raised where it waits.
fn error_of<'py>(waiter: &Object<'py>) -> Option<Object<'py>> {
    let py = waiter.py();
    let future = match future::ours(waiter) {
        Some(ours) => ours,
        None => waiter.cast::<Future>().ok()?,
    };
    let failed = future
        .value()
        .state
        .with(py, |state| matches!(state.outcome, Outcome::Cancelled | Outcome::Exception(_)));
    if !failed {
        return None;
    }
    match future.value().poll(py) {
        Polled::Error(error) => Some(error.into_value(py).into_bound(py).into_any()),
        _ => None,
    }
}

#[inline]
fn returned<'py>(task: &Bound<'py, Task>, event_loop: &Object<'py>, value: Object<'py>) -> PyResult<()> {
    let py = task.py();
    let future = Task::as_future(task);
    Task::unregister(task, event_loop);
    if task.value().state.with(py, |state| std::mem::take(&mut state.must_cancel)) {
        // Cancelled right before the coroutine returned.
        future::settle(future, Outcome::Cancelled)?;
    } else {
        future::settle(future, Outcome::Result(value.into()))?;
    }
    Ok(())
}

fn raised(task: &Bound<'_, Task>, event_loop: &Object<'_>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let future = Task::as_future(task);
    Task::unregister(task, event_loop);
    if errors::is_cancelled(py, &error) {
        let error = Owned::from(error.into_value(py).into_bound(py).into_any());
        drop(future.value().state.with(py, |state| state.rare().cancelled_error.replace(error)));
        future::cancel(future, None)?;
        return Ok(());
    }
    let is_exit = errors::is_exit(py, &error);
    let value = error.into_value(py).into_bound(py).into_any();
    future::set_exception(future, &value)?;
    if is_exit { Err(PyErr::from_value(value)) } else { Ok(()) }
}

#[inline(always)]
fn yielded<'py>(task: &Bound<'py, Task>, event_loop: &Object<'py>, value: &Object<'py>) -> PyResult<()> {
    let py = task.py();
    if value.is_none() {
        return wake(task, event_loop);
    }
    match wait_for(task, event_loop, value) {
        Ok(()) => cancel::deliver(task, value),
        Err(error) if errors::is_exit(py, &error) => Err(error),
        // The awaited object itself failed, so nobody would ever wake the task: it is told where it waits.
        // asyncio tells only the exception handler, and the task hangs.
        Err(error) => throw_soon(task, event_loop, error),
    }
}

/// Makes the task wait for the object, which it awaits.
fn wait_for<'py>(task: &Bound<'py, Task>, event_loop: &Object<'py>, value: &Object<'py>) -> PyResult<()> {
    let py = task.py();
    if let Some(ours) = future::ours(value) {
        return wait_for_native(task, event_loop, ours);
    }
    let blocking = value.getattr_opt(names::_asyncio_future_blocking(py))?;
    match blocking {
        Some(blocking) if !blocking.is_none() => wait_for_foreign(task, event_loop, value, &blocking),
        _ if coroutine::is_generator(value) => Err(PyRuntimeError::new_err(format!(
            "yield was used instead of yield from for generator in task {} with {}",
            task.repr()?,
            value.repr()?
        ))),
        _ => Err(PyRuntimeError::new_err(format!("Task got bad yield: {}", value.repr()?))),
    }
}

#[inline]
fn wait_for_native<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
    future: &Bound<'py, Future>,
) -> PyResult<()> {
    let py = task.py();
    let value = future.as_any();
    let (same_loop, blocking, native) = future.value().state.with(py, |state| {
        let same = state.event_loop.is(event_loop);
        let blocking = state.event_loop.has(Mark::Blocking);
        if same && blocking && !value.is(task) {
            state.event_loop.mark(Mark::Blocking, false);
        }
        (same, blocking, state.event_loop.is_native())
    });
    if !same_loop {
        return Err(other_loop(task, value)?);
    }
    if !blocking {
        return Err(not_awaited(task, value)?);
    }
    if value.is(task) {
        return Err(awaits_itself(task)?);
    }
    if is_exact::<Task>(value)
        && let Ok(awaited) = value.cast::<Task>()
        && awaited.value().is_in_line(py)
    {
        structured::seek(awaited, value)?;
    }
    let waiter = Owned::from(value);
    let (replaced, seeks) = task
        .value()
        .state
        .with(py, |state| (state.waiter.replace(waiter), state.standing == Standing::Seeks));
    drop(replaced);
    if native {
        if !future::add_waiting_task(future, task) {
            wake(task, event_loop)?;
        }
    } else if let Err(error) = add_wakeup(task, value) {
        drop(task.value().state.with(py, |state| state.waiter.take()));
        return Err(error);
    }
    if seeks {
        structured::suspended(task);
    }
    Ok(())
}

fn wait_for_foreign<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Object<'py>,
    value: &Object<'py>,
    blocking: &Object<'py>,
) -> PyResult<()> {
    let py = task.py();
    let other = match value.getattr_opt(names::get_loop(py))? {
        Some(get_loop) => get_loop.call0()?,
        None => value.getattr(names::_loop(py))?,
    };
    if !other.is(event_loop) {
        return Err(other_loop(task, value)?);
    }
    if !blocking.is_truthy()? {
        return Err(not_awaited(task, value)?);
    }
    if value.is(task) {
        return Err(awaits_itself(task)?);
    }
    value.setattr(names::_asyncio_future_blocking(py), false)?;
    add_wakeup(task, value)?;
    let waiter = Owned::from(value);
    drop(task.value().state.with(py, |state| state.waiter.replace(waiter)));
    if task.value().seeks(py) {
        structured::suspended(task);
    }
    Ok(())
}

fn add_wakeup<'py>(task: &Bound<'py, Task>, future: &Object<'py>) -> PyResult<()> {
    let py = task.py();
    let kwargs = PyDict::new(py);
    kwargs.set_item(names::context(py), task.value().context(py))?;
    let wakeup = TaskWakeup::create(task)?;
    future.call_method(names::add_done_callback(py), (wakeup,), Some(&kwargs)).map(drop)
}

fn other_loop(task: &Bound<'_, Task>, value: &Object<'_>) -> PyResult<PyErr> {
    let text = format!("Task {} got Future {} attached to a different loop", task.repr()?, value.repr()?);
    Ok(PyRuntimeError::new_err(text))
}

fn not_awaited(task: &Bound<'_, Task>, value: &Object<'_>) -> PyResult<PyErr> {
    let text =
        format!("yield was used instead of yield from in task {} with {}", task.repr()?, value.repr()?);
    Ok(PyRuntimeError::new_err(text))
}

fn awaits_itself(task: &Bound<'_, Task>) -> PyResult<PyErr> {
    Ok(PyRuntimeError::new_err(format!("Task cannot await on itself: {}", task.repr()?)))
}

/// Schedules a step in which `error` is raised inside the coroutine.
pub(crate) fn throw_soon(task: &Bound<'_, Task>, event_loop: &Object<'_>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let error = Owned::from(error.into_value(py).into_bound(py).into_any());
    drop(task.value().future.state.with(py, |state| state.rare().throw_next.replace(error)));
    wake(task, event_loop)
}

/// Schedules a step.
#[inline]
pub(super) fn wake(task: &Bound<'_, Task>, event_loop: &Object<'_>) -> PyResult<()> {
    match EventLoop::of(event_loop) {
        Some(native) => native.schedule(task.py(), Ready::Step(task.into())),
        None => call_soon(task, event_loop),
    }
}

/// Schedules a step on a loop that is not ours.
pub(crate) fn call_soon(task: &Bound<'_, Task>, event_loop: &Object<'_>) -> PyResult<()> {
    let py = task.py();
    let kwargs = PyDict::new(py);
    kwargs.set_item(names::context(py), task.value().context(py))?;
    let step = TaskWakeup::create_step(task)?;
    event_loop.call_method(names::call_soon(py), (step,), Some(&kwargs)).map(drop)
}
