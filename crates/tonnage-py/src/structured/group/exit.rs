//! TaskGroup.__aexit__: wait for the children, then raise what failed.
//!
//! Same order as asyncio: CPython 3.15, Lib/asyncio/taskgroups.py, `_aexit`.

use pyo3::exceptions::PyGeneratorExit;
use pyo3::prelude::*;

use super::{Abort, Phase, TaskGroup, abort, bounded, cancel_children};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Native, Object, Owned, Visit};
use crate::enter::error_of_block;
use crate::immediate::Immediate;
use crate::structured::errors::{add_hidden, add_note, group_of};
use crate::waiter::Waiter;
use crate::{errors, future};

pub(crate) type ExitCoroutine = Coroutine<Exit>;

pub(crate) struct Exit {
    group: Owned<TaskGroup>,
    leaving: Leaving,
}

/// What leaves the block.
#[derive(Default)]
struct Leaving {
    /// The error of the body.
    error: Option<Owned>,
    /// The cancellation that is to go on, unless something else does.
    propagated: Option<Owned>,
    /// The last cancellation that came while children were waited for: gh-155433.
    pending: Option<Owned>,
}

/// What `__aexit__` does with the error of the body.
enum Verdict {
    /// There is none, or it goes on: None.
    GoesOn,
    /// It is swallowed: True.
    Swallowed,
}

/// `__aexit__(exc_type, exc_val, exc_tb)`. Without children there is nothing to wait for.
pub(super) fn leave<'py>(group: &Bound<'py, TaskGroup>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let error = error_of_block(&args)?;
    let mut leaving = Leaving::default();
    begin(group, error, &mut leaving)?;
    if !group.value().state.with(py, |state| state.is_empty()) {
        return Coroutine::create(py, Exit { group: group.into(), leaving });
    }
    match finish(group, leaving)? {
        Verdict::GoesOn => Immediate::none(py),
        Verdict::Swallowed => Immediate::of(&future::to_bool(py, true)),
    }
}

fn begin(group: &Bound<'_, TaskGroup>, error: Object<'_>, leaving: &mut Leaving) -> PyResult<()> {
    let py = group.py();
    group.value().state.with(py, |state| state.phase = Phase::Exiting);
    if error.is_none() {
        return Ok(());
    }
    if errors::is_exit_error(&error) {
        let kept = Owned::from(&error);
        let refused = group.value().state.with(py, |state| match state.base_error {
            None => state.base_error.replace(kept),
            Some(_) => Some(kept),
        });
        drop(refused);
    }
    if errors::is_cancelled_error(&error) {
        leaving.propagated = Some(Owned::from(&error));
    }
    leaving.error = Some(error.into());
    if group.value().is_aborting(py) { Ok(()) } else { abort(group, None) }
}

impl Body for Exit {
    const QUALNAME: &'static str = "TaskGroup.__aexit__";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let group = self.group.get_bound(py);
        if let Err(error) = awaited {
            if !errors::is_cancelled(py, &error) {
                forget(&group);
                return Err(error);
            }
            let error = Owned::from(errors::into_object(py, error));
            self.leaving.pending = Some(error.share(py));
            if !group.value().is_aborting(py) {
                // The parent is cancelled while children run.
                self.leaving.propagated = Some(error);
                abort(&group, None)?;
            }
        }
        if let Some(next) = wait_for_children(&group)? {
            return Ok(next);
        }
        match finish(&group, std::mem::take(&mut self.leaving))? {
            Verdict::GoesOn => Ok(Next::none(py)),
            Verdict::Swallowed => Ok(Next::Return(future::to_bool(py, true))),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let Leaving { error, propagated, pending } = &self.leaving;
        let owned = [error, propagated, pending].into_iter().flatten();
        match visit.call(&self.group) {
            0 => visit.each(owned),
            shown => shown,
        }
    }
}

/// Waits for the members; after the last of them the daemons are cancelled, and waited for.
fn wait_for_children<'py>(group: &Bound<'py, TaskGroup>) -> PyResult<Option<Next<'py>>> {
    let py = group.py();
    loop {
        if group.value().state.with(py, |state| state.is_empty()) {
            return Ok(None);
        }
        let (is_quiet, phase, event_loop, waiter) = group.value().state.with(py, |state| {
            let event_loop = state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py));
            let waiter = state.waiter.as_ref().map(|waiter| waiter.future(py));
            (state.is_quiet(), state.phase, event_loop, waiter)
        });
        if is_quiet && matches!(phase, Phase::Clearing | Phase::Left) {
            return Ok(None);
        }
        if is_quiet {
            // Only daemons are left.
            group.value().state.with(py, |state| state.phase = Phase::Clearing);
            cancel_children(group, None)?;
            continue;
        }
        if let Some(waiter) = waiter
            && !future::is_done(&waiter)?
        {
            // Another task leaves the block too, and waits already.
            return Ok(Some(Next::Await(waiter)));
        }
        let event_loop = event_loop.expect("a group that was entered has a loop");
        let waiter = Waiter::create(&event_loop)?;
        let next = waiter.wait(py);
        drop(group.value().state.with(py, |state| state.waiter.replace(waiter)));
        return Ok(Some(next));
    }
}

