//! The order of a turn for operations on sockets: who receives does so before others send much.
//!
//! Of sockets that are ready together, the first whose peer got its answer would be asked again while the others wait
//! to be read from. Where both sides share a processor, the peer takes it for that, and each turn of the loop finds
//! fewer sockets that are ready. asyncio receives from all of them before it runs a task. Here each task receives when it
//! runs, so that a cancelled one has taken nothing (`sock/mod.rs`); so it is the sends that wait, for one pass over the
//! ready queue. Only large ones do, which might have to wait for the socket in any case. Sends to one socket leave in the
//! order in which they were called.

use pyo3::prelude::*;
use tonnage_core::number_map::NumberMap;
use tonnage_core::reactor::Fd;

use super::EventLoop;

/// What is less leaves at once.
const LARGE: usize = 32 * 1024;

/// While so many bytes wait to be sent, who is about to receive waits for a pass as well.
const WAITING_MAX: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct TurnOrder {
    /// Those whom the last poll told that there is something to read, and who have not received yet. Some may never
    /// do so: it is a guess.
    receivers: usize,
    /// How many sends wait, for each socket.
    senders: NumberMap<Fd, usize>,
    /// What they send, in bytes.
    waiting: usize,
}

impl EventLoop {
    /// So many were told by a poll that there is something to read.
    pub(super) fn expect_receives(&self, py: Python<'_>, receivers: usize) {
        self.turn_order.with(py, |order| order.receivers = receivers);
    }

    /// One of them receives, or gave up.
    #[inline]
    pub(super) fn end_receive(&self, py: Python<'_>) {
        self.turn_order.with(py, |order| order.receivers = order.receivers.saturating_sub(1));
    }

    /// Does so much wait to be sent that no more should be received in this pass?
    #[inline]
    pub(crate) fn has_much_to_send(&self, py: Python<'_>) -> bool {
        self.turn_order.with(py, |order| order.waiting > WAITING_MAX)
    }

    /// May a send have to wait, if it is large or others wait?
    #[inline]
    pub(crate) fn may_delay_sends(&self, py: Python<'_>) -> bool {
        self.turn_order.with(py, |order| order.receivers > 0 || !order.senders.is_empty())
    }

    /// Is a send of so many bytes to wait for a pass?
    pub(crate) fn delays_send(&self, py: Python<'_>, fd: Fd, len: usize) -> bool {
        self.turn_order
            .with(py, |order| order.senders.contains_key(&fd) || (len >= LARGE && order.receivers > 0))
    }

    /// A send waits; `end_delay` follows.
    pub(crate) fn begin_delay(&self, py: Python<'_>, fd: Fd, len: usize) {
        self.turn_order.with(py, |order| {
            *order.senders.entry(fd).or_default() += 1;
            order.waiting += len;
        });
    }

    pub(crate) fn end_delay(&self, py: Python<'_>, fd: Fd, len: usize) {
        self.turn_order.with(py, |order| {
            if let Some(count) = order.senders.get_mut(&fd) {
                *count -= 1;
                if *count == 0 {
                    order.senders.remove(&fd);
                }
            }
            order.waiting -= len;
        });
    }
}
