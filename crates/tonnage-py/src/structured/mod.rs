//! Structured concurrency: those who start others, and wait for them.
//!
//! A parent (a group, a gather, …) is told by each child of ours at the moment that the child ends, by
//! pointer: the child keeps the parent and a key under which the parent knows the child. Children of
//! another kind, and children that had ended before, report through an ordinary callback (`ChildDone`).
//! Here is the second cycle of the crate: futures tell parents, and parents wait for futures. Its hinge is
//! `child_done`.

mod child_done;
mod errors;
mod parent;
mod sleep;
mod timeout;

use pyo3::prelude::*;

pub(crate) use child_done::ChildDone;
pub(crate) use sleep::SleepCoroutine;
pub(crate) use timeout::{Timeout, expire};

use crate::cpython::{Object, add_function};
use crate::future::Future;

/// Adds the functions to the module.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(module, c"sleep", c"Let others run for `delay` seconds, then return `result`.", sleep::sleep)?;
    add_function(
        module,
        c"timeout",
        c"Cancel the block after `delay` seconds, and raise TimeoutError; None is never.",
        timeout::timeout,
    )?;
    add_function(
        module,
        c"timeout_at",
        c"Cancel the block at the loop's time `when`, and raise TimeoutError; None is never.",
        timeout::timeout_at,
    )
}

/// Tells `parent` that the child it knows by `key` is done.
pub(crate) fn child_done(parent: &Object<'_>, key: u32, child: &Bound<'_, Future>) -> PyResult<()> {
    child_of_any_kind_done(parent, key, child.as_any())
}

/// As `child_done`, for a future of any implementation.
fn child_of_any_kind_done(parent: &Object<'_>, _key: u32, _child: &Object<'_>) -> PyResult<()> {
    unreachable!("only parents are registered as such, got {}", parent.get_type())
}

/// The task that waits for what `parent` waits for, for the call graph.
pub(crate) fn waiting_task<'py>(_parent: &Object<'py>) -> Option<Object<'py>> {
    None
}
