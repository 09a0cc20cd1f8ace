//! Which methods a Python subclass has overridden; found out once, when the queue is made.

use pyo3::prelude::*;

use super::class::{LifoQueue, PriorityQueue, Queue};
use crate::cpython::native_class::{is_exact, type_object};

/// A set of methods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Overridden(u16);

impl Overridden {
    pub(super) const NOTHING: Self = Self(0);
    pub(super) const INIT: Self = Self(1);
    pub(super) const PUT: Self = Self(1 << 1);
    pub(super) const GET: Self = Self(1 << 2);
    pub(super) const PUT_NOWAIT: Self = Self(1 << 3);
    pub(super) const GET_NOWAIT: Self = Self(1 << 4);
    pub(super) const QSIZE: Self = Self(1 << 5);
    pub(super) const EMPTY: Self = Self(1 << 6);
    pub(super) const FULL: Self = Self(1 << 7);
    pub(super) const TASK_DONE: Self = Self(1 << 8);
    /// `_qsize`, which asyncio's queues lack: how many items are stored.
    pub(super) const STORED: Self = Self(1 << 9);

    /// What the class of `queue` overrides.
    pub(super) fn by_class_of(queue: &Bound<'_, Queue>) -> PyResult<Self> {
        const NAMES: [(&str, Overridden); 9] = [
            ("_init", Overridden::INIT),
            ("_put", Overridden::PUT),
            ("_get", Overridden::GET),
            ("put_nowait", Overridden::PUT_NOWAIT),
            ("get_nowait", Overridden::GET_NOWAIT),
            ("qsize", Overridden::QSIZE),
            ("empty", Overridden::EMPTY),
            ("full", Overridden::FULL),
            ("task_done", Overridden::TASK_DONE),
        ];
        if is_exact::<Queue>(queue) || is_exact::<LifoQueue>(queue) || is_exact::<PriorityQueue>(queue) {
            return Ok(Self::NOTHING);
        }
        let (class, ours) = (queue.get_type(), type_object::<Queue>(queue.py()));
        let mut found = Self::NOTHING;
        for (name, method) in NAMES {
            if !class.getattr(name)?.is(&ours.getattr(name)?) {
                found.0 |= method.0;
            }
        }
        if class.hasattr("_qsize")? {
            found.0 |= Self::STORED.0;
        }
        Ok(found)
    }

    #[inline]
    pub(super) fn has(self, method: Self) -> bool {
        self.0 & method.0 != 0
    }

    /// Does the subclass store the items?
    pub(super) fn stores(self) -> bool {
        self.0 & (Self::INIT.0 | Self::PUT.0 | Self::GET.0 | Self::STORED.0) != 0
    }

    /// Does the subclass say itself what is free? Then it may not know of promises.
    #[inline]
    pub(super) fn has_sizes(self) -> bool {
        self.0 & (Self::QSIZE.0 | Self::EMPTY.0 | Self::FULL.0) != 0
    }
}
