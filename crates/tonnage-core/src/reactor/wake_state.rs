//! Whether a waiting thread must be woken by the kernel.
//!
//! Waking costs a system call, so only the first waker of a sleep makes it:
//! while the loop is busy, or woken already, a wake is one atomic swap. What a
//! thread wrote before [`WakeState::wake`] is visible to the loop after the
//! [`WakeState::get_up`] that consumes the wake: each change is a swap, so
//! the loop's swap acquires what all earlier wakers released.
//!
//! `tests/loom_waker.rs` includes this file and tries every interleaving.

use super::atomic::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const WOKEN: u8 = 2;

pub(super) struct WakeState(AtomicU8);

impl WakeState {
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Asks the loop to look around. True if it sleeps, and the caller must
    /// end its wait by the kernel.
    #[inline]
    #[must_use]
    pub(super) fn wake(&self) -> bool {
        self.0.swap(WOKEN, Ordering::AcqRel) == ASLEEP
    }

    /// Before a wait. False if a wake came since the last [`Self::get_up`]: do not block.
    #[inline]
    #[must_use]
    pub(super) fn lie_down(&self) -> bool {
        self.0.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// After a wait. Consumes the wake, if one came.
    #[inline]
    pub(super) fn get_up(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }
}
