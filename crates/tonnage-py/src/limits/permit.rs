//! Permit: what was acquired, for as long as it is held.
//!
//! A permit names a loan of its limiter. That of an `async with` block belongs to the block. One that is dropped
//! unreleased gives its tokens back, with a warning: at once, or where the limiter has a `release()` which would
//! find it still, when the task that has acquired it ends.

use std::ffi::CStr;

use pyo3::exceptions::{PyResourceWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::limits::Request;
use tonnage_core::limits::line::NO_KEY;

use super::capacity::CapacityLimiter;
use super::holders::{Holder, Kind, Loan, Record};
use super::limiter::Limiter;
use super::outcome::Outcome;
use super::{adaptive, ask, borrow, keys, serve};
use crate::cpython::native_class::create;
use crate::cpython::{Args, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::enter::error_of_block;
use crate::event_loop::EventLoop;
use crate::immediate::Immediate;
use crate::{future, names, running};

pub(crate) struct Permit {
    state: Guarded<State>,
}

enum State {
    /// Something that comes back.
    Lent {
        limiter: Owned<Limiter>,
        loan: Loan,
        is_block: bool,
    },
    /// Something that is used up by then, as the tokens of a rate.
    Spent,
    Released,
}

/// The task that runs, which holds what is acquired. A loop that was seen before and runs in this thread is the
/// running one, so asyncio need not be asked.
#[inline]
pub(super) fn holder<'py>(this: &Bound<'py, Limiter>) -> PyResult<Option<Object<'py>>> {
    let py = this.py();
    let task = this.value().state.with(py, |state| {
        let seen = state.seen_loop.as_ref()?.bind(py).get();
        if seen.is_own_thread() { seen.certain_task(py) } else { None }
    });
    match task {
        Some(task) => Ok(Some(task.into_any())),
        None => look_up_holder(this),
    }
}

fn look_up_holder<'py>(this: &Bound<'py, Limiter>) -> PyResult<Option<Object<'py>>> {
    let py = this.py();
    let Some(event_loop) = running::event_loop_or_none(py)? else { return Ok(None) };
    if let Some(native) = EventLoop::bound(&event_loop) {
        let seen = Owned::from(native);
        drop(this.value().state.with(py, |state| state.seen_loop.replace(seen)));
    }
    running::task(&event_loop)
}

/// The permit for tokens that were taken. It has the reference to the key that the caller has taken; if this fails,
/// the caller has it still, and the tokens are given back.
#[inline]
pub(super) fn lend<'py>(this: &Bound<'py, Limiter>, request: Request, kind: Kind) -> PyResult<Object<'py>> {
    let py = this.py();
    let loan = match note(this, request, || holder(this), kind) {
        Ok(loan) => loan,
        Err(error) => {
            ask::untake(this, &request)?;
            return Err(error);
        }
    };
    let state = match loan {
        Some(loan) => State::Lent { limiter: this.into(), loan, is_block: kind == Kind::Block },
        None => State::Spent,
    };
    Ok(create(py, Permit { state: Guarded::new(state) })?.into_any())
}

/// Notes who has the tokens; nothing if they do not come back.
#[inline]
pub(super) fn note<'py>(
    this: &Bound<'py, Limiter>,
    request: Request,
    holder: impl FnOnce() -> PyResult<Option<Object<'py>>>,
    kind: Kind,
) -> PyResult<Option<Loan>> {
    let py = this.py();
    let (comes_back, keeps_key) =
        Limiter::admission(this, |admission| (admission.is_lent(), admission.has_caps()))?;
    let begun_ns = if comes_back { adaptive::begun(this)? } else { None };
    let holder = if comes_back { holder()? } else { None };
    let mut request = request;
    if !keeps_key {
        keys::let_go(this, request.key);
        request.key = NO_KEY;
    }
    if !comes_back {
        return Ok(None);
    }
    let address = holder.as_ref().map_or(0, |holder| holder.as_ptr() as u64);
    let holder = match kind {
        Kind::Free | Kind::Child => Holder::seen(holder.as_ref()),
        _ => Holder::kept(holder.as_ref()),
    };
    Ok(Some(this.value().state.with(py, |state| {
        let loan = state.holders.lend((holder, address), request, kind);
        if let Some(begun_ns) = begun_ns {
            state.holders.begin(loan, begun_ns);
        }
        loan
    })))
}

