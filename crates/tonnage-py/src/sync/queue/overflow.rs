//! What a full queue does with one more item: lets it wait, refuses it, or drops one.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::class::Queue;
use super::lines;
use super::put::store;
use super::storage::{self, Kind};
use super::unfinished::finish;
use crate::cpython::{Native, Object, Owned};
use crate::{errors, names, running};

pub(super) enum Overflow {
    Wait,
    Raise,
    DropOldest(OnDrop),
    DropNewest(OnDrop),
}

/// Who is told what was dropped.
type OnDrop = Option<Owned>;

impl Overflow {
    /// As the arguments `overflow` and `on_drop` say.
    pub(super) fn parse<'py>(name: Option<&Object<'py>>, on_drop: Option<Object<'py>>) -> PyResult<Self> {
        let on_drop = on_drop.filter(|on_drop| !on_drop.is_none());
        if let Some(on_drop) = &on_drop
            && !on_drop.is_callable()
        {
            return Err(PyTypeError::new_err(format!("on_drop must be callable, got {}", on_drop.repr()?)));
        }
        let refuse_on_drop = |name: &str| match &on_drop {
            None => Ok(()),
            Some(_) => Err(PyValueError::new_err(format!(
                "on_drop needs a queue that drops, got overflow='{name}'; use overflow='drop_oldest' or \
                 'drop_newest'"
            ))),
        };
        let Some(name) = name else { return refuse_on_drop("wait").map(|()| Self::Wait) };
        let text = name.cast::<PyString>().ok().and_then(|name| name.to_str().ok());
        match text {
            Some("wait") => refuse_on_drop("wait").map(|()| Self::Wait),
            Some("raise") => refuse_on_drop("raise").map(|()| Self::Raise),
            Some("drop_oldest") => Ok(Self::DropOldest(on_drop.map(Owned::from))),
            Some("drop_newest") => Ok(Self::DropNewest(on_drop.map(Owned::from))),
            _ => Err(PyValueError::new_err(format!(
                "overflow must be 'wait', 'raise', 'drop_oldest' or 'drop_newest', got {}",
                name.repr()?
            ))),
        }
    }

    /// Refuses what such a queue cannot do.
    pub(super) fn check(&self, kind: Kind, maxsize: &Object<'_>, capacity: usize) -> PyResult<()> {
        let Some(reason) = self.reason() else { return Ok(()) };
        if kind == Kind::Priority && matches!(self, Self::DropOldest(_)) {
            return Err(PyValueError::new_err(
                "a PriorityQueue does not know its oldest item; use overflow='drop_newest', 'raise' or 'wait'",
            ));
        }
        if capacity == usize::MAX {
            return Err(PyValueError::new_err(format!(
                "maxsize must be 1 or more with overflow='{reason}', got {}",
                maxsize.repr()?
            )));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Wait)
    }

    pub(super) fn on_drop(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Wait | Self::Raise => None,
            Self::DropOldest(on_drop) | Self::DropNewest(on_drop) => on_drop.as_deref(),
        }
    }

    /// What `on_drop` is told; nothing if such a queue does not drop.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Wait | Self::Raise => None,
            Self::DropOldest(_) => Some("drop_oldest"),
            Self::DropNewest(_) => Some("drop_newest"),
        }
    }
}

/// `put_nowait` on a full queue.
#[cold]
pub(super) fn put_into_full<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    enum Plan {
        Refuse,
        RefuseWithText,
        DropOldest,
        DropNewest,
    }
    let py = queue.py();
    let plan = queue.value().state.with(py, |state| match state.overflow {
        Overflow::Wait => Plan::Refuse,
        Overflow::Raise => Plan::RefuseWithText,
        Overflow::DropOldest(_) => Plan::DropOldest,
        Overflow::DropNewest(_) => Plan::DropNewest,
    });
    match plan {
        Plan::Refuse => Err(errors::queue_full(py, None)),
        Plan::RefuseWithText => Err(is_full(queue)?),
        Plan::DropOldest => drop_oldest(queue, item),
        Plan::DropNewest => was_dropped(queue, item),
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
        was_dropped(queue, item)?;
    }
    stored
}

/// Counts what was dropped, and tells `on_drop`.
fn was_dropped<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    let py = queue.py();
    let (on_drop, reason) = queue.value().state.with(py, |state| {
        state.counted.dropped += 1;
        (state.overflow.on_drop().map(|on_drop| on_drop.bind(py).clone()), state.overflow.reason())
    });
    let Some(on_drop) = on_drop else { return Ok(()) };
    match on_drop.call1((item, reason)) {
        Ok(_) => Ok(()),
        Err(error) if errors::is_exit(py, &error) => Err(error),
        Err(error) => report(queue, &on_drop, error),
    }
}

/// Tells the exception handler of the running loop, or `sys.unraisablehook` if none runs, that `on_drop` failed.
fn report<'py>(queue: &Bound<'py, Queue>, on_drop: &Object<'py>, error: PyErr) -> PyResult<()> {
    let py = queue.py();
    let Some(event_loop) = running::event_loop_or_none(py)? else {
        error.write_unraisable(py, Some(on_drop));
        return Ok(());
    };
    let details = PyDict::new(py);
    details.set_item("message", format!("Exception in on_drop {}", on_drop.repr()?))?;
    details.set_item("exception", errors::into_object(py, error))?;
    details.set_item("queue", queue)?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}
