//! as_completed: futures in the order in which they end.
//!
//! One object is a plain iterator and an asynchronous one. A future that has ended is handed to the first of
//! those who wait, or kept for the next. Nothing is lost when a wait is cancelled: the place among those that
//! are still to come is given back, and a future that was handed over already goes to the next.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::mem;

use pyo3::exceptions::{PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::waiters::{Ticket, Waiters};

use super::wake_timer::{WakeTimer, timeout_s};
use super::{call_graph, child_done, deadline, ensure_future};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Step, Visit};
use crate::waiter::Waiter;
use crate::{errors, future, names, running};

pub(crate) struct AsCompletedIterator {
    event_loop: Owned,
    state: Guarded<State>,
}

struct State {
    /// By key, until they have ended.
    pending: Vec<Option<Owned>>,
    pending_count: usize,
    /// Those that have ended and nobody has got.
    done: VecDeque<Owned>,
    waiters: Waiters<Waiter>,
    /// How many can still be asked for.
    left: usize,
    timer: Option<(WakeTimer, Waiter)>,
    timed_out: bool,
    caller: Option<Owned>,
}

/// The key by which the future tells that ends when the time is over.
const TIMEOUT: u32 = u32::MAX - 2;

/// `asyncio.as_completed(fs, *, timeout=None)`.
pub(super) fn as_completed<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "as_completed", names: ["fs", "timeout"], positional: 1, required: 1 };
    let py = args.py();
    let [objects, timeout] = args.parse(&PARAMETERS)?;
    let objects = objects.expect("required");
    if names::is_awaitable(py)?.call1((&objects,))?.is_truthy()? {
        let kind = objects.get_type().name()?;
        return Err(PyTypeError::new_err(format!("expects an iterable of awaitables, not {kind}")));
    }
    let timeout_s = timeout_s(timeout.as_ref())?;
    let event_loop = ensure_future::current_loop(py)?;
    let caller = match running::event_loop_or_none(py)? {
        Some(running) => running::task(&running)?,
        None => None,
    };
    // A dictionary keeps the order, and each object once.
    let distinct = PyDict::new(py);
    for object in objects.try_iter()? {
        distinct.set_item(object?, py.None())?;
    }
    let deadline = deadline::of_creator(&event_loop)?;
    let mut futures = Vec::with_capacity(distinct.len());
    for object in distinct.keys() {
        futures.push(ensure_future::child_of(&object, Some(&event_loop), deadline)?);
    }
    let iterator = AsCompletedIterator::create(&event_loop, &futures, caller)?;
    iterator_watch(&iterator, &futures)?;
    start_timer(&iterator, timeout_s)?;
    Ok(iterator.into_any())
}

impl AsCompletedIterator {
    fn create<'py>(
        event_loop: &Object<'py>,
        futures: &[Object<'py>],
        caller: Option<Object<'py>>,
    ) -> PyResult<Bound<'py, Self>> {
        let state = State {
            pending: futures.iter().map(|future| Some(Owned::from(future))).collect(),
            pending_count: futures.len(),
            done: VecDeque::new(),
            waiters: Waiters::new(),
            left: futures.len(),
            timer: None,
            timed_out: false,
            caller: caller.map(Owned::from),
        };
        create(event_loop.py(), Self { event_loop: event_loop.into(), state: Guarded::new(state) })
    }

    /// The task that made it, while there is something to wait for.
    pub(super) fn caller<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.caller.as_ref().map(|caller| caller.get_bound(py)))
    }

    /// Is there anything to wait for?
    pub(super) fn has_pending(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.pending_count > 0)
    }

    /// Does a coroutine wait by this future?
    pub(super) fn has_waiter(&self, future: &Object<'_>) -> bool {
        let py = future.py();
        self.state.with(py, |state| state.waiters.iter().any(|waiter| waiter.is(future)))
    }

    /// Counts one that is asked for; false if there are no more.
    fn take_place(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| {
            let any = state.left > 0;
            state.left = state.left.saturating_sub(1);
            any
        })
    }
}

fn iterator_watch(iterator: &Bound<'_, AsCompletedIterator>, futures: &[Object<'_>]) -> PyResult<()> {
    let caller = iterator.value().caller(iterator.py());
    for (key, future) in (0..).zip(futures) {
        if future::is_done(future)? {
            report(iterator, key, future)?;
        } else {
            child_done::watch(future, iterator.as_any(), key)?;
            call_graph::declare(future, caller.as_ref())?;
        }
    }
    Ok(())
}

