//! Trying again: what a transport does while the kernel lacks the memory to take its bytes, or to watch its
//! descriptor. (ENOSPC is of the latter kind: all that one user may watch is watched.)
//!
//! One timer per direction, and no system call until it fires. Bytes are offered for as long as the
//! connection lasts; a descriptor that is not watched is deaf, and so its connection ends after a second.

use pyo3::prelude::*;

use crate::cpython::Object;
use crate::event_loop::EventLoop;
use crate::names;

/// Until the next try: a few packets' time, and no busy loop.
const AGAIN_S: f64 = 0.02;

/// So many refusals make a second.
const REFUSALS_MAX: u8 = 50;

/// How often the kernel has refused to watch a descriptor since it did so last.
pub(super) struct Refusals {
    count: u8,
    waits: bool,
}

impl Refusals {
    pub(super) const fn none() -> Self {
        Self { count: 0, waits: false }
    }

    /// Counts a refusal; does it pass, so that the next try is to wait for its timer?
    #[must_use]
    pub(super) fn note(&mut self, is_starved: bool) -> bool {
        self.count = self.count.saturating_add(1);
        self.waits = is_starved && self.count <= REFUSALS_MAX;
        self.waits
    }

    /// Is the timer of the next try under way?
    pub(super) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// The time of the next try has come.
    pub(super) fn end_wait(&mut self) {
        self.waits = false;
    }
}

/// Calls `callback` when the time of the next try has come.
#[cold]
pub(super) fn try_again(event_loop: &Bound<'_, EventLoop>, callback: &Object<'_>) -> PyResult<()> {
    let py = event_loop.py();
    let call_later = event_loop.getattr(names::call_later(py))?;
    // By way of the loop's thread, because any thread may write.
    event_loop.call_method1(names::call_soon_threadsafe(py), (call_later, AGAIN_S, callback)).map(drop)
}