/// Takes back what was lent, and hands it to those who wait.
#[inline]
pub(super) fn take_back(this: &Bound<'_, Limiter>, request: &Request) -> PyResult<()> {
    let nobody_waits = Limiter::admission(this, |admission| {
        admission.give_back(request);
        admission.line().is_empty()
    })?;
    keys::let_go(this, request.key);
    if nobody_waits { Ok(()) } else { serve::serve(this) }
}

/// Ends a loan; false if it had ended.
pub(super) fn end(this: &Bound<'_, Limiter>, loan: Loan, outcome: Outcome) -> PyResult<bool> {
    let (begun_ns, ended) = this.value().state.with(this.py(), |state| {
        (state.holders.get(loan).and_then(|record| record.begun_ns), state.holders.end(loan))
    });
    let Some((request, record)) = ended else { return Ok(false) };
    if let Some(Record { kind: Kind::Borrowed, holder: Holder::Kept(borrower), .. }) = &record {
        borrow::disclaim(this, borrower.bind(this.py()));
    }
    drop(record);
    let learned = adaptive::learn(this, begun_ns, outcome);
    take_back(this, &request)?;
    learned.map(|()| true)
}

/// `limiter.__aexit__(...)`.
#[inline]
pub(super) fn exit_block<'py>(this: &Bound<'py, Limiter>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    let py = this.py();
    let outcome = Outcome::of(this, &error_of_block(&args)?);
    if Limiter::admission(this, |admission| admission.is_lent())? {
        let holder = holder(this)?;
        let record = this.value().state.with(py, |state| state.holders.end_block(holder.as_ref()));
        let record = match record {
            Some(record) => record,
            None => block_of_another(this)?,
        };
        if record.kind == Kind::Block {
            let learned = adaptive::learn(this, record.begun_ns, outcome);
            take_back(this, &record.request)?;
            learned?;
        }
    }
    Immediate::none(py)
}

/// A block may be left by another task than the one that entered it, as in an async generator that is a fixture of
/// a test: that one has ended by then.
#[cold]
fn block_of_another(this: &Bound<'_, Limiter>) -> PyResult<Record> {
    let py = this.py();
    let blocks = this.value().state.with(py, |state| state.holders.blocks(py));
    for (loan, holder) in blocks {
        if !future::is_done(&holder)? {
            continue;
        }
        if let Some(record) = this.value().state.with(py, |state| state.holders.remove(loan)) {
            return Ok(record);
        }
    }
    let name = this.value().name(py);
    Err(PyRuntimeError::new_err(format!("the current task is in no block of limiter '{name}'")))
}

/// A task has ended that dropped permits of this limiter unreleased.
pub(super) fn task_ended<'py>(this: &Bound<'py, Limiter>, task: &Object<'py>) -> PyResult<Object<'py>> {
    let py = this.py();
    drop(this.value().state.with(py, |state| state.holders.unwatch(task)));
    while let Some(loan) = this.value().state.with(py, |state| state.holders.newest_dropped(task)) {
        if end(this, loan, Outcome::Ignore)? {
            warn(this)?;
        }
    }
    Ok(py.None().into_bound(py))
}

fn warn(limiter: &Bound<'_, Limiter>) -> PyResult<()> {
    let py = limiter.py();
    let name = limiter.value().name(py);
    let text = format!("a permit of limiter '{name}' was never released; use `async with`, or release it");
    names::warn(py)?.call1((text, py.get_type::<PyResourceWarning>())).map(drop)
}

/// `permit.release(outcome="ok")`.
fn release<'py>(this: &Bound<'py, Permit>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Permit.release", names: ["outcome"], positional: 1, required: 0 };
    let [outcome] = args.parse(&PARAMETERS)?;
    let outcome = Outcome::named(outcome.as_ref())?;
    if !this.value().end(args.py(), |_| outcome)? {
        return Err(PyRuntimeError::new_err("the permit was released already"));
    }
    Ok(args.py().None().into_bound(args.py()))
}

