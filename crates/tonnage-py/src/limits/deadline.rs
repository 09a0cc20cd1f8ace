//! The deadline of who waits for a limiter: it is refused at once if it cannot be served in time.

use pyo3::prelude::*;
use tonnage_core::clock;

use crate::running;
use crate::structured::deadline;

/// When the current task must be through, on the loop's clock; nothing if it has all the time.
pub(super) fn deadline_of_waiter(py: Python<'_>) -> PyResult<Option<u64>> {
    let Some(event_loop) = running::event_loop_or_none(py)? else { return Ok(None) };
    Ok(deadline::effective(&event_loop)?.map(clock::from_seconds))
}
