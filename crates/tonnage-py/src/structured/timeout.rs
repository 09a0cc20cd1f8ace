//! Timeout: a block whose deadline cancels it, which makes that a TimeoutError.

use std::ffi::CStr;

use pyo3::prelude::*;
use tonnage_core::clock::Moment;

use super::deadline_block::{self, DeadlineBlock, Kind, moment_or_none, parameter, seconds_or_none};
use crate::cpython::native_class::{create, create_with, upcast};
use crate::cpython::{Native, NativeClass, Object, PlainDrop, Slots, Visit, compat};
use crate::running;

#[repr(C)]
pub(crate) struct Timeout {
    pub(crate) block: DeadlineBlock,
}

impl Timeout {
    fn new(deadline: Option<Moment>) -> Self {
        Self { block: DeadlineBlock::new(Kind::Timeout, deadline) }
    }

    /// A timeout that ends `delay_s` from now, for the running loop.
    #[inline(always)]
    pub(super) fn after<'py>(py: Python<'py>, delay_s: Option<f64>) -> PyResult<Bound<'py, Self>> {
        let deadline = deadline_block::after(py, delay_s)?;
        create_with(py, || Self::new(deadline))
    }
}

/// `asyncio.timeout(delay)`.
pub(super) fn timeout<'py>(delay: &Object<'py>) -> PyResult<Object<'py>> {
    Ok(Timeout::after(delay.py(), seconds_or_none(delay)?)?.into_any())
}

/// `asyncio.timeout_at(when)`.
pub(super) fn timeout_at<'py>(when: &Object<'py>) -> PyResult<Object<'py>> {
    let deadline = moment_or_none(when)?;
    Ok(create(when.py(), Timeout::new(deadline))?.into_any())
}

/// Begins a timeout of `delay_s` for what the caller awaits from now on.
pub(super) fn begin(py: Python<'_>, delay_s: f64) -> PyResult<Bound<'_, Timeout>> {
    let event_loop = running::event_loop(py)?;
    let now = deadline_block::moment(&event_loop)?;
    let timeout = create_with(py, || Timeout::new(Some(now.plus(delay_s))))?;
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
        Ok(value) => end_in_time(timeout).map(|()| value),
        Err(error) => {
            deadline_block::exit(upcast(timeout), error.value(py).as_any())?;
            Err(error)
        }
    }
}

/// Ends it, when what was awaited has given its value.
#[inline]
pub(super) fn end_in_time(timeout: &Bound<'_, Timeout>) -> PyResult<()> {
    deadline_block::exit(upcast(timeout), &timeout.py().None().into_bound(timeout.py())).map(drop)
}

impl deadline_block::Class for Timeout {
    const RESCHEDULE: &'static str = "Timeout.reschedule";
}

impl NativeClass for Timeout {
    const NAME: &'static CStr = c"tonnage.Timeout";
    const DOC: &'static CStr =
        c"Timeout(when)\n--\n\nCancel what runs in an `async with` block when a deadline passes.";
    const PLAIN_DROP: PlainDrop = PlainDrop::NotAtAll;

    fn empty() -> Option<Self> {
        Some(Self::new(None))
    }

    fn is_link(&self, py: Python<'_>) -> bool {
        self.block.is_link(py)
    }

    #[inline]
    fn ends_plainly(&self, py: Python<'_>) -> bool {
        self.block.is_spent(py)
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.passes_for(compat::asyncio_timeout);
        slots.init(|this, args| {
            let [when] = args.parse(&parameter("Timeout", "when"))?;
            let deadline = moment_or_none(&when.expect("required"))?;
            this.value().block.set_deadline(args.py(), deadline);
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
