//! Gate: a number of slots, and the tasks that wait for one. A lock has one slot, a semaphore has many.
//!
//! A slot that is given back goes to the first of the line at that moment, so that nobody comes between. Tasks
//! also start in the order of the line: who comes while a woken task has not run yet waits behind it, though
//! more slots may be free. Invariant: while a task waits, no slot is free, or a woken task is about to run, and
//! serves the line then.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::bound_loop::{BoundLoop, LoopBound, loop_attributes};
use super::entering::{Entering, GateOf};
use super::line::{First, Left, Line, Place};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, native_class};
use crate::immediate::Immediate;
use crate::waiter::Waiter;
use crate::{future, names};

pub(crate) struct Gate {
    slots: Guarded<Free>,
    line: Line,
    bound_loop: BoundLoop,
}

impl<T: Gated> LoopBound for T {
    fn bound_loop(&self) -> &BoundLoop {
        &self.gate().bound_loop
    }
}

struct Free {
    free: i64,
    /// Tasks that were given a slot, and have not run since.
    woken: usize,
}

impl Free {
    /// One of those who were given a slot has run. False if there is none: whoever comes first has the slot.
    #[inline]
    fn take_given(&mut self) -> bool {
        let is_given = self.woken > 0;
        self.woken -= usize::from(is_given);
        is_given
    }
}

/// A class that is a gate.
pub(crate) trait Gated: NativeClass {
    /// The name of its method `acquire` in reprs and warnings.
    const ACQUIRE: &'static str;

    fn gate(&self) -> &Gate;

    /// What `locked()` says.
    fn is_locked(&self, py: Python<'_>) -> bool {
        self.gate().is_closed(py)
    }

    /// Has it our own `acquire` and `release`, so that `async with` need not call them by name?
    fn is_plain(this: &Bound<'_, Self>) -> bool;

    fn release(this: &Bound<'_, Self>) -> PyResult<()>;

    fn owned(this: &Bound<'_, Self>) -> GateOf;
}

impl Gate {
    pub(super) const fn new(free: i64) -> Self {
        Self {
            slots: Guarded::new(Free { free, woken: 0 }),
            line: Line::new(),
            bound_loop: BoundLoop::none(),
        }
    }

    /// How many slots are free; there may be some while a woken task has not run yet.
    #[inline]
    pub(super) fn free(&self, py: Python<'_>) -> i64 {
        self.slots.with(py, |slots| slots.free)
    }

    /// Must who comes wait?
    #[inline]
    pub(super) fn is_closed(&self, py: Python<'_>) -> bool {
        self.slots.with(py, |slots| slots.free == 0 || slots.woken != 0)
    }

    /// Are all slots with tasks that have run since they were given one?
    #[inline]
    pub(super) fn is_held(&self, py: Python<'_>) -> bool {
        self.slots.with(py, |slots| slots.free == 0 && slots.woken == 0)
    }

    #[inline]
    pub(super) fn waiting(&self, py: Python<'_>) -> usize {
        self.line.len(py)
    }

    /// Sets how many slots are free; those who wait are the first to get them.
    pub(super) fn set_slots(&self, py: Python<'_>, free: i64) -> PyResult<()> {
        self.slots.with(py, |slots| slots.free = free);
        self.serve(py)
    }

    /// Takes a slot, if one is free and nobody is before.
    #[inline]
    pub(super) fn take(&self, py: Python<'_>) -> bool {
        self.slots.with(py, |slots| {
            let is_open = slots.free > 0 && slots.woken == 0;
            if is_open {
                slots.free -= 1;
            }
            is_open
        })
    }

    /// Hands a slot to the first who waits, or frees it.
    #[inline(always)]
    pub(super) fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        let first = self.line.grant_first(py);
        self.slots.with(py, |slots| match first {
            First::Granted => slots.woken += 1,
            First::Nobody | First::Waits => slots.free = slots.free.saturating_add(1),
        });
        if first == First::Waits { self.serve_first(py).map(drop) } else { Ok(()) }
    }

    /// Hands a free slot to the first who waits; false if nobody does.
    #[inline(never)]
    fn serve_first(&self, py: Python<'_>) -> PyResult<bool> {
        if self.waiting(py) == 0 {
            return Ok(false);
        }
        // Taken before the task is woken, which may run Python code that asks for it.
        self.slots.with(py, |slots| {
            slots.free -= 1;
            slots.woken += 1;
        });
        let served = self.line.wake_first(&future::to_bool(py, true));
        if matches!(served, Ok(false)) {
            self.slots.with(py, |slots| {
                slots.free += 1;
                slots.woken -= 1;
            });
        }
        served
    }

    /// Hands the free slots to those who wait.
    #[inline(never)]
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        while self.free(py) > 0 && self.serve_first(py)? {}
        Ok(())
    }

    /// Who was given a slot of the gate, which is `owner`, runs: the slot is its, whatever happens to the next. False if
    /// none was given: somebody else has ended a future of those who wait.
    #[inline]
    #[must_use]
    pub(super) fn arrive(&self, owner: &Object<'_>) -> bool {
        let py = owner.py();
        let (is_given, is_free) = self.slots.with(py, |slots| (slots.take_given(), slots.free > 0));
        if is_given
            && is_free
            && let Err(error) = self.serve(py)
        {
            error.write_unraisable(py, Some(owner));
        }
        is_given
    }

    /// Who was given a slot does not take it.
    pub(super) fn refuse(&self, py: Python<'_>) -> PyResult<()> {
        if !self.slots.with(py, Free::take_given) {
            return Ok(());
        }
        self.give_back(py)?;
        self.serve(py)
    }

    #[inline]
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// The loop that the gate, which is `owner`, belongs to.
    #[inline]
    pub(super) fn event_loop<'py>(&self, owner: &Object<'py>) -> PyResult<Object<'py>> {
        self.bound_loop.get(owner)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self.line.traverse(visit) {
            0 => self.bound_loop.traverse(visit),
            shown => shown,
        }
    }

    pub(super) fn clear(&self, py: Python<'_>) {
        self.line.clear(py);
        self.bound_loop.clear(py);
    }
}

