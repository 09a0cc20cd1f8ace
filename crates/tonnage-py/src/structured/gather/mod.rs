//! gather: run several awaitables at once, and collect what becomes of them.
//!
//! `GatheringFuture` is asyncio's future of that name: the parent of the children, each of which it knows by
//! its place among the distinct ones. A child tells it when it ends; the first error is its own error, the last
//! result makes the list. While it is being cancelled, what its children tell is held back until each of them
//! was asked, as asyncio looks at them a turn later. With `limit=`, a child that is not there yet is None.

mod bounded;
mod coroutines;
mod permits;
mod repeated;
mod start;

use std::ffi::CStr;
use std::mem;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::limit;
use super::{call_graph, child_done};
use crate::cpython::native_class::{create, upcast};
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, coroutine};
use crate::event_loop::EventLoop;
use crate::future::{self, Ended, Future, Outcome};
use crate::{errors, running, task};
use bounded::Bounded;
pub(crate) use permits::door_opened;
use repeated::repeated;
use start::{call_off, nothing_to_gather, start};

#[repr(C)]
pub(crate) struct GatheringFuture {
    pub(crate) future: Future,
    state: Guarded<Gathering>,
}

struct Gathering {
    /// The distinct ones, until all have ended; None for who is not started.
    children: Vec<Owned>,
    /// The child of each argument; nothing if each argument has one of its own.
    order: Option<Box<[u32]>>,
    unfinished: usize,
    return_exceptions: bool,
    wish: Wish,
    /// The task that called gather, while it may wait.
    caller: Option<Owned>,
    /// While the children are being cancelled: those that ended meanwhile.
    held_back: Option<Vec<u32>>,
    /// With `limit=`: who has a slot, and who waits for one.
    bounded: Option<Box<Bounded>>,
}

impl Gathering {
    const fn empty() -> Self {
        Self {
            children: Vec::new(),
            order: None,
            unfinished: 0,
            return_exceptions: false,
            wish: Wish::Results,
            caller: None,
            held_back: None,
            bounded: None,
        }
    }
}

/// What is wanted of the children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Results,
    /// The whole was cancelled, and a child has agreed.
    Cancel,
    /// An argument was refused: nobody will see the future, whose children run on.
    Nothing,
}

/// `asyncio.gather(*coros_or_futures, return_exceptions=False)`, and `limit=`.
pub(super) fn gather<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let (return_exceptions, limit) = if args.has_keywords() {
        let [return_exceptions, limit] = args.only_keywords("gather", ["return_exceptions", "limit"])?;
        let return_exceptions = return_exceptions.map_or(Ok(false), |value| value.is_truthy())?;
        (return_exceptions, limit::limit(limit.as_ref())?)
    } else {
        (false, None)
    };
    if args.positional().is_empty() {
        return nothing_to_gather(py);
    }
    let event_loop = running::event_loop_or_none(py)?;
    let caller = event_loop.as_ref().map(running::task).transpose()?.flatten();
    let repeated = repeated(args.positional())?;
    let gathering = Gathering { return_exceptions, caller: caller.map(Owned::from), ..Gathering::empty() };
    if let Some(limit) = limit {
        let objects = (args.positional(), repeated);
        return bounded::gather(objects, event_loop, gathering, limit).map(Bound::into_any);
    }
    if let Some(event_loop) = &event_loop
        && let Some(native) = EventLoop::bound(event_loop)
        && native.get().spawns_directly(py)
        && repeated.is_none()
        && args.positional().iter().all(coroutine::is_coroutine_object)
    {
        return coroutines::gather(native, args.positional(), gathering).map(Bound::into_any);
    }
    let started = match &repeated {
        None => start(args.positional().iter(), event_loop),
        Some(repeated) => start(repeated.distinct.iter().copied(), event_loop),
    };
    if let Some(refused) = &started.refused
        && errors::is_overloaded(py, refused)
    {
        match &repeated {
            None => call_off(args.positional().iter(), &started.children)?,
            Some(repeated) => call_off(repeated.distinct.iter().copied(), &started.children)?,
        }
    }
    let mut gathering = Gathering {
        unfinished: started.children.len(),
        children: started.children,
        order: repeated.map(|repeated| repeated.order.into_boxed_slice()),
        ..gathering
    };
    let Some(event_loop) = started.event_loop else {
        // The first argument was refused.
        return Err(started.refused.expect("each child has a loop"));
    };
    if let Some(refused) = started.refused {
        gathering.wish = Wish::Nothing;
        gathering.caller = None;
        watch(&GatheringFuture::create(&event_loop, gathering)?)?;
        return Err(refused);
    }
    let outer = GatheringFuture::create(&event_loop, gathering)?;
    watch(&outer)?;
    Ok(outer.into_any())
}

