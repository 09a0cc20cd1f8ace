//! The deadline of who waits for a limiter: it is refused at once if it cannot be served in time.

use pyo3::Python;

/// When the current task must be through, on the loop's clock; nothing if it has all the time.
pub(super) fn deadline_of_waiter(_py: Python<'_>) -> Option<u64> {
    None
}
