//! Together: what several transports were given in one turn leaves by one system call, where there are rings.
//!
//! Invariant: what is to be sent is out of its transport for the time of that call only, in which no Python code
//! runs. Each transport is told what came of its own part, as after a call of its own.

use std::io::{self, IoSlice};
use std::mem;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use tonnage_core::reactor::Fd;
use tonnage_core::reactor::ring::{Ring, SENDS_MAX, Send};
use tonnage_core::write_queue::WriteQueue;

use super::stream::{Outgoing, Sending};
use super::writing::{SLICES_FEW, Sent};
use super::{StreamTransport, TLSProtocol};
use crate::cpython::{Guarded, Native, Owned};

/// More is sent by a call of its own, while it is in the processor's cache. Measured: TLS that echoes 100 KiB on
/// each of 10 connections costs a tenth more if all is encrypted before the first is sent.
pub(super) const TOGETHER_MAX: usize = 16 * 1024;

/// One send of many.
struct Parcel<'a, 'py> {
    transport: &'a Bound<'py, StreamTransport>,
    fd: Fd,
    queue: WriteQueue<PyBackedBytes>,
    /// Was all of it taken? `None`: it was not sent.
    outcome: Option<io::Result<bool>>,
}

/// The turn in which they were written to is over. Only what must leave the loop comes back as an error.
pub(crate) fn flush(
    py: Python<'_>,
    ring: &Guarded<Ring>,
    transports: &[Owned<StreamTransport>],
) -> PyResult<()> {
    let mut flushed = Ok(());
    if transports.len() > 1 && !ring.with(py, |ring| ring.is_refused()) {
        for some in transports.chunks(SENDS_MAX) {
            flushed = flushed.and(flush_by(py, ring, some));
        }
    }
    // Each that is left is flushed, whatever becomes of the others.
    for transport in transports {
        flushed = flushed.and(StreamTransport::flush(transport.bind(py)));
    }
    flushed
}

/// Sends for all that can be served by one call, and leaves the others.
fn flush_by(py: Python<'_>, ring: &Guarded<Ring>, transports: &[Owned<StreamTransport>]) -> PyResult<()> {
    let mut flushed = Ok(());
    for transport in transports {
        flushed = flushed.and(StreamTransport::fill_queue(transport.bind(py)));
    }
    // All are asked for their descriptors before the first is emptied.
    let asked: Vec<_> = transports
        .iter()
        .map(|transport| transport.bind(py))
        .filter(|transport| !StreamTransport::waits_for_tls(transport))
        .filter_map(|transport| Some((transport, transport.value().plain_socket(py)?)))
        .collect();
    let mut parcels: Vec<_> = asked
        .into_iter()
        .filter_map(|(transport, fd)| {
            let queue = transport.value().take_queue(py)?;
            Some(Parcel { transport, fd, queue, outcome: None })
        })
        .collect();
    if parcels.len() > 1 {
        send(&mut parcels, |sends| ring.with(py, |ring| ring.send(sends)));
    }
    for Parcel { transport, queue, .. } in &mut parcels {
        transport.value().put_back(py, mem::take(queue));
    }
    for Parcel { transport, outcome, .. } in parcels {
        if let Some(outcome) = outcome {
            flushed = flushed.and(StreamTransport::was_sent(transport, outcome));
        }
    }
    flushed
}

impl StreamTransport {
    /// Has TLS hand over what is to leave with others, if it is little. Only what must leave the loop comes back as
    /// an error.
    fn fill_queue(transport: &Bound<'_, Self>) -> PyResult<()> {
        let Some(tls) = Self::waiting_tls(transport) else { return Ok(()) };
        if TLSProtocol::held(&tls).is_some_and(|held| held > TOGETHER_MAX) {
            return Ok(());
        }
        Self::in_context(transport, || match TLSProtocol::hand_over(&tls) {
            Ok(()) => Ok(()),
            Err(error) => Self::send_failed(transport, error),
        })
    }

    /// Has TLS still something to hand over? A transport that has sent all waits for no end of a turn.
    fn waits_for_tls(transport: &Bound<'_, Self>) -> bool {
        Self::waiting_tls(transport).is_some_and(|tls| TLSProtocol::held(&tls).is_some())
    }

    /// Takes out what is to leave with others, if it is little. Until it is put back, no Python code may run.
    fn take_queue(&self, py: Python<'_>) -> Option<WriteQueue<PyBackedBytes>> {
        self.state.with(py, |state| {
            let Outgoing { sending, queue, failed, .. } = &mut state.outgoing;
            let is_little =
                (1..=TOGETHER_MAX).contains(&queue.len_bytes()) && queue.len_chunks() <= SLICES_FEW;
            let is_sent_here = is_little && *sending == Sending::AtEndOfTurn && failed.is_none();
            is_sent_here.then(|| mem::take(queue))
        })
    }

    fn put_back(&self, py: Python<'_>, queue: WriteQueue<PyBackedBytes>) {
        let empty = self.state.with(py, |state| mem::replace(&mut state.outgoing.queue, queue));
        drop(empty);
    }

    /// What was taken out is back, and this came of sending it. Only what must leave the loop comes back as an
    /// error.
    fn was_sent(transport: &Bound<'_, Self>, outcome: io::Result<bool>) -> PyResult<()> {
        Self::in_context(transport, || {
            Self::drop_sent(transport);
            // What another was told of may have written to this one.
            if let Some(tls) = Self::waiting_tls(transport)
                && let Err(error) = TLSProtocol::hand_over(&tls)
            {
                return Self::send_failed(transport, error);
            }
            let (sending, is_empty) = transport
                .value()
                .state
                .with(transport.py(), |state| (state.outgoing.sending, state.outgoing.queue.is_empty()));
            match outcome {
                _ if sending != Sending::AtEndOfTurn => Ok(()),
                Ok(true) if is_empty => Self::ended(transport, Sent::All),
                Ok(true) => Self::send(transport),
                Ok(false) => Self::ended(transport, Sent::Some),
                Err(error) => Self::ended(transport, Sent::not_all(error)),
            }
        })
    }
}

fn send(parcels: &mut [Parcel<'_, '_>], make: impl FnOnce(&mut [Send<'_>])) {
    let mut arrays = vec![[IoSlice::new(&[]); SLICES_FEW]; parcels.len()];
    let mut sends: Vec<_> = parcels
        .iter()
        .zip(&mut arrays)
        .map(|(parcel, slices)| Send { fd: parcel.fd, slices: parcel.queue.io_slices(slices), outcome: None })
        .collect();
    make(&mut sends);
    let outcomes: Vec<_> = sends.into_iter().map(|send| send.outcome).collect();
    for (Parcel { queue, outcome, .. }, came) in parcels.iter_mut().zip(outcomes) {
        *outcome = came.map(|came| {
            queue.advance(came?);
            Ok(queue.len_bytes() == 0)
        });
    }
}
