//! AdaptiveLimiter: as many at once as an algorithm says, which learns from how what it let run has ended.
//!
//! The parts of the limiter call here: when something is lent (`begun`), when it comes back (`learn`), and when
//! somebody finds no room (`comes_up`), for a limit that was lowered for a time. Other limiters have no `Adaptive`,
//! and pay one look at that. Whatever the algorithm raises, what was lent comes back.

use std::ffi::CStr;

use pyo3::exceptions::{PyBaseException, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use tonnage_core::limits::capacity::Capacity;
use tonnage_core::limits::outcome::{self, LimitRange};
use tonnage_core::limits::{Bounds, Supply};

use super::algorithm::{Algorithm, INITIAL, RANGE};
use super::gradient::Gradient;
use super::limiter::{self, Limiter};
use super::outcome::Outcome;
use super::{config, serve};
use crate::cpython::native_class::{create, upcast};
use crate::cpython::{Args, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, number};
use crate::event_loop::EventLoop;
use crate::{errors, names, running};

#[repr(C)]
pub(crate) struct AdaptiveLimiter {
    pub(crate) limiter: Limiter,
}

/// What a limiter that adapts has beside.
pub(super) struct Adaptive {
    algorithm: Algorithm,
    range: LimitRange,
    /// The exceptions that say that what is protected is overloaded.
    dropped: Owned<PyTuple>,
}

impl Adaptive {
    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self.algorithm.traverse(visit) {
            0 => visit.call(&self.dropped),
            shown => shown,
        }
    }
}

/// Something is to be lent: when, if that will be asked.
#[inline]
pub(super) fn begun(this: &Bound<'_, Limiter>) -> PyResult<Option<u64>> {
    let py = this.py();
    if this.value().state.with(py, |state| state.adaptive.is_none()) {
        return Ok(None);
    }
    let event_loop = running::event_loop_or_none(py)?;
    if let Some(native) = event_loop.as_ref().and_then(EventLoop::of_any) {
        native.time_turns();
    }
    limiter::time_on(event_loop.as_ref()).map(Some)
}

/// What was lent at a time comes back; the limit is another from here on.
#[inline]
pub(super) fn learn(this: &Bound<'_, Limiter>, begun_ns: Option<u64>, outcome: Outcome) -> PyResult<()> {
    match begun_ns {
        Some(begun_ns) if outcome != Outcome::Ignore => tell(this, begun_ns, outcome == Outcome::Dropped),
        _ => Ok(()),
    }
}

fn tell(this: &Bound<'_, Limiter>, begun_ns: u64, dropped: bool) -> PyResult<()> {
    let py = this.py();
    let event_loop = running::event_loop_or_none(py)?;
    let ended_ns = limiter::time_on(event_loop.as_ref())?;
    // What came from the network since was there at the last look at the latest.
    let looked_ns =
        event_loop.as_ref().and_then(EventLoop::of_kernel_time).and_then(EventLoop::turn_began_ns);
    let reached_ns = looked_ns.filter(|looked_ns| *looked_ns > begun_ns).unwrap_or(ended_ns);
    let in_flight = capacity(this, Capacity::in_use)?;
    let told = outcome::Outcome {
        ended_ns,
        latency_ns: reached_ns.min(ended_ns).saturating_sub(begun_ns),
        in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
        dropped,
    };
    let algorithm = this.value().state.with(py, |state| {
        state.adaptive.as_ref().map(|adaptive| (adaptive.algorithm.share(py), adaptive.range))
    });
    let Some((algorithm, range)) = algorithm else { return Ok(()) };
    match algorithm.update(py, told) {
        Ok(limit) => set_limit(this, limit.clamp(range.min, range.max)),
        Err(error) if errors::is_exit(py, &error) => Err(error),
        Err(error) => report(this, event_loop.as_ref(), algorithm.object(py), error),
    }
}

