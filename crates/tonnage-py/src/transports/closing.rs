//! The end of a connection: `close`, `abort`, fatal errors, and `connection_lost`.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use super::stream::{Into, Sending};
use super::telling::tell_of_end;
use super::{Connections, StreamTransport, opening, source};
use crate::cpython::{Native, Object, Owned, context};
use crate::event_loop::{Ready, report_callback};
use crate::{errors, names};

impl StreamTransport {
    /// Closes the connection when all that was written is sent.
    pub(super) fn close(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (was_closing, sending, is_empty, into) = transport.value().state.with(py, |state| {
            let was_closing = std::mem::replace(&mut state.ending.closing, true);
            let outgoing = &state.outgoing;
            (was_closing, outgoing.sending, outgoing.queue.is_empty(), state.reading.into)
        });
        if was_closing {
            return Ok(());
        }
        if into != Into::Nowhere {
            Self::stop_reading(transport)?;
        }
        match sending {
            Sending::Idle => Self::lose_connection(transport, None),
            Sending::AtEndOfTurn => Self::send(transport),
            // Only a sendfile waits for the socket, and ends now.
            Sending::Blocked if is_empty => Self::lose_connection(transport, None),
            Sending::Blocked => Ok(()),
        }
    }

    /// Ends the connection because of an error; one of the other end is no news.
    #[cold]
    pub(super) fn fatal_error(transport: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = transport.py();
        let exception = error.value(py).clone().into_any();
        let is_expected = transport.value().kind(py).expects(py, &error);
        let told = Self::teller(transport).send_fatal(message, error, is_expected);
        Self::force_close(transport, Some(exception))?;
        told
    }

    /// Ends the connection at once; what was not taken yet is lost.
    pub(super) fn force_close(transport: &Bound<'_, Self>, exception: Option<Object<'_>>) -> PyResult<()> {
        let py = transport.py();
        let is_lost = transport.value().state.with(py, |state| state.ending.lost);
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
        let was_lost =
            transport.value().state.with(py, |state| std::mem::replace(&mut state.ending.lost, true));
        if was_lost {
            return Ok(());
        }
        if exception.is_none()
            && let Some(event_loop) = opening::quiet_loop(transport)
        {
            return event_loop.get().schedule(py, Ready::End(transport.into()));
        }
        let exception = exception.unwrap_or_else(|| py.None().into_bound(py));
        let callback = transport.getattr(names::_call_connection_lost(py))?;
        Self::call_soon(transport, &callback, &[&exception])
    }

    /// `call_connection_lost(None)`, as a callback of the loop.
    pub(crate) fn end(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let none = py.None().into_bound(py);
        let (Some(event_loop), Some(own_context)) = opening::loop_and_context(transport) else {
            return Ok(());
        };
        let ended = context::run(&own_context, || Self::call_connection_lost(transport, &none));
        match ended {
            Err(error) if !errors::is_exit(py, &error) => {
                let callback = transport.getattr(names::_call_connection_lost(py))?;
                report_callback(event_loop.as_any(), callback, none, (own_context, error))
            }
            ended => ended,
        }
    }

    /// The last callback: tells the protocol, closes the descriptor, and lets go of everything.
    pub(super) fn call_connection_lost(transport: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let told = tell_of_end(&transport.value().protocol(transport.py()), exception);
        // All of this happens, and the first error is the one that is raised.
        told.and(Self::release(transport))
    }

    fn release(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let unwatched = Self::stop_sending(transport).and(Self::stop_reading(transport));
        let (owner, gone, server) = transport.value().state.with(py, |state| {
            state.ending.closing = true;
            let gone = (
                state.protocol.take(),
                state.event_loop.take(),
                state.context.take(),
                state.outgoing.queue.drain(),
            );
            (state.source.owner.take(), gone, state.server.take())
        });
        let closed = match &owner {
            Some(owner) => source::close(owner.bind(py)),
            None => Ok(()),
        };
        let detached = detach(transport, server);
        drop(gone);
        let waiter_failed = if transport.value().state.with(py, |state| state.outgoing.empty_waiter.is_some())
        {
            let error = PyConnectionError::new_err("Connection is closed by peer");
            Self::fail_empty_waiter(transport, error.value(py).as_any())
        } else {
            Ok(())
        };
        unwatched.and(closed).and(detached).and(waiter_failed)
    }
}

/// The server has one connection less.
pub(super) fn detach(transport: &Bound<'_, StreamTransport>, server: Option<Owned>) -> PyResult<()> {
    let py = transport.py();
    let Some(server) = server else { return Ok(()) };
    let server = server.into_bound(py);
    match server.cast::<Connections>() {
        Ok(server) => Connections::detach(server, Some(transport.as_any())),
        Err(_) => server.call_method1(names::_detach(py), (transport,)).map(drop),
    }
}
