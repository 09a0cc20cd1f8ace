//! Sending: at once, if nothing waits already; else in line, which moves when the socket is writable.
//!
//! An error of the network concerns one datagram, is told to the protocol, and ends nothing. Among them is
//! ENOBUFS: the socket is writable all the while, so that trying again would be a busy loop.

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tonnage_core::reactor::datagram::{self, Destination, Family};
use tonnage_core::reactor::socket;

use super::DatagramTransport;
use super::addresses;
use super::class::{Datagram, Peer};
use crate::cpython::buffer::snapshot;
use crate::cpython::{Native, Object, context};
use crate::event_loop::Direction;
use crate::transports::chunks;
use crate::transports::flow_control::{pause_protocol, resume_protocol};
use crate::transports::telling::warn;
use crate::{errors, names};

const SEND_FAILED: &str = "Fatal write error on datagram transport";

/// What came of an attempt to send a datagram.
enum Sent {
    Done,
    /// The socket does not take it yet.
    Blocked,
    /// An error of the network.
    Failed(PyErr),
}

impl DatagramTransport {
    pub(super) fn send_to(
        transport: &Bound<'_, Self>,
        data: &Object<'_>,
        address: Option<Object<'_>>,
    ) -> PyResult<()> {
        if !chunks::is_data(data) {
            let class = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes-like object, not {}",
                class.repr()?
            )));
        }
        let py = transport.py();
        let own = transport
            .value()
            .state
            .with(py, |state| state.remote.address.as_ref().map(|address| address.get_bound(py)));
        let has_own = own.is_some();
        let address = match own {
            None => address,
            Some(own) => {
                if let Some(address) = address
                    && !own.is(&address)
                    && !own.eq(&address)?
                {
                    let text = own.str()?;
                    return Err(PyValueError::new_err(format!("Invalid address: must be None or {text}")));
                }
                Some(own)
            }
        };
        if !Self::is_in_time(transport, has_own)? {
            return Ok(());
        }
        let data = match snapshot(data) {
            Ok(data) => data,
            Err(error) => return Self::send_failed(transport, error),
        };
        if transport.value().state.with(py, |state| state.outgoing.queue.is_empty()) {
            match Self::transmit(transport, &data, address.as_ref()) {
                Ok(Sent::Done) => return Ok(()),
                Ok(Sent::Failed(error)) => return Self::error_received(transport, &error),
                Ok(Sent::Blocked) => {}
                Err(error) => return Self::send_failed(transport, error),
            }
        }
        Self::enqueue(transport, &data, address.as_ref())
    }

    /// Is there a socket to send by? Late datagrams are counted, and logged from the fifth on.
    #[inline]
    fn is_in_time(transport: &Bound<'_, Self>, has_own: bool) -> PyResult<bool> {
        let py = transport.py();
        let late = transport.value().state.with(py, |state| {
            // As in asyncio, one without an address of its own sends until its socket is closed.
            let is_late = state.ending.lost && (has_own || state.sock.is_none());
            is_late.then(|| state.ending.note_late_write())
        });
        if late == Some(true) {
            warn(py, "socket.send() raised exception.")?;
        }
        Ok(late.is_none())
    }

    #[inline]
    fn transmit(
        transport: &Bound<'_, Self>,
        data: &Bound<'_, PyBytes>,
        address: Option<&Object<'_>>,
    ) -> PyResult<Sent> {
        let py = transport.py();
        let (family, peer) = transport.value().state.with(py, |state| (state.family, state.remote.peer));
        let by_connection = match peer {
            Peer::Named => true,
            Peer::Nameless => address.is_none(),
            Peer::None => false,
        };
        let destination = match address {
            Some(address) if !by_connection => {
                let latest =
                    transport.value().state.with(py, |state| state.receiving.senders.address_of(address));
                latest.map(Destination::Inet).or_else(|| addresses::read(family, address))
            }
            _ => None,
        };
        if family == Family::Other || (destination.is_none() && !by_connection) {
            return Self::transmit_by_socket(
                transport,
                data,
                address.filter(|_| !by_connection),
                by_connection,
            );
        }
        let fd = match transport.value().descriptor(py) {
            Ok(fd) => fd,
            Err(error) => return sort(py, error),
        };
        let sent = match &destination {
            Some(destination) => datagram::send_to(fd, data.as_bytes(), destination),
            None => socket::send(fd, data.as_bytes()).map(drop),
        };
        match sent {
            Ok(()) => Ok(Sent::Done),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Sent::Blocked),
            Err(error) => Ok(Sent::Failed(errors::os_error(error))),
        }
    }

    /// Lets the Python socket send: it resolves names, and says what is wrong with what is no address.
    #[cold]
    fn transmit_by_socket(
        transport: &Bound<'_, Self>,
        data: &Bound<'_, PyBytes>,
        address: Option<&Object<'_>>,
        by_connection: bool,
    ) -> PyResult<Sent> {
        let py = transport.py();
        let sent = match transport.value().sock(py) {
            None => Err(errors::os_error(socket::closed())),
            Some(sock) if by_connection => sock.call_method1(names::send(py), (data,)),
            Some(sock) => sock.call_method1(names::sendto(py), (data, address)),
        };
        match sent {
            Ok(_) => Ok(Sent::Done),
            Err(error) => sort(py, error),
        }
    }

    fn enqueue(
        transport: &Bound<'_, Self>,
        data: &Bound<'_, PyBytes>,
        address: Option<&Object<'_>>,
    ) -> PyResult<()> {
        let py = transport.py();
        let (is_lost, watched, fd) =
            transport.value().state.with(py, |state| (state.ending.lost, state.outgoing.watched, state.fd));
        if is_lost {
            // Nobody will send it any more.
            return Ok(());
        }
        if !watched {
            let event_loop = transport.value().open_loop(py)?;
            let in_context = context::copy_current(py)?;
            event_loop.get().watch_transport(py, fd, Direction::Write, transport.into())?;
            let before = transport.value().state.with(py, |state| {
                state.outgoing.watched = true;
                state.outgoing.context.replace(in_context.into())
            });
            drop(before);
        }
        let datagram = Datagram { data: data.into(), address: address.map(Into::into) };
        let pauses = transport.value().state.with(py, |state| {
            state.outgoing.push(py, datagram);
            let size = state.outgoing.bytes;
            state.outgoing.flow.pauses_at(size)
        });
        if pauses { pause_protocol(Self::teller(transport)) } else { Ok(()) }
    }

    /// The socket takes datagrams again. Only what must leave the loop comes back as an error.
    pub(crate) fn writable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (is_wanted, in_context) = transport.value().state.with(py, |state| {
            let in_context = state.outgoing.context.as_ref().map(|found| found.get_bound(py));
            (state.outgoing.watched && !state.ending.lost, in_context)
        });
        if !is_wanted {
            return Ok(());
        }
        Self::in_context(in_context.as_ref(), || {
            Self::end_of_callback(transport, Self::send_queue(transport))
        })
    }

    fn send_queue(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let state = &transport.value().state;
        while let Some(datagram) = state.with(py, |state| state.outgoing.pop(py)) {
            let address = datagram.address.as_ref().map(|address| address.bind(py));
            match Self::transmit(transport, datagram.data.bind(py), address) {
                Ok(Sent::Done) => {}
                Ok(Sent::Blocked) => {
                    state.with(py, |state| state.outgoing.push_front(py, datagram));
                    break;
                }
                // The rest follows when the loop finds the socket writable next.
                Ok(Sent::Failed(error)) => return Self::error_received(transport, &error),
                Err(error) => return Self::send_failed(transport, error),
            }
        }
        Self::resume_senders(transport)?;
        // `resume_writing` may have sent more, or ended it all.
        let (is_empty, closes) = state
            .with(py, |state| (state.outgoing.queue.is_empty(), state.ending.closing && !state.ending.lost));
        if !is_empty {
            return Ok(());
        }
        Self::stop_sending(transport)?;
        if closes { Self::lose_connection(transport, None) } else { Ok(()) }
    }

    fn resume_senders(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let resumes = transport.value().state.with(py, |state| {
            let size = state.outgoing.bytes;
            state.outgoing.flow.resumes_at(size)
        });
        if resumes { resume_protocol(Self::teller(transport)) } else { Ok(()) }
    }

    /// Nothing waits any more: watches the socket for writing no more.
    pub(super) fn stop_sending(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let stops = transport
            .value()
            .state
            .with(py, |state| std::mem::replace(&mut state.outgoing.watched, false).then_some(state.fd));
        match (stops, transport.value().event_loop(py)) {
            (Some(fd), Some(event_loop)) => event_loop.get().unwatch(py, fd, Direction::Write).map(drop),
            _ => Ok(()),
        }
    }

    /// What is no error of the network ends the transport, unless it ends the program.
    #[cold]
    fn send_failed(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        if errors::is_exit(transport.py(), &error) {
            return Err(error);
        }
        Self::fatal_error(transport, error, SEND_FAILED)
    }
}

/// What an exception of a socket means.
#[cold]
fn sort(py: Python<'_>, error: PyErr) -> PyResult<Sent> {
    if errors::is_not_ready(py, &error) {
        Ok(Sent::Blocked)
    } else if error.is_instance_of::<PyOSError>(py) {
        Ok(Sent::Failed(error))
    } else {
        Err(error)
    }
}
