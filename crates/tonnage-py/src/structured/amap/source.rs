//! Where the items come from: an iterator, or an asynchronous one, that the workers share.

use pyo3::exceptions::{PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyIterator;

use super::{AsyncMap, Phase};
use crate::cpython::{Native, Object, Owned, Visit, context};
use crate::{errors, names};

pub(super) enum Source {
    Iterator(Owned<PyIterator>),
    Async {
        iterator: Owned,
        turn: Turn,
    },
    /// It has no more items, or is closed.
    Ended,
}

/// Whose turn it is to advance an asynchronous iterator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Free,
    /// A worker does: an asynchronous generator allows one at a time.
    Taken,
    /// It has failed.
    Nobody,
}

/// What a worker without an item is to do.
pub(super) enum Claim<'py> {
    /// End: there are no more items.
    End,
    /// Wait until the source is free, there is room for a result, or the limiters let in the last item.
    Wait,
    /// Begin with this item.
    Item(Object<'py>),
    /// Wait for this, which gives the item.
    Pull(Object<'py>),
}

impl Source {
    pub(super) fn open(items: &Object<'_>) -> PyResult<Self> {
        let py = items.py();
        if is_async(items)? {
            let iterator = items.call_method0(names::__aiter__(py))?;
            return Ok(Self::Async { iterator: iterator.into(), turn: Turn::Free });
        }
        Ok(Self::Iterator(items.try_iter()?.into()))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Iterator(iterator) => visit.call(iterator),
            Self::Async { iterator, .. } => visit.call(iterator),
            Self::Ended => 0,
        }
    }
}

fn is_async(items: &Object<'_>) -> PyResult<bool> {
    items.get_type().hasattr(names::__aiter__(items.py()))
}

/// Refuses what is no source. Nothing of it runs yet.
pub(super) fn check(items: &Object<'_>) -> PyResult<()> {
    let (py, class) = (items.py(), items.get_type());
    if is_async(items)? || class.hasattr(names::__iter__(py))? || class.hasattr(names::__getitem__(py))? {
        return Ok(());
    }
    let text = format!("amap() needs an iterable or an async iterable, got {}", class.name()?);
    Err(PyTypeError::new_err(text))
}

/// What the caller is to do: a worker, which is a free slot.
#[inline]
pub(super) fn claim<'py>(map: &Bound<'py, AsyncMap>, in_context: &Object<'py>) -> PyResult<Claim<'py>> {
    enum Found<'py> {
        Nothing,
        Busy,
        Iterator(Bound<'py, PyIterator>),
        Async(Object<'py>),
    }
    let py = map.py();
    let found = map.value().state.with(py, |state| {
        if state.phase != Phase::Running {
            return Found::Nothing;
        }
        let has_room = state.results.has_room(state.taken) && !state.asking.is_open();
        match &mut state.source {
            Source::Ended | Source::Async { turn: Turn::Nobody, .. } => Found::Nothing,
            Source::Iterator(_) | Source::Async { .. } if !has_room => Found::Busy,
            Source::Async { turn: Turn::Taken, .. } => Found::Busy,
            Source::Iterator(iterator) => Found::Iterator(iterator.get_bound(py)),
            Source::Async { iterator, turn } => {
                *turn = Turn::Taken;
                Found::Async(iterator.get_bound(py))
            }
        }
    });
    match found {
        Found::Nothing => Ok(Claim::End),
        Found::Busy => Ok(Claim::Wait),
        Found::Iterator(mut iterator) => match context::run(in_context, || iterator.next().transpose()) {
            Ok(Some(item)) => Ok(Claim::Item(item)),
            ended => {
                end(map)?;
                ended.map(|_| Claim::End)
            }
        },
        Found::Async(iterator) => {
            let next = context::run(in_context, || iterator.call_method0(names::__anext__(py)));
            if next.is_err() {
                close_turn(map)?;
            }
            next.map(Claim::Pull)
        }
    }
}

/// An asynchronous iterator has answered: with an item, or nothing if there are no more.
pub(super) fn pulled<'py>(
    map: &Bound<'py, AsyncMap>,
    answer: PyResult<Object<'py>>,
) -> PyResult<Option<Object<'py>>> {
    let py = map.py();
    match answer {
        Ok(item) => {
            // Who begins with the item sees to it that somebody takes the next.
            give_turn(map, Turn::Free);
            Ok(Some(item))
        }
        Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => {
            errors::swallow(error);
            end(map)?;
            Ok(None)
        }
        Err(error) => {
            close_turn(map)?;
            Err(error)
        }
    }
}

/// There are no more items: workers that wait for one end.
fn end(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    let source = map.value().state.with(py, |state| std::mem::replace(&mut state.source, Source::Ended));
    drop(source);
    map.value().idle.wake_all(&py.None().into_bound(py))
}

fn give_turn(map: &Bound<'_, AsyncMap>, to: Turn) {
    map.value().state.with(map.py(), |state| {
        if let Source::Async { turn, .. } = &mut state.source {
            *turn = to;
        }
    });
}

/// The source has failed: workers that wait for it end.
fn close_turn(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    give_turn(map, Turn::Nobody);
    map.value().idle.wake_all(&map.py().None().into_bound(map.py()))
}

/// Something that workers wait for is free: the first of them looks for itself.
#[inline]
pub(super) fn wake_one(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    if map.value().idle.len(py) == 0 {
        return Ok(());
    }
    map.value().idle.wake_first(&py.None().into_bound(py)).map(drop)
}

/// The `aclose` of an asynchronous source that was left early and has one.
pub(super) fn take_close<'py>(map: &Bound<'py, AsyncMap>) -> PyResult<Option<Object<'py>>> {
    let py = map.py();
    let source = map.value().state.with(py, |state| std::mem::replace(&mut state.source, Source::Ended));
    match source {
        Source::Async { iterator, .. } => iterator.bind(py).getattr_opt(names::aclose(py)),
        Source::Iterator(_) | Source::Ended => Ok(None),
    }
}
