//! `async with amap(...) as results`: the results as they come, and the end of the block.

use std::ffi::CStr;

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;

use super::ending::{Ending, Leaving, verdict};
use super::results::Purpose;
use super::{AsyncMap, Phase, begin, crew, leave, source};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::enter::error_of_block;
use crate::sync::line::Place;
use crate::waiter::Waiter;

pub(crate) type BeginCoroutine = Coroutine<Begin>;
pub(crate) type NextMappedCoroutine = Coroutine<NextMapped>;
pub(crate) type LeaveCoroutine = Coroutine<Leave>;

/// What the block iterates over.
pub(crate) struct MapResults {
    map: Guarded<Option<Owned<AsyncMap>>>,
}

pub(crate) struct Begin {
    map: Owned<AsyncMap>,
}

/// `map.__aenter__()`.
pub(super) fn enter<'py>(map: &Bound<'py, AsyncMap>) -> PyResult<Object<'py>> {
    Coroutine::create(map.py(), Begin { map: map.into() })
}

impl Body for Begin {
    const QUALNAME: &'static str = "AsyncMap.__aenter__";

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        awaited?;
        let results = create(py, MapResults { map: Guarded::new(Some(self.map.share(py))) })?;
        begin(self.map.bind(py), Purpose::Stream { room: 0 })?;
        Ok(Next::Return(results.into_any()))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.map)
    }
}

impl NativeClass for MapResults {
    const NAME: &'static CStr = c"tonnage._tonnage.map_results";
    const DOC: &'static CStr = c"The results of amap(), as they come.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.async_iterator(|results| {
            let py = results.py();
            let map = results.value().map.with(py, |map| map.as_ref().map(|map| map.share(py)));
            let map = map.ok_or_else(left)?;
            Coroutine::create(py, NextMapped { map, place: None })
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.map.traverse(0, |map| visit.option(map.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.map.with(py, Option::take));
    }
}

/// One step of the loop over the results.
pub(crate) struct NextMapped {
    map: Owned<AsyncMap>,
    place: Option<Place>,
}

impl Body for NextMapped {
    const QUALNAME: &'static str = "AsyncMap.__anext__";

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        take(self.map.bind(py))
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let map = self.map.get_bound(py);
        if let Some(place) = self.place.take() {
            map.value().waiting.leave(py, &place)?;
        }
        if let Err(error) = awaited {
            // Who was woken and is cancelled in the same turn leaves the result to the next.
            if map.value().state.with(py, |state| state.results.has_next()) {
                wake_consumer(&map)?;
            }
            return Err(error);
        }
        if let Some(result) = take(&map)? {
            return Ok(Next::Return(result));
        }
        if matches!(map.value().phase(py), Phase::Leaving | Phase::Left) {
            return Err(left());
        }
        if map.value().is_quiet(py) {
            fail(&map)?;
            return Err(PyStopAsyncIteration::new_err(()));
        }
        let waiter = Waiter::create(&map.value().event_loop(py)?)?;
        let (place, next) = map.value().waiting.join(py, waiter);
        self.place = Some(place);
        Ok(next)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self.place.as_ref().map_or(0, |place| place.traverse(visit)) {
            0 => visit.call(&self.map),
            shown => shown,
        }
    }
}

#[cold]
fn left() -> PyErr {
    PyRuntimeError::new_err("the block of this amap() was left, which has ended its workers")
}

/// Takes the next result, if it is there, and so makes room for another one.
#[inline]
fn take<'py>(map: &Bound<'py, AsyncMap>) -> PyResult<Option<Object<'py>>> {
    let py = map.py();
    let (result, has_next) =
        map.value().state.with(py, |state| (state.results.take(), state.results.has_next()));
    let Some(result) = result else { return Ok(None) };
    let result = result.into_bound(py);
    source::wake_one(map)?;
    if has_next {
        // In order, one result may have let several through, and another consumer waits.
        wake_consumer(map)?;
    }
    Ok(Some(result))
}

/// Lets the first of those who wait look for a result.
pub(super) fn wake_consumer(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    if map.value().waiting.len(py) == 0 {
        return Ok(());
    }
    map.value().waiting.wake_first(&py.None().into_bound(py)).map(drop)
}

/// There will be no more results: raises what has failed, if anything has.
fn fail(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    let (trouble, parent) = map.value().state.with(py, |state| {
        let parent = state.scope.as_ref().map(|scope| scope.parent.share(py));
        (std::mem::take(&mut state.trouble), parent)
    });
    verdict(py, trouble, parent.as_ref(), Leaving::default())
}

pub(crate) struct Leave {
    ending: Ending,
}

/// `map.__aexit__(exc_type, exc_val, exc_tb)`.
pub(super) fn leave_block<'py>(map: &Bound<'py, AsyncMap>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let error = error_of_block(&args)?;
    match map.value().phase(py) {
        Phase::Running | Phase::Failed => {}
        Phase::Created => return Err(PyRuntimeError::new_err("the block of amap() was not entered")),
        Phase::Leaving | Phase::Left => return Err(left()),
    }
    crew::stop(map, Phase::Leaving);
    let error = if error.is_none() { None } else { Some(error.into()) };
    Coroutine::create(py, Leave { ending: Ending::new(map, error) })
}

impl Body for Leave {
    const QUALNAME: &'static str = "AsyncMap.__aexit__";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let map = self.ending.map.get_bound(py);
        if let Some(next) = self.ending.resume(py, awaited)? {
            return Ok(next);
        }
        let state = leave(&map);
        map.value().waiting.wake_all(&py.None().into_bound(py))?;
        let parent = state.scope.as_ref().map(|scope| &scope.parent);
        verdict(py, state.trouble, parent, std::mem::take(&mut self.ending.leaving))?;
        Ok(Next::none(py))
    }

    fn context(&self) -> Option<&Owned> {
        self.ending.context()
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.ending.traverse(visit)
    }
}
