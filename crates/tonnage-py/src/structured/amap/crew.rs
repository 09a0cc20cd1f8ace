//! The workers: how their number grows, what each tells the map, and how they are stopped.
//!
//! Whoever takes an item and leaves nobody behind that could take the next one doubles their number, up to the
//! limit. So a short source has few of them, and so has a slow one; a long one has all in a few turns of the loop.

use pyo3::prelude::*;
use tonnage_core::slab::Slab;

use super::source::{self, Source};
use super::stream;
use super::worker::Worker;
use super::{AsyncMap, Job, Phase, State, parent_task, permits};
use crate::coroutine::Coroutine;
use crate::cpython::{Native, Object, Owned, Visit};
use crate::future::{self, Ended};
use crate::structured::{call_graph, child_done, ensure_future};
use crate::{errors, names, task};

pub(super) struct Crew {
    /// Those that have not ended, at most as many as the limit.
    tasks: Slab<Owned>,
    started: usize,
    /// How many of those have not run yet.
    fresh: usize,
    /// How many are still to be started by who starts them at the moment.
    wanted: usize,
    growing: bool,
}

impl Crew {
    pub(super) const fn new() -> Self {
        Self { tasks: Slab::new(), started: 0, fresh: 0, wanted: 0, growing: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.each(self.tasks.iter())
    }
}

/// Starts the first worker.
pub(super) fn start(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    let job = map.value().state.with(py, |state| {
        state.crew.started = 1;
        state.crew.fresh = 1;
        state.plan.as_ref().map(|plan| plan.job.share(py))
    });
    start_worker(map, job.expect("a map that begins has a plan"))
}

/// A worker runs for the first time.
pub(super) fn begun(map: &Bound<'_, AsyncMap>) {
    map.value().state.with(map.py(), |state| state.crew.fresh = state.crew.fresh.saturating_sub(1));
}

/// Counts an item that was taken, and gives its index; nothing if the map has stopped meanwhile. Somebody else is
/// to take the next one: who is idle, or a new worker.
#[inline]
pub(super) fn begin_item(map: &Bound<'_, AsyncMap>, job: &Job) -> PyResult<Option<usize>> {
    let py = map.py();
    if let Some(door) = &job.door {
        permits::follow(map, door.bind(py))?;
    }
    let (index, has_next, may_grow) = map.value().state.with(py, |state| {
        let index = state.taken;
        state.taken += 1;
        if state.phase != Phase::Running {
            return (None, false, false);
        }
        let has_next = !matches!(state.source, Source::Ended) && state.results.has_room(state.taken);
        (Some(index), has_next, state.may_grow())
    });
    if has_next && map.value().idle.len(py) > 0 {
        source::wake_one(map)?;
    } else if has_next && may_grow {
        grow(map, job)?;
    }
    Ok(index)
}

impl State {
    #[inline]
    fn may_grow(&self) -> bool {
        let limit = self.plan.as_ref().map_or(0, |plan| plan.limit);
        self.crew.started < limit && self.crew.fresh == 0
    }
}

/// Doubles the number of workers.
fn grow(map: &Bound<'_, AsyncMap>, job: &Job) -> PyResult<()> {
    let py = map.py();
    let grows_already = map.value().state.with(py, |state| {
        let limit = state.plan.as_ref().map_or(0, |plan| plan.limit);
        let more = state.crew.started.min(limit.saturating_sub(state.crew.started));
        state.crew.started += more;
        state.crew.fresh += more;
        state.crew.wanted += more;
        std::mem::replace(&mut state.crew.growing, true)
    });
    if grows_already {
        // This worker was started eagerly, inside of the loop below.
        return Ok(());
    }
    let mut outcome = Ok(());
    while outcome.is_ok() && take_wanted(map) {
        outcome = start_worker(map, job.share(py));
    }
    map.value().state.with(py, |state| state.crew.growing = false);
    outcome
}

fn take_wanted(map: &Bound<'_, AsyncMap>) -> bool {
    map.value().state.with(map.py(), |state| {
        let any = state.phase == Phase::Running && !matches!(state.source, Source::Ended);
        let wanted = if any { state.crew.wanted } else { 0 };
        state.crew.wanted = wanted.saturating_sub(1);
        wanted > 0
    })
}

fn start_worker(map: &Bound<'_, AsyncMap>, job: Job) -> PyResult<()> {
    let py = map.py();
    let event_loop = map.value().event_loop(py)?;
    let worker = Coroutine::create(py, Worker::new(map, job))?;
    let task = match ensure_future::spawn_child(&event_loop, &worker) {
        Ok(task) => task,
        Err(error) => {
            worker.call_method0(names::close(py))?;
            return Err(error);
        }
    };
    let kept = Owned::from(&task);
    let (key, stopped) =
        map.value().state.with(py, |state| (state.crew.tasks.insert(kept), state.phase != Phase::Running));
    call_graph::declare(&task, parent_task(map).as_ref())?;
    child_done::watch(&task, map.as_any(), key)?;
    // It was started eagerly, and has failed.
    if stopped {
        cancel(&task);
    }
    Ok(())
}

/// Keeps the result of an item, and wakes who waits for it.
#[inline]
pub(super) fn put(map: &Bound<'_, AsyncMap>, index: usize, result: Object<'_>) -> PyResult<()> {
    let py = map.py();
    let result = Owned::from(result);
    let (not_kept, has_next) = map.value().state.with(py, |state| {
        let not_kept = state.results.put(index, result);
        (not_kept, state.results.has_next())
    });
    drop(not_kept);
    if has_next { stream::wake_consumer(map) } else { Ok(()) }
}

/// Tells the map that a worker has ended.
pub(crate) fn worker_done(map: &Bound<'_, AsyncMap>, key: u32, child: &Object<'_>) -> PyResult<()> {
    let py = map.py();
    let gone = map.value().state.with(py, |state| state.crew.tasks.remove(key));
    if gone.is_none() {
        // The map was cleared meanwhile.
        return Ok(());
    }
    call_graph::withdraw(child, parent_task(map).as_ref())?;
    match future::ended(child)? {
        Ended::Result(_) => {}
        Ended::Exception(error) => failed(map, &error),
        Ended::Cancelled => cancelled(map, child)?,
    }
    if map.value().is_quiet(py) { map.value().waiting.wake_all(&py.None().into_bound(py)) } else { Ok(()) }
}

pub(super) fn failed(map: &Bound<'_, AsyncMap>, error: &Object<'_>) {
    let py = map.py();
    let (kept, base) = (Owned::from(error), Owned::from(error));
    let is_exit = errors::is_exit_error(error);
    let refused = map.value().state.with(py, |state| {
        state.trouble.errors.push(kept);
        if is_exit && state.trouble.base_error.is_none() {
            state.trouble.base_error.replace(base)
        } else {
            Some(base)
        }
    });
    drop(refused);
    stop(map, Phase::Failed);
}

/// A worker was cancelled, and the map was not: nobody will have the result of its item.
fn cancelled(map: &Bound<'_, AsyncMap>, child: &Object<'_>) -> PyResult<()> {
    let py = map.py();
    if map.value().phase(py) != Phase::Running {
        return Ok(());
    }
    let error = Owned::from(future::make_cancelled_error(child)?);
    drop(map.value().state.with(py, |state| state.trouble.cancelled.replace(error)));
    stop(map, Phase::Failed);
    Ok(())
}

/// Begins no more items, and cancels those that run; once.
pub(super) fn stop(map: &Bound<'_, AsyncMap>, phase: Phase) {
    let py = map.py();
    let tasks: Vec<_> = map.value().state.with(py, |state| {
        let was_running = state.phase == Phase::Running;
        state.phase = phase;
        let tasks = state.crew.tasks.iter().filter(|_| was_running);
        tasks.map(|task| task.get_bound(py)).collect()
    });
    tasks.iter().for_each(cancel);
}

/// Cancels a worker. That one cannot be cancelled spares no other.
fn cancel(task: &Object<'_>) {
    let cancelled =
        future::is_done(task).and_then(|done| if done { Ok(false) } else { task::cancel_any(task, None) });
    if let Err(error) = cancelled {
        error.write_unraisable(task.py(), Some(task));
    }
}
