//! One worker: takes an item, awaits what the function makes of it, and begins anew.
//!
//! What an item must not fail with leaves the worker, and so its task, which tells the map (`crew.rs`).

use pyo3::exceptions::{PyGeneratorExit, PyTypeError};
use pyo3::prelude::*;

use super::source::{self, Claim};
use super::{AsyncMap, Job, crew, permits};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Native, Object, Owned, Visit, call, context, coroutine};
use crate::errors;
use crate::limits::Loans;
use crate::structured::parent::Parent;
use crate::structured::timeout::{self, Timeout};
use crate::sync::line::Place;
use crate::waiter::Waiter;

pub(crate) type WorkerCoroutine = Coroutine<Worker>;

pub(crate) struct Worker {
    map: Owned<AsyncMap>,
    job: Job,
    phase: Phase,
}

enum Phase {
    /// It has not run yet, or is at work between two items.
    Free,
    /// It waits for the source, or for room.
    Idle(Place),
    /// It waits for an item.
    Pulling,
    /// It has an item, and waits for the limiters.
    Asking {
        item: Owned,
        waiter: Waiter,
    },
    Running(Item),
}

struct Item {
    index: usize,
    context: Owned,
    /// Kept only to be paired with its result.
    item: Option<Owned>,
    timeout: Option<Owned<Timeout>>,
    /// What the limiters have lent for it.
    loans: Option<Loans>,
}

/// The index of an item, its context and its timeout.
type Prepared<'py> = (usize, Object<'py>, Option<Owned<Timeout>>);

impl Worker {
    pub(super) fn new(map: &Bound<'_, AsyncMap>, job: Job) -> Self {
        Self { map: map.into(), job, phase: Phase::Free }
    }
}

impl Body for Worker {
    const QUALNAME: &'static str = "AsyncMap.worker";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        let map = self.map.get_bound(py);
        match std::mem::replace(&mut self.phase, Phase::Free) {
            Phase::Free => {
                awaited?;
                crew::begun(&map);
            }
            Phase::Idle(place) => {
                map.value().idle.leave(py, &place)?;
                awaited?;
            }
            Phase::Pulling => {
                if let Some(item) = source::pulled(&map, awaited)?
                    && let Some(next) = self.take(&map, item)?
                {
                    return Ok(next);
                }
            }
            Phase::Asking { item, waiter } => {
                if let Some(next) = self.answered(&map, (item.into_bound(py), &waiter), awaited)? {
                    return Ok(next);
                }
            }
            Phase::Running(item) => self.finish(&map, item, awaited)?,
        }
        loop {
            match source::claim(&map, self.job.context.bind(py))? {
                Claim::End => return Ok(Next::none(py)),
                Claim::Wait => return self.wait(&map),
                Claim::Pull(next) => {
                    self.phase = Phase::Pulling;
                    return Ok(Next::Await(next));
                }
                Claim::Item(item) => {
                    if let Some(next) = self.take(&map, item)? {
                        return Ok(next);
                    }
                }
            }
        }
    }

    #[inline]
    fn context(&self) -> Option<&Owned> {
        match &self.phase {
            Phase::Running(item) => Some(&item.context),
            Phase::Pulling => Some(&self.job.context),
            Phase::Free | Phase::Idle(_) | Phase::Asking { .. } => None,
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let of_phase = match &self.phase {
            Phase::Free | Phase::Pulling => 0,
            Phase::Idle(place) => place.traverse(visit),
            Phase::Asking { item, waiter } => match visit.call(item) {
                0 => waiter.traverse(visit),
                shown => shown,
            },
            Phase::Running(item) => item.traverse(visit),
        };
        match (of_phase, visit.call(&self.map)) {
            (0, 0) => self.job.traverse(visit),
            (0, shown) | (shown, _) => shown,
        }
    }
}

