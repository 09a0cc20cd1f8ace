//! The running loop, and the task that runs on it.
//!
//! asyncio says which loop runs. Where asking it costs a system call (`thread_loop`), what it keeps for the loop
//! is noted with its answer, and is the proof as long as it is there. Invariant: the note is about a loop of ours
//! that has not ended its run, in the process that noted it.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::{Guarded, Object, Owned, call, thread_loop};
use crate::event_loop::EventLoop;
use crate::names;

struct Known {
    entry: Owned,
    event_loop: Owned,
}

/// One for all threads: they take turns, and few programs run more than one loop.
static KNOWN: Guarded<Option<Known>> = Guarded::new(None);

/// `asyncio.get_running_loop()`.
#[inline(always)]
pub(crate) fn event_loop(py: Python<'_>) -> PyResult<Object<'_>> {
    event_loop_or_none(py)?.ok_or_else(none_runs)
}

#[cold]
fn none_runs() -> PyErr {
    PyRuntimeError::new_err("no running event loop")
}

/// The running loop of this thread, if there is one.
#[inline(always)]
pub(crate) fn event_loop_or_none(py: Python<'_>) -> PyResult<Option<Object<'_>>> {
    let entry = thread_loop::entry(py);
    if let Some(entry) = &entry
        && let Some(event_loop) = known(entry)
    {
        return Ok(Some(event_loop));
    }
    let found = call::builtin(names::get_running_loop(py)?)?;
    if let Some(entry) = entry {
        note(entry, &found);
    }
    Ok(if found.is_none() { None } else { Some(found) })
}

#[inline]
fn known<'py>(entry: &Object<'py>) -> Option<Object<'py>> {
    let py = entry.py();
    KNOWN.with(py, |known| {
        let known = known.as_ref().filter(|known| known.entry.is(entry));
        known.map(|known| known.event_loop.get_bound(py))
    })
}

/// Only loops of ours tell when their run ends.
fn note(entry: Object<'_>, event_loop: &Object<'_>) {
    if EventLoop::of_any(event_loop).is_some_and(EventLoop::is_own_thread) {
        let known = Known { entry: entry.into(), event_loop: event_loop.into() };
        drop(KNOWN.with(event_loop.py(), |slot| slot.replace(known)));
    }
}

/// The run of the loop ends, or goes on in the parent of this process.
pub(crate) fn forget(event_loop: &Bound<'_, EventLoop>) {
    if !thread_loop::IS_KEPT {
        return;
    }
    let gone = KNOWN.with(event_loop.py(), |slot| slot.take_if(|known| known.event_loop.is(event_loop)));
    drop(gone);
}

/// `asyncio.current_task(event_loop)`.
#[inline(always)]
pub(crate) fn task<'py>(event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    if let Some(native) = EventLoop::of(event_loop)
        && let Some(task) = native.certain_task(event_loop.py())
    {
        return Ok(Some(task.into_any()));
    }
    foreign_task(event_loop)
}

/// The name is looked up in each call, as asyncio's own classes do: 3.14 keeps the tasks of `asyncio.tasks._PyTask`
/// apart, and who uses that class puts another function there.
fn foreign_task<'py>(event_loop: &Object<'py>) -> PyResult<Option<Object<'py>>> {
    let py = event_loop.py();
    let current_task = names::asyncio_tasks(py)?.getattr(names::current_task(py))?;
    let found = call::one_arg(&current_task, event_loop)?;
    Ok(if found.is_none() { None } else { Some(found) })
}
