//! `Condition.wait` and `Condition.wait_for`.
//!
//! Whatever ends a wait, the lock is held when it returns or raises; cancellations meanwhile are remembered, and
//! the last one is raised. A notification that reached a task which raises is passed on to another task.

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError};
use pyo3::prelude::*;

use super::condition::{Condition, LockOf};
use super::gate::{self, Acquire};
use super::line::{Left, Place};
use super::lock::Lock;
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::waiter::Waiter;
use crate::{errors, future, names};

pub(crate) type ConditionCoroutine = Coroutine<Wait>;
pub(crate) type ConditionForCoroutine = Coroutine<WaitFor>;

pub(crate) struct Wait {
    condition: Owned<Condition>,
    phase: Phase,
    was_notified: bool,
    /// What is raised when the lock is held again.
    error: Option<Owned>,
}

enum Phase {
    Begun,
    Waiting(Place),
    /// Acquires the lock again: one of ours, or of another kind.
    Acquiring(Acquire<Lock>),
    AcquiringForeign,
}

impl Wait {
    pub(super) fn new(condition: Owned<Condition>) -> Self {
        Self { condition, phase: Phase::Begun, was_notified: false, error: None }
    }

    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let condition = self.condition.value();
        let lock = condition.lock(py)?;
        if !lock.is_locked()? {
            return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
        }
        let event_loop = condition.bound_loop.get(self.condition.bind(py).as_any())?;
        let waiter = Waiter::create(&event_loop)?;
        lock.release()?;
        let (place, next) = condition.line.join(py, waiter);
        self.phase = Phase::Waiting(place);
        Ok(next)
    }

    /// The end of the wait: the lock comes next.
    fn ended<'py>(
        &mut self,
        py: Python<'py>,
        place: &Place,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Next<'py>> {
        self.was_notified = self.condition.value().line.leave(py, place)? == Left::Woken;
        match awaited {
            Ok(_) => self.acquire(py),
            Err(error) => match self.condition.value().lock(py)? {
                LockOf::Native(lock) if is_close(py, &error) => self.close(&lock, error),
                _ => {
                    self.error = Some(kept(py, error));
                    self.acquire(py)
                }
            },
        }
    }

    fn acquire<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        match self.condition.value().lock(py)? {
            LockOf::Native(lock) => {
                let acquire = Acquire::new(lock.into());
                self.acquiring(py, acquire, Ok(py.None().into_bound(py)))
            }
            foreign @ LockOf::Foreign(_) => match foreign.acquire() {
                Ok(awaitable) => {
                    self.phase = Phase::AcquiringForeign;
                    Ok(Next::Await(awaitable))
                }
                Err(error) => self.fail(py, error),
            },
        }
    }

    fn acquiring<'py>(
        &mut self,
        py: Python<'py>,
        mut acquire: Acquire<Lock>,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Next<'py>> {
        match acquire.resume(py, awaited) {
            Ok(Next::Return(_)) => self.acquired(py),
            Ok(next) => {
                self.phase = Phase::Acquiring(acquire);
                Ok(next)
            }
            Err(error) if is_close(py, &error) => self.close(acquire.owner(py), error),
            Err(error) => self.not_acquired(py, error),
        }
    }

    /// Cancelled while it waits for the lock, it remembers that and waits again; any other error ends it.
    fn not_acquired<'py>(&mut self, py: Python<'py>, error: PyErr) -> PyResult<Next<'py>> {
        if !errors::is_cancelled(py, &error) {
            return self.fail(py, error);
        }
        self.error = Some(kept(py, error));
        self.acquire(py)
    }

    fn acquired<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        match self.error.take() {
            None => Ok(Next::Return(future::to_bool(py, true))),
            Some(error) => self.fail(py, PyErr::from_value(error.into_bound(py))),
        }
    }

    /// The coroutine is closed, and can wait for nothing. The block around it will release the lock; if another
    /// holds it at this moment, the lock is told that this release is none.
    fn close<'py>(&mut self, lock: &Bound<'py, Lock>, error: PyErr) -> PyResult<Next<'py>> {
        lock.value().take_for_close(lock.py());
        self.fail(lock.py(), error)
    }

    fn fail<'py>(&mut self, py: Python<'py>, error: PyErr) -> PyResult<Next<'py>> {
        if self.was_notified {
            self.condition.value().wake(py, 1)?;
        }
        Err(error)
    }
}

fn is_close(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyGeneratorExit>(py)
}

fn kept(py: Python<'_>, error: PyErr) -> Owned {
    errors::into_object(py, error).into()
}

impl Body for Wait {
    const QUALNAME: &'static str = "Condition.wait";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match std::mem::replace(&mut self.phase, Phase::Begun) {
            Phase::Begun => self.begin(py),
            Phase::Waiting(place) => self.ended(py, &place, awaited),
            Phase::Acquiring(acquire) => self.acquiring(py, acquire, awaited),
            Phase::AcquiringForeign => match awaited {
                Ok(_) => self.acquired(py),
                Err(error) => self.not_acquired(py, error),
            },
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = match visit.call(&self.condition) {
            0 => visit.option(self.error.as_deref()),
            shown => shown,
        };
        if shown != 0 {
            return shown;
        }
        match &self.phase {
            Phase::Begun | Phase::AcquiringForeign => 0,
            Phase::Waiting(place) => place.traverse(visit),
            Phase::Acquiring(acquire) => acquire.traverse(visit),
        }
    }
}

pub(crate) struct WaitFor {
    condition: Owned<Condition>,
    predicate: Owned,
    wait: Option<Wait>,
}

impl WaitFor {
    pub(super) fn new(condition: Owned<Condition>, predicate: Owned) -> Self {
        Self { condition, predicate, wait: None }
    }

    /// Runs the wait; None if it has ended.
    fn wait<'py>(
        &mut self,
        py: Python<'py>,
        mut wait: Wait,
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Option<Next<'py>>> {
        match wait.resume(py, awaited)? {
            Next::Return(_) => Ok(None),
            next => {
                self.wait = Some(wait);
                Ok(Some(next))
            }
        }
    }
}

impl Body for WaitFor {
    const QUALNAME: &'static str = "Condition.wait_for";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match self.wait.take() {
            Some(wait) => {
                if let Some(next) = self.wait(py, wait, awaited)? {
                    return Ok(next);
                }
            }
            // The first step, or a `wait` in Python has ended.
            None => drop(awaited?),
        }
        loop {
            let result = self.predicate.bind(py).call0()?;
            if result.is_truthy()? {
                return Ok(Next::Return(result));
            }
            let condition = self.condition.get_bound(py);
            if !gate::is_plain(&condition) {
                return Ok(Next::Await(condition.as_any().call_method0(names::wait(py))?));
            }
            if let Some(next) = self.wait(py, Wait::new(condition.into()), Ok(result))? {
                return Ok(next);
            }
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = match visit.call(&self.condition) {
            0 => visit.call(&self.predicate),
            shown => shown,
        };
        if shown != 0 {
            return shown;
        }
        self.wait.as_ref().map_or(0, |wait| wait.traverse(visit))
    }
}
