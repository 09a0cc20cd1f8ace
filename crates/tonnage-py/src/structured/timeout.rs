//! Timeout: a block whose deadline cancels it, which makes that a TimeoutError.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::deadline_block::{self, DeadlineBlock, Kind, seconds_or_none};
use crate::cpython::native_class::{create, create_with, upcast};
use crate::cpython::{Args, Native, NativeClass, Object, Parameters, Slots, Visit, compat};
use crate::running;

#[repr(C)]
pub(crate) struct Timeout {
    pub(crate) block: DeadlineBlock,
}

impl Timeout {
    fn new(when: Option<f64>) -> Self {
        Self { block: DeadlineBlock::new(Kind::Timeout, when) }
    }

    /// A timeout that ends `delay_s` from now, for the running loop.
    #[inline(always)]
    pub(super) fn after<'py>(py: Python<'py>, delay_s: Option<f64>) -> PyResult<Bound<'py, Self>> {
        let when = deadline_block::after(py, delay_s)?;
        create_with(py, || Self::new(when))
    }
}

/// `asyncio.timeout(delay)`.
pub(super) fn timeout<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "timeout", names: ["delay"], positional: 1, required: 1 };
    let delay = seconds_or_none(&args, &PARAMETERS)?;
    Ok(Timeout::after(args.py(), delay)?.into_any())
}

/// `asyncio.timeout_at(when)`.
pub(super) fn timeout_at<'py>(args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "timeout_at", names: ["when"], positional: 1, required: 1 };
    let when = seconds_or_none(&args, &PARAMETERS)?;
    Ok(create(args.py(), Timeout::new(when))?.into_any())
}

/// Begins a timeout of `delay_s` for what the caller awaits from now on.
pub(super) fn begin(py: Python<'_>, delay_s: f64) -> PyResult<Bound<'_, Timeout>> {
    let event_loop = running::event_loop(py)?;
    let now = deadline_block::now(&event_loop)?;
    let timeout = create_with(py, || Timeout::new(Some(now + delay_s)))?;
    deadline_block::enter_on(upcast(&timeout), event_loop, Some(now))?;
    Ok(timeout)
}

/// Ends it, with the outcome of what was awaited.
pub(super) fn end<'py>(
    timeout: &Bound<'py, Timeout>,
    outcome: PyResult<Object<'py>>,
) -> PyResult<Object<'py>> {
    let py = timeout.py();
    match outcome {
        Ok(value) => {
            deadline_block::exit(upcast(timeout), &py.None().into_bound(py))?;
            Ok(value)
        }
        Err(error) => {
            deadline_block::exit(upcast(timeout), error.value(py).as_any())?;
            Err(error)
        }
    }
}

impl deadline_block::Class for Timeout {
    const RESCHEDULE: &'static str = "Timeout.reschedule";
}

impl NativeClass for Timeout {
    const NAME: &'static CStr = c"tonnage.Timeout";
    const DOC: &'static CStr =
        c"Timeout(when)\n--\n\nCancel what runs in an `async with` block when a deadline passes.";

    fn empty() -> Option<Self> {
        Some(Self::new(None))
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        self.block.is_link(py)
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(compat::asyncio_timeout);
        slots.init(|this, args| {
            const PARAMETERS: Parameters<1> =
                Parameters { function: "Timeout", names: ["when"], positional: 1, required: 1 };
            let when = seconds_or_none(&args, &PARAMETERS)?;
            this.value().block.set_when(args.py(), when);
            Ok(())
        });
        deadline_block::methods(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.block.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.block.clear(py);
    }
}
