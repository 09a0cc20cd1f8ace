//! CapacityLimiter: so many at once, with the names of trio's and anyio's.

use std::ffi::CStr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyFloat;
use tonnage_core::limits::capacity::{Capacity, UNLIMITED};
use tonnage_core::limits::{Bounds, Supply};

use super::limiter::Limiter;
use super::{acquire, borrow, config, serve};
use crate::cpython::native_class::upcast;
use crate::cpython::{Args, NativeClass, Object, Parameters, Slots, Visit, number};

#[repr(C)]
pub(crate) struct CapacityLimiter {
    pub(crate) limiter: Limiter,
}

fn init(this: &Bound<'_, CapacityLimiter>, args: &Args<'_, '_>) -> PyResult<()> {
    let [total, per_key, max_waiting, max_wait, target_delay, name] = args.parse(&Parameters {
        function: "CapacityLimiter.__init__",
        names: ["total_tokens", "per_key", "max_waiting", "max_wait", "target_delay", "name"],
        positional: 1,
        required: 1,
    })?;
    let total = total_of(&total.expect("required"))?;
    let per_key = config::count_or_none("per_key", per_key.as_ref(), 1)?;
    let bounds = Bounds {
        max_waiting: config::count_or_none("max_waiting", max_waiting.as_ref(), 0)?,
        max_wait_ns: config::duration_ns("max_wait", max_wait.as_ref())?,
        target_delay_ns: config::duration_ns("target_delay", target_delay.as_ref())?,
    };
    let supply = Supply::Capacity(Capacity::new(total, per_key));
    Limiter::initialise(upcast(this), supply, bounds, name.as_ref())
}

/// An int of 1 or more, or infinity.
fn total_of(given: &Object<'_>) -> PyResult<u64> {
    if let Ok(float) = given.cast::<PyFloat>() {
        return match float.value() {
            value if value == f64::INFINITY => Ok(UNLIMITED),
            _ => Err(PyTypeError::new_err(format!(
                "total_tokens must be an int or math.inf, got {}",
                given.repr()?
            ))),
        };
    }
    number::count("total_tokens", given, 1)
}

/// Calls `read` with the capacity.
fn capacity<R>(this: &Bound<'_, CapacityLimiter>, read: impl FnOnce(&Capacity) -> R) -> PyResult<R> {
    let found = Limiter::admission(upcast(this), |admission| match admission.supply() {
        Supply::Capacity(capacity) => Some(read(capacity)),
        Supply::Rate(_) => None,
    })?;
    found.ok_or_else(|| PyValueError::new_err("this limiter has no tokens that come back"))
}

fn set_total(this: &Bound<'_, CapacityLimiter>, given: &Object<'_>) -> PyResult<()> {
    let total = total_of(given)?;
    Limiter::admission(upcast(this), |admission| admission.set_total(total))?;
    serve::serve(upcast(this))
}

/// A number of tokens, of which there may be no end.
pub(super) fn tokens(py: Python<'_>, tokens: u64) -> PyResult<Object<'_>> {
    if tokens == UNLIMITED {
        return Ok(PyFloat::new(py, f64::INFINITY).into_any());
    }
    Ok(tokens.into_pyobject(py)?.into_any())
}

impl NativeClass for CapacityLimiter {
    const NAME: &'static CStr = c"tonnage.CapacityLimiter";
    const DOC: &'static CStr =
        c"CapacityLimiter(total_tokens, *, per_key=None, max_waiting=None, max_wait=None, \
        target_delay=None, name=None)\n--\n\nLend a number of tokens, and let others wait for them.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self { limiter: Limiter::new() })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|this, args| init(this, &args));
        slots.attribute_pair(
            c"total_tokens",
            |this| tokens(this.py(), capacity(this, Capacity::total)?),
            set_total,
        );
        slots.property(c"borrowed_tokens", c"How many tokens are lent.", |this| {
            Ok(capacity(this, Capacity::in_use)?.into_pyobject(this.py())?.into_any())
        });
        slots.property(c"available_tokens", c"How many tokens can be lent.", |this| {
            let (total, in_use) = capacity(this, |capacity| (capacity.total(), capacity.in_use()))?;
            if total == UNLIMITED {
                return tokens(this.py(), total);
            }
            Ok((i128::from(total) - i128::from(in_use)).into_pyobject(this.py())?.into_any())
        });
        slots.one_arg(
            c"acquire_on_behalf_of",
            c"acquire_on_behalf_of($self, borrower, /)\n--\n\n\
              Wait until a token is there, and lend it to any object, which can hold one.",
            |this, borrower| acquire::on_behalf_of(upcast(this), borrower),
        );
        slots.one_arg(
            c"acquire_on_behalf_of_nowait",
            c"acquire_on_behalf_of_nowait($self, borrower, /)\n--\n\n\
              Lend a token to any object, or raise Overloaded if that means waiting.",
            |this, borrower| acquire::on_behalf_of_nowait(upcast(this), borrower),
        );
        slots.no_args(
            c"release",
            c"release($self, /)\n--\n\nRelease what the current task has acquired last.",
            borrow::release,
        );
        slots.one_arg(
            c"release_on_behalf_of",
            c"release_on_behalf_of($self, borrower, /)\n--\n\nTake back the token that was lent to the borrower.",
            borrow::release_on_behalf_of,
        );
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.limiter.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.limiter.clear(py);
    }
}

/// The same, as statistics have it.
#[allow(clippy::cast_precision_loss, reason = "a number for people")]
pub(super) fn as_float(tokens: u64) -> f64 {
    if tokens == UNLIMITED { f64::INFINITY } else { tokens as f64 }
}