fn start_timer(iterator: &Bound<'_, AsCompletedIterator>, timeout_s: Option<f64>) -> PyResult<()> {
    let py = iterator.py();
    let Some(timeout_s) = timeout_s else { return Ok(()) };
    if iterator.value().state.with(py, |state| state.pending_count == 0) {
        return Ok(());
    }
    let event_loop = iterator.value().event_loop.bind(py);
    let alarm = Waiter::create(event_loop)?;
    let timer = WakeTimer::start(event_loop, timeout_s, &alarm)?;
    child_done::watch(&alarm.future(py), iterator.as_any(), TIMEOUT)?;
    iterator.value().state.with(py, |state| state.timer = Some((timer, alarm)));
    Ok(())
}

/// A future has ended, or the time is over.
pub(super) fn report(
    iterator: &Bound<'_, AsCompletedIterator>,
    key: u32,
    future: &Object<'_>,
) -> PyResult<()> {
    let py = iterator.py();
    if key == TIMEOUT {
        return time_is_over(iterator);
    }
    let found = iterator.value().state.with(py, |state| {
        let found = state.pending.get_mut(key as usize).and_then(Option::take);
        state.pending_count -= usize::from(found.is_some());
        found
    });
    // Nothing: the time was over before.
    let Some(_found) = found else { return Ok(()) };
    call_graph::withdraw(future, iterator.value().caller(py).as_ref())?;
    hand_over(iterator, future, VecDeque::push_back)?;
    let let_go = iterator.value().state.with(py, |state| {
        if state.pending_count > 0 { None } else { Some((state.timer.take(), state.caller.take())) }
    });
    stop_timer(iterator, let_go.and_then(|(timer, _caller)| timer))
}

fn stop_timer(iterator: &Bound<'_, AsCompletedIterator>, timer: Option<(WakeTimer, Waiter)>) -> PyResult<()> {
    let py = iterator.py();
    let Some((timer, alarm)) = timer else { return Ok(()) };
    timer.stop(py)?;
    child_done::unwatch(&alarm.future(py), iterator.as_any(), TIMEOUT)
}

/// Those that have not ended are waited for no more; who waits, or asks for one of them, gets TimeoutError.
fn time_is_over(iterator: &Bound<'_, AsCompletedIterator>) -> PyResult<()> {
    let py = iterator.py();
    let (pending, waiters, caller, timer) = iterator.value().state.with(py, |state| {
        let over = state.pending_count > 0;
        state.timed_out |= over;
        state.pending_count = 0;
        let waiters = if over { state.waiters.drain() } else { vec![] };
        (mem::take(&mut state.pending), waiters, state.caller.take(), state.timer.take())
    });
    drop(timer);
    let caller = caller.map(|caller| caller.into_bound(py));
    let mut told = Ok(());
    for (key, future) in (0..).zip(&pending) {
        if let Some(future) = future {
            let future = future.bind(py);
            told = told
                .and(child_done::unwatch(future, iterator.as_any(), key))
                .and(call_graph::withdraw(future, caller.as_ref()));
        }
    }
    for waiter in &waiters {
        told = told.and(waiter.wake(py.None().bind(py)).map(drop));
    }
    told
}

/// Gives a future to the first who waits, or keeps it.
fn hand_over(
    iterator: &Bound<'_, AsCompletedIterator>,
    future: &Object<'_>,
    keep: impl FnOnce(&mut VecDeque<Owned>, Owned),
) -> PyResult<()> {
    let py = iterator.py();
    loop {
        let Some(waiter) = iterator.value().state.with(py, |state| state.waiters.pop()) else { break };
        if waiter.wake(future)? {
            return Ok(());
        }
    }
    let future = Owned::from(future);
    iterator.value().state.with(py, |state| keep(&mut state.done, future));
    Ok(())
}

/// The wait for the next one: `RESOLVE` says whether for its result, or for itself.
pub(crate) struct NextCompleted<const RESOLVE: bool> {
    iterator: Owned<AsCompletedIterator>,
    wait: Option<(Waiter, Ticket)>,
}

