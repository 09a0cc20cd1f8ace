//! gather(limit=): a coroutine becomes a task when there is a slot for it.
//!
//! Futures that are given run already, and take no slot. The others begin in their order, each in a copy of the
//! context in which gather was called. When gather has failed or was cancelled, those that have not begun are
//! closed; those that have go on, or are cancelled, as without a limit.

use std::collections::VecDeque;
use std::mem;

use pyo3::prelude::*;

use super::permits::{self, Permits};
use super::repeated::Repeated;
use super::start::keep_quiet_when_lost;
use super::{Gathering, GatheringFuture, Wish, watch};
use crate::cpython::{Native, Object, Owned, Visit, context};
use crate::limits::Loans;
use crate::structured::ensure_future::{self, Kind};
use crate::structured::limit::Limit;
use crate::structured::slots::Slots;
use crate::structured::{call_graph, child_done, deadline};
use crate::waiter::Waiter;
use crate::{errors, future, names, task};

pub(super) struct Bounded {
    slots: Slots,
    /// Bounded by the arguments.
    pub(super) unstarted: VecDeque<Unstarted>,
    /// By place: does the child take a slot?
    takes_slot: Vec<bool>,
    /// That of the call.
    context: Owned,
    /// What the children inherit.
    pub(super) deadline: Option<f64>,
    /// With limiters, which decide in place of the slots: who has what of them.
    pub(super) permits: Option<Permits>,
}

pub(super) struct Unstarted {
    place: u32,
    object: Owned,
    kind: Kind,
}

impl Unstarted {
    pub(super) fn place(&self) -> u32 {
        self.place
    }

    /// It will not be started.
    pub(super) fn close(self, py: Python<'_>) {
        if self.kind == Kind::Coroutine {
            close_one(self.object.bind(py));
        }
    }
}

impl Bounded {
    /// A slot is given back, and so is what the limiters have lent.
    pub(super) fn child_ended(&mut self, place: u32) -> Option<Loans> {
        if self.takes_slot[place as usize] {
            self.slots.give_back();
        }
        self.permits.as_mut().and_then(|permits| permits.take_loans(place))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let waiting = self.unstarted.iter().map(|unstarted| visit.call(&unstarted.object));
        let permits = self.permits.as_ref().map_or(0, |permits| permits.traverse(visit));
        waiting.chain([visit.call(&self.context), permits]).find(|shown| *shown != 0).unwrap_or(0)
    }
}

impl Gathering {
    /// Those who will not be started: they count as ended.
    #[must_use]
    pub(super) fn take_unstarted(&mut self) -> VecDeque<Unstarted> {
        let unstarted = self.bounded.as_mut().map(|bounded| mem::take(&mut bounded.unstarted));
        let unstarted = unstarted.unwrap_or_default();
        self.unfinished -= unstarted.len();
        unstarted
    }
}

/// `gather(*coros_or_futures, limit=limit)`.
pub(super) fn gather<'py>(
    (arguments, repeated): (&[Object<'py>], Option<Repeated<'_, 'py>>),
    event_loop: Option<Object<'py>>,
    mut gathering: Gathering,
    limit: Limit,
) -> PyResult<Bound<'py, GatheringFuture>> {
    let objects = match &repeated {
        None => arguments.iter().collect(),
        Some(repeated) => repeated.distinct.clone(),
    };
    let sorted = match sort(&objects, event_loop) {
        Ok(sorted) => sorted,
        Err(error) => {
            // None of them has begun.
            for object in objects {
                if matches!(ensure_future::kind_of(object), Ok(Kind::Coroutine)) {
                    close_one(object);
                }
            }
            return Err(error);
        }
    };
    let py = sorted.event_loop.py();
    gathering.unfinished = sorted.children.len();
    gathering.children = sorted.children;
    gathering.order = repeated.map(|repeated| repeated.order.into_boxed_slice());
    let mut takes_slot = vec![false; gathering.children.len()];
    for unstarted in &sorted.unstarted {
        takes_slot[unstarted.place as usize] = true;
    }
    let context = context::copy_current(py)?.into();
    let deadline = deadline::of_creator(&sorted.event_loop)?;
    let (slots, unstarted) = (Slots::new(&limit), sorted.unstarted);
    let permits = match limit {
        Limit::Count(_) => None,
        Limit::Door(door) => Some(Permits::new(door)),
    };
    gathering.bounded = Some(Box::new(Bounded { slots, unstarted, takes_slot, context, deadline, permits }));
    let outer = GatheringFuture::create(&sorted.event_loop, gathering)?;
    watch(&outer)?;
    start_next(&outer)?;
    Ok(outer)
}

/// The arguments, by what they are.
struct Sorted<'py> {
    event_loop: Object<'py>,
    /// The futures, and None for all others.
    children: Vec<Owned>,
    unstarted: VecDeque<Unstarted>,
}

fn sort<'py>(objects: &[&Object<'py>], mut event_loop: Option<Object<'py>>) -> PyResult<Sorted<'py>> {
    let py = objects[0].py();
    let none = py.None().into_bound(py);
    let mut children = Vec::with_capacity(objects.len());
    let mut unstarted = VecDeque::new();
    for (place, object) in (0..).zip(objects.iter().copied()) {
        let kind = ensure_future::kind_of(object)?;
        if kind != Kind::Future {
            children.push(Owned::from(&none));
            unstarted.push_back(Unstarted { place, object: object.into(), kind });
            continue;
        }
        ensure_future::check_loop(object, event_loop.as_ref())?;
        if event_loop.is_none() {
            event_loop = Some(future::loop_of(object)?);
        }
        children.push(object.into());
    }
    let event_loop = event_loop.map_or_else(|| ensure_future::current_loop(py), Ok)?;
    Ok(Sorted { event_loop, children, unstarted })
}

