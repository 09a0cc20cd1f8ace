//! Waiting for file descriptors: registration, the wait, and the wake-up.
//!
//! A [`Reactor`] has two halves over one [`Backend`]. The [`Poller`] is what
//! blocks; it needs no lock and no interpreter, so that its owner can let go of
//! both. The [`Registry`] changes what is waited for; it may be used while the
//! other half waits. A [`Waker`] ends a wait from any thread.
//!
//! Registrations last until they are changed or removed, and are
//! level-triggered: a descriptor is reported as long as it is ready, but
//! where [`Interest::EDGE`] is asked for.
//!
//! Raw system calls are made in this folder only. One backend is one file; the
//! operating system chooses it below.

pub mod accept;
pub mod datagram;
#[cfg(target_os = "linux")]
mod epoll;
mod event;
pub mod pipe;
mod poller;
mod registry;
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "loongarch64",
        target_arch = "powerpc64"
    )),
    path = "no_ring.rs"
)]
pub mod ring;
pub mod socket;
mod wake_state;
mod waker;

/// What `wake_state` is built on. The loom test puts loom's atomics here.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
}

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

pub use event::{Event, Interest};
pub use poller::Poller;
pub use registry::{Registry, STARVED};
pub use waker::Waker;

#[cfg(target_os = "linux")]
use epoll::Epoll as ChosenBackend;
#[cfg(not(target_os = "linux"))]
compile_error!("no reactor backend for this operating system: see the list of backends in reactor/mod.rs");

/// A file descriptor as Python gives it: a number that nobody vouches for.
pub type Fd = RawFd;

/// What a kind of kernel queue (epoll, kqueue, …) must offer. All of it is
/// called through `&self`, from the waiting thread and from others.
trait Backend: Sized + Send + Sync {
    /// Where the kernel leaves its events. It is reused, so that a wait allocates nothing.
    type Events: Send + Sync;

    fn open() -> io::Result<Self>;
    fn new_events() -> Self::Events;

    /// Registers a descriptor that ends waits and is never reported as an event.
    fn register_waker(&self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Makes the interest in `fd` be `new`, where it was `old` as far as we know.
    fn change(&self, fd: Fd, old: Interest, new: Interest) -> io::Result<()>;

    /// Waits until something is ready, or `timeout_ns` has passed in full, and
    /// returns the number of events.
    fn wait(&self, events: &mut Self::Events, timeout_ns: Option<u64>) -> io::Result<usize>;

    fn event(events: &Self::Events, index: usize) -> Event;
}

/// Both halves of a reactor, fresh from the kernel.
pub struct Reactor {
    pub poller: Poller,
    pub registry: Registry,
}

impl Reactor {
    /// Opens a kernel queue and its waker: two descriptors, which are closed
    /// when the halves and all wakers are dropped. Neither survives `exec`.
    pub fn new() -> io::Result<Self> {
        let backend = Arc::new(ChosenBackend::open()?);
        let waker = Waker::open()?;
        backend.register_waker(waker.as_fd())?;
        Ok(Self { poller: Poller::new(Arc::clone(&backend), waker), registry: Registry::new(backend) })
    }

    /// What ends a wait of this reactor from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.poller.waker()
    }
}

#[cfg(test)]
mod tests;