/// `acquire`, and `__aenter__` where it must wait and no `Entering` can.
pub(crate) struct Acquire<T> {
    owner: Owned<T>,
    place: Option<Place>,
    /// `__aenter__` gives None.
    enters: bool,
}

impl<T: Gated> Acquire<T> {
    pub(super) fn new(owner: Owned<T>) -> Self {
        Self { owner, place: None, enters: false }
    }

    /// `__aenter__`.
    pub(super) fn entering(owner: Owned<T>) -> Self {
        Self { owner, place: None, enters: true }
    }

    pub(super) fn owner<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, T> {
        self.owner.bind(py)
    }

    /// Takes a slot, or else waits for one.
    fn begin<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        if self.owner.value().gate().take(py) { Ok(self.end(py)) } else { self.wait(py) }
    }

    #[inline(always)]
    fn wait<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let gate = self.owner.value().gate();
        let event_loop = gate.bound_loop.get(self.owner.bind(py).as_any())?;
        let waiter = Waiter::create(&event_loop)?;
        // Python code may have run, of a loop of another kind or of the collector, and have freed a slot.
        if gate.take(py) {
            return Ok(self.end(py));
        }
        let (place, next) = gate.line.join(py, waiter);
        self.place = Some(place);
        Ok(next)
    }

    fn end<'py>(&self, py: Python<'py>) -> Next<'py> {
        Next::Return(self.outcome(py))
    }

    fn outcome<'py>(&self, py: Python<'py>) -> Object<'py> {
        if self.enters { py.None().into_bound(py) } else { future::to_bool(py, true) }
    }
}

impl<T: Gated> Body for Acquire<T> {
    const QUALNAME: &'static str = T::ACQUIRE;