/// Starts as many as there are slots for.
#[inline]
pub(super) fn start_next(outer: &Bound<'_, GatheringFuture>) -> PyResult<()> {
    if outer.value().state.with(outer.py(), |state| state.bounded.is_none()) {
        return Ok(());
    }
    start_all(outer)
}

fn start_all(outer: &Bound<'_, GatheringFuture>) -> PyResult<()> {
    if let Some(door) = permits::door(outer) {
        return permits::start_next(outer, &door);
    }
    while let Some(next) = take_next(outer) {
        if start_one(outer, next)?.is_none() {
            break;
        }
    }
    Ok(())
}

/// Takes out the next one, if there is a slot, which is its own then.
#[inline]
pub(super) fn take_next(outer: &Bound<'_, GatheringFuture>) -> Option<Unstarted> {
    outer.value().state.with(outer.py(), |state| {
        let bounded = state.bounded.as_mut()?;
        if bounded.unstarted.is_empty() || !bounded.slots.take() {
            return None;
        }
        bounded.unstarted.pop_front()
    })
}

/// Makes its task; nothing if the loop makes none, which ends the whole.
#[inline]
pub(super) fn start_one<'py>(
    outer: &Bound<'py, GatheringFuture>,
    next: Unstarted,
) -> PyResult<Option<Object<'py>>> {
    let py = outer.py();
    let event_loop = outer.value().future.event_loop(py)?;
    let scope = outer.value().state.with(py, |state| {
        state.bounded.as_ref().map(|bounded| (bounded.context.get_bound(py), bounded.deadline))
    });
    let Some((context, deadline)) = scope else { return Ok(None) };
    let task = context::copy(&context).and_then(|context| {
        let make = || ensure_future::task_of((next.object.bind(py), next.kind), &event_loop, deadline);
        context::run(&context, make)
    });
    match task {
        Ok(task) => {
            adopt(outer, &task, next.place)?;
            Ok(Some(task))
        }
        Err(error) => refuse(outer, error).map(|()| None),
    }
}

/// The task is a child.
fn adopt(outer: &Bound<'_, GatheringFuture>, task: &Object<'_>, place: u32) -> PyResult<()> {
    let py = outer.py();
    keep_quiet_when_lost(task)?;
    put(outer, task, place);
    let wish = outer.value().state.with(py, |state| state.wish);
    call_graph::declare(task, outer.value().caller(py).as_ref())?;
    // One that has ended, as it started eagerly, tells it in the next turn.
    child_done::watch(task, outer.as_any(), place)?;
    if wish == Wish::Cancel && !future::is_done(task)? {
        // It cancelled the whole while it started eagerly.
        task::cancel_any(task, None)?;
    }
    Ok(())
}

/// Puts a future where there was none yet.
pub(super) fn put(outer: &Bound<'_, GatheringFuture>, child: &Object<'_>, place: u32) {
    let child = Owned::from(child);
    let py = outer.py();
    drop(outer.value().state.with(py, |state| mem::replace(&mut state.children[place as usize], child)));
}

/// The loop does not make a task, as when it is closed: nobody else could end the whole.
#[cold]
fn refuse(outer: &Bound<'_, GatheringFuture>, error: PyErr) -> PyResult<()> {
    let py = outer.py();
    let error = errors::into_object(py, error);
    outer.value().state.with(py, |state| state.unfinished -= 1);
    if outer.value().future.is_pending(py) { super::fail(outer, &error) } else { Ok(()) }
}

/// The whole is cancelled: those that have not begun are closed, and count as cancelled. Says whether there were
/// any.
pub(super) fn cancel_unstarted(
    outer: &Bound<'_, GatheringFuture>,
    message: Option<&Owned>,
) -> PyResult<bool> {
    let py = outer.py();
    let is_any = |state: &mut Gathering| state.bounded.as_ref().is_some_and(|it| !it.unstarted.is_empty());
    if !outer.value().state.with(py, is_any) {
        return Ok(false);
    }
    // One stands for all of them.
    let cancelled = Waiter::create(&outer.value().future.event_loop(py)?)?.future(py);
    task::cancel_any(&cancelled, message)?;
    let unstarted = outer.value().state.with(py, |state| {
        let unstarted = state.take_unstarted();
        for each in &unstarted {
            // What was there is None, whose drop runs nothing.
            state.children[each.place as usize] = Owned::from(&cancelled);
        }
        unstarted
    });
    close(outer, unstarted);
    Ok(true)
}

/// Closes those that will not be started.
pub(super) fn close(outer: &Bound<'_, GatheringFuture>, unstarted: VecDeque<Unstarted>) {
    for each in unstarted {
        each.close(outer.py());
    }
    permits::withdraw(outer);
}

fn close_one(coro: &Object<'_>) {
    if let Err(error) = coro.call_method0(names::close(coro.py())) {
        error.write_unraisable(coro.py(), Some(coro));
    }
}