impl Worker {
    fn wait<'py>(&mut self, map: &Bound<'py, AsyncMap>) -> PyResult<Next<'py>> {
        let py = map.py();
        let waiter = Waiter::create(&map.value().event_loop(py)?)?;
        let (place, next) = map.value().idle.join(py, waiter);
        self.phase = Phase::Idle(place);
        Ok(next)
    }

    /// An item was taken. With limiters it begins when it has a permit of each.
    #[inline]
    fn take<'py>(&mut self, map: &Bound<'py, AsyncMap>, item: Object<'py>) -> PyResult<Option<Next<'py>>> {
        let py = map.py();
        let Some(door) = &self.job.door else { return self.begin(map, item) };
        match permits::ask(map, door.bind(py)) {
            Ok(None) => self.begin(map, item),
            Ok(Some(waiter)) => {
                let next = waiter.wait(py);
                self.phase = Phase::Asking { item: item.into(), waiter };
                Ok(Some(next))
            }
            Err(error) => self.end_refused(map, item, error).map(|()| None),
        }
    }

    /// The wait for the limiters has ended.
    fn answered<'py>(
        &mut self,
        map: &Bound<'py, AsyncMap>,
        (item, waiter): (Object<'py>, &Waiter),
        awaited: PyResult<Object<'py>>,
    ) -> PyResult<Option<Next<'py>>> {
        let door = self.job.door.as_ref().expect("who has asked has a door").get_bound(map.py());
        match permits::end_ask(map, &door, waiter, awaited)? {
            Ok(()) => self.begin(map, item),
            Err(error) => self.end_refused(map, item, error).map(|()| None),
        }
    }

    /// Begins with an item that was taken; nothing if it has ended already.
    #[inline]
    fn begin<'py>(&mut self, map: &Bound<'py, AsyncMap>, item: Object<'py>) -> PyResult<Option<Next<'py>>> {
        let py = map.py();
        let loans = self.job.door.as_ref().map(|door| permits::lend(map, door.bind(py)));
        let (index, of_item, timeout) = match self.prepare(map) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return self.release(py, loans, &Err(errors::cancelled(py, None))).map(|()| None),
            Err(error) => {
                let outcome = Err(error);
                self.release(py, loans, &outcome)?;
                return outcome.map(|_| None);
            }
        };
        let begun = context::run(&of_item, || self.call(&item));
        let item = self.item((index, item), of_item, (timeout, loans));
        match begun {
            Ok(awaitable) => {
                self.phase = Phase::Running(item);
                Ok(Some(Next::Await(awaitable)))
            }
            Err(error) => {
                self.finish(map, item, Err(error))?;
                Ok(None)
            }
        }
    }

    /// What an item needs before it begins; nothing if the map has stopped meanwhile.
    #[inline]
    fn prepare<'py>(&self, map: &Bound<'py, AsyncMap>) -> PyResult<Option<Prepared<'py>>> {
        let py = map.py();
        let Some(index) = crew::begin_item(map, &self.job)? else { return Ok(None) };
        let of_item = context::copy(self.job.context.bind(py))?;
        let timeout = match self.job.timeout_s {
            None => None,
            Some(timeout_s) => Some(timeout::begin(py, timeout_s)?.into()),
        };
        Ok(Some((index, of_item, timeout)))
    }

    /// Ends an item that a limiter refuses, with its error.
    fn end_refused<'py>(&self, map: &Bound<'py, AsyncMap>, item: Object<'py>, error: PyErr) -> PyResult<()> {
        let Some(index) = crew::begin_item(map, &self.job)? else { return Ok(()) };
        let of_item = self.job.context.get_bound(map.py());
        self.finish(map, self.item((index, item), of_item, (None, None)), Err(error))
    }

    #[inline]
    fn item<'py>(
        &self,
        (index, item): (usize, Object<'py>),
        of_item: Object<'py>,
        (timeout, loans): (Option<Owned<Timeout>>, Option<Loans>),
    ) -> Item {
        let item = if self.job.pairs > 0 { Some(item.into()) } else { None };
        Item { index, context: of_item.into(), item, timeout, loans }
    }

    /// Gives back what the limiters have lent for an item that has ended in this way.
    #[inline]
    fn release(&self, py: Python<'_>, loans: Option<Loans>, outcome: &PyResult<Object<'_>>) -> PyResult<()> {
        match (loans, &self.job.door) {
            (Some(loans), Some(door)) => permits::release(py, door.bind(py), &loans, outcome),
            _ => Ok(()),
        }
    }

    /// Calls the function.
    #[inline]
    fn call<'py>(&self, item: &Object<'py>) -> PyResult<Object<'py>> {
        let function = self.job.function.bind(item.py());
        let awaitable = call::one_arg(function, item)?;
        if coroutine::is_awaitable(&awaitable)? {
            return Ok(awaitable);
        }
        let kind = awaitable.get_type().name()?;
        let text = format!("amap() needs a function that returns an awaitable; {function:?} returned {kind}");
        Err(PyTypeError::new_err(text))
    }

    /// The end of an item: its result is kept, and what it failed with too, or else leaves.
    #[inline]
    fn finish<'py>(
        &self,
        map: &Bound<'py, AsyncMap>,
        item: Item,
        outcome: PyResult<Object<'py>>,
    ) -> PyResult<()> {
        let py = map.py();
        let outcome = match &item.timeout {
            None => outcome,
            Some(timeout) => timeout::end(timeout.bind(py), outcome),
        };
        let released = self.release(py, item.loans, &outcome);
        let result = match outcome {
            Ok(result) => result,
            Err(error) if self.job.return_exceptions && is_result(py, &error) => {
                errors::into_object(py, error)
            }
            Err(error) => return Err(error),
        };
        refuse_cancelled(map)?;
        let result = match item.item {
            None => result,
            Some(paired) => pair(paired.bind(py), result, self.job.pairs)?,
        };
        crew::put(map, item.index, result).and(released)
    }
}

/// `(item, result)`, as often as it was asked for.
fn pair<'py>(item: &Object<'py>, result: Object<'py>, times: u32) -> PyResult<Object<'py>> {
    (0..times).try_fold(result, |result, _| Ok((item, result).into_pyobject(item.py())?.into_any()))
}

/// Is it returned with `return_exceptions=True`? What ends tasks or programs is not.
fn is_result(py: Python<'_>, error: &PyErr) -> bool {
    !errors::is_cancelled(py, error)
        && !errors::is_exit(py, error)
        && !error.is_instance_of::<PyGeneratorExit>(py)
}

/// A cancel that came when the item had nothing more to wait for is the item's: the next one must not feel it. As
/// of a task that is cancelled right before it returns.
#[inline]
fn refuse_cancelled(map: &Bound<'_, AsyncMap>) -> PyResult<()> {
    let py = map.py();
    // Nobody waits for a map that has no loop any more.
    let Ok(event_loop) = map.value().event_loop(py) else { return Ok(()) };
    let due = match Parent::current(&event_loop)? {
        Some(worker) => worker.is_cancel_due(py)?,
        None => false,
    };
    if due { Err(errors::cancelled(py, None)) } else { Ok(()) }
}

impl Item {
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match (visit.call(&self.context), visit.option(self.item.as_deref())) {
            (0, 0) => visit.option(self.timeout.as_deref()),
            (0, shown) | (shown, _) => shown,
        }
    }
}

impl Job {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let objects = [visit.call(&self.function), visit.call(&self.context)];
        let door = self.door.as_ref().map_or(0, |door| visit.call(door));
        objects.into_iter().chain([door]).find(|shown| *shown != 0).unwrap_or(0)
    }
}
