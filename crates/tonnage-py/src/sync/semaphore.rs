//! Semaphore and BoundedSemaphore: gates with a number of slots.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::entering::GateOf;
use super::gate::{self, Acquire, Gate, Gated};
use crate::coroutine::Coroutine;
use crate::cpython::native_class::{has_instance_dict, is_exact};
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Object, Parameters, Slots, Visit};
use crate::names;

#[repr(C)]
pub(crate) struct Semaphore {
    pub(crate) extras: Extras,
    gate: Gate,
    /// No more than so many slots may be free; for bounded semaphores.
    bound: Guarded<Option<i64>>,
}

/// A semaphore that is not released more often than it was acquired.
#[repr(C)]
pub(crate) struct BoundedSemaphore {
    pub(crate) semaphore: Semaphore,
}

pub(crate) type SemaphoreCoroutine = Coroutine<Acquire<Semaphore>>;

impl Semaphore {
    const fn new() -> Self {
        Self { extras: Extras::new(), gate: Gate::new(1), bound: Guarded::new(None) }
    }
}

impl Gated for Semaphore {
    const ACQUIRE: &'static str = "Semaphore.acquire";

    fn gate(&self) -> &Gate {
        &self.gate
    }

    #[inline]
    fn is_plain(this: &Bound<'_, Self>) -> bool {
        (is_exact::<Self>(this) || is_exact::<BoundedSemaphore>(this)) && !has_instance_dict(this)
    }

    #[inline]
    fn owned(this: &Bound<'_, Self>) -> GateOf {
        GateOf::Semaphore(this.into())
    }

    #[inline(always)]
    fn release(this: &Bound<'_, Self>) -> PyResult<()> {
        let (py, gate) = (this.py(), &this.value().gate);
        let bound = this.value().bound.with(py, |bound| *bound);
        if bound.is_some_and(|bound| gate.free(py) >= bound) {
            return Err(PyValueError::new_err("BoundedSemaphore released too many times"));
        }
        gate.give_back(py)
    }
}

/// The first value of a semaphore, which asyncio takes as it is: infinity and numbers without end are as many
/// slots as can be counted.
fn slots_of(args: &Args<'_, '_>, function: &'static str) -> PyResult<i64> {
    let parameters = Parameters { function, names: ["value"], positional: 1, required: 0 };
    let [value] = args.parse(&parameters)?;
    let Some(value) = value else { return Ok(1) };
    if value.lt(0)? {
        return Err(PyValueError::new_err("Semaphore initial value must be >= 0"));
    }
    if let Ok(value) = value.cast::<PyInt>() {
        return Ok(value.extract().unwrap_or(i64::MAX));
    }
    if let Ok(value) = value.cast::<PyFloat>()
        && value.value().is_infinite()
    {
        return Ok(i64::MAX);
    }
    value.extract()
}

fn release<'py>(this: &Bound<'py, Semaphore>) -> PyResult<Object<'py>> {
    Semaphore::release(this)?;
    Ok(this.py().None().into_bound(this.py()))
}

impl NativeClass for Semaphore {
    const NAME: &'static CStr = c"tonnage.Semaphore";
    const DOC: &'static CStr =
        c"Semaphore(value=1)\n--\n\nLet a number of tasks at a time pass, first come, first served.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_semaphore);
        slots.init(|this, args| {
            let count = slots_of(&args, "Semaphore.__init__")?;
            this.value().gate.set_slots(this.py(), count)
        });
        slots.repr(|this| {
            let (py, gate) = (this.py(), &this.value().gate);
            let state = if gate.is_closed(py) {
                "locked".to_owned()
            } else {
                format!("unlocked, value:{}", gate.free(py))
            };
            super::described(this.as_any(), &state, gate.waiting(py))
        });
        gate::methods(
            slots,
            c"acquire($self, /)\n--\n\nWait until a slot is free, take it, and return True.",
            c"locked($self, /)\n--\n\nReturn True if no slot is free.",
        );
        slots.no_args(
            c"release",
            c"release($self, /)\n--\n\nHand a slot to the first who waits, or free it.",
            release,
        );
        slots.getter(c"_value", |this| {
            Ok(this.value().gate.free(this.py()).into_pyobject(this.py())?.into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.gate.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.gate.clear(py);
    }
}

impl NativeClass for BoundedSemaphore {
    const NAME: &'static CStr = c"tonnage.BoundedSemaphore";
    const DOC: &'static CStr = c"BoundedSemaphore(value=1)\n--\n\n\
        A semaphore that raises ValueError when it is released more often than it was acquired.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self { semaphore: Semaphore::new() })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(names::asyncio_bounded_semaphore);
        slots.init(|this, args| {
            let count = slots_of(&args, "BoundedSemaphore.__init__")?;
            let semaphore = &this.value().semaphore;
            semaphore.bound.with(this.py(), |bound| *bound = Some(count));
            semaphore.gate.set_slots(this.py(), count)
        });
        slots.getter(c"_bound_value", |this| {
            let bound = this.value().semaphore.bound.with(this.py(), |bound| *bound);
            Ok(bound.into_pyobject(this.py())?.into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.semaphore.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.semaphore.clear(py);
    }
}
