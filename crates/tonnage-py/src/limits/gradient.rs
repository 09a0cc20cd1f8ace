//! Gradient: `tonnage_core::limits::gradient` for programs.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::clock;
use tonnage_core::limits::gradient::{self, GradientSettings};
use tonnage_core::limits::outcome::{KEPT_MAX, LimitRange, Outcome};

use super::algorithm::{self, Finding, OwnAlgorithm};
use super::config;
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Parameters, Slots, Visit, number};

#[repr(C)]
pub(crate) struct Gradient {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

type State = Finding<GradientSettings, gradient::Gradient>;

const DEFAULTS: GradientSettings = GradientSettings {
    window_ns: 100_000_000,
    percentile: 0.5,
    tolerance: 0.25,
    probe_every_ns: 60_000_000_000,
    probe_limit: 3,
    probe_samples: 50,
};

fn finding(settings: GradientSettings) -> State {
    State::new(settings, gradient::Gradient::new)
}

impl Gradient {
    pub(super) fn new() -> Self {
        Self { extras: Extras::new(), state: Guarded::new(finding(DEFAULTS)) }
    }

    pub(super) fn lowered_until_ns(&self, py: Python<'_>) -> Option<u64> {
        self.state.with(py, |state| state.limit.lowered_until_ns())
    }

    /// The limit at this time, if that ends a probe.
    pub(super) fn expire(&self, py: Python<'_>, now_ns: u64) -> Option<u32> {
        self.state.with(py, |state| {
            let is_due = state.limit.lowered_until_ns().is_some_and(|until_ns| until_ns <= now_ns);
            is_due.then(|| state.limit.expire(now_ns))
        })
    }
}

impl OwnAlgorithm for Gradient {
    fn begin(&self, py: Python<'_>, range: LimitRange, initial: u32) -> bool {
        self.state.with(py, |state| state.begin(range, initial))
    }

    fn update(&self, py: Python<'_>, outcome: Outcome) -> u32 {
        self.state.with(py, |state| state.limit.update(outcome))
    }
}

fn settings(args: &Args<'_, '_>) -> PyResult<GradientSettings> {
    let parameters = Parameters {
        function: "Gradient.__init__",
        names: ["window", "percentile", "tolerance", "probe_every", "probe_limit", "probe_samples"],
        positional: 0,
        required: 0,
    };
    let [window, percentile, tolerance, probe_every, probe_limit, probe_samples] = args.parse(&parameters)?;
    let mut settings = DEFAULTS;
    if let Some(window) = window {
        settings.window_ns = clock::from_seconds(config::positive("window", &window)?);
    }
    if let Some(percentile) = percentile {
        settings.percentile = config::share("percentile", &percentile)?;
    }
    if let Some(tolerance) = tolerance {
        settings.tolerance = config::not_negative("tolerance", &tolerance)?;
    }
    if let Some(probe_every) = probe_every {
        settings.probe_every_ns = clock::from_seconds(config::positive("probe_every", &probe_every)?);
    }
    if let Some(probe_limit) = probe_limit {
        settings.probe_limit =
            u32::try_from(number::count("probe_limit", &probe_limit, 1)?).unwrap_or(u32::MAX);
    }
    if let Some(probe_samples) = probe_samples {
        let samples = number::count("probe_samples", &probe_samples, 1)?;
        settings.probe_samples = usize::try_from(samples).unwrap_or(usize::MAX);
        if settings.probe_samples > KEPT_MAX {
            let text = format!("probe_samples must be {KEPT_MAX} or less, got {probe_samples}");
            return Err(PyValueError::new_err(text));
        }
    }
    Ok(settings)
}

impl NativeClass for Gradient {
    const NAME: &'static CStr = c"tonnage.Gradient";
    const DOC: &'static CStr = c"Gradient(*, window=0.1, percentile=0.5, tolerance=0.25, probe_every=60.0, \
        probe_limit=3, probe_samples=50)\n--\n\n\
        Find how much may run by comparing latencies with that of the unloaded service.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self::new())
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|this, args| {
            let made = finding(settings(&args)?);
            drop(this.value().state.with(this.py(), |state| std::mem::replace(state, made)));
            Ok(())
        });
        slots.repr(|this| {
            let (limit, unloaded_ns) =
                this.value().state.with(this.py(), |state| (state.limit.limit(), state.limit.unloaded_ns()));
            let unloaded = match unloaded_ns {
                Some(unloaded_ns) => format!("{:.6}", clock::to_seconds(unloaded_ns)),
                None => "unknown".to_owned(),
            };
            let text = format!("<tonnage.Gradient limit={limit} unloaded={unloaded}>");
            Ok(PyString::new(this.py(), &text).into_any())
        });
        slots.with_args(
            c"update",
            c"update($self, /, now, latency, in_flight, dropped)\n--\n\n\
              Take how one piece of work has ended, and return how much may run.",
            |this, args| {
                let outcome = algorithm::outcome("Gradient.update", &args)?;
                let limit = this.value().update(this.py(), outcome);
                Ok(limit.into_pyobject(this.py())?.into_any())
            },
        );
    }

    fn traverse(&self, _visit: &Visit<'_>) -> i32 {
        0
    }

    fn clear(&self, _py: Python<'_>) {}
}
