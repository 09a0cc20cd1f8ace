//! One step of a task: resume its coroutine, and act on how it came back.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::awaited::{add_wakeup, awaits_itself, not_awaited, other_loop, wait_for_other};
use super::bounds::Bounds;
use super::{KeptAt, Standing, Task, TaskState, TaskWakeup, cancel};
use crate::cpython::native_class::{exact, show};
use crate::cpython::{Mark, Native, Object, Owned, Step, context, coroutine, current};
use crate::event_loop::{EventLoop, Ready};
use crate::future::{self, Callback, Future, Outcome, Polled};
use crate::{errors, names, structured};

/// The loop of a step, and its native part if it is one of ours.
#[derive(Clone, Copy)]
pub(super) struct On<'a, 'py> {
    event_loop: &'a Object<'py>,
    native: Option<&'a EventLoop>,
}

impl<'a, 'py> On<'a, 'py> {
    #[inline]
    pub(super) fn of(event_loop: &'a Object<'py>) -> Self {
        Self { event_loop, native: EventLoop::of_any(event_loop) }
    }
}

/// How a step ended: an error is one that must leave the loop, as KeyboardInterrupt, or that the step could not
/// give to the coroutine. Boxed, as a result of one word is returned in a register.
pub(crate) type Stepped = Result<After, Box<PyErr>>;

/// What becomes of a task after a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It has let the others run: it goes on in the loop's next turn, for which the caller schedules it.
    GoesOn,
    /// It waits, or has ended.
    Rests,
}

#[inline(always)]
fn rests<T>(outcome: PyResult<T>) -> Stepped {
    match outcome {
        Ok(_) => Ok(After::Rests),
        Err(error) => Err(Box::new(error)),
    }
}

/// The context that the latest step was in, while it is entered still. Whoever runs anything but a step leaves it.
pub(crate) type InContext<'py> = Option<context::Entered<'py>>;

/// Runs one step of a task of `event_loop`, which is ours. A task that goes on later stays in its context: the next
/// step is often its own.
#[inline]
pub(crate) fn step_on<'py>(
    task: &Bound<'py, Task>,
    event_loop: &Bound<'py, EventLoop>,
    in_context: &mut InContext<'py>,
) -> Stepped {
    let native = event_loop.get();
    rests(native.enter_task(event_loop.as_any(), task))?;
    resume::<true>(task, On { event_loop: event_loop.as_any(), native: Some(native) }, in_context)
}

/// Schedules the next step of a task that goes on, on a loop of ours that does not just take it (`takes_steps`).
#[cold]
pub(crate) fn go_on<'py>(task: &Bound<'py, Task>, event_loop: &Bound<'py, EventLoop>) -> PyResult<()> {
    wake_otherwise(task, On { event_loop: event_loop.as_any(), native: Some(event_loop.get()) })
}

/// Runs one step from a callback that is run in the task's context, on a loop of any kind.
pub(crate) fn step(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.value().future.event_loop(py)?;
    let on = On::of(&event_loop);
    if let Some(native) = on.native.filter(|native| native.is_plain()) {
        native.enter_task(&event_loop, task)?;
        return resume_whole::<false>(task, on);
    }
    current::enter(&event_loop, task.as_any())?;
    let stepped = resume_whole::<false>(task, on);
    current::leave(&event_loop)?;
    stepped
}

/// As `resume`, and schedules the next step of a task that goes on.
pub(super) fn resume_whole<'py, const ENTERS: bool>(
    task: &Bound<'py, Task>,
    on: On<'_, 'py>,
) -> PyResult<()> {
    let mut in_context = None;
    match resume::<ENTERS>(task, on, &mut in_context).map_err(|error| *error)? {
        After::GoesOn => wake(task, on),
        After::Rests => Ok(()),
    }
}

/// What stands between two steps: taken at once, before Python code can run.
struct Due<'py> {
    coro: Object<'py>,
    context: Object<'py>,
    waiter: Option<Owned>,
    must_cancel: bool,
}

