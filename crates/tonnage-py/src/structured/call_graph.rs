//! Who waits for the futures of other implementations, for asyncio's call graph.
//!
//! For a future of ours nothing is declared: among its callbacks stands the parent that it tells, which knows
//! its task. asyncio's own futures are told, from 3.14 on.

use pyo3::prelude::*;

use crate::cpython::{Object, compat};
use crate::future;

/// Does asyncio have a call graph?
pub(super) fn is_kept_by_asyncio() -> bool {
    compat::HAS_CALL_GRAPH
}

/// `asyncio.future_add_to_awaited_by(child, task)`.
#[inline]
pub(super) fn declare(child: &Object<'_>, task: Option<&Object<'_>>) -> PyResult<()> {
    match task {
        Some(task) if is_kept_by_asyncio() && !future::is_ours(child) => {
            future::awaited_by::future_add_to_awaited_by(child, task)
        }
        _ => Ok(()),
    }
}

/// `asyncio.future_discard_from_awaited_by(child, task)`.
#[inline]
pub(super) fn withdraw(child: &Object<'_>, task: Option<&Object<'_>>) -> PyResult<()> {
    match task {
        Some(task) if is_kept_by_asyncio() && !future::is_ours(child) => {
            future::awaited_by::future_discard_from_awaited_by(child, task)
        }
        _ => Ok(()),
    }
}
