//! The end of a datagram transport: `close`, `abort`, fatal errors, and `connection_lost`.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use super::DatagramTransport;
use super::senders::Senders;
use crate::cpython::{Native, Object};
use crate::names;
use crate::transports::telling::{call_soon, tell_of_end, warn_unclosed};

impl DatagramTransport {
    /// Ends the transport when all that waits is sent.
    pub(super) fn close(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (was_closing, is_empty) = transport.value().state.with(py, |state| {
            (std::mem::replace(&mut state.ending.closing, true), state.outgoing.queue.is_empty())
        });
        if was_closing {
            return Ok(());
        }
        Self::stop_reading(transport)?;
        if !is_empty {
            return Ok(());
        }
        Self::stop_sending(transport)?;
        Self::lose_connection(transport, None)
    }

    /// Ends the transport because of an error; an OSError is the network's, and no news.
    #[cold]
    pub(super) fn fatal_error(transport: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let exception = error.value(transport.py()).clone().into_any();
        let is_expected = error.is_instance_of::<PyOSError>(transport.py());
        let told = Self::teller(transport).send_fatal(message, error, is_expected);
        Self::force_close(transport, Some(exception))?;
        told
    }

    /// Ends the transport at once; what the socket did not take yet is lost.
    pub(super) fn force_close(transport: &Bound<'_, Self>, exception: Option<Object<'_>>) -> PyResult<()> {
        let py = transport.py();
        let unsent = transport.value().state.with(py, |state| {
            let is_open = !state.ending.lost;
            state.ending.closing |= is_open;
            is_open.then(|| state.outgoing.drain())
        });
        if unsent.is_none() {
            return Ok(());
        }
        drop(unsent);
        Self::stop_sending(transport)?;
        Self::stop_reading(transport)?;
        Self::lose_connection(transport, exception)
    }

    /// Schedules `connection_lost`, unless it is.
    pub(super) fn lose_connection(
        transport: &Bound<'_, Self>,
        exception: Option<Object<'_>>,
    ) -> PyResult<()> {
        let py = transport.py();
        let was_lost =
            transport.value().state.with(py, |state| std::mem::replace(&mut state.ending.lost, true));
        let Some(event_loop) = transport.value().event_loop(py).filter(|_| !was_lost) else { return Ok(()) };
        let exception = exception.unwrap_or_else(|| py.None().into_bound(py));
        let callback = transport.getattr(names::_call_connection_lost(py))?;
        call_soon(&event_loop, None, &callback, &[&exception])
    }

    /// The last callback: tells the protocol, closes the socket, and lets go of everything.
    pub(super) fn call_connection_lost(transport: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let told = tell_of_end(&transport.value().protocol(transport.py()), exception);
        // All of this happens, and the first error is the one that is raised.
        told.and(Self::release(transport))
    }

    fn release(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let unwatched = Self::stop_sending(transport).and(Self::stop_reading(transport));
        let (sock, gone) = transport.value().state.with(py, |state| {
            state.ending.closing = true;
            let contexts = (state.receiving.context.take(), state.outgoing.context.take());
            let senders = std::mem::replace(&mut state.receiving.senders, Senders::new());
            let gone =
                (state.protocol.take(), state.event_loop.take(), contexts, senders, state.outgoing.drain());
            (state.sock.take(), gone)
        });
        let closed = match &sock {
            Some(sock) => sock.object.bind(py).call_method0(names::close(py)).map(drop),
            None => Ok(()),
        };
        drop(gone);
        unwatched.and(closed)
    }
}

/// An open transport that nobody holds: warns, and closes the socket.
pub(super) fn finalize(transport: &Bound<'_, DatagramTransport>) {
    let py = transport.py();
    let Some(sock) = transport.value().sock(py) else { return };
    let warned = warn_unclosed(transport.as_any());
    let closed = sock.call_method0(names::close(py)).map(drop);
    drop(transport.value().state.with(py, |state| state.sock.take()));
    for outcome in [warned, closed] {
        if let Err(error) = outcome {
            error.write_unraisable(py, Some(transport));
        }
    }
}