/// Resumes the coroutine; the running task is set already. It `ENTERS` the task's context, unless that was entered
/// already, as by the handle of a foreign loop.
#[inline(always)]
pub(super) fn resume<'py, const ENTERS: bool>(
    task: &Bound<'py, Task>,
    on: On<'_, 'py>,
    in_context: &mut InContext<'py>,
) -> Stepped {
    let py = task.py();
    let due = task.value().state.with(py, |state| {
        let (Some(coro), Some(context)) = (&state.coro, &state.context) else { return None };
        Some(Due {
            coro: coro.get_bound(py),
            context: context.get_bound(py),
            waiter: state.waiter.take(),
            must_cancel: std::mem::take(&mut state.must_cancel),
        })
    });
    let Some(Due { coro, context, waiter, must_cancel }) = due else {
        return Err(Box::new(errors::not_initialised("Task")));
    };
    let (pending, throws) = task.value().future.state.with(py, |state| {
        (state.is_pending(), state.rare.as_ref().is_some_and(|rare| rare.throw_next.is_some()))
    });
    let entered = match in_context.take() {
        _ if !ENTERS => None,
        Some(entered) if entered.is(&context) => Some(entered),
        other => {
            drop(other);
            Some(context::enter(context).map_err(Box::new)?)
        }
    };
    if !pending {
        return Err(Box::new(already_done(task)));
    }
    let throw = if throws || must_cancel || waiter.as_ref().is_some_and(|waiter| may_have_failed(waiter, py))
    {
        what_to_throw(task, waiter.as_ref(), must_cancel)
    } else {
        None
    };
    drop(waiter);
    let came_back = match throw {
        None => coroutine::resume(&coro),
        Some(error) => coroutine::throw(&coro, &error),
    };
    let ended = match came_back {
        Ok(Step::Yielded(value)) => {
            *in_context = entered;
            return yielded(task, on, value);
        }
        Ok(Step::Returned(value)) => returned(task, on, value),
        Err(error) => rests(raised(task, on, error)),
    };
    // What goes with the task goes outside.
    drop(entered);
    ended
}

#[cold]
fn already_done(task: &Bound<'_, Task>) -> PyErr {
    match task.repr() {
        Ok(repr) => errors::invalid_state(task.py(), format!("__step(): already done: {repr}, None")),
        Err(error) => error,
    }
}

/// Is there an error of what the task waited for, maybe?
#[inline]
fn may_have_failed(waiter: &Owned, py: Python<'_>) -> bool {
    match future::waited_for(waiter.bind(py)) {
        Some(ours) => ours
            .value()
            .state
            .with(py, |state| matches!(state.outcome, Outcome::Cancelled | Outcome::Exception(_))),
        None => true,
    }
}

/// The error to raise in the coroutine: that of a failed wait, or of a cancel.
#[cold]
fn what_to_throw<'py>(
    task: &Bound<'py, Task>,
    waiter: Option<&Owned>,
    must_cancel: bool,
) -> Option<Object<'py>> {
    let py = task.py();
    let throw_next = task
        .value()
        .future
        .state
        .with(py, |state| state.rare.as_mut().and_then(|rare| rare.throw_next.take()));
    let throw = match (throw_next, waiter) {
        (Some(error), _) => Some(error.into_bound(py)),
        (None, Some(waiter)) => error_of(waiter.bind(py)),
        (None, None) => None,
    };
    if must_cancel && !throw.as_ref().is_some_and(errors::is_cancelled_error) {
        return Some(task.value().future.cancelled_error(py).into_value(py).into_bound(py).into_any());
    }
    throw
}

/// The error of a native future that the task waited for, to be raised where it waits.
fn error_of<'py>(waiter: &Object<'py>) -> Option<Object<'py>> {
    let py = waiter.py();
    let future = waiter.cast::<Future>().ok()?;
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

#[inline(always)]
fn returned<'py>(task: &Bound<'py, Task>, on: On<'_, 'py>, value: Object<'py>) -> Stepped {
    let (kept, must_cancel) = task
        .value()
        .state
        .with(task.py(), |state| (Kept::take(state), std::mem::take(&mut state.must_cancel)));
    let_go(task, kept, on);
    // Cancelled right before the coroutine returned.
    let outcome = if must_cancel { Outcome::Cancelled } else { Outcome::Result(value.into()) };
    let settled = future::settle_in_words(Task::as_future(task), outcome);
    if let Some(native) = on.native {
        native.leave_returned(task);
    }
    settled.map(|_| After::Rests)
}

/// What a task that is done needs no longer.
struct Kept {
    /// By the loop.
    at: Option<KeptAt>,
    /// Few tasks have any.
    bounds: Option<Box<Bounds>>,
}

impl Kept {
    #[inline]
    fn take(state: &mut TaskState) -> Self {
        Self { at: state.kept_at.take(), bounds: state.bounds.take() }
    }
}

/// The loop keeps a task that is done no longer, and no block holds it to a deadline.
#[inline(always)]
fn let_go(task: &Bound<'_, Task>, kept: Kept, on: On<'_, '_>) {
    if let (Some(at), Some(native)) = (kept.at, on.native) {
        drop(native.forget(task.py(), at));
    }
    if let Some(bounds) = kept.bounds {
        drop_bounds(bounds);
    }
}

#[cold]
fn drop_bounds(bounds: Box<Bounds>) {
    drop(bounds);
}

