//! amap: a function called with each item of a source, a bounded number of them at a time.
//!
//! The workers, a task each, share one source: who has a free slot takes the next item and awaits the function's
//! awaitable itself, in a context of the item's own. There is no task for each item, and no item is taken that
//! cannot be begun at once. Invariants: the source is advanced by one worker at a time; a worker begins an item
//! only if there is room for its result; whoever waits for the map waits until each worker has ended, and the
//! source is closed; what fails ends the map, and leaves it once.

mod class;
mod collect;
mod crew;
mod ending;
mod permits;
mod results;
mod source;
mod stream;
mod worker;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

pub(crate) use class::amap;
pub(crate) use collect::{CollectCoroutine, DrainCoroutine};
pub(crate) use crew::worker_done;
pub(crate) use permits::door_opened;
pub(crate) use stream::{BeginCoroutine, LeaveCoroutine, MapResults, NextMappedCoroutine};
pub(crate) use worker::WorkerCoroutine;

use super::parent::Parent;
use crate::cpython::{Extras, Guarded, Native, Object, Owned, context};
use crate::limits::Door;
use crate::running;
use crate::sync::line::Line;
use crew::Crew;
use ending::Trouble;
use permits::Asking;
use results::{Purpose, Results};
use source::Source;

#[repr(C)]
pub(crate) struct AsyncMap {
    pub(crate) extras: Extras,
    state: Guarded<State>,
    /// Workers that wait for the source, or for room for a result.
    idle: Line,
    /// Those who wait for a result, or for the end of the workers.
    waiting: Line,
}

struct State {
    phase: Phase,
    /// Nothing once the map is used up.
    plan: Option<Plan>,
    scope: Option<Scope>,
    source: Source,
    /// How many items were taken from the source.
    taken: usize,
    results: Results,
    crew: Crew,
    /// The ask for an item that was taken.
    asking: Asking,
    trouble: Trouble,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    /// Something has failed: no item is begun any more, and those that run were cancelled.
    Failed,
    /// The caller has enough: as above.
    Leaving,
    /// Used up.
    Left,
}

/// What the caller asked for.
struct Plan {
    job: Job,
    items: Owned,
    /// With limiters, what they lend at this moment.
    limit: usize,
    ordered: bool,
    /// How many results may wait for the consumer, beyond those that the workers hold; else as many as the limit.
    buffersize: Option<usize>,
}

/// What is done with each item.
struct Job {
    function: Owned,
    /// That of the caller; the source runs in it, and each item in a copy.
    context: Owned,
    /// With limiters: by which they are asked for each item.
    door: Option<Owned<Door>>,
    timeout_s: Option<f64>,
    return_exceptions: bool,
    /// How often the result is paired with its item.
    pairs: u32,
}

/// Where the map runs.
struct Scope {
    event_loop: Owned,
    /// The task that waits for it.
    parent: Parent,
}

impl Job {
    fn share(&self, py: Python<'_>) -> Self {
        let Self { function, context, door, timeout_s, return_exceptions, pairs } = self;
        Self {
            function: function.share(py),
            context: context.share(py),
            door: door.as_ref().map(|door| door.share(py)),
            timeout_s: *timeout_s,
            return_exceptions: *return_exceptions,
            pairs: *pairs,
        }
    }
}

impl State {
    fn new(plan: Option<Plan>) -> Self {
        Self {
            phase: if plan.is_some() { Phase::Created } else { Phase::Left },
            plan,
            scope: None,
            source: Source::Ended,
            taken: 0,
            results: Results::new(Purpose::Count, false),
            crew: Crew::new(),
            asking: Asking::default(),
            trouble: Trouble::default(),
        }
    }
}

impl AsyncMap {
    fn new(plan: Plan) -> Self {
        Self {
            extras: Extras::new(),
            state: Guarded::new(State::new(Some(plan))),
            idle: Line::new(),
            waiting: Line::new(),
        }
    }

    /// The loop of a map that was begun, and is not used up.
    fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        let found =
            self.state.with(py, |state| state.scope.as_ref().map(|scope| scope.event_loop.get_bound(py)));
        found.ok_or_else(used_up)
    }

    /// The context in which the source runs.
    fn context<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.plan.as_ref().map(|plan| plan.job.context.get_bound(py)))
    }

    fn phase(&self, py: Python<'_>) -> Phase {
        self.state.with(py, |state| state.phase)
    }

    /// Have all workers ended? Only the caller's task asks, which starts the first of them.
    fn is_quiet(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.crew.is_empty())
    }
}

/// The task that waits for the map, for the call graph.
pub(super) fn parent_task<'py>(map: &Bound<'py, AsyncMap>) -> Option<Object<'py>> {
    let py = map.py();
    map.value().state.with(py, |state| state.scope.as_ref().map(|scope| scope.parent.task(py)))
}

#[cold]
fn used_up() -> PyErr {
    PyRuntimeError::new_err("this AsyncMap was used before; each is good for one use, so call amap() again")
}

/// Opens the source, and starts the first worker.
fn begin(map: &Bound<'_, AsyncMap>, purpose: Purpose) -> PyResult<()> {
    let py = map.py();
    let event_loop = running::event_loop(py)?;
    let Some(parent) = Parent::current(&event_loop)? else {
        return Err(PyRuntimeError::new_err(
            "amap() must be used inside a task, which waits for its workers",
        ));
    };
    let scope = Scope { event_loop: event_loop.into(), parent };
    let opened = map.value().state.with(py, |state| {
        let Some(plan) = state.plan.as_ref().filter(|_| state.phase == Phase::Created) else {
            return Err((used_up(), scope));
        };
        state.phase = Phase::Running;
        state.results = Results::new(purpose.with_room(plan.room()), plan.ordered);
        state.scope = Some(scope);
        let door = plan.job.door.as_ref().map(|door| door.get_bound(py));
        Ok((plan.items.get_bound(py), plan.job.context.get_bound(py), door))
    });
    let (items, in_context, door) = opened.map_err(|(error, scope)| {
        drop(scope);
        error
    })?;
    let begun = context::run(&in_context, || Source::open(&items)).and_then(|source| {
        map.value().state.with(py, |state| state.source = source);
        door.map_or(Ok(()), |door| permits::follow(map, &door))?;
        crew::start(map)
    });
    if begun.is_err() {
        drop(leave(map));
    }
    begun
}

/// Lets go of all that the map holds: it is used up.
fn leave(map: &Bound<'_, AsyncMap>) -> State {
    map.value().state.with(map.py(), |state| std::mem::replace(state, State::new(None)))
}
