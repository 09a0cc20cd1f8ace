//! Entering: what `__aenter__` of a gate gives where no slot is free: a coroutine that is the future it waits by.
//!
//! Until it is awaited it is a coroutine like any other, and no future. From then on it stands in the line of the
//! gate, is what the task waits for, and is given its slot by pointer: one object, where `Acquire` needs two. It
//! goes on as an `Acquire` where it cannot wait by itself: on a loop that is not ours or is in debug mode, and when
//! somebody else has ended the future. Invariants: it stands in the line while its phase is `Stands`; who was given
//! a slot either returns, or gives it back; the line does not keep it, so that it leaves when it is dropped.

use std::ffi::CStr;
use std::mem::{self, ManuallyDrop};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};
use tonnage_core::waiters::Ticket;

use super::gate::{Acquire, Gate, Gated};
use super::lock::Lock;
use super::semaphore::Semaphore;
use crate::coroutine::{Coroutine, coroutine_repr, has_ended, warn_unawaited};
use crate::coroutine_iter::CoroutineIter;
use crate::cpython::native_class::{create_with, upcast};
use crate::cpython::{
    Guarded, Lent, Mark, Native, NativeClass, Object, Owned, PlainDrop, Slots, Step, Visit, another,
    coroutine, into_native_loop,
};
use crate::future::{self, Future, FutureIter, Outcome};
use crate::{errors, names};

#[repr(C)]
pub(crate) struct Entering {
    pub(crate) future: Future,
    pub(crate) lent: Lent,
    gate: GateOf,
    phase: Guarded<Phase>,
}

/// The gates that are classes of ours. Kept to the end: each can let go of what it holds itself.
pub(crate) enum GateOf {
    Lock(Owned<Lock>),
    Semaphore(Owned<Semaphore>),
}

enum Phase {
    /// Nobody has awaited it.
    Created,
    Stands(Ticket),
    /// It was given a slot, and has not run since.
    Given,
    /// The coroutine that goes on in its place.
    Otherwise(Owned),
    /// Also while it runs.
    Ended,
}

impl GateOf {
    #[inline]
    fn gate(&self) -> &Gate {
        match self {
            Self::Lock(lock) => lock.value().gate(),
            Self::Semaphore(semaphore) => semaphore.value().gate(),
        }
    }

    #[inline]
    fn as_object<'a, 'py>(&'a self, py: Python<'py>) -> &'a Object<'py> {
        match self {
            Self::Lock(lock) => lock.bind(py).as_any(),
            Self::Semaphore(semaphore) => semaphore.bind(py).as_any(),
        }
    }

    /// The coroutine that does the same, on a loop of any kind.
    fn acquire<'py>(&self, py: Python<'py>) -> PyResult<Object<'py>> {
        match self {
            Self::Lock(lock) => Coroutine::create(py, Acquire::entering(lock.share(py))),
            Self::Semaphore(semaphore) => Coroutine::create(py, Acquire::entering(semaphore.share(py))),
        }
    }

    const fn qualname(&self) -> &'static str {
        match self {
            Self::Lock(_) => Lock::ACQUIRE,
            Self::Semaphore(_) => Semaphore::ACQUIRE,
        }
    }
}

impl Entering {
    #[inline]
    pub(super) fn create(py: Python<'_>, gate: GateOf) -> PyResult<Object<'_>> {
        let made = create_with(py, || Self {
            // Copied as a whole: what is put together in memory first is waited for when it is copied.
            future: const { Future::empty() },
            lent: Lent::new(),
            gate,
            phase: Guarded::new(Phase::Created),
        })?;
        Ok(made.into_any())
    }

    /// Has it waited by itself? Then it is a future of its loop.
    #[inline]
    pub(crate) fn is_future(&self, py: Python<'_>) -> bool {
        self.future.state.with(py, |state| !state.event_loop.is_none())
    }

    #[inline]
    fn replace(&self, py: Python<'_>, phase: Phase) -> Phase {
        self.phase.with(py, |current| mem::replace(current, phase))
    }
}

/// Gives it the slot that it stood in the line for, unless the future has ended.
#[inline]
pub(super) fn grant(this: &Bound<'_, Entering>, value: &Object<'_>) -> PyResult<bool> {
    let (py, entering) = (this.py(), this.value());
    // First, as what is told of the end may resume it.
    let stood = entering.replace(py, Phase::Given);
    let granted = future::settle(upcast(this), Outcome::Result(value.into()));
    if matches!(granted, Ok(false)) {
        // It has left the line, and finds out why when it runs.
        drop(entering.replace(py, stood));
    }
    granted
}

/// As `grant`, where that runs no Python code. False: nothing was done.
#[inline(always)]
pub(super) fn grant_quietly(this: &Bound<'_, Entering>) -> bool {
    let granted = future::settle_quietly(upcast(this), PyBool::new(this.py(), true).as_any());
    if granted {
        // It stood in the line, so that there is nothing to be dropped.
        let _stood = ManuallyDrop::new(this.value().replace(this.py(), Phase::Given));
    }
    granted
}

/// Resumes it.
#[inline(always)]
fn next<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    enum At {
        Created,
        Given,
        Other,
    }
    let (py, entering) = (this.py(), this.value());
    let at = entering.phase.with(py, |phase| {
        let at = match phase {
            Phase::Created => At::Created,
            Phase::Given => At::Given,
            Phase::Stands(_) | Phase::Otherwise(_) | Phase::Ended => return At::Other,
        };
        *phase = Phase::Ended;
        at
    });
    match at {
        At::Created => begin(this),
        At::Given => arrive(this),
        At::Other => next_of_others(this),
    }
}

