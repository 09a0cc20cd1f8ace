//! Postponed: what a task of a bounded group runs until it has a slot, where the loop has a task factory.
//!
//! A factory makes tasks that are started at once, of a class that we do not know. So the task runs this, which
//! waits for the slot before it begins the coroutine that the user gave. A cancel while it waits closes that
//! coroutine.

use pyo3::prelude::*;

use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Object, Owned, Visit};
use crate::names;
use crate::waiter::Waiter;

pub(crate) type PostponedCoroutine = Coroutine<Postponed>;

pub(crate) struct Postponed {
    coro: Owned,
    /// Nothing once the slot is there.
    waiter: Option<Waiter>,
    waits: bool,
}

impl Postponed {
    pub(super) fn create<'py>(coro: &Object<'py>, waiter: Waiter) -> PyResult<Object<'py>> {
        Coroutine::create(coro.py(), Self { coro: coro.into(), waiter: Some(waiter), waits: false })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.coro.bind(py).call_method0(names::close(py)).map(drop)
    }
}

impl Body for Postponed {
    const QUALNAME: &'static str = "TaskGroup.create_task";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let Some(waiter) = self.waiter.take() else { return awaited.map(Next::Return) };
        if let Err(error) = awaited {
            self.close(py)?;
            return Err(error);
        }
        match waiter.woken_with(py)? {
            None => {}
            Some(granted) if granted.is_none() => return Ok(Next::Await(self.coro.get_bound(py))),
            Some(refusal) => {
                self.close(py)?;
                return Err(PyErr::from_value(refusal));
            }
        }
        if self.waits {
            // Somebody else has ended the future.
            return Ok(Next::Await(self.coro.get_bound(py)));
        }
        self.waits = true;
        let next = waiter.wait(py);
        self.waiter = Some(waiter);
        Ok(next)
    }

    fn refuse(&mut self, py: Python<'_>) -> PyResult<()> {
        self.close(py)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.coro) {
            0 => self.waiter.as_ref().map_or(0, |waiter| waiter.traverse(visit)),
            shown => shown,
        }
    }
}
