//! Deadlines: by when what the current task does must end, and how its children inherit that.
//!
//! Counted are the blocks of `timeout`, `move_on_after` and their relatives that the task is inside of, `wait_for`
//! while it runs its coroutine, and what the task inherited: an owner's children are under the deadline that
//! their creator was under when it started them. A task that no owner waits for inherits nothing, and neither
//! does a task of another implementation, or on a loop of another. Inside a `shield_scope`, what is outside of it
//! counts from its end on. Who is under no deadline pays one test for all of this.

use std::cell::Cell;

use pyo3::prelude::*;

use super::deadline_block::DeadlineBlock;
use super::foreign_blocks;
use super::parent::Parent;
use crate::cpython::native_class::{exact, has_instance_dict, is_exact};
use crate::cpython::{Args, Native, Object, Owned, Parameters};
use crate::event_loop::EventLoop;
use crate::running;
use crate::task::Task;

/// `current_effective_deadline()`.
pub(super) fn current_effective_deadline<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<0> =
        Parameters { function: "current_effective_deadline", names: [], positional: 0, required: 0 };
    args.parse(&PARAMETERS)?;
    let deadline = effective(&running::event_loop(args.py())?)?;
    Ok(deadline.unwrap_or(f64::INFINITY).into_pyobject(args.py())?.into_any())
}

/// The nearest deadline that the current task of `event_loop` is under, in the loop's time in seconds.
pub(crate) fn effective(event_loop: &Object<'_>) -> PyResult<Option<f64>> {
    match running::task(event_loop)? {
        Some(task) => of_task(&task),
        None => Ok(None),
    }
}

/// As `effective`, of any task.
pub(crate) fn of_task(task: &Object<'_>) -> PyResult<Option<f64>> {
    let py = task.py();
    let mut nearest = match task.cast::<Task>() {
        Ok(task) if !task.value().is_bounded(py) => return Ok(None),
        Ok(task) => task.value().inherited(py).max(task.value().shielded_until(py, 0)),
        Err(_) => f64::INFINITY,
    };
    let mut next = innermost(task)?;
    while let Some(block) = next {
        nearest = nearest.min(block.value().deadline(py));
        next = block.value().outer(py);
    }
    Ok((nearest < f64::INFINITY).then_some(nearest))
}

/// The innermost block that the task is inside of.
fn innermost<'py>(task: &Object<'py>) -> PyResult<Option<Bound<'py, DeadlineBlock>>> {
    match task.cast::<Task>() {
        Ok(task) => Ok(task.value().innermost(task.py())),
        Err(_) => foreign_blocks::innermost(task),
    }
}

/// What a block knows of the task that it was entered in.
pub(super) struct Linked {
    pub(super) parent: Parent,
    /// To cancel the task, that were open.
    pub(super) requests: u32,
    /// The next outer block.
    pub(super) outer: Option<Owned<DeadlineBlock>>,
}

/// The loop behind `event_loop` and its current task, if both are ours, and may be used without asking Python code
/// anything.
#[inline(always)]
pub(super) fn plain_task<'a, 'py>(event_loop: &'a Object<'py>) -> Option<(&'a EventLoop, Bound<'py, Task>)> {
    let native = EventLoop::of_any(event_loop)?;
    let task = native.plain_task(event_loop.py())?;
    // A program may have put methods of its own on the instance.
    let is_plain = is_exact::<Task>(&task) && !has_instance_dict(&task);
    if is_plain { Some((native, task)) } else { None }
}

/// Makes the block the innermost of the current task of `event_loop`; nothing if there is none.
pub(super) fn link(block: &Bound<'_, DeadlineBlock>, event_loop: &Object<'_>) -> PyResult<Option<Linked>> {
    let Some(task) = running::task(event_loop)? else { return Ok(None) };
    // A program may have put methods of its own on the instance.
    let Some(native) = exact::<Task>(&task).filter(|task| !has_instance_dict(task)) else {
        return link_other(block, event_loop);
    };
    let (outer, depth, requests) = native.value().enter_block(block);
    Ok(Some(Linked { parent: Parent::at(task, depth), requests, outer }))
}

