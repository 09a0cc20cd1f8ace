//! The function amap and the class AsyncMap, as Python sees them.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::collect::Collect;
use super::{AsyncMap, Job, Phase, Plan, State, source, stream, used_up};
use crate::coroutine::Coroutine;
use crate::cpython::native_class::create;
use crate::cpython::{Args, Native, NativeClass, Object, Parameters, Slots, Visit, context};
use crate::structured::limit::{Limit, count, limit};
use crate::structured::wake_timer::timeout_s;

/// `amap(func, items, /, *, limit, ordered=True, buffersize=None, timeout=None, return_exceptions=False)`.
pub(crate) fn amap<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<7> = Parameters {
        function: "amap",
        names: ["func", "items", "limit", "ordered", "buffersize", "timeout", "return_exceptions"],
        positional: 2,
        required: 3,
    };
    let py = args.py();
    let [function, items, given, ordered, buffersize, timeout, return_exceptions] =
        args.parse(&PARAMETERS)?;
    let function = function.expect("required");
    if !function.is_callable() {
        let text = format!("amap() needs a function, got {}", function.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    let items = items.expect("required");
    source::check(&items)?;
    let (limit, door) = match limit(given.as_ref())? {
        Some(Limit::Count(limit)) => (limit, None),
        // The map asks the limiters when it begins.
        Some(Limit::Door(door)) => (1, Some(door)),
        None => return Err(PyTypeError::new_err("amap() needs a limit, got None")),
    };
    let job = Job {
        function: function.into(),
        context: context::copy_current(py)?.into(),
        door,
        timeout_s: timeout_s(timeout.as_ref())?,
        return_exceptions: return_exceptions.map_or(Ok(false), |given| given.is_truthy())?,
        pairs: 0,
    };
    let plan = Plan {
        job,
        items: items.into(),
        limit,
        ordered: ordered.map_or(Ok(true), |given| given.is_truthy())?,
        buffersize: size(buffersize.as_ref())?,
    };
    Ok(create(py, AsyncMap::new(plan))?.into_any())
}

/// The argument `buffersize`, if it was given.
fn size(given: Option<&Object<'_>>) -> PyResult<Option<usize>> {
    given.filter(|given| !given.is_none()).map(|given| count("buffersize", given, 0)).transpose()
}

impl NativeClass for AsyncMap {
    const NAME: &'static CStr = c"tonnage.AsyncMap";
    const DOC: &'static CStr =
        c"What amap() returns: await it for a list, or enter it to have the results as they come.";
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.class_getitem();
        slots.repr(repr);
        slots.awaited_by(|map| Coroutine::create(map.py(), Collect::<false>::new(map)));
        slots.async_iterable(|_| {
            Err(PyTypeError::new_err(
                "amap() cannot be iterated by itself, as nobody would wait for its workers; use 'async with \
                 amap(...) as results: async for result in results', or await it",
            ))
        });
        slots.block(
            (c"Start the workers, and return their results.", stream::enter),
            (c"Cancel the workers, and wait for them.", stream::leave_block),
        );
        slots.no_args(c"pairs", c"Return a map whose results are pairs of an item and its result.", pairs);
        slots.no_args(c"drain", c"Run to the end, keep no result, and return the number of items.", |map| {
            Coroutine::create(map.py(), Collect::<true>::new(map))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.state.traverse(0, |state| state.traverse(visit));
        match (shown, self.idle.traverse(visit)) {
            (0, 0) => self.waiting.traverse(visit),
            (0, shown) | (shown, _) => shown,
        }
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::new(None))));
        self.idle.clear(py);
        self.waiting.clear(py);
    }
}

impl State {
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let of_plan = self.plan.as_ref().map_or(0, |plan| match plan.job.traverse(visit) {
            0 => visit.call(&plan.items),
            shown => shown,
        });
        let of_scope = self.scope.as_ref().map_or(0, |scope| match scope.parent.traverse(visit) {
            0 => visit.call(&scope.event_loop),
            shown => shown,
        });
        let all = [
            of_plan,
            of_scope,
            self.source.traverse(visit),
            self.results.traverse(visit),
            self.crew.traverse(visit),
            self.asking.traverse(visit),
            self.trouble.traverse(visit),
        ];
        all.into_iter().find(|shown| *shown != 0).unwrap_or(0)
    }
}

fn repr<'py>(map: &Bound<'py, AsyncMap>) -> PyResult<Object<'py>> {
    let py = map.py();
    let (phase, function) = map
        .value()
        .state
        .with(py, |state| (state.phase, state.plan.as_ref().map(|plan| plan.job.function.get_bound(py))));
    let of = function.map(|function| function.repr()).transpose()?;
    let of = of.map_or_else(String::new, |of| format!(" of {of}"));
    let state = match phase {
        Phase::Created => "created",
        Phase::Running => "running",
        Phase::Failed => "failed",
        Phase::Leaving => "leaving",
        Phase::Left => "used",
    };
    Ok(PyString::new(py, &format!("<AsyncMap{of} {state}>")).into_any())
}

/// `map.pairs()`: what was to be done goes over to the new one.
fn pairs<'py>(map: &Bound<'py, AsyncMap>) -> PyResult<Object<'py>> {
    let py = map.py();
    let plan = map.value().state.with(py, |state| {
        let plan = if state.phase == Phase::Created { state.plan.take() } else { None };
        if plan.is_some() {
            state.phase = Phase::Left;
        }
        plan
    });
    let mut plan = plan.ok_or_else(used_up)?;
    plan.job.pairs += 1;
    Ok(create(py, AsyncMap::new(plan))?.into_any())
}
