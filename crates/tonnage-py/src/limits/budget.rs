//! Budget: how many retries and hedges there may be, as a share of the requests.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::clock;
use tonnage_core::limits::budget;

use super::config;
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Object, Parameters, Slots, Visit};
use crate::future::to_bool;

#[repr(C)]
pub(crate) struct Budget {
    pub(crate) extras: Extras,
    budget: Guarded<budget::Budget>,
}

const RATIO: f64 = 0.2;
const MIN_PER_SECOND: f64 = 10.0;
const WINDOW_S: f64 = 10.0;

/// A window longer than this is no window, and its reserve is more than a number can count exactly.
const WINDOW_MAX_S: f64 = 1e9;

impl NativeClass for Budget {
    const NAME: &'static CStr = c"tonnage.Budget";
    const DOC: &'static CStr = c"Budget(ratio=0.2, *, min_per_second=10.0, window=10.0)\n--\n\nAllow retries and hedges as a share of the requests.";

    fn empty() -> Option<Self> {
        let budget = budget::Budget::new(RATIO, MIN_PER_SECOND, clock::from_seconds(WINDOW_S));
        Some(Self { extras: Extras::new(), budget: Guarded::new(budget) })
    }

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.repr(|this| {
            let available = this.value().budget.with(this.py(), |budget| budget.available(clock::now_ns()));
            Ok(PyString::new(this.py(), &format!("<Budget available={available}>")).into_any())
        });
        slots.no_args(c"deposit", c"Count a request.", |this| {
            let py = this.py();
            this.value().budget.with(py, |budget| budget.deposit(clock::now_ns()));
            Ok(py.None().into_bound(py))
        });
        slots.no_args(c"withdraw", c"Return True if there may be one more retry, and count it.", |this| {
            let allowed = this.value().budget.with(this.py(), |budget| budget.withdraw(clock::now_ns()));
            Ok(to_bool(this.py(), allowed))
        });
    }

    fn traverse(&self, _visit: &Visit<'_>) -> i32 {
        0
    }

    fn clear(&self, _py: Python<'_>) {}
}

fn init(this: &Bound<'_, Budget>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<3> = Parameters {
        function: "Budget",
        names: ["ratio", "min_per_second", "window"],
        positional: 1,
        required: 0,
    };
    let [ratio, min_per_second, window] = args.parse(&PARAMETERS)?;
    let number = |given: Option<Object<'_>>, name, default| match given {
        None => Ok(default),
        Some(given) => config::not_negative(name, &given),
    };
    let ratio = number(ratio, "ratio", RATIO)?;
    let min_per_second = number(min_per_second, "min_per_second", MIN_PER_SECOND)?;
    let window_s = number(window, "window", WINDOW_S)?;
    if window_s == 0.0 || window_s > WINDOW_MAX_S {
        let text = format!("window must be above 0 and at most {WINDOW_MAX_S:e} seconds, got {window_s}");
        return Err(PyValueError::new_err(text));
    }
    let made = budget::Budget::new(ratio, min_per_second, clock::from_seconds(window_s));
    this.value().budget.with(args.py(), |budget| *budget = made);
    Ok(())
}
