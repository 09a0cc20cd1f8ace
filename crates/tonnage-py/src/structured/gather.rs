//! gather: run several awaitables at once, and collect what becomes of them.
//!
//! `GatheringFuture` is asyncio's future of that name: the parent of the children, each of which it knows by
//! its place among the distinct ones. A child tells it when it ends; the first error is its own error, the last
//! result makes the list. While it is being cancelled, what its children tell is held back until each of them
//! was asked, as asyncio looks at them a turn later.

use std::ffi::CStr;
use std::mem;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::repeated::repeated;
use super::{call_graph, child_done, ensure_future};
use crate::cpython::native_class::{create, is_exact, upcast};
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, coroutine};
use crate::event_loop::EventLoop;
use crate::future::{self, Callback, Callbacks, Ended, Future, Outcome};
use crate::task::{self, Task};
use crate::{errors, names, running};

#[repr(C)]
pub(crate) struct GatheringFuture {
    pub(crate) future: Future,
    state: Guarded<Gathering>,
}

struct Gathering {
    /// The distinct ones, until all have ended.
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

/// `asyncio.gather(*coros_or_futures, return_exceptions=False)`.
pub(super) fn gather<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = args.py();
    let return_exceptions = match args.only_keyword("gather", "return_exceptions")? {
        Some(value) => value.is_truthy()?,
        None => false,
    };
    if args.positional().is_empty() {
        return nothing_to_gather(py);
    }
    let event_loop = running::event_loop_or_none(py)?;
    let caller = event_loop.as_ref().map(running::task).transpose()?.flatten();
    let repeated = repeated(args.positional())?;
    if let Some(event_loop) = &event_loop
        && let Some(native) = EventLoop::bound(event_loop)
        && native.get().spawns_directly()
        && repeated.is_none()
        && args.positional().iter().all(coroutine::is_coroutine_object)
    {
        let gathering = Gathering::of(vec![], return_exceptions, caller);
        return gather_coroutines(native, args.positional(), gathering);
    }
    let started = match &repeated {
        None => start(args.positional().iter(), event_loop),
        Some(repeated) => start(repeated.distinct.iter().copied(), event_loop),
    };
    let mut gathering = Gathering::of(started.children, return_exceptions, caller);
    gathering.order = repeated.map(|repeated| repeated.order.into_boxed_slice());
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

/// Nothing but coroutines, each given once, on a loop of ours: the tasks are made as children. None of them can end
/// before all are there.
fn gather_coroutines<'py>(
    event_loop: &Bound<'py, EventLoop>,
    coros: &[Object<'py>],
    mut gathering: Gathering,
) -> PyResult<Object<'py>> {
    let py = event_loop.py();
    gathering.unfinished = coros.len();
    gathering.children.reserve(coros.len());
    let outer = GatheringFuture::create(event_loop.as_any(), gathering)?;
    for (key, coro) in (0..).zip(coros) {
        let report = Callback::Report { parent: outer.as_any().into(), key };
        match task::create_plain(event_loop, coro, Callbacks::One(report)) {
            Ok(task) => {
                task.value().state.with(py, |state| state.log_destroy_pending = false);
                let child = Owned::from(task.into_any());
                outer.value().state.with(py, |state| state.children.push(child));
            }
            Err(error) => {
                let caller = outer.value().state.with(py, |state| {
                    state.unfinished = state.children.len();
                    state.wish = Wish::Nothing;
                    state.caller.take()
                });
                drop(caller);
                return Err(error);
            }
        }
    }
    Ok(outer.into_any())
}

impl Gathering {
    fn of(children: Vec<Owned>, return_exceptions: bool, caller: Option<Object<'_>>) -> Self {
        Self {
            unfinished: children.len(),
            children,
            order: None,
            return_exceptions,
            wish: Wish::Results,
            caller: caller.map(Owned::from),
            held_back: None,
        }
    }
}

fn nothing_to_gather(py: Python<'_>) -> PyResult<Object<'_>> {
    let event_loop = ensure_future::current_loop(py)?;
    let outer = event_loop.call_method0(names::create_future(py))?;
    outer.call_method1(names::set_result(py), (PyList::empty(py),))?;
    Ok(outer)
}

struct Started<'py> {
    children: Vec<Owned>,
    event_loop: Option<Object<'py>>,
    /// Why there are no more children.
    refused: Option<PyErr>,
}

