//! What a sendfile waits for: that the queue is empty, then that the socket has room.
//!
//! `python/tonnage/sendfile.py` sends the file; the transport refuses all else while `empty_waiter` is set.
//! The socket stays watched between two parts of a file: `sending` is `Blocked`, and the queue is empty.
//! The end of the connection ends the wait, before the descriptor is closed.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::StreamTransport;
use super::stream::Sending;
use crate::cpython::{Native, Object};
use crate::names;

impl StreamTransport {
    /// A future that is done when all that was written is sent, for sendfile.
    pub(super) fn make_empty_waiter<'py>(transport: &Bound<'py, Self>) -> PyResult<Object<'py>> {
        let py = transport.py();
        if transport.value().state.with(py, |state| state.outgoing.empty_waiter.is_some()) {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        let event_loop = transport.value().open_loop(py)?;
        let waiter = event_loop.call_method0(names::create_future(py))?;
        let kept = waiter.clone().into();
        let (old, sending) = transport
            .value()
            .state
            .with(py, |state| (state.outgoing.empty_waiter.replace(kept), state.outgoing.sending));
        drop(old);
        match sending {
            Sending::Idle => waiter.call_method1(names::set_result(py), (py.None(),)).map(drop)?,
            Sending::AtEndOfTurn => Self::send(transport)?,
            Sending::Blocked => {}
        }
        Ok(waiter)
    }

    /// A future that is done when the socket takes bytes, for a sendfile whose empty waiter is done.
    pub(super) fn make_writable_waiter<'py>(transport: &Bound<'py, Self>) -> PyResult<Object<'py>> {
        let py = transport.py();
        let event_loop = transport.value().open_loop(py)?;
        let waiter = event_loop.call_method0(names::create_future(py))?;
        let kept = waiter.clone().into();
        let old = transport.value().state.with(py, |state| state.outgoing.empty_waiter.replace(kept));
        drop(old);
        // The socket is watched from here until the sendfile ends, or turns out to be slower than it.
        Self::wait_until_writable(transport)?;
        Ok(waiter)
    }

    pub(super) fn wake_file(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let waiter = transport
            .value()
            .state
            .with(py, |state| state.outgoing.empty_waiter.as_ref().map(|waiter| waiter.get_bound(py)));
        match waiter {
            Some(waiter) if wake(&waiter)? => Ok(()),
            _ => Self::stop_sending(transport),
        }
    }

    /// The sendfile is over: writes are taken again.
    pub(super) fn reset_empty_waiter(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (waiter, watches, ends) = transport.value().state.with(py, |state| {
            let outgoing = &mut state.outgoing;
            let watches = outgoing.sending == Sending::Blocked && outgoing.queue.is_empty();
            (outgoing.empty_waiter.take(), watches, outgoing.eof && !state.ending.lost)
        });
        drop(waiter);
        if !watches {
            return Ok(());
        }
        Self::stop_sending(transport)?;
        if ends { Self::shut_down(transport) } else { Ok(()) }
    }

    /// Tells a sendfile that waits for the queue that it will not be sent.
    pub(super) fn fail_empty_waiter(transport: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        let waiter = transport
            .value()
            .state
            .with(py, |state| state.outgoing.empty_waiter.as_ref().map(|waiter| waiter.get_bound(py)));
        let Some(waiter) = waiter else { return Ok(()) };
        if waiter.call_method0(names::done(py))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(names::set_exception(py), (exception,)).map(drop)
    }
}

/// Sets the result of a sendfile's future; `false` if it was done before.
pub(super) fn wake(waiter: &Object<'_>) -> PyResult<bool> {
    let py = waiter.py();
    if waiter.call_method0(names::done(py))?.is_truthy()? {
        return Ok(false);
    }
    waiter.call_method1(names::set_result(py), (py.None(),))?;
    Ok(true)
}
