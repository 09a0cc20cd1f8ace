//! The order of a turn for operations on sockets: who receives does so before others send.
//!
//! Of sockets that are ready together, the first whose peer got its answer would be asked again while the others wait
//! to be read from. Where both sides share a processor, the peer takes it for that, and each turn of the loop finds
//! fewer sockets that are ready. asyncio has the same order: it receives from all of them before it runs a task. Here
//! each task receives when it runs, so that a cancelled one has taken nothing (`sock/mod.rs`); so it is the sends that
//! wait, for one pass over the ready queue. They leave in the order in which they were called.

use pyo3::prelude::*;

use super::EventLoop;

/// So many bytes of sends may wait before those who have not received yet wait for them.
const WAITING_MAX: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct TurnOrder {
    /// Those whom the last poll told that there is something to read, and who have not received yet.
    receivers: usize,
    /// Those who wait for these.
    senders: usize,
    /// What they send, in bytes.
    waiting: usize,
}

impl EventLoop {
    /// So many were told by a poll that there is something to read.
    pub(super) fn begin_receives(&self, py: Python<'_>, receivers: usize) {
        self.turn_order.with(py, |order| order.receivers = receivers);
    }

    /// One of them receives, or gave up.
    #[inline]
    pub(super) fn end_receive(&self, py: Python<'_>) {
        self.turn_order.with(py, |order| order.receivers = order.receivers.saturating_sub(1));
    }

    /// Is who was told to wait for a pass all the same, since much waits to be sent?
    #[inline]
    pub(crate) fn sends_before_receives(&self, py: Python<'_>) -> bool {
        self.turn_order.with(py, |order| order.waiting > WAITING_MAX)
    }

    /// Is a send to wait for a pass? One that would rather not does so behind others only.
    #[inline]
    pub(crate) fn receives_before_send(&self, py: Python<'_>, would_wait: bool) -> bool {
        self.turn_order.with(py, |order| order.senders > 0 || (would_wait && order.receivers > 0))
    }

    /// A send of so many bytes waits; `end_send` follows.
    pub(crate) fn begin_send(&self, py: Python<'_>, len: usize) {
        self.turn_order.with(py, |order| {
            order.senders += 1;
            order.waiting += len;
        });
    }

    /// It waits no more.
    pub(crate) fn end_send(&self, py: Python<'_>, len: usize) {
        self.turn_order.with(py, |order| {
            order.senders -= 1;
            order.waiting -= len;
        });
    }
}