impl GatheringFuture {
    fn create<'py>(event_loop: &Object<'py>, gathering: Gathering) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let state = Guarded::new(gathering);
        if let Ok(native) = event_loop.cast::<EventLoop>()
            && native.get().is_plain_and_quiet()
        {
            return create(py, Self { future: Future::of_native_loop(native), state });
        }
        let outer = create(py, Self { future: Future::empty(), state })?;
        outer.value().future.initialise(py, Some(event_loop.clone()), &outer.get_type())?;
        Ok(outer)
    }

    /// The task that called gather, while it waits.
    pub(super) fn caller<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.caller.as_ref().map(|caller| caller.get_bound(py)))
    }

    /// The children that have not ended.
    pub(super) fn pending_children<'py>(&self, py: Python<'py>) -> PyResult<Vec<Object<'py>>> {
        let children: Vec<_> =
            self.state.with(py, |state| state.children.iter().map(|child| child.get_bound(py)).collect());
        let mut pending = vec![];
        for child in children {
            if !future::is_done(&child)? {
                pending.push(child);
            }
        }
        Ok(pending)
    }

    /// A child by its place.
    pub(crate) fn child<'py>(&self, py: Python<'py>, place: usize) -> Option<Object<'py>> {
        self.state.with(py, |state| state.children.get(place).map(|child| child.get_bound(py)))
    }
}

/// Has each child tell the future when it ends; those that have ended already do so last.
fn watch(outer: &Bound<'_, GatheringFuture>) -> PyResult<()> {
    let py = outer.py();
    let caller = outer.value().caller(py);
    let mut ended = vec![];
    for key in 0.. {
        let Some(child) = outer.value().child(py, key as usize) else { break };
        if child.is_none() {
            continue;
        }
        if future::is_done(&child)? {
            ended.push((key, child));
            continue;
        }
        call_graph::declare(&child, caller.as_ref())?;
        child_done::watch(&child, outer.as_any(), key)?;
    }
    for (key, child) in ended {
        report(outer, key, &child)?;
    }
    Ok(())
}

enum Report {
    HeldBack,
    /// Not to be shown any more.
    Late,
    Counted {
        last: bool,
        return_exceptions: bool,
    },
}

/// Counts a child that has ended with a result, and is not the last of them; false: there is more to do.
#[inline]
pub(super) fn count(outer: &Bound<'_, GatheringFuture>, child: &Bound<'_, Future>) -> bool {
    let py = outer.py();
    if call_graph::is_kept_by_asyncio() && !future::is_ours(child) {
        return false;
    }
    let has_result = child.value().state.with(py, |state| matches!(state.outcome, Outcome::Result(_)));
    if !has_result || !outer.value().future.is_pending(py) {
        return false;
    }
    outer.value().state.with(py, |state| {
        let counts = state.unfinished > 1
            && state.held_back.is_none()
            && state.wish != Wish::Nothing
            && state.bounded.is_none();
        if counts {
            state.unfinished -= 1;
        }
        counts
    })
}