    #[inline]
    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        Ok(if self.owner.value().gate().take(py) { Some(self.outcome(py)) } else { None })
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        // `at_once` has found no slot.
        let Some(place) = self.place.take() else { return self.wait(py) };
        let gate = self.owner.value().gate();
        match (gate.line.leave(py, &place)?, awaited) {
            (Left::Woken, Ok(_)) if gate.arrive(self.owner.bind(py).as_any()) => Ok(self.end(py)),
            (Left::Woken, Err(error)) => {
                gate.refuse(py)?;
                Err(error)
            }
            // Somebody else ended the future.
            (Left::Woken | Left::GaveUp, Ok(_)) => self.begin(py),
            (Left::GaveUp, Err(error)) => Err(error),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match visit.call(&self.owner) {
            0 => self.place.as_ref().map_or(0, |place| place.traverse(visit)),
            shown => shown,
        }
    }
}

/// The methods of all gates.
pub(super) fn methods<T: Gated + LoopBound>(
    slots: &mut Slots<T>,
    acquire: &'static CStr,
    locked: &'static CStr,
) where
    Coroutine<Acquire<T>>: NativeClass,
{
    slots.no_args(c"acquire", acquire, |this| acquire_of(this));
    slots
        .no_args(c"locked", locked, |this| Ok(future::to_bool(this.py(), this.value().is_locked(this.py()))));
    slots.block((c"Acquire it.", enter), (c"Release it.", exit));
    slots.getter(c"_waiters", |this| this.value().gate().line.futures(this.py()));
    loop_attributes(slots);
}

/// `acquire()`.
pub(super) fn acquire_of<'py, T: Gated>(this: &Bound<'py, T>) -> PyResult<Object<'py>>
where
    Coroutine<Acquire<T>>: NativeClass,
{
    Coroutine::create(this.py(), Acquire::new(this.into()))
}

/// `__aenter__()`: acts at once if a slot is free.
#[inline(always)]
pub(super) fn enter<'py, T: Gated>(this: &Bound<'py, T>) -> PyResult<Object<'py>> {
    let py = this.py();
    if !T::is_plain(this) {
        return EnterByName::create(this.as_any());
    }
    if this.value().gate().take(py) {
        return Immediate::none(py);
    }
    Entering::create(py, T::owned(this))
}

/// `__aexit__(exc_type, exc, tb)`.
#[inline]
fn exit<'py, T: Gated>(this: &Bound<'py, T>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    check_exit(&args)?;
    if T::is_plain(this) {
        T::release(this)?;
    } else {
        this.as_any().call_method0(names::release(this.py()))?;
    }
    Immediate::none(this.py())
}

/// What `__aexit__` is called with is not used, but must be there.
#[inline]
pub(super) fn check_exit(args: &Args<'_, '_>) -> PyResult<()> {
    if args.positional().len() == 3 {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "__aexit__() takes exactly 3 positional arguments ({} given)",
        args.positional().len()
    )))
}

/// Is it of a class of ours, with no method put in another's place?
#[inline]
pub(super) fn is_plain<T: NativeClass>(this: &Bound<'_, T>) -> bool {
    native_class::is_exact::<T>(this.as_any()) && !native_class::has_instance_dict(this)
}

/// `__aenter__` of a class in Python, or of a condition with a lock of another kind: awaits `acquire()`.
pub(crate) struct EnterByName {
    owner: Owned,
    begun: bool,
}

pub(crate) type EnterByNameCoroutine = Coroutine<EnterByName>;

impl EnterByName {
    pub(super) fn create<'py>(owner: &Object<'py>) -> PyResult<Object<'py>> {
        Coroutine::create(owner.py(), Self { owner: owner.into(), begun: false })
    }
}

impl Body for EnterByName {
    const QUALNAME: &'static str = "__aenter__";
    const IS_LINK: bool = true;

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        awaited?;
        if self.begun {
            return Ok(Next::none(py));
        }
        self.begun = true;
        Ok(Next::Await(self.owner.bind(py).call_method0(names::acquire(py))?))
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.owner)
    }
}
