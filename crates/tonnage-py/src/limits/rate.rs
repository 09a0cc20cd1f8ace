//! RateLimiter: so many in a time, of which some may come at once.

use std::ffi::CStr;

use pyo3::prelude::*;
use tonnage_core::limits::rate::Rate;
use tonnage_core::limits::{Bounds, Supply};

use super::config;
use super::limiter::Limiter;
use crate::cpython::native_class::upcast;
use crate::cpython::{Args, Guarded, Native, NativeClass, Parameters, Slots, Visit};

#[repr(C)]
pub(crate) struct RateLimiter {
    pub(crate) limiter: Limiter,
    /// Tokens, and in how many seconds.
    rate: Guarded<(f64, f64)>,
}

fn init(this: &Bound<'_, RateLimiter>, args: &Args<'_, '_>) -> PyResult<()> {
    let [rate, per, burst, max_waiting, max_wait, name] = args.parse(&Parameters {
        function: "RateLimiter.__init__",
        names: ["rate", "per", "burst", "max_waiting", "max_wait", "name"],
        positional: 2,
        required: 1,
    })?;
    let rate = config::positive("rate", &rate.expect("required"))?;
    let per_s = per.map_or(Ok(1.0), |per| config::positive("per", &per))?;
    let burst = config::count_or_none("burst", burst.as_ref(), 1)?;
    let bounds = Bounds {
        max_waiting: config::count_or_none("max_waiting", max_waiting.as_ref(), 0)?,
        max_wait_ns: config::duration_ns("max_wait", max_wait.as_ref())?,
        target_delay_ns: None,
    };
    let supply = Supply::Rate(Rate::new(rate, per_s, burst.unwrap_or(burst_of(rate / per_s))));
    Limiter::initialise(upcast(this), supply, bounds, name.as_ref())?;
    this.value().rate.with(this.py(), |kept| *kept = (rate, per_s));
    Ok(())
}

/// What comes in a second at the rate, and at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is wanted")]
fn burst_of(rate_per_s: f64) -> u64 {
    (rate_per_s as u64).max(1)
}

impl NativeClass for RateLimiter {
    const NAME: &'static CStr = c"tonnage.RateLimiter";
    const DOC: &'static CStr = c"RateLimiter(rate, per=1.0, *, burst=None, max_waiting=None, max_wait=None, \
        name=None)\n--\n\nLet `rate` tokens pass in `per` seconds, and let others wait for the next.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self { limiter: Limiter::new(), rate: Guarded::new((0.0, 0.0)) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|this, args| init(this, &args));
        slots.property(c"rate", c"How many tokens pass in `per` seconds.", |this| {
            let (rate, _) = this.value().rate.with(this.py(), |rate| *rate);
            Ok(rate.into_pyobject(this.py())?.into_any())
        });
        slots.property(c"per", c"The seconds that `rate` is counted in.", |this| {
            let (_, per_s) = this.value().rate.with(this.py(), |rate| *rate);
            Ok(per_s.into_pyobject(this.py())?.into_any())
        });
        slots.property(c"burst", c"How many tokens may pass at once.", |this| {
            let burst = Limiter::admission(upcast(this), |admission| match admission.supply() {
                Supply::Rate(rate) => rate.burst(),
                Supply::Capacity(capacity) => capacity.total(),
            })?;
            Ok(burst.into_pyobject(this.py())?.into_any())
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.limiter.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.limiter.clear(py);
    }
}
