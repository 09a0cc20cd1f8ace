//! BoundLoop: the loop that a lock or a queue belongs to, which is that of the first task that waits for it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::{Guarded, Object, Owned, Visit};
use crate::running;

pub(super) struct BoundLoop(Guarded<Option<Owned>>);

impl BoundLoop {
    pub(super) const fn none() -> Self {
        Self(Guarded::new(None))
    }

    /// The running loop, to which `owner` is bound from the first call on.
    ///
    /// Same text as asyncio: CPython 3.15, Lib/asyncio/mixins.py.
    pub(super) fn get<'py>(&self, owner: &Object<'py>) -> PyResult<Object<'py>> {
        let py = owner.py();
        let running = running::event_loop_or_none(py)?;
        let Some(running) = running else { return running::event_loop(py) };
        let is_it = self.0.with(py, |bound| match bound {
            Some(bound) => bound.is(&running),
            None => {
                *bound = Some(Owned::from(&running));
                true
            }
        });
        if is_it {
            return Ok(running);
        }
        Err(PyRuntimeError::new_err(format!("{} is bound to a different event loop", owner.repr()?)))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.0.traverse(0, |bound| visit.option(bound.as_deref()))
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        drop(self.0.with(py, Option::take));
    }
}
