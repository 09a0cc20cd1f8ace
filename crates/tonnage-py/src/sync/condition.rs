//! Condition: tasks that hold a lock, and wait until another task that holds it says that something changed.
//!
//! The lock is one of ours, or anything that has `acquire`, `release` and `locked`.

use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use super::bound_loop::{BoundLoop, LoopBound, loop_attributes};
use super::condition_wait::{Wait, WaitFor};
use super::gate::{self, EnterByName, Gated};
use super::line::Line;
use super::lock::Lock;
use crate::coroutine::Coroutine;
use crate::cpython::native_class::create;
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::immediate::Immediate;
use crate::{errors, future, names};

#[repr(C)]
pub(crate) struct Condition {
    pub(crate) extras: Extras,
    /// None before `__init__`.
    lock: Guarded<Option<Owned>>,
    pub(super) line: Line,
    pub(super) bound_loop: BoundLoop,
}

/// The lock of a condition.
pub(super) enum LockOf<'py> {
    Native(Bound<'py, Lock>),
    Foreign(Object<'py>),
}

impl<'py> LockOf<'py> {
    pub(super) fn is_locked(&self) -> PyResult<bool> {
        self.locked()?.is_truthy()
    }

    fn locked(&self) -> PyResult<Object<'py>> {
        match self {
            Self::Native(lock) => Ok(future::to_bool(lock.py(), lock.value().is_locked(lock.py()))),
            Self::Foreign(lock) => lock.call_method0(names::locked(lock.py())),
        }
    }

    /// An awaitable.
    pub(super) fn acquire(&self) -> PyResult<Object<'py>> {
        match self {
            Self::Native(lock) => gate::acquire_of(lock),
            Self::Foreign(lock) => lock.call_method0(names::acquire(lock.py())),
        }
    }

    pub(super) fn release(&self) -> PyResult<Object<'py>> {
        match self {
            Self::Native(lock) => {
                Lock::release(lock)?;
                Ok(lock.py().None().into_bound(lock.py()))
            }
            Self::Foreign(lock) => lock.call_method0(names::release(lock.py())),
        }
    }

    fn enter(&self) -> PyResult<Object<'py>> {
        match self {
            Self::Native(lock) => gate::enter(lock),
            Self::Foreign(lock) => EnterByName::create(lock),
        }
    }
}

impl Condition {
    pub(super) fn lock<'py>(&self, py: Python<'py>) -> PyResult<LockOf<'py>> {
        let lock = self.lock.with(py, |lock| lock.as_ref().map(|lock| lock.get_bound(py)));
        let lock = lock.ok_or_else(|| errors::not_initialised("Condition"))?;
        Ok(match lock.cast_into::<Lock>() {
            Ok(lock) if Lock::is_plain(&lock) => LockOf::Native(lock),
            Ok(lock) => LockOf::Foreign(lock.into_any()),
            Err(error) => LockOf::Foreign(error.into_inner()),
        })
    }

    /// Wakes up to `count` of those who wait. What they get says only that they were woken.
    pub(super) fn wake(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        self.line.wake(count, &future::to_bool(py, false))
    }

    fn notify<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Object<'py>> {
        if !self.lock(py)?.is_locked()? {
            return Err(PyRuntimeError::new_err("cannot notify on un-acquired lock"));
        }
        self.wake(py, count)?;
        Ok(py.None().into_bound(py))
    }
}

impl LoopBound for Condition {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl NativeClass for Condition {
    const NAME: &'static CStr = c"tonnage.Condition";
    const DOC: &'static CStr =
        c"Condition(lock=None)\n--\n\nLet tasks that hold a lock wait until another task notifies them.";
    const SHORT_NAME: bool = true;

