//! AIMD: `tonnage_core::limits::aimd` for programs.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use tonnage_core::clock;
use tonnage_core::limits::aimd::{self, AimdSettings};
use tonnage_core::limits::outcome::{LimitRange, Outcome};

use super::algorithm::{self, Finding, OwnAlgorithm};
use super::config;
use crate::cpython::{Args, Extras, Guarded, Native, NativeClass, Parameters, Slots, Visit};

#[repr(C)]
pub(crate) struct Aimd {
    pub(crate) extras: Extras,
    state: Guarded<State>,
}

type State = Finding<AimdSettings, aimd::Aimd>;

/// The target, which has no default, is for an object whose `__init__` was not called.
const DEFAULTS: AimdSettings = AimdSettings {
    target_latency_ns: 1_000_000_000,
    window_ns: 1_000_000_000,
    percentile: 0.9,
    backoff: 0.9,
};

fn finding(settings: AimdSettings) -> State {
    State::new(settings, aimd::Aimd::new)
}

impl OwnAlgorithm for Aimd {
    fn begin(&self, py: Python<'_>, range: LimitRange, initial: u32) -> bool {
        self.state.with(py, |state| state.begin(range, initial))
    }

    fn update(&self, py: Python<'_>, outcome: Outcome) -> u32 {
        self.state.with(py, |state| state.limit.update(outcome))
    }
}

fn settings(args: &Args<'_, '_>) -> PyResult<AimdSettings> {
    let parameters = Parameters {
        function: "AIMD.__init__",
        names: ["target_latency", "window", "percentile", "backoff"],
        positional: 1,
        required: 1,
    };
    let [target_latency, window, percentile, backoff] = args.parse(&parameters)?;
    let mut settings = DEFAULTS;
    if let Some(target_latency) = target_latency {
        settings.target_latency_ns =
            clock::from_seconds(config::positive("target_latency", &target_latency)?);
    }
    if let Some(window) = window {
        settings.window_ns = clock::from_seconds(config::positive("window", &window)?);
    }
    if let Some(percentile) = percentile {
        settings.percentile = config::share("percentile", &percentile)?;
    }
    if let Some(backoff) = backoff {
        settings.backoff = config::share("backoff", &backoff)?;
        if settings.backoff <= 0.0 || settings.backoff >= 1.0 {
            let text = format!("backoff must be above 0 and below 1, got {backoff}");
            return Err(PyValueError::new_err(text));
        }
    }
    Ok(settings)
}

impl NativeClass for Aimd {
    const NAME: &'static CStr = c"tonnage.AIMD";
    const DOC: &'static CStr = c"AIMD(target_latency, *, window=1.0, percentile=0.9, backoff=0.9)\n--\n\n\
        Find how much may run by a latency that is wanted.";
    const SHORT_NAME: bool = true;

    fn is_link(&self, _py: Python<'_>) -> bool {
        false
    }

    fn empty() -> Option<Self> {
        Some(Self { extras: Extras::new(), state: Guarded::new(finding(DEFAULTS)) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(|this, args| {
            let made = finding(settings(&args)?);
            drop(this.value().state.with(this.py(), |state| std::mem::replace(state, made)));
            Ok(())
        });
        slots.repr(|this| {
            let (limit, target_ns) = this
                .value()
                .state
                .with(this.py(), |state| (state.limit.limit(), state.settings.target_latency_ns));
            let text =
                format!("<tonnage.AIMD limit={limit} target_latency={}>", clock::to_seconds(target_ns));
            Ok(PyString::new(this.py(), &text).into_any())
        });
        slots.with_args(
            c"update",
            c"update($self, /, now, latency, in_flight, dropped)\n--\n\n\
              Take how one piece of work has ended, and return how much may run.",
            |this, args| {
                let outcome = algorithm::outcome("AIMD.update", &args)?;
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
