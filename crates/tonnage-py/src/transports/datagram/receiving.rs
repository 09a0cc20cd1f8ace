//! Receiving: what the socket has, up to a number of datagrams for each time that it is readable.
//!
//! asyncio takes one. More in one go spare a turn of the loop each, and the bound lets the others have
//! their turn. The protocol's methods are called one after another, in the order of arrival, and none is
//! called any more once the protocol has closed or paused the transport, or stops the loop.

use std::io;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tonnage_core::reactor::datagram::{self, Address, Family};

use super::DatagramTransport;
use super::addresses;
use super::class::Receiving;
use crate::cpython::{Native, Object, Owned, context};
use crate::event_loop::{Direction, EventLoop};
use crate::transports::again::{Refusals, try_again};
use crate::transports::reading::is_not_ready;
use crate::transports::telling::log;
use crate::{errors, names, scratch};

/// The most of a datagram that is taken: asyncio's `max_size`. UDP has at most 65,527 bytes, a Unix socket more.
const DATAGRAM_MAX: usize = scratch::SCRATCH_LEN;

/// So many datagrams are taken in one go. (`recvmmsg` does not pay: its headers cost more than the calls that it
/// spares, 15 % for one datagram of 1 KiB, and 7 % for each of ten.)
const BURST_MAX: usize = 32;

/// Where datagrams come alone, a look for a second one is in vain, and costs a system call. So the next looks that
/// find the socket readable take one, and no more; then another tries it.
const ALONE_MAX: u8 = 4;

const RECEIVE_FAILED: &str = "Fatal read error on datagram transport";

/// What came of a look at the socket.
enum Received<'py> {
    Datagram(Object<'py>, Object<'py>),
    Nothing,
    /// What the network says of a datagram that was sent earlier.
    Error(PyErr),
}