    fn empty() -> Option<Self> {
        Some(Self {
            extras: Extras::new(),
            lock: Guarded::new(None),
            line: Line::new(),
            bound_loop: BoundLoop::none(),
        })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_condition);
        slots.init(init);
        slots.repr(|this| {
            let (py, condition) = (this.py(), this.value());
            let state = if condition.lock(py)?.is_locked()? { "locked" } else { "unlocked" };
            super::described(this.as_any(), state, condition.line.len(py))
        });
        lock_methods(slots);
        slots.no_args(
            c"wait",
            c"wait($self, /)\n--\n\nRelease the lock, wait until notified, acquire the lock again, and return True.",
            |this| Coroutine::create(this.py(), Wait::new(this.into())),
        );
        slots.with_args(
            c"wait_for",
            c"wait_for($self, predicate)\n--\n\nWait until `predicate()` is true, and return its result.",
            |this, args| {
                const PARAMETERS: Parameters<1> = Parameters {
                    function: "Condition.wait_for",
                    names: ["predicate"],
                    positional: 1,
                    required: 1,
                };
                let [predicate] = args.parse(&PARAMETERS)?;
                let predicate = predicate.expect("required").into();
                Coroutine::create(this.py(), WaitFor::new(this.into(), predicate))
            },
        );
        slots.with_args(
            c"notify",
            c"notify($self, n=1)\n--\n\nWake up to `n` tasks that wait.",
            |this, args| this.value().notify(this.py(), count_of(&args)?),
        );
        slots.no_args(c"notify_all", c"notify_all($self, /)\n--\n\nWake all tasks that wait.", |this| {
            this.value().notify(this.py(), usize::MAX)
        });
        slots.getter(c"_lock", |this| {
            Ok(match this.value().lock(this.py())? {
                LockOf::Native(lock) => lock.into_any(),
                LockOf::Foreign(lock) => lock,
            })
        });
        slots.getter(c"_waiters", |this| this.value().line.futures(this.py()));
        loop_attributes(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.lock.traverse(0, |lock| visit.option(lock.as_deref()));
        if shown != 0 {
            return shown;
        }
        match self.line.traverse(visit) {
            0 => self.bound_loop.traverse(visit),
            shown => shown,
        }
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.lock.with(py, Option::take));
        self.line.clear(py);
        self.bound_loop.clear(py);
    }
}

/// The methods that are the lock's.
fn lock_methods(slots: &mut Slots<Condition>) {
    slots.no_args(
        c"acquire",
        c"acquire($self, /)\n--\n\nWait until the lock is free, take it, and return True.",
        |this| this.value().lock(this.py())?.acquire(),
    );
    slots.no_args(
        c"release",
        c"release($self, /)\n--\n\nHand the lock to the first who waits, or free it.",
        |this| this.value().lock(this.py())?.release(),
    );
    slots.no_args(c"locked", c"locked($self, /)\n--\n\nReturn True if the lock is taken.", |this| {
        this.value().lock(this.py())?.locked()
    });
    slots.block(
        (c"Acquire the lock.", |this| this.value().lock(this.py())?.enter()),
        (c"Release the lock.", |this, args| {
            gate::check_exit(&args)?;
            this.value().lock(this.py())?.release()?;
            Immediate::none(this.py())
        }),
    );
}

fn init<'py>(this: &Bound<'py, Condition>, args: Args<'_, 'py>) -> PyResult<()> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Condition.__init__", names: ["lock"], positional: 1, required: 0 };
    let py = this.py();
    let [lock] = args.parse(&PARAMETERS)?;
    let lock = match lock.filter(|lock| !lock.is_none()) {
        Some(lock) => {
            for needed in [names::locked(py), names::acquire(py), names::release(py)] {
                lock.getattr(needed)?;
            }
            lock
        }
        None => create(py, Lock::new())?.into_any(),
    };
    drop(this.value().lock.with(py, |place| place.replace(lock.into())));
    Ok(())
}

/// The argument of `notify`.
fn count_of(args: &Args<'_, '_>) -> PyResult<usize> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "Condition.notify", names: ["n"], positional: 1, required: 0 };
    let [count] = args.parse(&PARAMETERS)?;
    let Some(count) = count else { return Ok(1) };
    if count.lt(0)? {
        return Ok(0);
    }
    if count.is_instance_of::<PyInt>() { Ok(count.extract().unwrap_or(usize::MAX)) } else { count.extract() }
}