/// A child has ended.
pub(super) fn report(outer: &Bound<'_, GatheringFuture>, key: u32, child: &Object<'_>) -> PyResult<()> {
    let py = outer.py();
    let pending = outer.value().future.is_pending(py);
    let (report, let_go, loans) = outer.value().state.with(py, |state| {
        if let Some(held_back) = &mut state.held_back {
            held_back.push(key);
            return (Report::HeldBack, vec![], None);
        }
        state.unfinished = state.unfinished.saturating_sub(1);
        let loans = state.bounded.as_mut().and_then(|bounded| bounded.child_ended(key));
        let last = state.unfinished == 0;
        if pending && state.wish != Wish::Nothing {
            return (Report::Counted { last, return_exceptions: state.return_exceptions }, vec![], loans);
        }
        (Report::Late, if last { mem::take(&mut state.children) } else { vec![] }, loans)
    });
    drop(let_go);
    // What it had goes back when it is clear whether another one begins.
    let heard = hear(outer, child, report);
    let released = permits::release(outer, child, loans);
    if heard? {
        bounded::start_next(outer)?;
    }
    released
}

/// What the end of a child means for the whole: true if others may begin.
fn hear(outer: &Bound<'_, GatheringFuture>, child: &Object<'_>, report: Report) -> PyResult<bool> {
    let py = outer.py();
    let (last, return_exceptions) = match report {
        Report::HeldBack => return Ok(false),
        // Its exception counts as retrieved.
        Report::Late => return future::ended(child).map(|_| false),
        Report::Counted { last, return_exceptions } => (last, return_exceptions),
    };
    if call_graph::is_kept_by_asyncio() {
        call_graph::withdraw(child, outer.value().caller(py).as_ref())?;
    }
    if !return_exceptions {
        match future::ended(child)? {
            Ended::Result(_) => {}
            Ended::Exception(exception) => return fail(outer, &exception).map(|()| false),
            Ended::Cancelled => {
                return fail(outer, &future::make_cancelled_error(child)?).map(|()| false);
            }
        }
    }
    if last { finish(outer).map(|()| false) } else { Ok(true) }
}

/// Ends with an exception. The children that have not ended run on.
fn fail(outer: &Bound<'_, GatheringFuture>, exception: &Object<'_>) -> PyResult<()> {
    let py = outer.py();
    let caller =
        outer.value().state.with(py, |state| state.caller.take()).map(|caller| caller.into_bound(py));
    if call_graph::is_kept_by_asyncio() {
        for place in 0.. {
            let Some(child) = outer.value().child(py, place) else { break };
            if !child.is_none() {
                call_graph::withdraw(&child, caller.as_ref())?;
            }
        }
    }
    let (finished, unstarted) = outer.value().state.with(py, |state| {
        let unstarted = state.take_unstarted();
        let finished = if state.unfinished == 0 { mem::take(&mut state.children) } else { vec![] };
        (finished, unstarted)
    });
    drop(finished);
    let failed = future::set_exception(upcast(outer), exception).map(drop);
    bounded::close(outer, unstarted);
    failed
}

/// All children have ended: ends with the list of what became of them.
fn finish(outer: &Bound<'_, GatheringFuture>) -> PyResult<()> {
    let py = outer.py();
    let (children, order, caller, cancelled) = outer.value().state.with(py, |state| {
        (mem::take(&mut state.children), state.order.take(), state.caller.take(), state.wish == Wish::Cancel)
    });
    drop(caller);
    let mut outcomes = Vec::with_capacity(children.len());
    for child in &children {
        outcomes.push(outcome(child.bind(py))?);
    }
    if cancelled {
        // Whatever `return_exceptions` says, a cancel of the whole is passed on.
        let place = match &order {
            Some(order) => order.last().map_or(0, |place| *place as usize),
            None => children.len() - 1,
        };
        let error = future::make_cancelled_error(children[place].bind(py))?;
        return future::set_exception(upcast(outer), &error).map(drop);
    }
    let results = match order {
        None => PyList::new(py, outcomes)?,
        Some(order) => PyList::new(py, order.iter().map(|place| &outcomes[*place as usize]))?,
    };
    future::settle(upcast(outer), Outcome::Result(results.into_any().into())).map(drop)
}

