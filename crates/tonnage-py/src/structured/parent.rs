//! Parent: the task that a group or a timeout runs in, and may cancel.
//!
//! The task counts the requests to cancel it. So a group or a timeout tells its own request, which it takes back
//! with `uncancel`, from one that came from outside.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::native_class::{exact, has_instance_dict, is_exact};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::task::{self, Task};
use crate::{future, names, running};

pub(super) struct Parent(Owned);

impl Parent {
    /// The current task of `event_loop`, or nothing outside of a task.
    #[inline(always)]
    pub(super) fn current(event_loop: &Object<'_>) -> PyResult<Option<Self>> {
        Ok(running::task(event_loop)?.map(|task| Self(task.into())))
    }

    /// Refuses a task that does not count: without counts, a cancel from outside could be lost.
    pub(super) fn check_counts(&self, py: Python<'_>, user: &str) -> PyResult<()> {
        if self.counts(py)? {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(format!(
            "{user} needs a task that counts its cancellations, got {:?} of the standard library; run the \
             program with tonnage.run()",
            self.0.bind(py).get_type().name()?.to_string_lossy()
        )))
    }

    /// Python 3.10's own tasks do not count.
    #[inline]
    fn counts(&self, py: Python<'_>) -> PyResult<bool> {
        let task = self.0.bind(py);
        Ok(is_exact::<Task>(task) || task.hasattr(names::uncancel(py))?)
    }

    #[inline]
    fn native<'a, 'py>(&'a self, py: Python<'py>) -> Option<&'a Bound<'py, Task>> {
        // A program may have put methods of its own on the instance.
        exact::<Task>(self.0.bind(py)).filter(|task| !has_instance_dict(task))
    }

    /// How many requests to cancel it are open; 0 if it does not count.
    #[inline(always)]
    pub(super) fn cancelling(&self, py: Python<'_>) -> PyResult<u32> {
        match self.native(py) {
            Some(task) => Ok(task.value().cancelling(py)),
            None => self.foreign_cancelling(py),
        }
    }

    #[cold]
    fn foreign_cancelling(&self, py: Python<'_>) -> PyResult<u32> {
        if self.counts(py)? { self.0.bind(py).call_method0(names::cancelling(py))?.extract() } else { Ok(0) }
    }

    /// Takes one request back, and returns how many are left.
    #[inline]
    pub(super) fn uncancel(&self, py: Python<'_>) -> PyResult<u32> {
        match self.native(py) {
            Some(task) => Ok(task.value().uncancel(py)),
            None if !self.counts(py)? => Ok(0),
            None => self.0.bind(py).call_method0(names::uncancel(py))?.extract(),
        }
    }

    pub(super) fn cancel(&self, py: Python<'_>, message: Option<&Owned>) -> PyResult<()> {
        task::cancel_any(self.0.bind(py), message).map(drop)
    }

    pub(super) fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        future::is_done(self.0.bind(py))
    }

    pub(super) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.share(py))
    }

    pub(super) fn task<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.0.get_bound(py)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.0)
    }
}
