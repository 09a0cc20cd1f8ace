//! Who awaits a future: the edges of asyncio's call graph.
//!
//! A task that waits stands among the future's callbacks already, so awaiting records nothing more.
//! Only what groups, gather and shield declare by `future_add_to_awaited_by` is kept.

use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet};

use super::{Future, callbacks};
use crate::cpython::{Native, Object, Owned, compat};

/// `asyncio.future_add_to_awaited_by(fut, waiter)`, for futures of ours too.
#[pyfunction]
#[pyo3(signature = (fut, waiter, /))]
pub(crate) fn future_add_to_awaited_by(fut: &Object<'_>, waiter: &Object<'_>) -> PyResult<()> {
    let py = fut.py();
    let Ok(future) = fut.cast::<Future>() else {
        return compat::add_to_awaited_by(py)?.map_or(Ok(()), |add| add.call1((fut, waiter)).map(drop));
    };
    match declared(future) {
        Some(set) => set.add(waiter),
        None => {
            let set = Owned::from(PySet::new(py, [waiter])?.into_any());
            drop(future.value().state.with(py, |state| state.rare().awaited_by.replace(set)));
            Ok(())
        }
    }
}

/// `asyncio.future_discard_from_awaited_by(fut, waiter)`, for futures of ours too.
#[pyfunction]
#[pyo3(signature = (fut, waiter, /))]
pub(crate) fn future_discard_from_awaited_by(fut: &Object<'_>, waiter: &Object<'_>) -> PyResult<()> {
    let py = fut.py();
    let Ok(future) = fut.cast::<Future>() else {
        return compat::discard_from_awaited_by(py)?
            .map_or(Ok(()), |discard| discard.call1((fut, waiter)).map(drop));
    };
    declared(future).map_or(Ok(()), |set| set.discard(waiter).map(drop))
}

fn declared<'py>(future: &Bound<'py, Future>) -> Option<Bound<'py, PySet>> {
    let py = future.py();
    let found = future.value().state.with(py, |state| {
        state.rare.as_ref().and_then(|rare| rare.awaited_by.as_ref().map(|set| set.get_bound(py)))
    });
    found.and_then(|set| set.cast_into().ok())
}

/// What was declared for the future, and is not derived from its callbacks.
pub(crate) fn declared_tasks<'py>(future: &Bound<'py, Future>) -> Vec<Object<'py>> {
    declared(future).map_or_else(Vec::new, |set| set.iter().collect())
}

/// The attribute `_asyncio_awaited_by`: a frozen set, or None.
pub(super) fn get<'py>(future: &Bound<'py, Future>) -> PyResult<Object<'py>> {
    let py = future.py();
    let mut all = callbacks::waiting_tasks(future)?;
    if let Some(declared) = declared(future) {
        all.extend(declared.iter());
    }
    if all.is_empty() { Ok(py.None().into_bound(py)) } else { Ok(PyFrozenSet::new(py, all)?.into_any()) }
}
