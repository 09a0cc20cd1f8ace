//! What holds the items: a `collections.deque` or a list, or what a subclass puts in its place.
//!
//! Programs reach into `_queue`, so it is the real thing. For exact deques and lists the methods are called
//! without looking them up.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use super::class::Queue;
use super::delay::Delays;
use super::heap;
use super::overridden::Overridden;
use crate::cpython::{Deques, Native, Object, Owned, call};
use crate::names;

/// Which item comes out first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fifo,
    Lifo,
    Priority,
}

/// The methods of exact deques.
#[inline]
pub(super) fn deques(py: Python<'_>) -> PyResult<&Deques> {
    static DEQUES: PyOnceLock<Deques> = PyOnceLock::new();
    DEQUES.get_or_try_init(py, || Deques::find(names::deque(py)?))
}

/// `list.pop`.
fn list_pop(py: Python<'_>) -> PyResult<&Object<'_>> {
    static LIST_POP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let pop = || Ok::<_, PyErr>(py.get_type::<PyList>().getattr(names::pop(py))?.unbind());
    Ok(LIST_POP.get_or_try_init(py, pop)?.bind(py))
}

/// `_init`: an empty storage.
pub(super) fn init(queue: &Bound<'_, Queue>) -> PyResult<()> {
    let py = queue.py();
    let storage = match queue.value().kind {
        Kind::Fifo => call::no_args(names::deque(py)?)?,
        Kind::Lifo | Kind::Priority => PyList::empty(py).into_any(),
    };
    let storage = Owned::from(storage);
    drop(queue.value().state.with(py, |state| state.storage.replace(storage)));
    Ok(())
}

/// `_queue`.
#[inline]
pub(super) fn storage<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let py = queue.py();
    let storage = queue.value().state.with(py, |state| state.storage.as_ref().map(|it| it.get_bound(py)));
    storage.ok_or_else(|| has_no_attribute(queue, "_queue"))
}

#[cold]
pub(super) fn has_no_attribute(queue: &Bound<'_, Queue>, name: &str) -> PyErr {
    let class = queue.get_type();
    match class.name() {
        Ok(class) => PyAttributeError::new_err(format!("'{class}' object has no attribute '{name}'")),
        Err(error) => error,
    }
}

/// How many items are stored, promised ones too.
#[inline]
pub(super) fn len(queue: &Bound<'_, Queue>) -> PyResult<usize> {
    let overridden = overridden(queue);
    len_by(queue, overridden)
}

/// As `len`, where it is known what is overridden.
#[inline]
pub(super) fn len_by(queue: &Bound<'_, Queue>, overridden: Overridden) -> PyResult<usize> {
    if overridden.has(Overridden::STORED) {
        return queue.call_method0(names::_qsize(queue.py()))?.extract();
    }
    storage(queue)?.len()
}

/// Stores an item, by the subclass's method if there is one.
#[inline]
pub(super) fn put<'py>(
    queue: &Bound<'py, Queue>,
    item: &Object<'py>,
    overridden: Overridden,
) -> PyResult<()> {
    if overridden.has(Overridden::PUT) {
        return queue.call_method1(names::_put(queue.py()), (item,)).map(drop);
    }
    put_native(queue, item)?;
    queue.value().state.with(queue.py(), |state| state.delays.as_mut().map(Delays::stored));
    Ok(())
}

/// Takes the next item out, by the subclass's method if there is one.
#[inline]
pub(super) fn get<'py>(queue: &Bound<'py, Queue>, overridden: Overridden) -> PyResult<Object<'py>> {
    if overridden.has(Overridden::GET) {
        return queue.call_method0(names::_get(queue.py()));
    }
    let item = get_native(queue)?;
    queue.value().state.with(queue.py(), |state| state.delays.as_mut().map(Delays::taken));
    Ok(item)
}

/// `_put`.
#[inline]
pub(super) fn put_native<'py>(queue: &Bound<'py, Queue>, item: &Object<'py>) -> PyResult<()> {
    let py = queue.py();
    let storage = storage(queue)?;
    match queue.value().kind {
        Kind::Priority => return heap::push(&storage, item),
        Kind::Fifo => {
            if let Some(deque) = deques(py)?.exact(&storage) {
                return deque.append(item);
            }
        }
        Kind::Lifo => {
            if let Ok(list) = storage.cast_exact::<PyList>() {
                return list.append(item);
            }
        }
    }
    storage.call_method1(names::append(py), (item,)).map(drop)
}

/// `_get`.
#[inline]
pub(super) fn get_native<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    let py = queue.py();
    let storage = storage(queue)?;
    match queue.value().kind {
        Kind::Priority => heap::pop(&storage),
        Kind::Fifo => match deques(py)?.exact(&storage) {
            Some(deque) => deque.popleft(),
            None => storage.call_method0(names::popleft(py)),
        },
        Kind::Lifo if storage.is_exact_instance_of::<PyList>() => call::one_arg(list_pop(py)?, &storage),
        Kind::Lifo => storage.call_method0(names::pop(py)),
    }
}

/// Takes out the item that was put first.
pub(super) fn remove_oldest<'py>(queue: &Bound<'py, Queue>) -> PyResult<Object<'py>> {
    match queue.value().kind {
        Kind::Fifo => get(queue, overridden(queue)),
        Kind::Lifo => storage(queue)?.call_method1(names::pop(queue.py()), (0,)),
        Kind::Priority => unreachable!("Overflow::check refuses such queues"),
    }
}

#[inline]
pub(super) fn overridden(queue: &Bound<'_, Queue>) -> Overridden {
    queue.value().state.with(queue.py(), |state| state.overridden)
}

#[inline]
pub(super) fn overrides(queue: &Bound<'_, Queue>, method: Overridden) -> bool {
    overridden(queue).has(method)
}