impl DatagramTransport {
    /// The socket has datagrams, or an error. Only what must leave the loop comes back as an error.
    #[inline]
    pub(crate) fn readable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        // Another callback of this turn may have paused or closed it.
        let (is_wanted, in_context) = transport.value().state.with(py, |state| {
            let in_context = state.receiving.context.as_ref().map(|found| found.get_bound(py));
            (state.receiving.watched && !state.ending.lost, in_context)
        });
        if !is_wanted {
            return Ok(());
        }
        Self::in_context(in_context.as_ref(), || Self::receive_some(transport))
    }

    /// Is it still to be read, and the loop to run on?
    #[inline]
    fn is_receiving(transport: &Bound<'_, Self>) -> bool {
        let py = transport.py();
        transport.value().state.with(py, |state| {
            let is_stopping = |event_loop: &Owned<EventLoop>| event_loop.bind(py).get().is_stopping();
            state.receiving.watched
                && !state.ending.lost
                && !state.event_loop.as_ref().is_some_and(is_stopping)
        })
    }

    fn receive_some(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let burst = transport.value().state.with(py, |state| {
            let alone = &mut state.receiving.alone;
            *alone = alone.saturating_sub(1);
            if *alone == 0 { BURST_MAX } else { 1 }
        });
        for taken in 0..burst {
            let (data, sender) = match Self::receive(transport) {
                Ok(Received::Datagram(data, sender)) => (data, sender),
                Ok(Received::Nothing) => {
                    if taken == 1 {
                        transport.value().state.with(py, |state| state.receiving.alone = ALONE_MAX);
                    }
                    break;
                }
                Ok(Received::Error(error)) => {
                    return Self::end_of_callback(transport, Self::error_received(transport, &error));
                }
                Err(error) if errors::is_exit(py, &error) => return Err(error),
                Err(error) => return Self::fatal_error(transport, error, RECEIVE_FAILED),
            };
            let protocol = transport.value().protocol(py);
            let told = protocol.call_method1(names::datagram_received(py), (data, sender));
            Self::end_of_callback(transport, told.map(drop))?;
            if !Self::is_receiving(transport) {
                break;
            }
        }
        Ok(())
    }

    #[inline]
    fn receive<'py>(transport: &Bound<'py, Self>) -> PyResult<Received<'py>> {
        let py = transport.py();
        let family = transport.value().state.with(py, |state| state.family);
        if family == Family::Other {
            return Self::receive_by_socket(transport);
        }
        let fd = match transport.value().descriptor(py) {
            Ok(fd) => fd,
            Err(error) => return sort(py, error),
        };
        let received = scratch::lend(DATAGRAM_MAX, |memory| {
            datagram::recv_from(fd, memory)
                .map(|(bytes, sender)| (PyBytes::new(py, bytes).into_any(), sender))
        });
        match received {
            Ok((data, sender)) => Ok(Received::Datagram(data, Self::sender(transport, sender.address())?)),
            Err(error) if is_not_ready(&error) => Ok(Received::Nothing),
            Err(error) => Ok(Received::Error(errors::os_error(error))),
        }
    }

    /// The address of a sender as a Python object.
    #[inline]
    fn sender<'py>(transport: &Bound<'py, Self>, address: Address<'_>) -> PyResult<Object<'py>> {
        let py = transport.py();
        let Address::Inet(inet) = address else { return addresses::address_object(py, address) };
        let state = &transport.value().state;
        if let Some(known) = state.with(py, |state| state.receiving.senders.find(py, &inet)) {
            return Ok(known);
        }
        let object = addresses::address_object(py, address)?;
        drop(state.with(py, |state| state.receiving.senders.remember(inet, &object)));
        Ok(object)
    }

    /// Lets the Python socket receive, which knows the addresses of all families.
    #[cold]
    fn receive_by_socket<'py>(transport: &Bound<'py, Self>) -> PyResult<Received<'py>> {
        let py = transport.py();
        let received = match transport.value().sock(py) {
            Some(sock) => sock.call_method1(names::recvfrom(py), (DATAGRAM_MAX,)),
            None => Err(errors::os_error(io::Error::from(io::ErrorKind::NotConnected))),
        };
        match received {
            Ok(received) => {
                let (data, sender) = received.cast_into::<PyTuple>()?.extract()?;
                Ok(Received::Datagram(data, sender))
            }
            Err(error) => sort(py, error),
        }
    }

    /// Watches the socket for reading, if it is to be read.
    pub(super) fn start_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let starts = transport.value().state.with(py, |state| {
            let Receiving { watched, refusals, .. } = &state.receiving;
            let is_idle = !watched && !refusals.is_waiting() && state.sock.is_some();
            let starts = state.is_reading() && is_idle;
            starts.then_some(state.fd)
        });
        let Some(fd) = starts else { return Ok(()) };
        let event_loop = transport.value().open_loop(py)?;
        let in_context = context::copy_current(py)?;
        if let Err(error) = event_loop.get().watch_transport(py, fd, Direction::Read, transport.into()) {
            return Self::not_watched(transport, error);
        }
        let before = transport.value().state.with(py, |state| {
            state.receiving.watched = true;
            state.receiving.refusals = Refusals::none();
            state.receiving.context.replace(in_context.into())
        });
        drop(before);
        Ok(())
    }

    /// Unless that passes, nothing would ever arrive.
    #[cold]
    fn not_watched(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        let is_starved = errors::is_starved(py, &error);
        let passes = transport.value().state.with(py, |state| state.receiving.refusals.note(is_starved));
        if !passes {
            return Self::fatal_error(transport, error, RECEIVE_FAILED);
        }
        try_again(&transport.value().open_loop(py)?, &transport.getattr(names::_start_again(py))?)
    }

    /// The kernel may have memory again. Who paused the transport meanwhile resumes it later.
    pub(super) fn start_again(transport: &Bound<'_, Self>) -> PyResult<()> {
        transport.value().state.with(transport.py(), |state| state.receiving.refusals.end_wait());
        Self::start_reading(transport)
    }

    /// Watches the socket for reading no more.
    pub(super) fn stop_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let stops = transport
            .value()
            .state
            .with(py, |state| std::mem::replace(&mut state.receiving.watched, false).then_some(state.fd));
        match (stops, transport.value().event_loop(py)) {
            (Some(fd), Some(event_loop)) => event_loop.get().unwatch(py, fd, Direction::Read).map(drop),
            _ => Ok(()),
        }
    }

    pub(super) fn pause_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let pauses = transport.value().state.with(py, |state| {
            let pauses = state.is_reading();
            state.receiving.paused |= pauses;
            pauses
        });
        if !pauses {
            return Ok(());
        }
        Self::stop_reading(transport)?;
        log(transport.as_any(), &transport.value().open_loop(py)?, names::debug(py), "%r pauses reading")
    }

    pub(super) fn resume_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let resumes = transport.value().state.with(py, |state| {
            let resumes = !state.ending.closing && state.receiving.paused;
            state.receiving.paused &= !resumes;
            resumes
        });
        if !resumes {
            return Ok(());
        }
        Self::start_reading(transport)?;
        log(transport.as_any(), &transport.value().open_loop(py)?, names::debug(py), "%r resumes reading")
    }
}

/// What an exception of a socket means.
#[cold]
fn sort<'py>(py: Python<'py>, error: PyErr) -> PyResult<Received<'py>> {
    if errors::is_not_ready(py, &error) {
        Ok(Received::Nothing)
    } else if error.is_instance_of::<PyOSError>(py) {
        Ok(Received::Error(error))
    } else {
        Err(error)
    }
}
