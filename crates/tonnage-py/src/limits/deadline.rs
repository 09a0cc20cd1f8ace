//! The deadline of who waits for a limiter: it is refused at once if it cannot be served in time.

use pyo3::prelude::*;

use super::config;
use crate::cpython::Object;
use crate::structured::deadline;

/// When the current task must be through, on the loop's clock; nothing if it has all the time.
pub(super) fn deadline_of_waiter(event_loop: &Object<'_>) -> PyResult<Option<u64>> {
    Ok(deadline::effective(event_loop)?.map(config::ns))
}
