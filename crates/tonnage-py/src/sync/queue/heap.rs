//! The heap of a PriorityQueue: heapq's, but an item whose comparison fails is not lost and not left inside.
//!
//! heapq moves items along one path between the root and a leaf, one step after each comparison. When a
//! comparison raises, the steps are undone, so that the heap is what it was. This differs from asyncio, where
//! an item that could not be put stays in the queue, and one that could not be got is lost.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::cpython::{Object, call};
use crate::names;

pub(super) fn push<'py>(storage: &Object<'py>, item: &Object<'py>) -> PyResult<()> {
    let pushed = call::two_args(names::heappush(storage.py())?, storage, item);
    if pushed.is_err()
        && let Ok(heap) = storage.cast::<PyList>()
    {
        undo_push(heap, item)?;
    }
    pushed.map(drop)
}

pub(super) fn pop<'py>(storage: &Object<'py>) -> PyResult<Object<'py>> {
    let py = storage.py();
    let Ok(heap) = storage.cast::<PyList>() else { return call::one_arg(names::heappop(py)?, storage) };
    let ends = match heap.len() {
        0 | 1 => None,
        size => Some((size, heap.get_item(0)?, heap.get_item(size - 1)?)),
    };
    let popped = call::one_arg(names::heappop(py)?, storage);
    if popped.is_err()
        && let Some((size, first, last)) = ends
    {
        undo_pop(heap, size, &first, &last)?;
    }
    popped
}

const fn parent(index: usize) -> usize {
    (index - 1) / 2
}

/// The item was appended, and has moved some steps towards the root: each it has passed stepped back.
fn undo_push<'py>(heap: &Bound<'py, PyList>, item: &Object<'py>) -> PyResult<()> {
    let Some(leaf) = heap.len().checked_sub(1) else { return Ok(()) };
    let mut place = leaf;
    let mut path = vec![place];
    while !heap.get_item(place)?.is(item) {
        if place == 0 {
            // A comparison has changed the queue itself: the item is not there any more.
            return Ok(());
        }
        place = parent(place);
        path.push(place);
    }
    for step in (1..path.len()).rev() {
        heap.set_item(path[step], heap.get_item(path[step - 1])?)?;
    }
    heap.del_item(leaf)
}

/// The last item took the place of the first, and has moved some steps away from the root.
fn undo_pop<'py>(
    heap: &Bound<'py, PyList>,
    size: usize,
    first: &Object<'py>,
    last: &Object<'py>,
) -> PyResult<()> {
    let place = heap.iter().position(|item| item.is(last));
    let Some(mut place) = place.filter(|_| heap.len() == size - 1) else {
        // A comparison has changed the queue itself: the item that was to come out joins the others.
        return heap.append(first);
    };
    while place > 0 {
        heap.set_item(place, heap.get_item(parent(place))?)?;
        place = parent(place);
    }
    heap.set_item(0, first)?;
    heap.append(last)
}