/// It was given a slot, and has it.
#[inline(never)]
fn arrive<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    let (py, gate) = (this.py(), &this.value().gate);
    if !gate.gate().arrive(gate.as_object(py)) {
        return go_on_otherwise(this);
    }
    Ok(Step::Returned(py.None().into_bound(py)))
}

#[cold]
fn next_of_others<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    enum At<'py> {
        Stands,
        Otherwise(Object<'py>),
        Ended,
    }
    let py = this.py();
    let at = this.value().phase.with(py, |phase| match phase {
        Phase::Stands(_) => At::Stands,
        Phase::Otherwise(inner) => At::Otherwise(inner.get_bound(py)),
        Phase::Created | Phase::Given | Phase::Ended => At::Ended,
    });
    match at {
        At::Stands => match future::resume(upcast(this)) {
            Ok(Step::Returned(_)) => go_on_otherwise(this),
            Ok(yielded) => Ok(yielded),
            Err(error) => throw(this, error),
        },
        At::Otherwise(inner) => end_of_step(this, coroutine::resume(&inner)),
        At::Ended => Err(has_ended()),
    }
}

/// Takes a slot, or stands in the line.
#[inline(never)]
fn begin<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    take_or_stand(this).map_err(|error| errors::of_coroutine(this.py(), error))
}

#[inline(always)]
fn take_or_stand<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    let (py, entering) = (this.py(), this.value());
    let gate = entering.gate.gate();
    if gate.take(py) {
        return Ok(Step::Returned(py.None().into_bound(py)));
    }
    let event_loop = gate.event_loop(entering.gate.as_object(py))?;
    let native = into_native_loop(event_loop).filter(|native| native.get().is_plain_and_quiet());
    let Some(native) = native else { return go_on_otherwise(this) };
    let refused = entering.future.state.with(py, |state| {
        if !state.is_pending() || !state.event_loop.is_none() {
            return Some(native);
        }
        state.event_loop.fill(native);
        state.event_loop.mark(Mark::Blocking, true);
        None
    });
    if refused.is_some() {
        return go_on_otherwise(this);
    }
    let ticket = gate.line().stand(this);
    // It ended before it began: there is nothing to be dropped.
    let _ended = ManuallyDrop::new(entering.replace(py, Phase::Stands(ticket)));
    Ok(Step::Yielded(another(this).into_any()))
}

/// It cannot wait by itself, or not again: somebody else has ended the future.
#[cold]
fn go_on_otherwise<'py>(this: &Bound<'py, Entering>) -> PyResult<Step<'py>> {
    let (py, entering) = (this.py(), this.value());
    leave(this)?;
    let inner = entering.gate.acquire(py)?;
    drop(entering.replace(py, Phase::Otherwise(inner.clone().into())));
    end_of_step(this, coroutine::resume(&inner))
}

/// The coroutine in its place has come back: both may have ended.
fn end_of_step<'py>(this: &Bound<'py, Entering>, step: PyResult<Step<'py>>) -> PyResult<Step<'py>> {
    if !matches!(step, Ok(Step::Yielded(_))) {
        drop(this.value().replace(this.py(), Phase::Ended));
    }
    step
}

/// Leaves the line, or gives the slot back. Returns the coroutine that goes on in its place.
fn leave<'py>(this: &Bound<'py, Entering>) -> PyResult<Option<Object<'py>>> {
    let (py, entering) = (this.py(), this.value());
    let gate = entering.gate.gate();
    match entering.replace(py, Phase::Ended) {
        Phase::Created | Phase::Ended => Ok(None),
        Phase::Stands(ticket) => {
            gate.line().give_up(py, ticket);
            Ok(None)
        }
        Phase::Given => gate.refuse(py).map(|()| None),
        Phase::Otherwise(inner) => Ok(Some(inner.into_bound(py))),
    }
}

/// Raises `error` where it waits.
fn throw<'py>(this: &Bound<'py, Entering>, error: PyErr) -> PyResult<Step<'py>> {
    let py = this.py();
    let Some(inner) = leave(this)? else { return Err(errors::of_coroutine(py, error)) };
    let step = coroutine::throw(&inner, &errors::into_object(py, error));
    if matches!(step, Ok(Step::Yielded(_))) {
        drop(this.value().replace(py, Phase::Otherwise(inner.into())));
    }
    step
}

