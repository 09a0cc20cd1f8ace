//! shield: wait for a future without handing a cancel on to it.
//!
//! Two futures tell each other: the inner one the outer, which then ends alike; and the outer one the inner,
//! which then stops telling it, so that nothing is left in a future that outlives many shields.

use pyo3::prelude::*;

use super::{call_graph, child_done, ensure_future};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Native, Object, Parameters};
use crate::event_loop::EventLoop;
use crate::future::{self, Ended, Future, Outcome};
use crate::running;

/// The key by which the outer future tells the inner one. No parent has so many children.
pub(super) const OUTER: u32 = u32::MAX;
/// The key by which the inner future tells the outer one.
pub(super) const INNER: u32 = u32::MAX - 1;

/// `asyncio.shield(arg)`.
pub(super) fn shield<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "shield", names: ["arg"], positional: 1, required: 1 };
    let py = args.py();
    let [object] = args.parse(&PARAMETERS)?;
    let inner = ensure_future::future_of(&object.expect("required"), None)?;
    if future::is_done(&inner)? {
        return Ok(inner);
    }
    let event_loop = future::loop_of(&inner)?;
    let outer = match event_loop.cast::<EventLoop>() {
        Ok(native) => future::create_native(native)?,
        Err(_) => {
            let outer = create(py, Future::empty())?;
            outer.value().initialise(py, Some(event_loop.clone()), &outer.get_type())?;
            outer
        }
    };
    if !future::is_ours(&inner)
        && call_graph::is_kept_by_asyncio()
        && let Some(caller) = running::task(&event_loop)?
    {
        // The outer future remembers whom to take back.
        future::awaited_by::future_add_to_awaited_by(outer.as_any(), &caller)?;
        call_graph::declare(&inner, Some(&caller))?;
    }
    child_done::watch(&inner, outer.as_any(), INNER)?;
    child_done::watch(outer.as_any(), &inner, OUTER)?;
    Ok(outer.into_any())
}

/// The inner future has ended: the outer one ends alike, unless it did before.
pub(super) fn inner_done(outer: &Bound<'_, Future>, inner: &Object<'_>) -> PyResult<()> {
    let py = outer.py();
    if !outer.value().is_pending(py) {
        return Ok(());
    }
    withdraw(outer, inner)?;
    match future::ended(inner)? {
        Ended::Cancelled => future::cancel(outer, None),
        Ended::Exception(exception) => future::set_exception(outer, &exception),
        Ended::Result(value) => future::settle(outer, Outcome::Result(value.into())),
    }
    .map(drop)
}

/// The outer future has ended: the inner one goes on alone.
pub(super) fn outer_done(inner: &Object<'_>, outer: &Object<'_>) -> PyResult<()> {
    if future::is_done(inner)? {
        return Ok(());
    }
    withdraw(outer.cast()?, inner)?;
    child_done::unwatch(inner, outer, INNER)
}

fn withdraw(outer: &Bound<'_, Future>, inner: &Object<'_>) -> PyResult<()> {
    if !future::is_ours(inner) {
        for caller in future::awaited_by::declared_tasks(outer) {
            call_graph::withdraw(inner, Some(&caller))?;
        }
    }
    Ok(())
}
