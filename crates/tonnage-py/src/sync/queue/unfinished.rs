//! The work on items: `task_done()`, and `join()` which waits until all of it is done.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tonnage_core::waiters::Ticket;

use super::class::Queue;
use super::lines::wake_all;
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::waiter::Waiter;

pub(crate) type JoinCoroutine = Coroutine<Join>;

pub(crate) struct Join {
    queue: Owned<Queue>,
    stands: Option<(Ticket, Waiter)>,
}

/// `queue.task_done()`.
pub(super) fn task_done_method<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    task_done(queue)?;
    Ok(queue.py().None().into_bound(queue.py()))
}

pub(super) fn task_done(queue: &Bound<'_, Queue>) -> PyResult<()> {
    if queue.value().state.with(queue.py(), |state| state.unfinished == 0) {
        return Err(PyValueError::new_err("task_done() called too many times"));
    }
    finish(queue, 1)
}

/// `count` items less are to be worked on, or all if there are fewer.
pub(super) fn finish(queue: &Bound<'_, Queue>, count: usize) -> PyResult<()> {
    let unfinished = queue.value().state.with(queue.py(), |state| state.unfinished);
    set(queue, unfinished.saturating_sub(count))
}

fn set(queue: &Bound<'_, Queue>, unfinished: usize) -> PyResult<()> {
    let py = queue.py();
    let done = queue.value().state.with(py, |state| {
        state.unfinished = unfinished;
        if unfinished == 0 && !state.joiners.is_empty() { state.joiners.drain() } else { vec![] }
    });
    wake_all(py, done)
}

/// `_unfinished_tasks`.
pub(super) fn count<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let unfinished = queue.value().state.with(queue.py(), |state| state.unfinished);
    Ok(unfinished.into_pyobject(queue.py())?.into_any())
}

pub(super) fn set_count<'py>(queue: &Bound<'py, Queue>, unfinished: &Object<'py>) -> PyResult<()> {
    set(queue, unfinished.extract()?)
}

/// `queue.join()`.
pub(super) fn join<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    Coroutine::create(queue.py(), Join { queue: queue.into(), stands: None })
}

impl Body for Join {
    const QUALNAME: &'static str = "Queue.join";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let queue = self.queue.get_bound(py);
        if let Some((ticket, _)) = self.stands.take() {
            drop(queue.value().state.with(py, |state| state.joiners.remove(ticket)));
            awaited?;
            return Ok(Next::none(py));
        }
        awaited?;
        if queue.value().state.with(py, |state| state.unfinished == 0) {
            return Ok(Next::none(py));
        }
        let event_loop = queue.value().join_loop.get(queue.as_any())?;
        let waiter = Waiter::create(&event_loop)?;
        let (next, shared) = (waiter.wait(py), waiter.share(py));
        let ticket = queue.value().state.with(py, |state| state.joiners.push(shared));
        self.stands = Some((ticket, waiter));
        Ok(next)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.queue) {
            0 => self.stands.as_ref().map_or(0, |(_, waiter)| waiter.traverse(visit)),
            shown => shown,
        }
    }
}
