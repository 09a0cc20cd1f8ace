//! `async for item in queue`: each step says that the work on the item before is done, and gets the next.

use std::ffi::CStr;

use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;

use super::class::Queue;
use super::get::{take, wait};
use super::lines::{Place, Side};
use super::overridden::Overridden;
use super::storage::overrides;
use super::unfinished::task_done;
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::native_class::create;
use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots, Visit, compat};
use crate::names;

pub(crate) type NextItemCoroutine = Coroutine<NextItem>;

/// One consumer's loop over a queue.
pub(crate) struct QueueIterator {
    state: Guarded<State>,
}

struct State {
    queue: Option<Owned<Queue>>,
    /// Has it handed an item out whose work is not done?
    has_item: bool,
}

/// `queue.__aiter__()`.
pub(super) fn iterator<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let state = Guarded::new(State { queue: Some(queue.into()), has_item: false });
    Ok(create(queue.py(), QueueIterator { state })?.into_any())
}

impl NativeClass for QueueIterator {
    const NAME: &'static CStr = c"tonnage._tonnage.queue_iterator";
    const DOC: &'static CStr = c"One consumer's loop over a queue.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.async_iterator(|iterator| {
            let body =
                NextItem { iterator: iterator.into(), has_begun: false, place: Place::new(Side::Getters) };
            Coroutine::create(iterator.py(), body)
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| visit.option(state.queue.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| state.queue.take()));
    }
}

pub(crate) struct NextItem {
    iterator: Owned<QueueIterator>,
    has_begun: bool,
    place: Place,
}

impl Body for NextItem {
    const QUALNAME: &'static str = "Queue.__anext__";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let state = &self.iterator.value().state;
        let queue = state.with(py, |state| state.queue.as_ref().map(|queue| queue.get_bound(py)));
        let Some(queue) = queue else { return Err(PyStopAsyncIteration::new_err(())) };
        if !std::mem::replace(&mut self.has_begun, true)
            && state.with(py, |state| std::mem::take(&mut state.has_item))
        {
            if overrides(&queue, Overridden::TASK_DONE) {
                queue.call_method0(names::task_done(py))?;
            } else {
                task_done(&queue)?;
            }
        }
        let item = match wait(&mut self.place, &queue, awaited) {
            Ok(Some(next)) => return Ok(next),
            Ok(None) => take(&queue),
            Err(error) => Err(error),
        };
        match item {
            Ok(item) => {
                state.with(py, |state| state.has_item = true);
                Ok(Next::Return(item))
            }
            Err(error) if error.matches(py, compat::queue_shut_down(py)?)? => {
                Err(PyStopAsyncIteration::new_err(()))
            }
            Err(error) => Err(error),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.iterator) {
            0 => self.place.traverse(visit),
            shown => shown,
        }
    }
}
