//! BoundLoop: the loop that a lock or a queue belongs to, which is that of the first task that waits for it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::running;

pub(crate) struct BoundLoop(Guarded<Option<Owned>>);

impl BoundLoop {
    pub(crate) const fn none() -> Self {
        Self(Guarded::new(None))
    }

    /// The running loop, to which `owner` is bound from the first call on.
    ///
    /// Same text as asyncio: CPython 3.15, Lib/asyncio/mixins.py.
    #[inline(always)]
    pub(crate) fn get<'py>(&self, owner: &Object<'py>) -> PyResult<Object<'py>> {
        let py = owner.py();
        let running = running::event_loop(py)?;
        let is_it = self.0.with(py, |bound| match bound {
            Some(bound) => bound.is(&running),
            None => {
                *bound = Some(Owned::from(&running));
                true
            }
        });
        if is_it { Ok(running) } else { Err(other_loop(owner)) }
    }

    /// The loop, or None while there is none.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Object<'py> {
        let bound = self.0.with(py, |bound| bound.as_ref().map(|bound| bound.get_bound(py)));
        bound.unwrap_or_else(|| py.None().into_bound(py))
    }

    /// Binds the owner to another loop, as those do who set `_loop`.
    pub(crate) fn set(&self, event_loop: &Object<'_>) {
        let bound = if event_loop.is_none() { None } else { Some(Owned::from(event_loop)) };
        drop(self.0.with(event_loop.py(), |place| std::mem::replace(place, bound)));
    }

    pub(crate) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.0.traverse(0, |bound| visit.option(bound.as_deref()))
    }

    pub(crate) fn clear(&self, py: Python<'_>) {
        drop(self.0.with(py, Option::take));
    }
}

#[cold]
fn other_loop(owner: &Object<'_>) -> PyErr {
    match owner.repr() {
        Ok(repr) => PyRuntimeError::new_err(format!("{repr} is bound to a different event loop")),
        Err(error) => error,
    }
}

/// A class that belongs to a loop.
pub(super) trait LoopBound: NativeClass {
    fn bound_loop(&self) -> &BoundLoop;
}

/// The attribute `_loop`, which tests of asyncio read and set, and the method that its subclasses call.
pub(super) fn loop_attributes<T: LoopBound>(slots: &mut Slots<T>) {
    slots.attribute_pair(
        c"_loop",
        |this| Ok(this.value().bound_loop().object(this.py())),
        |this, event_loop| {
            this.value().bound_loop().set(event_loop);
            Ok(())
        },
    );
    slots.no_args(c"_get_loop", c"Return the running loop, and belong to it from now on.", |this| {
        this.value().bound_loop().get(this.as_any())
    });
}