/// The result, or the exception as a value.
fn outcome<'py>(child: &Object<'py>) -> PyResult<Object<'py>> {
    let py = child.py();
    match future::ended(child)? {
        Ended::Result(object) | Ended::Exception(object) => Ok(object),
        Ended::Cancelled => {
            let message = future::cancel_message(child)?;
            let message = message.unwrap_or_else(|| PyString::new(py, "").into_any());
            Ok(errors::into_object(py, errors::cancelled(py, Some(&message))))
        }
    }
}

/// The children are asked one after another; nothing: there is nothing to ask. Says whether anything was
/// cancelled already, which are those that were not started.
pub(crate) fn begin_cancel(
    outer: &Bound<'_, GatheringFuture>,
    message: Option<&Owned>,
) -> PyResult<Option<bool>> {
    let py = outer.py();
    if !outer.value().future.is_pending(py) {
        return Ok(None);
    }
    let begun = outer.value().state.with(py, |state| {
        let begun = state.held_back.is_none();
        if begun {
            state.held_back = Some(vec![]);
        }
        begun
    });
    if begun {
        bounded::cancel_unstarted(outer, message).map(Some)
    } else {
        Err(PyRecursionError::new_err("cannot cancel what awaits itself by way of gather()"))
    }
}

/// Each child was asked, and one has agreed or none. What they told meanwhile is heard.
pub(crate) fn end_cancel(outer: &Bound<'_, GatheringFuture>, agreed: bool) -> PyResult<()> {
    let py = outer.py();
    let held_back = outer.value().state.with(py, |state| {
        if agreed {
            state.wish = Wish::Cancel;
        }
        state.held_back.take()
    });
    for key in held_back.into_iter().flatten() {
        if let Some(child) = outer.value().child(py, key as usize) {
            report(outer, key, &child)?;
        }
    }
    // Where limiters have let in nobody yet, there is no child that could tell it.
    let has_ended = outer.value().state.with(py, |state| state.unfinished == 0 && !state.children.is_empty());
    if agreed && has_ended && outer.value().future.is_pending(py) { finish(outer) } else { Ok(()) }
}

impl NativeClass for GatheringFuture {
    const NAME: &'static CStr = c"tonnage._GatheringFuture";
    const DOC: &'static CStr = c"What gather() returns: cancelling it cancels all that it waits for.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        None
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.future.needs_finalizer(py)
    }

    fn may_be_finalized(&self, py: Python<'_>) -> bool {
        self.future.may_be_finalized(py)
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.with_args(c"cancel", c"Cancel all children that are not done.", |outer, args| {
            let [message] = args.parse(&future::CANCEL)?;
            let message = message.filter(|message| !message.is_none()).map(Owned::from);
            Ok(future::to_bool(args.py(), task::cancel_gather(outer, message.as_ref())?))
        });
        slots.getter(c"_children", |outer| {
            let py = outer.py();
            let children = outer.value().state.with(py, |state| {
                let child = |place: usize| state.children.get(place).map(|child| child.get_bound(py));
                match &state.order {
                    None => (0..state.children.len()).filter_map(child).collect::<Vec<_>>(),
                    Some(order) => order.iter().filter_map(|place| child(*place as usize)).collect(),
                }
            });
            let started = children.into_iter().filter(|child| !child.is_none());
            Ok(PyList::new(py, started.collect::<Vec<_>>())?.into_any())
        });
        slots.getter(c"_cancel_requested", |outer| {
            let py = outer.py();
            Ok(future::to_bool(py, outer.value().state.with(py, |state| state.wish == Wish::Cancel)))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.future.traverse(visit);
        if shown != 0 {
            return shown;
        }
        self.state.traverse(0, |state| match visit.each(state.children.iter().chain(&state.caller)) {
            0 => state.bounded.as_ref().map_or(0, |bounded| bounded.traverse(visit)),
            shown => shown,
        })
    }

    fn clear(&self, py: Python<'_>) {
        self.future.clear(py);
        let gone = self.state.with(py, |state| {
            let gone = (mem::take(&mut state.children), state.order.take());
            (gone, state.caller.take(), state.bounded.take())
        });
        let (children, caller, bounded) = gone;
        drop((children, caller));
        if let Some(permits) = bounded.and_then(|bounded| bounded.permits) {
            permits.abandon(py);
        }
    }
}
