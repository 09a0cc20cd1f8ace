//! Ends a wait from another thread: an eventfd, and the state that saves most writes to it.
//!
//! The eventfd is registered edge-triggered: each write is reported once, and
//! nobody reads it. Its counter would be full after 2^64 writes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::wake_state::WakeState;

/// Ends the current wait of its reactor, or the next one.
///
/// It stays usable when the reactor is gone, and does nothing then.
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

struct Shared {
    state: WakeState,
    eventfd: OwnedFd,
}

impl Waker {
    pub(super) fn open() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { shared: Arc::new(Shared { state: WakeState::new(), eventfd }) })
    }

    /// Makes the reactor's wait return. Costs one system call if the reactor
    /// sleeps and nobody woke it before, and none otherwise.
    pub fn wake(&self) {
        if !self.shared.state.wake() {
            return;
        }
        loop {
            match rustix::io::write(&self.shared.eventfd, &1_u64.to_ne_bytes()) {
                Err(rustix::io::Errno::INTR) => {}
                // The other error is EAGAIN, when the counter is full: such a write cannot be needed.
                Ok(_) | Err(_) => return,
            }
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }

    pub(super) fn state(&self) -> &WakeState {
        &self.shared.state
    }
}
