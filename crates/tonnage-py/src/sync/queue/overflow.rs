//! What a full queue does with one more item: lets it wait, refuses it, or drops one.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::class::Queue;
use super::dropped::{Reason, was_dropped};
use super::lines;
use super::put::store;
use super::storage::{self, Kind};
use super::unfinished::finish;
use crate::cpython::{Native, Object};
use crate::errors;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    Wait,
    Raise,
    DropOldest,
    DropNewest,
}

impl Overflow {
    /// As the argument `overflow` says.
    pub(super) fn parse(name: Option<&Object<'_>>) -> PyResult<Self> {
        let Some(name) = name else { return Ok(Self::Wait) };
        let text = name.cast::<PyString>().ok().and_then(|name| name.to_str().ok());
        match text {
            Some("wait") => Ok(Self::Wait),
            Some("raise") => Ok(Self::Raise),
            Some("drop_oldest") => Ok(Self::DropOldest),
            Some("drop_newest") => Ok(Self::DropNewest),
            _ => Err(PyValueError::new_err(format!(
                "overflow must be 'wait', 'raise', 'drop_oldest' or 'drop_newest', got {}",
                name.repr()?
            ))),
        }
    }

    /// Refuses what such a queue cannot do.
    pub(super) fn check(self, kind: Kind, maxsize: &Object<'_>, capacity: usize) -> PyResult<()> {
        if !self.drops() {
            return Ok(());
        }
        if kind == Kind::Priority && self == Self::DropOldest {
            return Err(PyValueError::new_err(
                "a PriorityQueue does not know its oldest item; use overflow='drop_newest', 'raise' or 'wait'",
            ));
        }
        if capacity == usize::MAX {
            return Err(PyValueError::new_err(format!(
                "maxsize must be 1 or more with overflow='{}', got {}",
                self.name(),
                maxsize.repr()?
            )));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn waits(self) -> bool {
        self == Self::Wait
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Raise => "raise",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
        }
    }

    pub(super) fn drops(self) -> bool {
        matches!(self, Self::DropOldest | Self::DropNewest)
    }
}

/// `put_nowait` on a full queue.
#[cold]
pub(super) fn put_into_full<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    let py = queue.py();
    match queue.value().state.with(py, |state| state.overflow) {
        Overflow::Wait => Err(errors::queue_full(py, None)),
        Overflow::Raise => Err(is_full(queue)?),
        Overflow::DropOldest => drop_oldest(queue, item),
        Overflow::DropNewest => was_dropped(queue, item, Reason::Overflow),
    }
}

fn is_full(queue: &Bound<'_, Queue>) -> PyResult<PyErr> {
    let size = storage::len(queue)?;
    let capacity = queue.value().state.with(queue.py(), |state| state.capacity);
    let text = format!(
        "queue is full: {size} of {capacity}; construct it with overflow='wait' and await put(), or with \
         overflow='drop_oldest' or 'drop_newest'"
    );
    Ok(errors::queue_full(queue.py(), Some(text)))
}

fn drop_oldest<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    let mut dropped = vec![];
    while !lines::has_room(queue)? && storage::len(queue)? > 0 {
        // Bounded by what is stored: more than one item if `_maxsize` was lowered.
        dropped.push(storage::remove_oldest(queue)?);
    }
    if !lines::has_room(queue)? {
        return Err(is_full(queue)?);
    }
    // Stored before the others are done with: those who join do not see an empty queue between.
    let stored = store(queue, item, storage::overridden(queue));
    finish(queue, dropped.len())?;
    for item in &dropped {
        was_dropped(queue, item, Reason::Overflow)?;
    }
    stored
}