/// Ends it.
fn close<'py>(this: &Bound<'py, Entering>) -> PyResult<Object<'py>> {
    let py = this.py();
    if let Some(inner) = leave(this)? {
        inner.call_method0(names::close(py))?;
    }
    Ok(py.None().into_bound(py))
}

/// Nobody has it any more: warns if it was never awaited, leaves the line if it waits.
fn finalize(this: &Bound<'_, Entering>) {
    let (py, entering) = (this.py(), this.value());
    let unawaited = entering.phase.with(py, |phase| matches!(phase, Phase::Created));
    // The coroutine in its place closes itself.
    let mut outcome = leave(this).map(drop);
    if unawaited {
        outcome = warn_unawaited(py, entering.gate.qualname());
    }
    if let Err(error) = outcome {
        error.write_unraisable(py, Some(this.as_any()));
    }
    future::report_unretrieved(upcast(this));
}

/// What `await` resumes, and what its methods by name give: the coroutine itself for who awaits it; for others,
/// while it waits, the future that it is.
#[inline]
fn awaited<'py>(this: &Bound<'py, Entering>) -> PyResult<Object<'py>> {
    let is_future =
        this.value().phase.with(this.py(), |phase| matches!(phase, Phase::Stands(_) | Phase::Given));
    if is_future { Ok(FutureIter::create(upcast(this))?.into_any()) } else { Ok(another(this).into_any()) }
}

fn iterator<'py>(this: &Bound<'py, Entering>) -> PyResult<Object<'py>> {
    let awaited = awaited(this)?;
    if awaited.is(this) { CoroutineIter::create(this.as_any()) } else { Ok(awaited) }
}

impl NativeClass for Entering {
    /// The name of the future that it passes for.
    const NAME: &'static CStr = c"tonnage._tonnage.Future";
    const DOC: &'static CStr = c"A coroutine that is written in Rust, and the future that it waits by.";
    const LISTED: bool = false;
    const SUBCLASSED: bool = false;
    const HIDES_NEXT: bool = true;
    const PLAIN_DROP: PlainDrop = PlainDrop::ByFields;

    fn is_link(&self, py: Python<'_>) -> bool {
        !self.future.has_plain_result(py)
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        !self.phase.with(py, |phase| matches!(phase, Phase::Ended)) || self.future.needs_finalizer(py)
    }

    fn may_be_finalized(&self, py: Python<'_>) -> bool {
        self.future.may_be_finalized(py)
    }

    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.phase.with(py, |phase| matches!(phase, Phase::Ended)) && self.future.has_ended_plainly(py)
    }

    #[inline]
    fn drop_plainly(self) {
        self.future.drop_plainly();
        let _ended = ManuallyDrop::new(self.phase);
        drop(self.gate);
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.awaitable(awaited, next, iterator);
        slots.finalizer(finalize);
        slots.repr(|this| {
            if this.value().is_future(this.py()) {
                return future::repr(upcast(this));
            }
            Ok(coroutine_repr(this.value().gate.qualname(), this.as_any()))
        });
        slots.one_arg(c"send", c"Resume it.", |this, _value| coroutine::sent(next(this)?));
        slots.with_args(c"throw", c"Raise an exception where it waits.", |this, args| {
            coroutine::sent(throw(this, coroutine::thrown(&args)?)?)
        });
        slots.no_args(c"close", c"Raise GeneratorExit where it waits, so that it ends.", close);
        slots.getter(c"__qualname__", |this| {
            Ok(PyString::new(this.py(), this.value().gate.qualname()).into_any())
        });
        slots.getter(c"__name__", |this| Ok(PyString::new(this.py(), "acquire").into_any()));
        slots.getter(c"__class__", |this| {
            let py = this.py();
            if this.value().is_future(py) {
                names::asyncio_future(py).cloned()
            } else {
                Ok(this.get_type().into_any())
            }
        });
        slots.attribute_pair(
            c"_asyncio_future_blocking",
            |this| {
                let py = this.py();
                if this.value().is_future(py) {
                    future::is_blocking(upcast(this))
                } else {
                    Ok(py.None().into_bound(py))
                }
            },
            |this, value| future::set_blocking(upcast(this), value),
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let gate = match &self.gate {
            GateOf::Lock(lock) => visit.call(lock),
            GateOf::Semaphore(semaphore) => visit.call(semaphore),
        };
        if gate != 0 {
            return gate;
        }
        let inner = self.phase.traverse(0, |phase| match phase {
            Phase::Otherwise(inner) => visit.call(inner),
            _ => 0,
        });
        if inner == 0 { self.future.traverse(visit) } else { inner }
    }

    /// The finalizer has ended it before the collector comes to this.
    fn clear(&self, py: Python<'_>) {
        let gone = self.phase.with(py, |phase| match phase {
            Phase::Otherwise(_) => Some(mem::replace(phase, Phase::Ended)),
            _ => None,
        });
        drop(gone);
        self.future.clear(py);
    }
}