fn set_limit(this: &Bound<'_, Limiter>, limit: u32) -> PyResult<()> {
    Limiter::admission(this, |admission| admission.set_total(u64::from(limit)))
}

/// Tells the loop's exception handler what the algorithm raised.
#[cold]
fn report(
    this: &Bound<'_, Limiter>,
    event_loop: Option<&Object<'_>>,
    algorithm: &Object<'_>,
    error: PyErr,
) -> PyResult<()> {
    let py = this.py();
    let Some(event_loop) = event_loop else {
        error.write_unraisable(py, Some(algorithm));
        return Ok(());
    };
    let (name, limit) = (this.value().name(py), capacity(this, Capacity::total)?);
    let class = algorithm.get_type().qualname()?;
    let details = PyDict::new(py);
    details.set_item(
        "message",
        format!("{class}.update() failed; limiter '{name}' keeps its limit of {limit}"),
    )?;
    details.set_item("exception", errors::into_object(py, error))?;
    event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
}

/// The outcome of a block that an error leaves, if this limiter is told what is a drop; a cancellation is none.
pub(super) fn outcome_of(this: &Bound<'_, Limiter>, error: &Object<'_>) -> Option<Outcome> {
    let py = this.py();
    let dropped = this
        .value()
        .state
        .with(py, |state| state.adaptive.as_ref().map(|adaptive| adaptive.dropped.get_bound(py)))?;
    let error = PyErr::from_value(error.clone());
    let is_dropped = !errors::is_cancelled(py, &error) && error.matches(py, dropped).unwrap_or(false);
    errors::swallow(error);
    Some(if is_dropped { Outcome::Dropped } else { Outcome::Ignore })
}

/// The most tokens that a request may want: the limit itself is none, as it changes.
#[inline]
pub(super) fn most(this: &Bound<'_, Limiter>) -> Option<u64> {
    this.value()
        .state
        .with(this.py(), |state| state.adaptive.as_ref().map(|adaptive| adaptive.range.max.into()))
}

/// When a limit that is lowered comes up again, though nothing ends.
#[inline]
pub(super) fn lowered_until_ns(this: &Bound<'_, Limiter>) -> Option<u64> {
    let py = this.py();
    this.value().state.with(py, |state| state.adaptive.as_ref()?.algorithm.lowered_until_ns(py))
}

/// Lets a limit that was lowered for a time come up, if that is over; says whether it has.
#[inline]
pub(super) fn comes_up(this: &Bound<'_, Limiter>) -> PyResult<bool> {
    match lowered_until_ns(this) {
        None => Ok(false),
        Some(_) if !comes_up_at(this, limiter::now_ns(this.py())?)? => Ok(false),
        // Those who wait are before who asks.
        Some(_) => serve::serve(this).map(|()| true),
    }
}

/// The same at a time, for who serves then.
pub(super) fn comes_up_at(this: &Bound<'_, Limiter>, now_ns: u64) -> PyResult<bool> {
    let py = this.py();
    let limit = this.value().state.with(py, |state| state.adaptive.as_ref()?.algorithm.expire(py, now_ns));
    match limit {
        Some(limit) => set_limit(this, limit).map(|()| true),
        None => Ok(false),
    }
}

