//! The end of a connection: `close`, `abort`, fatal errors, and `connection_lost`.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::socket::Sending;
use super::{SocketTransport, telling};
use crate::cpython::{Native, Object};
use crate::names;

impl SocketTransport {
    /// Closes the connection when all that was written is sent.
    pub(super) fn close(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (was_closing, sending) = transport
            .value()
            .state
            .with(py, |state| (std::mem::replace(&mut state.ending.closing, true), state.outgoing.sending));
        if was_closing {
            return Ok(());
        }
        Self::stop_reading(transport)?;
        match sending {
            Sending::Idle => Self::lose_connection(transport, None),
            Sending::AtEndOfTurn => Self::send(transport),
            Sending::Blocked => Ok(()),
        }
    }

    /// Ends the connection because of an error; an OSError is the network's, and no news.
    #[cold]
    pub(super) fn fatal_error(transport: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = transport.py();
        let exception = error.value(py).clone().into_any();
        let told = Self::teller(transport).send_fatal(message, error);
        Self::force_close(transport, Some(exception))?;
        told
    }

    /// Ends the connection at once; what the socket did not take yet is lost.
    pub(super) fn force_close(transport: &Bound<'_, Self>, exception: Option<Object<'_>>) -> PyResult<()> {
        let py = transport.py();
        let is_lost = transport.value().state.with(py, |state| state.ending.lost != 0);
        if is_lost {
            return Ok(());
        }
        // asyncio would have sent these already.
        Self::send_held(transport);
        let unsent = transport.value().state.with(py, |state| {
            state.ending.closing = true;
            state.outgoing.queue.drain()
        });
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
        let (is_first, in_context) = transport.value().state.with(py, |state| {
            let is_first = state.ending.lost == 0;
            state.ending.lost += u32::from(is_first);
            (is_first, state.context.as_ref().map(|in_context| in_context.get_bound(py)))
        });
        let Some(event_loop) = transport.value().event_loop(py).filter(|_| is_first) else { return Ok(()) };
        let exception = exception.unwrap_or_else(|| py.None().into_bound(py));
        let callback = transport.getattr(names::_call_connection_lost(py))?;
        telling::call_soon(&event_loop, in_context.as_ref(), &callback, &[&exception])
    }

    /// The last callback: tells the protocol, closes the socket, and lets go of everything.
    pub(super) fn call_connection_lost(transport: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        let protocol = transport.value().protocol(py);
        let told = if protocol.is_none() {
            Ok(())
        } else {
            protocol.call_method1(names::connection_lost(py), (exception,)).map(drop)
        };
        // All of this happens, and the first error is the one that is raised.
        told.and(Self::release(transport))
    }

    fn release(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let unwatched = Self::stop_sending(transport).and(Self::stop_reading(transport));
        let (sock, gone, server) = transport.value().state.with(py, |state| {
            state.ending.closing = true;
            let gone = (
                state.protocol.take(),
                state.event_loop.take(),
                state.context.take(),
                state.outgoing.queue.drain(),
            );
            (state.sock.take(), gone, state.server.take())
        });
        let closed = match &sock {
            Some(sock) => sock.bind(py).call_method0(names::close(py)).map(drop),
            None => Ok(()),
        };
        let detached = match &server {
            Some(server) => server.bind(py).call_method1(names::_detach(py), (transport,)).map(drop),
            None => Ok(()),
        };
        drop(gone);
        let error = PyConnectionError::new_err("Connection is closed by peer");
        let waiter_failed = Self::fail_empty_waiter(transport, error.value(py).as_any());
        unwatched.and(closed).and(detached).and(waiter_failed)
    }
}