#[cold]
fn link_other(block: &Bound<'_, DeadlineBlock>, event_loop: &Object<'_>) -> PyResult<Option<Linked>> {
    let py = block.py();
    let Some(parent) = Parent::current(event_loop)? else { return Ok(None) };
    let requests = parent.cancelling(py)?;
    let task = parent.bind(py);
    let outer = if let Ok(task) = task.cast::<Task>() {
        task.value().enter_block(block).0
    } else {
        let outer = foreign_blocks::innermost(task)?;
        foreign_blocks::set_innermost(task, Some(block))?;
        outer.map(Owned::from)
    };
    Ok(Some(Linked { parent, requests, outer }))
}

/// Takes the block, whose next outer one is given, from those that the task is inside of. It need not be the
/// innermost.
#[inline(always)]
pub(super) fn unlink(
    block: &Bound<'_, DeadlineBlock>,
    task: &Object<'_>,
    outer: Option<Owned<DeadlineBlock>>,
) -> PyResult<()> {
    match exact::<Task>(task) {
        Some(task) => match task.value().leave_block(block, outer) {
            Ok(()) => Ok(()),
            Err(outer) => unlink_other(block, task.as_any(), outer),
        },
        None => unlink_other(block, task, outer),
    }
}

#[cold]
fn unlink_other(
    block: &Bound<'_, DeadlineBlock>,
    task: &Object<'_>,
    outer: Option<Owned<DeadlineBlock>>,
) -> PyResult<()> {
    let py = block.py();
    let outer = match task.cast::<Task>() {
        Ok(task) => match task.value().leave_block(block, outer) {
            Ok(()) => return Ok(()),
            Err(outer) => outer,
        },
        Err(_) if foreign_blocks::innermost(task)?.is_some_and(|innermost| innermost.is(block)) => {
            return foreign_blocks::set_innermost(task, outer.as_ref().map(|outer| outer.bind(py)));
        }
        Err(_) => outer,
    };
    let mut next = innermost(task)?;
    while let Some(inner) = next {
        next = inner.value().outer(py);
        if next.as_ref().is_some_and(|next| next.is(block)) {
            drop(inner.value().set_outer(py, outer));
            break;
        }
    }
    Ok(())
}

/// The deadline that the children inherit which the current task starts on `event_loop`.
#[inline]
pub(super) fn of_creator(event_loop: &Object<'_>) -> PyResult<Option<f64>> {
    match EventLoop::bound(event_loop) {
        Some(native) => of_creator_on(native),
        // A loop of ours with methods that are overridden may have tasks that are bounded.
        None if EventLoop::of_any(event_loop).is_some() => effective(event_loop),
        None => Ok(None),
    }
}

/// As `of_creator`, on a loop of ours whose scheduling nobody overrides.
#[inline]
pub(super) fn of_creator_on(event_loop: &Bound<'_, EventLoop>) -> PyResult<Option<f64>> {
    if event_loop.get().runs_bounded_task(event_loop.py()) {
        effective(event_loop.as_any())
    } else {
        Ok(None)
    }
}

thread_local! {
    /// The coroutine for which a task is being made, by its address, and the deadline for that task: one that
    /// starts eagerly needs it before anybody has the task.
    static HANDED_DOWN: Cell<Option<(usize, f64)>> = const { Cell::new(None) };
}

/// Has the task that `spawn` makes of `coro` inherit the deadline.
#[inline]
pub(super) fn hand_down<'py>(
    deadline: Option<f64>,
    coro: &Object<'py>,
    spawn: impl FnOnce() -> PyResult<Object<'py>>,
) -> PyResult<Object<'py>> {
    let Some(deadline) = deadline else { return spawn() };
    let outer = HANDED_DOWN.replace(Some((coro.as_ptr() as usize, deadline)));
    let spawned = spawn();
    HANDED_DOWN.set(outer);
    let spawned = spawned?;
    if let Ok(task) = spawned.cast::<Task>()
        && task.value().future.is_pending(coro.py())
    {
        task.value().inherit(coro.py(), deadline);
    }
    Ok(spawned)
}

/// What the task of `coro` inherits, which is about to start eagerly.
pub(crate) fn handed_down(coro: &Object<'_>) -> Option<f64> {
    let (address, deadline) = HANDED_DOWN.get()?;
    (address == coro.as_ptr() as usize).then_some(deadline)
}
