//! Limiter: what all limiters have. The class itself is abstract.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::clock;
use tonnage_core::limits::{Admission, Bounds, Supply};

use super::adaptive::Adaptive;
use super::alarm::Alarm;
use super::borrow::Borrowers;
use super::deadlock::Look;
use super::holders::Holders;
use super::keys::Keys;
use super::refusal::Counts;
use super::serve::{self, Payload};
use super::{acquire, alarm, permit, stats};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::event_loop::EventLoop;
use crate::sync::BoundLoop;
use crate::{errors, names, running};

#[repr(C)]
pub(crate) struct Limiter {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<State>,
    pub(super) event_loop: BoundLoop,
}

#[derive(Default)]
pub(super) struct State {
    /// Nothing before `__init__`.
    pub(super) admission: Option<Admission<Payload>>,
    pub(super) name: String,
    pub(super) holders: Holders,
    pub(super) borrowers: Borrowers,
    pub(super) keys: Keys,
    pub(super) alarm: Alarm,
    pub(super) refused: Counts,
    /// A loop of ours on which something was acquired.
    pub(super) seen_loop: Option<Owned<EventLoop>>,
    /// When a deadlock is looked for.
    pub(super) look: Option<Look>,
    /// Of an AdaptiveLimiter.
    pub(super) adaptive: Option<Adaptive>,
}

/// Numbers the limiters that nobody has named. A name is for people, and no identity.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

impl Limiter {
    pub(super) fn new() -> Self {
        Self { extras: Extras::new(), state: Guarded::new(State::default()), event_loop: BoundLoop::none() }
    }

    /// What `__init__` of a subclass does.
    pub(super) fn initialise(
        this: &Bound<'_, Self>,
        supply: Supply,
        bounds: Bounds,
        name: Option<&Object<'_>>,
    ) -> PyResult<()> {
        let py = this.py();
        let class = this.as_any().get_type().name()?;
        let name = match name.filter(|name| !name.is_none()) {
            Some(name) if name.is_instance_of::<PyString>() => name.extract::<String>()?,
            Some(name) => {
                return Err(PyTypeError::new_err(format!("name must be a str, got {}", name.repr()?)));
            }
            None => format!("{class}-{}", UNNAMED.fetch_add(1, Ordering::Relaxed) + 1),
        };
        let is_first = this.value().state.with(py, |state| {
            let is_first = state.admission.is_none();
            if is_first {
                state.admission = Some(Admission::new(supply, bounds));
                state.name = name;
            }
            is_first
        });
        if is_first {
            return Ok(());
        }
        Err(pyo3::exceptions::PyRuntimeError::new_err(format!("{class} object is already initialized")))
    }

    /// Calls `work` with what decides. `work` must not run Python code.
    #[inline]
    pub(super) fn admission<R>(
        this: &Bound<'_, Self>,
        work: impl FnOnce(&mut Admission<Payload>) -> R,
    ) -> PyResult<R> {
        let found = this.value().state.with(this.py(), |state| state.admission.as_mut().map(work));
        found.ok_or_else(|| errors::not_initialised("Limiter"))
    }

    pub(super) fn name(&self, py: Python<'_>) -> String {
        self.state.with(py, |state| state.name.clone())
    }
}

/// The time of the loop that runs, or else of the clock that all real loops have.
pub(super) fn now_ns(py: Python<'_>) -> PyResult<u64> {
    time_on(running::event_loop_or_none(py)?.as_ref())
}

/// The same, of a loop.
#[inline]
pub(super) fn time_on(event_loop: Option<&Object<'_>>) -> PyResult<u64> {
    match event_loop {
        Some(other) if EventLoop::of_kernel_time(other).is_none() => {
            Ok(clock::from_seconds(other.call_method0(names::time(other.py()))?.extract()?))
        }
        _ => Ok(clock::now_ns()),
    }
}

/// `close()`.
fn close<'py>(this: &Bound<'py, Limiter>) -> PyResult<Object<'py>> {
    Limiter::admission(this, Admission::close)?;
    serve::serve(this)?;
    Ok(this.py().None().into_bound(this.py()))
}

fn repr<'py>(this: &Bound<'py, Limiter>) -> PyResult<Object<'py>> {
    let py = this.py();
    let class = this.as_any().get_type();
    let (home, class) = (class.module()?, class.qualname()?);
    let text = this.value().state.with(py, |state| {
        let Some(admission) = &state.admission else { return "not initialized".to_owned() };
        let usage = match admission.supply() {
            Supply::Capacity(capacity) => super::refusal::lent(capacity),
            Supply::Rate(rate) => format!("burst of {}", rate.burst()),
        };
        let (waiting, closed) = (admission.line().len(), if admission.is_closed() { ", closed" } else { "" });
        format!("'{}' [{usage}, {waiting} waiting{closed}]", state.name)
    });
    Ok(PyString::new(py, &format!("<{home}.{class} {text}>")).into_any())
}