impl Permit {
    /// Releases it; false if that was done before.
    fn end(&self, py: Python<'_>, outcome: impl FnOnce(&Bound<'_, Limiter>) -> Outcome) -> PyResult<bool> {
        match self.state.with(py, |state| std::mem::replace(state, State::Released)) {
            State::Released => Ok(false),
            State::Spent => Ok(true),
            State::Lent { limiter, loan, .. } => end(limiter.bind(py), loan, outcome(limiter.bind(py))),
        }
    }
}

/// It was dropped.
fn finalize(this: &Bound<'_, Permit>) {
    let py = this.py();
    let state = this.value().state.with(py, |state| std::mem::replace(state, State::Released));
    if let State::Lent { limiter, loan, is_block: false } = state
        && let Err(error) = dropped(limiter.bind(py), loan)
    {
        error.write_unraisable(py, Some(limiter.bind(py).as_any()));
    }
}

/// The permit of a loan is gone.
fn dropped(limiter: &Bound<'_, Limiter>, loan: Loan) -> PyResult<()> {
    let py = limiter.py();
    let holder =
        limiter.value().state.with(py, |state| state.holders.get(loan).map(|record| record.holder.get(py)));
    let Some(holder) = holder else { return Ok(()) };
    if let Some(task) = holder.filter(|_| limiter.as_any().is_instance_of::<CapacityLimiter>())
        && !future::is_done(&task)?
    {
        return watch(limiter, &task, loan);
    }
    if end(limiter, loan, Outcome::Ignore)? { warn(limiter) } else { Ok(()) }
}

/// The task keeps the tokens: `release()` gives them back, or its end.
fn watch<'py>(limiter: &Bound<'py, Limiter>, task: &Object<'py>, loan: Loan) -> PyResult<()> {
    let py = limiter.py();
    let kept = Owned::from(task);
    let is_watched = limiter.value().state.with(py, |state| {
        state.holders.drop_permit(loan);
        state.holders.watch(kept)
    });
    match is_watched {
        Ok(()) => {
            let ended = limiter.getattr(names::_task_ended(py))?;
            task.call_method1(names::add_done_callback(py), (ended,)).map(drop)
        }
        Err(kept) => {
            drop(kept);
            Ok(())
        }
    }
}

impl NativeClass for Permit {
    const NAME: &'static CStr = c"tonnage.Permit";
    const DOC: &'static CStr = c"What was acquired from a limiter, until it is released.";
    const SUBCLASSED: bool = false;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| matches!(state, State::Lent { is_block: false, .. }))
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.finalizer(finalize);
        slots.repr(|this| {
            let py = this.py();
            let lent = this.value().state.with(py, |state| match state {
                State::Lent { limiter, .. } => Some(limiter.share(py)),
                State::Spent | State::Released => None,
            });
            let text = match lent {
                Some(limiter) => format!("<tonnage.Permit of limiter '{}'>", limiter.value().name(py)),
                None => "<tonnage.Permit [released]>".to_owned(),
            };
            Ok(PyString::new(py, &text).into_any())
        });
        slots.with_args(
            c"release",
            c"release($self, /, outcome='ok')\n--\n\nGive the tokens back, and say how it went.",
            release,
        );
        slots.no_args(c"__enter__", c"Return the permit.", |this| Ok(this.clone().into_any()));
        slots.with_args(c"__exit__", c"Release it, unless that was done.", |this, args| {
            let error = error_of_block(&args)?;
            this.value().end(args.py(), |limiter| Outcome::of(limiter, &error))?;
            Ok(args.py().None().into_bound(args.py()))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| match state {
            State::Lent { limiter, .. } => visit.call(limiter),
            State::Spent | State::Released => 0,
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::Released)));
    }
}

/// Refuses who has nothing to give back, with trio's text.
#[cold]
pub(super) fn holds_nothing() -> PyErr {
    PyRuntimeError::new_err("this borrower isn't holding any of this CapacityLimiter's tokens")
}