fn init(this: &Bound<'_, AdaptiveLimiter>, args: &Args<'_, '_>) -> PyResult<()> {
    let py = this.py();
    let [algorithm, min, max, initial, dropped, max_waiting, max_wait, target_delay, name] =
        args.parse(&Parameters {
            function: "AdaptiveLimiter.__init__",
            names: [
                "algorithm",
                "min",
                "max",
                "initial",
                "dropped",
                "max_waiting",
                "max_wait",
                "target_delay",
                "name",
            ],
            positional: 1,
            required: 0,
        })?;
    let (range, initial) = limits_of(min.as_ref(), max.as_ref(), initial.as_ref())?;
    let dropped = dropped_of(py, dropped.as_ref())?;
    let bounds = Bounds {
        max_waiting: match max_waiting {
            Some(max_waiting) => config::count_or_none("max_waiting", Some(&max_waiting), 0)?,
            None => Some(0),
        },
        max_wait_ns: config::duration_ns("max_wait", max_wait.as_ref())?,
        target_delay_ns: config::duration_ns("target_delay", target_delay.as_ref())?,
    };
    let algorithm = match algorithm.filter(|algorithm| !algorithm.is_none()) {
        Some(algorithm) => algorithm,
        None => create(py, Gradient::new())?.into_any(),
    };
    let supply = Supply::Capacity(Capacity::new(u64::from(initial), None));
    Limiter::initialise(upcast(this), supply, bounds, name.as_ref())?;
    let algorithm = Algorithm::begin(&algorithm, range, initial)?;
    let adaptive = Adaptive { algorithm, range, dropped };
    this.value().limiter.state.with(py, |state| state.adaptive = Some(adaptive));
    Ok(())
}

/// Between what the limit stays, and where it begins.
fn limits_of(
    min: Option<&Object<'_>>,
    max: Option<&Object<'_>>,
    initial: Option<&Object<'_>>,
) -> PyResult<(LimitRange, u32)> {
    let count = |name, given: Option<&Object<'_>>, default, least: u32| match given {
        Some(given) => Ok(u32::try_from(number::count(name, given, u64::from(least))?).unwrap_or(u32::MAX)),
        None => Ok::<_, PyErr>(default),
    };
    let least = count("min", min, RANGE.min, 1)?;
    let most = count("max", max, RANGE.max.max(least), 1)?;
    if most < least {
        return Err(PyValueError::new_err(format!("max must be min ({least}) or more, got {most}")));
    }
    let first = count("initial", initial, INITIAL.clamp(least, most), 1)?;
    if !(least..=most).contains(&first) {
        let text = format!("initial must be from min to max ({least} to {most}), got {first}");
        return Err(PyValueError::new_err(text));
    }
    Ok((LimitRange::new(least, most), first))
}

/// The exceptions that are drops.
fn dropped_of(py: Python<'_>, given: Option<&Object<'_>>) -> PyResult<Owned<PyTuple>> {
    let Some(given) = given else { return Ok(Outcome::dropped_by_rule(py)?.into()) };
    let is_exception = |class: &Object<'_>| {
        class.cast::<PyType>().is_ok_and(|class| class.is_subclass_of::<PyBaseException>().unwrap_or(false))
    };
    match given.cast::<PyTuple>() {
        Ok(classes) if classes.iter().all(|class| is_exception(&class)) => Ok(classes.into()),
        _ => {
            let text = format!("dropped must be a tuple of exception classes, got {}", given.repr()?);
            Err(PyTypeError::new_err(text))
        }
    }
}

/// Calls `read` with what the limiter lends.
fn capacity<R>(this: &Bound<'_, Limiter>, read: impl FnOnce(&Capacity) -> R) -> PyResult<R> {
    let found = Limiter::admission(this, |admission| match admission.supply() {
        Supply::Capacity(capacity) => Some(read(capacity)),
        Supply::Rate(_) => None,
    })?;
    found.ok_or_else(|| errors::not_initialised("AdaptiveLimiter"))
}

impl NativeClass for AdaptiveLimiter {
    const NAME: &'static CStr = c"tonnage.AdaptiveLimiter";
    const DOC: &'static CStr =
        c"AdaptiveLimiter(algorithm=None, *, min=1, max=1000, initial=20, dropped=..., \
        max_waiting=0, max_wait=None, target_delay=None, name=None)\n--\n\n\
        Lend as many tokens as an algorithm says, which learns from how long they are kept.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self { limiter: Limiter::new() })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|this, args| init(this, &args));
        slots.property(c"limit", c"How many tokens may be lent at this moment.", |this| {
            Ok(capacity(upcast(this), Capacity::total)?.into_pyobject(this.py())?.into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.limiter.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.limiter.clear(py);
    }
}
