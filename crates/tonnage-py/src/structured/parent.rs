//! Parent: the task that a group or a timeout runs in, and may cancel.
//!
//! The task counts the requests to cancel it. So a group or a timeout tells its own request, which it takes back
//! with `uncancel`, from one that came from outside. Requests that a `shield_scope` holds back are not counted:
//! they have not reached anybody. Those of a block pass the scopes that it is itself inside of.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::native_class::{exact, has_instance_dict, is_exact};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::task::{self, Task};
use crate::{future, names, running};

pub(super) struct Parent {
    task: Owned,
    /// That of the innermost scope of `shield_scope` which the task was inside of.
    depth: u32,
}

impl Parent {
    /// The current task of `event_loop`, or nothing outside of a task.
    #[inline(always)]
    pub(super) fn current(event_loop: &Object<'_>) -> PyResult<Option<Self>> {
        let Some(task) = running::task(event_loop)? else { return Ok(None) };
        let depth = task.cast::<Task>().map_or(0, |task| task.value().shield_depth(task.py()));
        Ok(Some(Self::at(task, depth)))
    }

    /// A task that is inside of scopes of this depth.
    #[inline(always)]
    pub(super) fn at(task: Object<'_>, depth: u32) -> Self {
        Self { task: task.into(), depth }
    }

    /// Refuses a task that does not count: without counts, a cancel from outside could be lost.
    pub(super) fn check_counts(&self, py: Python<'_>, user: &str) -> PyResult<()> {
        if self.counts(py)? {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!(
            "{user} needs a task that counts its cancellations, got {:?} of the standard library; run the \
             program with tonnage.run()",
            self.task.bind(py).get_type().name()?.to_string_lossy()
        )))
    }

    /// Python 3.10's own tasks do not count.
    #[inline]
    fn counts(&self, py: Python<'_>) -> PyResult<bool> {
        let task = self.task.bind(py);
        Ok(is_exact::<Task>(task) || task.hasattr(names::uncancel(py))?)
    }

    #[inline]
    fn native<'a, 'py>(&'a self, py: Python<'py>) -> Option<&'a Bound<'py, Task>> {
        // A program may have put methods of its own on the instance.
        exact::<Task>(self.task.bind(py)).filter(|task| !has_instance_dict(task))
    }

    /// How many requests to cancel it are open; 0 if it does not count.
    #[inline(always)]
    pub(super) fn cancelling(&self, py: Python<'_>) -> PyResult<u32> {
        match self.native(py) {
            Some(task) => Ok(task.value().cancelling_now(py)),
            None => self.foreign_cancelling(py),
        }
    }

    #[cold]
    fn foreign_cancelling(&self, py: Python<'_>) -> PyResult<u32> {
        if !self.counts(py)? {
            return Ok(0);
        }
        let requests: u32 = self.task.bind(py).call_method0(names::cancelling(py))?.extract()?;
        Ok(requests.saturating_sub(self.held(py)))
    }

    /// Takes one request back, and returns how many are left.
    #[inline]
    pub(super) fn uncancel(&self, py: Python<'_>) -> PyResult<u32> {
        let requests: u32 = match self.native(py) {
            Some(task) => task.value().uncancel(py),
            None if !self.counts(py)? => 0,
            None => self.task.bind(py).call_method0(names::uncancel(py))?.extract()?,
        };
        Ok(requests.saturating_sub(self.held(py)))
    }

    #[inline]
    fn held(&self, py: Python<'_>) -> u32 {
        self.task.bind(py).cast::<Task>().map_or(0, |task| task.value().cancels_held(py))
    }

    pub(super) fn cancel(&self, py: Python<'_>, message: Option<&Owned>) -> PyResult<()> {
        self.cancel_from(py, self.depth, message)
    }

    fn cancel_from(&self, py: Python<'_>, depth: u32, message: Option<&Owned>) -> PyResult<()> {
        let task = self.task.bind(py);
        let shielded = task.cast::<Task>().ok().filter(|task| task.value().is_shielded(py));
        let Some(shielded) = shielded else { return task::cancel_any(task, message).map(drop) };
        // Told beside the call, for a task whose `cancel` is overridden.
        let asking = shielded.value().ask_from(py, depth);
        let cancelled = task::cancel_any(task, message);
        shielded.value().ask_from(py, asking);
        cancelled.map(drop)
    }

    /// Makes a request that is open anew, as an error hides it; the count stays. A scope defers it if it came from
    /// outside of the scope.
    pub(super) fn cancel_anew(&self, py: Python<'_>) -> PyResult<()> {
        let open = self.cancelling(py)?;
        if open == 0 {
            return Ok(());
        }
        let task = self.task.bind(py).cast::<Task>();
        let depth = task.map_or(0, |task| task.value().asked_from(py, open, self.depth));
        self.uncancel(py)?;
        self.cancel_from(py, depth, None)
    }

    /// When a cancel of the block is delivered at the latest, as far as scopes defer it.
    pub(super) fn shielded_until(&self, py: Python<'_>) -> f64 {
        let task = self.task.bind(py).cast::<Task>();
        task.map_or(f64::NEG_INFINITY, |task| task.value().shielded_until(py, self.depth))
    }

    /// A cancel from outside, which errors hide, is delivered when it waits again.
    pub(super) fn keep_cancelled(&self, py: Python<'_>) -> PyResult<()> {
        if self.counts(py)? { self.cancel_anew(py) } else { self.cancel(py, None) }
    }

    /// Was it asked to cancel, and has not met what it could raise it in?
    pub(super) fn is_cancel_due(&self, py: Python<'_>) -> PyResult<bool> {
        if let Some(task) = self.native(py) {
            return Ok(task.value().is_cancel_due(py));
        }
        match self.task.bind(py).getattr_opt(names::_must_cancel(py))? {
            Some(due) => due.is_truthy(),
            None => Ok(false),
        }
    }

    pub(super) fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        future::is_done(self.task.bind(py))
    }

    pub(super) fn share(&self, py: Python<'_>) -> Self {
        Self { task: self.task.share(py), depth: self.depth }
    }

    pub(super) fn bind<'a, 'py>(&'a self, py: Python<'py>) -> &'a Object<'py> {
        self.task.bind(py)
    }

    pub(super) fn task<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.task.get_bound(py)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.task)
    }
}