pub(crate) type NextFutureCoroutine = Coroutine<NextCompleted<false>>;
pub(crate) type NextResultCoroutine = Coroutine<NextCompleted<true>>;

impl<const RESOLVE: bool> Body for NextCompleted<RESOLVE> {
    const QUALNAME: &'static str =
        if RESOLVE { "_AsCompletedIterator._wait_for_one" } else { "_AsCompletedIterator.__anext__" };
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match (self.wait.take(), awaited) {
            (None, _) => self.begin(py),
            (Some(_), Ok(future)) => Self::end(py, Some(future).filter(|future| !future.is_none())),
            (Some(wait), Err(error)) => {
                self.give_up(py, wait)?;
                Err(error)
            }
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.iterator) {
            0 => self.wait.as_ref().map_or(0, |(waiter, _)| waiter.traverse(visit)),
            shown => shown,
        }
    }
}

impl<const RESOLVE: bool> NextCompleted<RESOLVE> {
    fn new(iterator: &Bound<'_, AsCompletedIterator>) -> Self {
        Self { iterator: iterator.into(), wait: None }
    }

    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let iterator = self.iterator.value();
        // A plain iterator has counted when it made this.
        if !RESOLVE && !iterator.take_place(py) {
            return Err(PyStopAsyncIteration::new_err(()));
        }
        let (done, timed_out) = iterator.state.with(py, |state| (state.done.pop_front(), state.timed_out));
        if done.is_some() || timed_out {
            return Self::end(py, done.map(|done| done.into_bound(py)));
        }
        let waiter = Waiter::create(iterator.event_loop.bind(py))?;
        let next = waiter.wait(py);
        let shared = waiter.share(py);
        let ticket = iterator.state.with(py, |state| state.waiters.push(shared));
        self.wait = Some((waiter, ticket));
        Ok(next)
    }

    /// No future: the time is over.
    fn end<'py>(py: Python<'py>, future: Option<Object<'py>>) -> PyResult<Next<'py>> {
        match future {
            None => Err(errors::timeout(py)),
            Some(future) if RESOLVE => future::result(&future).map(Next::Return),
            Some(future) => Ok(Next::Return(future)),
        }
    }

    /// The wait was cancelled: what it would have got is for others.
    fn give_up(&self, py: Python<'_>, (waiter, ticket): (Waiter, Ticket)) -> PyResult<()> {
        let removed = self.iterator.value().state.with(py, |state| {
            state.left += 1;
            state.waiters.remove(ticket)
        });
        if removed.is_some() || !waiter.was_woken(py)? {
            return Ok(());
        }
        let future = future::result(&waiter.future(py))?;
        if future.is_none() {
            Ok(())
        } else {
            hand_over(self.iterator.bind(py), &future, VecDeque::push_front)
        }
    }
}

impl NativeClass for AsCompletedIterator {
    const NAME: &'static CStr = c"tonnage._AsCompletedIterator";
    const DOC: &'static CStr = c"Iterator of futures in the order in which they end.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.iterator(|iterator| {
            let py = iterator.py();
            if !iterator.value().take_place(py) {
                return Ok(Step::Returned(py.None().into_bound(py)));
            }
            Ok(Step::Yielded(Coroutine::create(py, NextCompleted::<true>::new(iterator))?))
        });
        slots.async_iterator(|iterator| {
            Coroutine::create(iterator.py(), NextCompleted::<false>::new(iterator))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = visit.call(&self.event_loop);
        if shown != 0 {
            return shown;
        }
        self.state.traverse(0, |state| {
            let objects = state.pending.iter().flatten().chain(&state.done).chain(&state.caller);
            let shown = visit.each(objects);
            if shown != 0 {
                return shown;
            }
            if let Some((timer, alarm)) = &state.timer {
                let shown = match timer.traverse(visit) {
                    0 => alarm.traverse(visit),
                    shown => shown,
                };
                if shown != 0 {
                    return shown;
                }
            }
            state.waiters.iter().map(|waiter| waiter.traverse(visit)).find(|shown| *shown != 0).unwrap_or(0)
        })
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self.state.with(py, |state| {
            state.pending_count = 0;
            (
                mem::take(&mut state.pending),
                mem::take(&mut state.done),
                state.waiters.drain(),
                state.timer.take(),
                state.caller.take(),
            )
        });
        drop(gone);
    }
}