/// Makes a future of each object, all of the same loop.
fn start<'a, 'py: 'a>(
    objects: impl ExactSizeIterator<Item = &'a Object<'py>>,
    event_loop: Option<Object<'py>>,
) -> Started<'py> {
    let mut started = Started { children: Vec::with_capacity(objects.len()), event_loop, refused: None };
    for object in objects {
        if let Err(error) = started.start(object) {
            started.refused = Some(error);
            break;
        }
    }
    started
}

impl<'py> Started<'py> {
    fn start(&mut self, object: &Object<'py>) -> PyResult<()> {
        let child = ensure_future::future_of(object, self.event_loop.as_ref())?;
        if self.event_loop.is_none() {
            self.event_loop = Some(future::loop_of(&child)?);
        }
        if !child.is(object) {
            // The caller has no hold on it, and so cannot be blamed if it is lost.
            keep_quiet_when_lost(&child)?;
        }
        self.children.push(child.into());
        Ok(())
    }
}

fn keep_quiet_when_lost(child: &Object<'_>) -> PyResult<()> {
    let py = child.py();
    if is_exact::<Task>(child) {
        child.cast::<Task>()?.value().state.with(py, |state| state.log_destroy_pending = false);
        return Ok(());
    }
    child.setattr(names::_log_destroy_pending(py), false)
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
        let counts = state.unfinished > 1 && state.held_back.is_none() && state.wish != Wish::Nothing;
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
    let (report, let_go) = outer.value().state.with(py, |state| {
        if let Some(held_back) = &mut state.held_back {
            held_back.push(key);
            return (Report::HeldBack, vec![]);
        }
        state.unfinished = state.unfinished.saturating_sub(1);
        let last = state.unfinished == 0;
        if pending && state.wish != Wish::Nothing {
            return (Report::Counted { last, return_exceptions: state.return_exceptions }, vec![]);
        }
        (Report::Late, if last { mem::take(&mut state.children) } else { vec![] })
    });
    drop(let_go);
    let (last, return_exceptions) = match report {
        Report::HeldBack => return Ok(()),
        // Its exception counts as retrieved.
        Report::Late => return future::ended(child).map(drop),
        Report::Counted { last, return_exceptions } => (last, return_exceptions),
    };
    if call_graph::is_kept_by_asyncio() {
        call_graph::withdraw(child, outer.value().caller(py).as_ref())?;
    }
    if !return_exceptions {
        match future::ended(child)? {
            Ended::Result(_) => {}
            Ended::Exception(exception) => return fail(outer, &exception),
            Ended::Cancelled => return fail(outer, &future::make_cancelled_error(child)?),
        }
    }
    if last { finish(outer) } else { Ok(()) }
}

/// Ends with an exception. The children that have not ended run on.
fn fail(outer: &Bound<'_, GatheringFuture>, exception: &Object<'_>) -> PyResult<()> {
    let py = outer.py();
    let caller =
        outer.value().state.with(py, |state| state.caller.take()).map(|caller| caller.into_bound(py));
    if call_graph::is_kept_by_asyncio() {
        for place in 0.. {
            let Some(child) = outer.value().child(py, place) else { break };
            call_graph::withdraw(&child, caller.as_ref())?;
        }
    }
    let finished = outer
        .value()
        .state
        .with(py, |state| if state.unfinished == 0 { mem::take(&mut state.children) } else { vec![] });
    drop(finished);
    future::set_exception(upcast(outer), exception).map(drop)
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

/// The children are asked one after another; says whether there is anything to ask.
pub(crate) fn begin_cancel(outer: &Bound<'_, GatheringFuture>) -> PyResult<bool> {
    let py = outer.py();
    if !outer.value().future.is_pending(py) {
        return Ok(false);
    }
    let begun = outer.value().state.with(py, |state| {
        let begun = state.held_back.is_none();
        if begun {
            state.held_back = Some(vec![]);
        }
        begun
    });
    if begun {
        Ok(true)
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
    Ok(())
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
            Ok(PyList::new(py, children)?.into_any())
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
        self.state.traverse(0, |state| {
            let all = state.children.iter().chain(&state.caller);
            all.map(|object| visit.call(object)).find(|shown| *shown != 0).unwrap_or(0)
        })
    }

    fn clear(&self, py: Python<'_>) {
        self.future.clear(py);
        let gone = self
            .state
            .with(py, |state| (mem::take(&mut state.children), state.order.take(), state.caller.take()));
        drop(gone);
    }
}
