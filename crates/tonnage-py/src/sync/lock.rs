//! Lock: a gate with one slot.

use std::ffi::CStr;

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError};
use pyo3::prelude::*;

use super::entering::GateOf;
use super::gate::{self, Acquire, Gate, Gated};
use crate::coroutine::Coroutine;
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Parameters, Slots, Visit};
use crate::{future, names};

#[repr(C)]
pub(crate) struct Lock {
    pub(crate) extras: Extras,
    gate: Gate,
    /// Coroutines that were closed in `Condition.wait` while another held the lock: the blocks around them will
    /// release what they have not.
    closed: Guarded<u32>,
}

pub(crate) type LockCoroutine = Coroutine<Acquire<Lock>>;

impl Lock {
    pub(super) const fn new() -> Self {
        Self { extras: Extras::new(), gate: Gate::new(1), closed: Guarded::new(0) }
    }

    /// Takes the lock for a coroutine that is being closed, or else remembers that it will release nothing.
    pub(super) fn take_for_close(&self, py: Python<'_>) {
        if !self.gate.take(py) {
            self.closed.with(py, |closed| *closed += 1);
        }
    }

    /// Does a coroutine release it that is being closed, and has it not?
    #[cold]
    fn is_release_by_closed(&self, py: Python<'_>) -> PyResult<bool> {
        let handled = names::exc_info(py)?.call0()?.get_item(0)?;
        let by_closed = handled.is(py.get_type::<PyGeneratorExit>());
        if by_closed {
            self.closed.with(py, |closed| *closed -= 1);
        }
        Ok(by_closed)
    }
}

impl Gated for Lock {
    const ACQUIRE: &'static str = "Lock.acquire";

    fn gate(&self) -> &Gate {
        &self.gate
    }

    /// As in asyncio, nobody has the lock while the task that it was handed to has not run yet.
    #[inline]
    fn is_locked(&self, py: Python<'_>) -> bool {
        self.gate.is_held(py)
    }

    #[inline]
    fn is_plain(this: &Bound<'_, Self>) -> bool {
        gate::is_plain(this)
    }

    #[inline]
    fn owned(this: &Bound<'_, Self>) -> GateOf {
        GateOf::Lock(this.into())
    }

    #[inline(always)]
    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, gate) = (this.py(), &this.value().gate);
        if this.value().closed.with(py, |closed| *closed != 0) && this.value().is_release_by_closed(py)? {
            return Ok(());
        }
        if !gate.is_held(py) {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        gate.give_back(py)
    }
}

impl NativeClass for Lock {
    const NAME: &'static CStr = c"tonnage.Lock";
    const DOC: &'static CStr = c"Lock()\n--\n\nLet one task at a time pass, first come, first served.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_lock);
        slots.init(|_this, args: Args<'_, '_>| {
            const PARAMETERS: Parameters<0> =
                Parameters { function: "Lock.__init__", names: [], positional: 0, required: 0 };
            args.parse(&PARAMETERS).map(|[]| ())
        });
        slots.repr(|this| {
            let state = if this.value().is_locked(this.py()) { "locked" } else { "unlocked" };
            super::described(this.as_any(), state, this.value().gate.waiting(this.py()))
        });
        gate::methods(
            slots,
            c"acquire($self, /)\n--\n\nWait until the lock is free, take it, and return True.",
            c"locked($self, /)\n--\n\nReturn True if the lock is taken.",
        );
        slots.no_args(
            c"release",
            c"release($self, /)\n--\n\nHand the lock to the first who waits, or free it.",
            |this| {
                Self::release(this)?;
                Ok(this.py().None().into_bound(this.py()))
            },
        );
        slots.getter(c"_locked", |this| Ok(future::to_bool(this.py(), this.value().is_locked(this.py()))));
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.gate.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.gate.clear(py);
    }
}
