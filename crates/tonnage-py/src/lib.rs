//! The extension module `tonnage._tonnage`: asyncio's meaning, on the mechanisms of `tonnage-core`.
//!
//! Dependencies point one way: cpython, names, errors → future → task → event_loop → structured, sync, limits,
//! transports, sock → here. Two cycles are real: a task schedules itself, and the loop steps tasks (the hinge is
//! `event_loop::Ready`); a future tells its parent, and parents wait for futures (`structured::child_done`).

mod coroutine;
mod coroutine_iter;
mod cpython;
mod enter;
mod errors;
mod event_loop;
mod future;
mod immediate;
mod limits;
mod names;
mod running;
mod scratch;
mod sock;
mod structured;
mod sync;
mod task;
mod transports;
mod waiter;

use std::collections::HashMap;

use pyo3::prelude::*;

/// Return how many objects of each class are alive; an empty dict in release builds.
#[pyfunction]
fn _live_objects() -> HashMap<&'static str, isize> {
    cpython::live_objects().into_iter().collect()
}

// `Guarded` and the reference counts of `Owned` rest on the lock, so a free-threaded CPython must switch it on.
#[pymodule(gil_used = true)]
fn _tonnage(module: &Bound<'_, PyModule>) -> PyResult<()> {
    cpython::interpreter::claim(module.py())?;
    // asyncio's own classes, before anybody can put ours in their place.
    names::keep_asyncio_classes(module.py())?;
    cpython::add_classes(module)?;
    module.add_class::<event_loop::EventLoop>()?;
    module.add_class::<sync::QueueStats>()?;
    module.add_class::<limits::LimiterStats>()?;
    module.add_function(wrap_pyfunction!(future::awaited_by::future_add_to_awaited_by, module)?)?;
    module.add_function(wrap_pyfunction!(future::awaited_by::future_discard_from_awaited_by, module)?)?;
    module.add_function(wrap_pyfunction!(_live_objects, module)?)?;
    cpython::add_methods::<event_loop::EventLoop>(module.py(), event_loop::methods)?;
    cpython::add_methods::<event_loop::EventLoop>(module.py(), sock::methods)?;
    structured::add_functions(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("BUILD_PROFILE", if cfg!(debug_assertions) { "debug" } else { "release" })
}