/// Lets go of all that could be part of a cycle.
fn forget(group: &Bound<'_, TaskGroup>) {
    let gone = group.value().state.with(group.py(), |state| {
        state.phase = Phase::Left;
        (state.parent.take(), std::mem::take(&mut state.errors), state.base_error.take())
    });
    drop(gone);
}

/// All children have ended: what becomes of the errors.
fn finish(group: &Bound<'_, TaskGroup>, leaving: Leaving) -> PyResult<Verdict> {
    let py = group.py();
    let (parent, mut failures, base_error, abort, gone) = group.value().state.with(py, |state| {
        state.phase = Phase::Left;
        let errors = std::mem::take(&mut state.errors);
        let gone = (state.waiter.take(), state.bounded.as_mut().map(|bounded| bounded.clear()));
        (state.parent.take(), errors, state.base_error.take(), state.abort, gone)
    });
    drop(gone);
    let raise = |failures: &[Owned], context: Option<&Object<'_>>| -> PyResult<PyErr> {
        parent.as_ref().map_or(Ok(()), |parent| parent.keep_cancelled(py))?;
        let error = group_of(py, "unhandled errors in a TaskGroup", failures, context)?;
        note_never_started(group, error.value(py))?;
        Ok(error)
    };
    let Leaving { error, mut propagated, pending } = leaving;
    let is_error = |other: &Owned| error.as_ref().is_some_and(|error| error.is(&**other));
    let is_cancel = error.as_ref().is_some_and(|error| errors::is_cancelled_error(error.bind(py)));
    if let Some(base_error) = base_error {
        if let Some(error) = error.as_ref().filter(|_| !is_cancel) {
            failures.push(error.share(py));
        }
        if let Err(error) = add_hidden(base_error.bind(py), "TaskGroup", &failures) {
            // Who wants to end the program is not held up by it.
            error.write_unraisable(py, Some(group.as_any()));
        }
        note_never_started(group, base_error.bind(py))?;
        return goes_on_or_raise(&base_error, is_error(&base_error), py);
    }
    // A block that was not entered has no parent, and one that was left before has none any more.
    if abort == Abort::Parent
        && let Some(parent) = &parent
    {
        if parent.uncancel(py)? == 0 {
            // No request of somebody else is open.
            propagated = None;
        } else if propagated.is_none() {
            propagated = pending;
        }
    }
    if let Some(propagated) = propagated.filter(|_| failures.is_empty()) {
        return goes_on_or_raise(&propagated, is_error(&propagated), py);
    }
    let Some(error) = error else {
        return if failures.is_empty() { Ok(Verdict::GoesOn) } else { Err(raise(&failures, None)?) };
    };
    if !is_cancel {
        failures.push(error.share(py));
    }
    if failures.is_empty() {
        return Ok(Verdict::Swallowed);
    }
    let body_error = error.bind(py);
    if failures.len() == 1 && body_error.is_instance_of::<PyGeneratorExit>() {
        parent.as_ref().map_or(Ok(()), |parent| parent.keep_cancelled(py))?;
        return Ok(Verdict::GoesOn);
    }
    Err(raise(&failures, Some(body_error))?)
}

/// An error that left the body goes on by itself; another one is raised.
fn goes_on_or_raise(error: &Owned, is_of_body: bool, py: Python<'_>) -> PyResult<Verdict> {
    if is_of_body { Ok(Verdict::GoesOn) } else { Err(PyErr::from_value(error.get_bound(py))) }
}

/// Notes how many tasks were in the line for a slot when the group was aborted.
fn note_never_started(group: &Bound<'_, TaskGroup>, error: &Object<'_>) -> PyResult<()> {
    let bounded = |state: &mut super::State| state.bounded.as_ref().map_or(0, |it| it.never_started());
    match group.value().state.with(group.py(), bounded) {
        0 => Ok(()),
        count => add_note(error, &bounded::never_started(count)),
    }
}
