//! Putting: `put()` and `put_nowait()`.

use pyo3::prelude::*;

use super::at_once;
use super::class::Queue;
use super::lines::{self, Place, Side, serve_after_error};
use super::overflow;
use super::overridden::Overridden;
use super::shutdown::{is_shutdown, shut_down};
use super::storage::{self, overridden};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Native, Object, Owned, Visit};
use crate::names;

pub(crate) type PutCoroutine = Coroutine<Put>;

pub(crate) struct Put {
    queue: Owned<Queue>,
    /// Until it is stored.
    item: Option<Owned>,
    place: Place,
}

/// `queue.put(item)`.
pub(super) fn put<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<Object<'py>> {
    Coroutine::create_with(queue.py(), || Put {
        queue: queue.into(),
        item: Some(item.into()),
        place: Place::new(Side::Putters),
    })
}

impl Body for Put {
    const QUALNAME: &'static str = "Queue.put";
    /// The item may be a coroutine that keeps an item.
    const IS_LINK: bool = true;

    #[inline(always)]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        let Some(item) = &self.item else { return Ok(None) };
        let stored = at_once::put(self.queue.bind(py), item.bind(py))?;
        Ok(if stored { Some(py.None().into_bound(py)) } else { None })
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let queue = self.queue.get_bound(py);
        self.place.leave(&queue, awaited)?;
        let (waits, is_shutdown, overridden) = queue
            .value()
            .state
            .with(py, |state| (state.overflow.waits(), state.is_shutdown, state.overridden));
        let may_store = !waits || lines::has_room(&queue)?;
        if !may_store {
            return if is_shutdown { Err(shut_down(py)) } else { self.place.wait(&queue) };
        }
        let item = self.item.take().expect("it is stored once, at the end").into_bound(py);
        if overridden.has(Overridden::PUT_NOWAIT) {
            return queue.call_method1(names::put_nowait(py), (item,)).map(Next::Return);
        }
        if waits && !is_shutdown {
            store(&queue, &item, overridden)?;
        } else {
            put_nowait(&queue, &item)?;
        }
        Ok(Next::none(py))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = visit.call(&self.queue);
        if shown != 0 {
            return shown;
        }
        match visit.option(self.item.as_deref()) {
            0 => self.place.traverse(visit),
            shown => shown,
        }
    }
}

/// `queue.put_nowait(item)`.
pub(super) fn put_nowait_method<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<Object<'py>> {
    put_nowait(queue, item)?;
    Ok(queue.py().None().into_bound(queue.py()))
}

fn put_nowait<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    if is_shutdown(queue) {
        return Err(shut_down(queue.py()));
    }
    if lines::has_room(queue)? {
        return store(queue, item, overridden(queue));
    }
    overflow::put_into_full(queue, item)
}

/// Stores an item for which there is room, and promises it to the first who waits.
#[inline]
pub(super) fn store<'py>(
    queue: &Bound<'py, Queue>,
    item: &Object<'py>,
    overridden: Overridden,
) -> PyResult<()> {
    if let Err(error) = storage::put(queue, item, overridden) {
        // A method of a subclass may have stored it, or something else.
        serve_after_error(queue, Side::Putters);
        serve_after_error(queue, Side::Getters);
        return Err(error);
    }
    // A subclass may hold its items elsewhere; then there is no peak.
    let size = storage::len_by(queue, overridden).unwrap_or(0);
    queue.value().state.with(queue.py(), |state| {
        state.unfinished += 1;
        state.counted.peak = state.counted.peak.max(size);
    });
    lines::serve(queue, Side::Getters)?;
    // A subclass may have stored nothing: an item that is there already.
    if overridden.has(Overridden::PUT) { lines::serve(queue, Side::Putters) } else { Ok(()) }
}
