//! Getting: `get()`, `get_nowait()` and `get_many()`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::at_once;
use super::class::Queue;
use super::delay;
use super::lines::{self, Place, Side, serve_after_error};
use super::overridden::Overridden;
use super::shutdown::{is_shutdown, shut_down};
use super::storage::{self, overridden};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Object, Owned, Visit};
use crate::{errors, names};

pub(crate) type GetCoroutine = Coroutine<Get>;
pub(crate) type GetManyCoroutine = Coroutine<GetMany>;

pub(crate) struct Get {
    queue: Owned<Queue>,
    place: Place,
}

/// `queue.get()`.
pub(super) fn get<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    Coroutine::create_with(queue.py(), || Get { queue: queue.into(), place: Place::new(Side::Getters) })
}

impl Body for Get {
    const QUALNAME: &'static str = "Queue.get";

    #[inline(always)]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        at_once::get(self.queue.bind(py))
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let queue = self.queue.get_bound(py);
        match wait(&mut self.place, &queue, awaited)? {
            Some(next) => Ok(next),
            None => take(&queue).map(Next::Return),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.queue) {
            0 => self.place.traverse(visit),
            shown => shown,
        }
    }
}

/// How to wait for an item; nothing if one is there for the caller, to be taken at once.
#[inline]
pub(super) fn wait<'py>(
    place: &mut Place,
    queue: &Bound<'py, Queue>,
    awaited: PyResult<Object<'py>>,
) -> PyResult<Option<Next<'py>>> {
    place.leave(queue, awaited)?;
    delay::shed(queue)?;
    if lines::has_item(queue)? {
        return Ok(None);
    }
    if is_shutdown(queue) {
        return Err(shut_down(queue.py()));
    }
    place.wait(queue).map(Some)
}

/// Takes the item that is there, by the subclass's method if there is one.
#[inline]
pub(super) fn take<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let overridden = overridden(queue);
    if overridden.has(Overridden::GET_NOWAIT) {
        return queue.call_method0(names::get_nowait(queue.py()));
    }
    take_native(queue, overridden)
}

#[inline]
fn take_native<'py>(queue: &Bound<'py, Queue>, overridden: Overridden) -> PyResult<Object<'py>> {
    let item = storage::get(queue, overridden);
    if item.is_err() {
        // It is free for others.
        serve_after_error(queue, Side::Getters);
        serve_after_error(queue, Side::Putters);
        return item;
    }
    lines::serve(queue, Side::Putters)?;
    item
}

/// `queue.get_nowait()`.
pub(super) fn get_nowait<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let py = queue.py();
    delay::shed(queue)?;
    if lines::has_item(queue)? {
        return take_native(queue, overridden(queue));
    }
    if is_shutdown(queue) {
        return Err(shut_down(py));
    }
    Err(errors::queue_empty(py))
}

pub(crate) struct GetMany {
    queue: Owned<Queue>,
    limit: usize,
    place: Place,
}

/// `queue.get_many(limit)`.
pub(super) fn get_many<'py>(queue: &Bound<'py, Queue>, limit: &Object<'py>) -> PyResult<Object<'py>> {
    if limit.lt(1)? {
        return Err(PyValueError::new_err(format!("limit must be 1 or more, got {limit}")));
    }
    let limit = limit.extract()?;
    Coroutine::create(queue.py(), GetMany { queue: queue.into(), limit, place: Place::new(Side::Getters) })
}

impl Body for GetMany {
    const QUALNAME: &'static str = "Queue.get_many";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let queue = self.queue.get_bound(py);
        match wait(&mut self.place, &queue, awaited)? {
            Some(next) => Ok(next),
            None => take_many(&queue, self.limit).map(Next::Return),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.queue) {
            0 => self.place.traverse(visit),
            shown => shown,
        }
    }
}

/// Is there one more item that may be taken, and has not waited for too long?
fn has_next(queue: &Bound<'_, Queue>) -> PyResult<bool> {
    delay::shed(queue)?;
    lines::has_item(queue)
}

fn take_many<'py>(queue: &Bound<'py, Queue>, limit: usize) -> PyResult<Object<'py>> {
    let py = queue.py();
    let items = PyList::new(py, [take(queue)?])?;
    while items.len() < limit && has_next(queue)? {
        match take(queue) {
            Ok(item) => items.append(item)?,
            Err(error) if errors::is_exit(py, &error) => return Err(error),
            // What was taken is not lost for it: the next call finds the same item, and raises.
            Err(error) => {
                errors::swallow(error);
                break;
            }
        }
    }
    Ok(items.into_any())
}
