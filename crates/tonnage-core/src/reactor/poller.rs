//! The half of a reactor that waits.
//!
//! It belongs to the thread that runs the loop, for as long as the loop runs,
//! and shares no lock with the other half, so it waits with the interpreter
//! let go.

use std::io;
use std::sync::Arc;

use super::{Backend, ChosenBackend, Event, Waker};

/// Waits for events and holds those of the last wait.
pub struct Poller {
    backend: Arc<ChosenBackend>,
    waker: Waker,
    events: <ChosenBackend as Backend>::Events,
    count: usize,
    interrupted: bool,
}

impl Poller {
    pub(super) fn new(backend: Arc<ChosenBackend>, waker: Waker) -> Self {
        Self { backend, waker, events: ChosenBackend::new_events(), count: 0, interrupted: false }
    }

    /// What ends [`Self::wait`] from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits until a descriptor is ready, a waker was used, a signal came, or
    /// `timeout_ns` has passed; `None` waits for ever. Returns the number of
    /// events, which may be 0 for each of these reasons but the first.
    ///
    /// A timeout never ends early. It may, like any wait, end for no reason.
    pub fn wait(&mut self, timeout_ns: Option<u64>) -> io::Result<usize> {
        let state = self.waker.state();
        let may_block = timeout_ns != Some(0) && state.lie_down();
        let outcome = self.backend.wait(&mut self.events, if may_block { timeout_ns } else { Some(0) });
        // Consumes the wake also after an error: the caller looks around in any case.
        state.get_up();
        self.count = 0;
        self.interrupted = false;
        match outcome {
            Ok(count) => self.count = count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.interrupted = true,
            Err(error) => return Err(error),
        }
        Ok(self.count)
    }

    /// Whether the last wait was ended by a signal, whose handler should run next.
    #[inline]
    #[must_use]
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// An event of the last wait. `index` is less than what [`Self::wait`] returned.
    #[inline]
    #[must_use]
    pub fn event(&self, index: usize) -> Event {
        assert!(index < self.count, "the last wait had {} events, asked for number {index}", self.count);
        ChosenBackend::event(&self.events, index)
    }

    /// The events of the last wait, in the kernel's order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> {
        (0..self.count).map(|index| ChosenBackend::event(&self.events, index))
    }
}