impl NativeClass for Limiter {
    const NAME: &'static CStr = c"tonnage.Limiter";
    const DOC: &'static CStr =
        c"Limiter()\n--\n\nWhat all limiters have; CapacityLimiter and RateLimiter are such.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|_this, _args| {
            Err(PyTypeError::new_err("Limiter is abstract; make a CapacityLimiter or a RateLimiter"))
        });
        slots.repr(repr);
        slots.call(|this, args| {
            let py = this.py();
            let [func] = args.parse(&crate::cpython::Parameters {
                function: "Limiter.__call__",
                names: ["func"],
                positional: 1,
                required: 1,
            })?;
            names::limited(py)?.call1((this, func.expect("required")))
        });
        slots.with_args(
            c"acquire",
            c"acquire($self, /, tokens=1, *, key=None, priority=0)\n--\n\n\
              Wait until the tokens are there, take them, and return a Permit.",
            acquire::acquire,
        );
        slots.with_args(
            c"acquire_nowait",
            c"acquire_nowait($self, /, tokens=1, *, key=None, priority=0)\n--\n\n\
              Take the tokens and return a Permit, or raise Overloaded if that means waiting.",
            acquire::acquire_nowait,
        );
        slots.block(
            (c"Acquire one token.", acquire::enter),
            (c"Release what the block has acquired.", permit::exit_block),
        );
        slots.no_args(
            c"close",
            c"close($self, /)\n--\n\nRefuse all who wait, and all who come from now on.",
            close,
        );
        slots.no_args(
            c"stats",
            c"stats($self, /)\n--\n\nReturn what is in use and who waits, and the counters.",
            stats::stats,
        );
        slots.property(c"name", c"What it is called in errors and statistics.", |this| {
            Ok(PyString::new(this.py(), &this.value().name(this.py())).into_any())
        });
        slots.no_args(c"_on_time", c"Serve who can be served.", |this| {
            serve::on_time(this)?;
            Ok(this.py().None().into_bound(this.py()))
        });
        slots.one_arg(c"_task_ended", c"Take back what a task has left behind.", permit::task_ended);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.event_loop.traverse(visit);
        if shown != 0 {
            return shown;
        }
        self.state.traverse(0, |state| state.traverse(visit))
    }

    fn clear(&self, py: Python<'_>) {
        let gone = self.state.with(py, |state| {
            // The numbers stay as they are; nobody asks any more.
            let line = state.admission.take();
            let of_others =
                (state.holders.drain(), std::mem::take(&mut state.borrowers), state.adaptive.take());
            let of_loops = (state.seen_loop.take(), std::mem::take(&mut state.alarm));
            (line, of_others, std::mem::take(&mut state.keys), of_loops)
        });
        drop(gone);
        self.event_loop.clear(py);
    }
}

impl State {
    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let line = self.admission.as_ref().map_or(0, |admission| {
            let entries = admission.line().iter().map(|entry| entry.waiter.traverse(visit));
            entries.into_iter().find(|shown| *shown != 0).unwrap_or(0)
        });
        let rest: [&dyn Fn() -> i32; 6] = [
            &|| visit.option(self.seen_loop.as_deref()),
            &|| self.holders.traverse(visit),
            &|| self.borrowers.traverse(visit),
            &|| self.keys.traverse(visit),
            &|| self.alarm.traverse(visit),
            &|| self.adaptive.as_ref().map_or(0, |adaptive| adaptive.traverse(visit)),
        ];
        if line != 0 { line } else { rest.iter().map(|part| part()).find(|shown| *shown != 0).unwrap_or(0) }
    }
}

/// Can nothing happen on this loop any more?
pub(super) fn is_closed(event_loop: &Object<'_>) -> PyResult<bool> {
    match EventLoop::of_any(event_loop) {
        Some(native) => Ok(native.is_closed()),
        None => event_loop.call_method0(names::is_closed(event_loop.py()))?.is_truthy(),
    }
}

/// Takes those out of the line who wait on a loop that was closed: they will never run. Were there any?
pub(super) fn forget_the_dead(this: &Bound<'_, Limiter>) -> PyResult<bool> {
    let py = this.py();
    let event_loop = this.value().event_loop.object(py);
    if Limiter::admission(this, |admission| admission.line().is_empty())?
        || event_loop.is_none()
        || !is_closed(&event_loop)?
    {
        return Ok(false);
    }
    while let Some(entry) = Limiter::admission(this, Admission::forget_oldest)? {
        drop(entry);
    }
    Ok(true)
}

/// Binds the limiter to a loop, or else to the one that runs, for somebody who is to wait. Where nobody waits, it may
/// be another loop than before.
pub(super) fn bind_loop<'py>(
    this: &Bound<'py, Limiter>,
    event_loop: Option<&Object<'py>>,
) -> PyResult<Object<'py>> {
    let is_free = Limiter::admission(this, |admission| admission.line().is_empty())?;
    if is_free {
        let event_loop = event_loop.map_or_else(|| running::event_loop(this.py()), |it| Ok(it.clone()))?;
        alarm::stop(this)?;
        this.value().event_loop.set(&event_loop);
        return Ok(event_loop);
    }
    match event_loop {
        Some(event_loop) if event_loop.is(this.value().event_loop.object(this.py())) => {
            Ok(event_loop.clone())
        }
        _ => this.value().event_loop.get(this.as_any()),
    }
}