#[cold]
fn raised(task: &Bound<'_, Task>, on: On<'_, '_>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let future = Task::as_future(task);
    let kept = task.value().state.with(py, Kept::take);
    // Also if it goes at once: its finalizer may hand it to somebody.
    show(task);
    let_go(task, kept, on);
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
fn yielded<'py>(task: &Bound<'py, Task>, on: On<'_, 'py>, value: Object<'py>) -> Stepped {
    if value.is_none() {
        return Ok(After::GoesOn);
    }
    let stands = match future::waited_for(&value) {
        Some(ours) => wait_for_native(task, on, ours),
        None => wait_for_other(task, on.event_loop, &value),
    };
    if let Err(error) = stands {
        return rests(not_waiting(task, on.event_loop, error));
    }
    let waiter = Owned::from(value);
    let (replaced, must_cancel, seeks) = task.value().state.with(task.py(), |state| {
        (state.waiter.replace(waiter), state.must_cancel, state.standing == Standing::Seeks)
    });
    if let Some(replaced) = replaced {
        drop_replaced(replaced);
    }
    if seeks {
        structured::suspended(task);
    }
    if must_cancel { rests(cancel::deliver(task)) } else { Ok(After::Rests) }
}

/// A task that runs waits for nothing, but for what Python code has made it wait for meanwhile.
#[cold]
fn drop_replaced(waiter: Owned) {
    drop(waiter);
}

/// The awaited object itself failed, so nobody would ever wake the task: it is told where it waits.
/// asyncio tells only the exception handler, and the task hangs.
#[cold]
fn not_waiting(task: &Bound<'_, Task>, event_loop: &Object<'_>, error: PyErr) -> PyResult<()> {
    if errors::is_exit(task.py(), &error) { Err(error) } else { throw_soon(task, event_loop, error) }
}

/// Why a task does not stand among those who wait for a future of ours.
enum Stands {
    Waits,
    IsDone,
    /// It would wait for a task that stands in the line of a group.
    InLine,
    /// Its loop is not ours.
    Foreign,
    OtherLoop,
    NotAwaited,
    Itself,
}

#[inline(always)]
fn wait_for_native<'py>(
    task: &Bound<'py, Task>,
    on: On<'_, 'py>,
    future: &Bound<'py, Future>,
) -> PyResult<()> {
    let value = future.as_any();
    let stands = future.value().state.with(task.py(), |state| {
        if !state.event_loop.is(on.event_loop) {
            return Stands::OtherLoop;
        }
        if !state.event_loop.has(Mark::Blocking) {
            return Stands::NotAwaited;
        }
        if value.is(task) {
            return Stands::Itself;
        }
        state.event_loop.mark(Mark::Blocking, false);
        if !state.event_loop.is_native() {
            return Stands::Foreign;
        }
        if !state.is_pending() {
            return Stands::IsDone;
        }
        if is_in_line(value) {
            return Stands::InLine;
        }
        state.callbacks.push_with(|| Callback::Wakeup(task.into()));
        Stands::Waits
    });
    match stands {
        Stands::Waits => Ok(()),
        Stands::IsDone => wake(task, on),
        Stands::InLine => wait_in_line(task, on, future),
        Stands::Foreign => {
            seek(value)?;
            add_wakeup(task, value)
        }
        Stands::OtherLoop => Err(other_loop(task, value)?),
        Stands::NotAwaited => Err(not_awaited(task, value)?),
        Stands::Itself => Err(awaits_itself(task)?),
    }
}

#[inline]
fn is_in_line(value: &Object<'_>) -> bool {
    exact::<Task>(value).is_some_and(|awaited| awaited.value().is_in_line(value.py()))
}

/// The task waits for one that waits for a slot of a group, maybe for its own.
#[cold]
fn wait_in_line<'py>(task: &Bound<'py, Task>, on: On<'_, 'py>, future: &Bound<'py, Future>) -> PyResult<()> {
    seek(future.as_any())?;
    let pending = future.value().state.with(task.py(), |state| {
        let pending = state.is_pending();
        if pending {
            state.callbacks.push(Callback::Wakeup(task.into()));
        }
        pending
    });
    if pending { Ok(()) } else { wake(task, on) }
}

/// The running task is about to wait for `value`.
#[cold]
fn seek(value: &Object<'_>) -> PyResult<()> {
    match exact::<Task>(value).filter(|_| is_in_line(value)) {
        Some(awaited) => structured::seek(awaited, value),
        None => Ok(()),
    }
}

/// Schedules a step in which `error` is raised inside the coroutine.
pub(crate) fn throw_soon(task: &Bound<'_, Task>, event_loop: &Object<'_>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let error = Owned::from(error.into_value(py).into_bound(py).into_any());
    drop(task.value().future.state.with(py, |state| state.rare().throw_next.replace(error)));
    wake(task, On::of(event_loop))
}

/// Schedules a step.
#[inline(always)]
pub(super) fn wake<'py>(task: &Bound<'py, Task>, on: On<'_, 'py>) -> PyResult<()> {
    let Some(native) = on.native.filter(|native| native.takes_steps()) else {
        return wake_otherwise(task, on);
    };
    native.push_step(task.py(), task.into());
    Ok(())
}

#[cold]
fn wake_otherwise<'py>(task: &Bound<'py, Task>, on: On<'_, 'py>) -> PyResult<()> {
    match on.native {
        Some(native) if native.is_plain() => native.schedule(task.py(), Ready::Step(task.into())),
        _ => call_soon(task, on.event_loop),
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
