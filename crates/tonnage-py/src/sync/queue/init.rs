//! Making a queue, and its bound.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::class::{Queue, State};
use super::delay::Delays;
use super::dropped;
use super::lines::{self, Side};
use super::overflow::Overflow;
use super::overridden::Overridden;
use super::storage::{self, Kind};
use crate::cpython::{Args, Native, Object, Owned, Parameters};
use crate::names;

/// `Queue(maxsize=0, *, overflow="wait", target_delay=None, on_drop=None)`.
pub(super) fn init(queue: &Bound<'_, Queue>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<4> = Parameters {
        function: "Queue.__init__",
        names: ["maxsize", "overflow", "target_delay", "on_drop"],
        positional: 1,
        required: 0,
    };
    let py = queue.py();
    let [maxsize, overflow, target_delay, on_drop] = args.parse(&PARAMETERS)?;
    let maxsize = maxsize.unwrap_or_else(|| PyInt::new(py, 0).into_any());
    let capacity = capacity(&maxsize)?;
    let overflow = Overflow::parse(overflow.as_ref())?;
    overflow.check(queue.value().kind, &maxsize, capacity)?;
    let overridden = Overridden::by_class_of(queue)?;
    let delays = Delays::parse(target_delay.as_ref(), queue.value().kind, overridden)?;
    let on_drop = dropped::parse(on_drop, overflow, delays.is_some())?;
    let maxsize_kept = Some((&maxsize).into());
    let is_plain = queue.value().kind == Kind::Fifo && overridden == Overridden::NOTHING && delays.is_none();
    let made = State {
        maxsize: maxsize_kept,
        capacity,
        is_plain,
        overridden,
        overflow,
        on_drop,
        delays,
        ..State::new()
    };
    drop(queue.value().state.with(py, |state| std::mem::replace(state, made)));
    if overridden.has(Overridden::INIT) {
        queue.call_method1(names::_init(py), (maxsize,)).map(drop)
    } else {
        storage::init(queue)
    }
}

/// How many items `maxsize` means, which may be any number: asyncio's queue is full from there on.
fn capacity(maxsize: &Object<'_>) -> PyResult<usize> {
    if maxsize.le(0)? {
        return Ok(usize::MAX);
    }
    if maxsize.is_instance_of::<PyInt>() {
        // What does not fit cannot be reached.
        return Ok(maxsize.extract().unwrap_or(usize::MAX));
    }
    let bound: f64 = maxsize.extract()?;
    if bound.is_nan() {
        return Err(PyValueError::new_err("maxsize must be a number, got nan"));
    }
    // A float beyond the last integer becomes the last integer.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and rounded up")]
    Ok(bound.ceil() as usize)
}

pub(super) fn maxsize<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let py = queue.py();
    let maxsize = queue.value().state.with(py, |state| state.maxsize.as_ref().map(|it| it.get_bound(py)));
    maxsize.ok_or_else(|| storage::has_no_attribute(queue, "_maxsize"))
}

/// Another bound for a queue in use: putters that it has room for are woken.
pub(super) fn set_maxsize<'py>(queue: &Bound<'py, Queue>, maxsize: &Object<'py>) -> PyResult<()> {
    let capacity = capacity(maxsize)?;
    let maxsize = Owned::from(maxsize);
    let old = queue.value().state.with(queue.py(), |state| {
        state.capacity = capacity;
        state.maxsize.replace(maxsize)
    });
    drop(old);
    lines::serve(queue, Side::Putters)
}
