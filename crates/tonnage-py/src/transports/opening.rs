//! How a stream begins: `connection_made`, then reading, then whoever waits for the transport.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::source::Source;
use super::{SocketTransport, StreamTransport};
use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, context};
use crate::event_loop::{EventLoop, Ready};
use crate::names;

/// What a transport is made with.
pub(super) struct Opening<'py> {
    pub(super) event_loop: Bound<'py, EventLoop>,
    pub(super) source: Source,
    pub(super) protocol: Object<'py>,
    /// What `get_extra_info` knows.
    pub(super) extra: Bound<'py, PyDict>,
    /// Who counts the transport among its connections.
    pub(super) server: Option<Object<'py>>,
    pub(super) context: Object<'py>,
}

/// The `extra` that was given, or an empty one.
pub(super) fn extra_or_empty<'py>(
    py: Python<'py>,
    extra: Option<Object<'py>>,
) -> PyResult<Bound<'py, PyDict>> {
    match extra {
        Some(extra) => Ok(extra.cast_into::<PyDict>()?),
        None => Ok(PyDict::new(py)),
    }
}

/// The context that was given, or a copy of the caller's.
pub(super) fn context_or_current<'py>(py: Python<'py>, given: Option<Object<'py>>) -> PyResult<Object<'py>> {
    match given {
        Some(given) if context::is_context(&given) => Ok(given),
        Some(given) => Err(PyTypeError::new_err(format!("a Context was expected, got {}", given.repr()?))),
        None => context::copy_current(py),
    }
}

/// Takes the descriptor over, and schedules `connection_made`.
pub(super) fn open(transport: &Bound<'_, StreamTransport>, opening: Opening<'_>) -> PyResult<()> {
    let py = transport.py();
    let Opening { event_loop, source, protocol, extra, server, context } = opening;
    if transport.value().state.with(py, |state| state.extra.is_some()) {
        let name = transport.get_type().name()?;
        return Err(PyRuntimeError::new_err(format!("{name} object is already initialized")));
    }
    let kept_server = server.as_ref().map(|server| server.clone().into());
    transport.value().state.with(py, |state| {
        state.source = source;
        state.event_loop = Some(event_loop.into());
        state.extra = Some(extra.into());
        state.context = Some(context.into());
        state.server = kept_server;
    });
    StreamTransport::set_protocol(transport, &protocol)?;
    if let Some(server) = server {
        server.call_method1(names::_attach(py), (transport,))?;
    }
    let made = protocol.getattr(names::connection_made(py))?;
    StreamTransport::call_soon(transport, &made, &[transport.as_any()])
}

/// After `connection_made`: watches for what comes in.
pub(super) fn start_soon(transport: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = transport.py();
    let event_loop =
        transport.value().event_loop(py).filter(|event_loop| event_loop.get().is_plain_and_quiet());
    // Nobody can tell it from the callback, unless it is overridden.
    if let Some(event_loop) = event_loop.filter(|_| is_exact::<SocketTransport>(transport.as_any())) {
        return event_loop.get().schedule(py, Ready::Start(transport.into()));
    }
    let start = transport.getattr(names::_start_reading(py))?;
    StreamTransport::call_soon(transport, &start, &[])
}

/// After all that: wakes who waits for the transport.
pub(super) fn wake_soon(transport: &Bound<'_, StreamTransport>, waiter: Option<Object<'_>>) -> PyResult<()> {
    let Some(waiter) = waiter else { return Ok(()) };
    let py = transport.py();
    let none = py.None().into_bound(py);
    StreamTransport::call_soon(transport, names::set_result_unless_cancelled(py)?, &[&waiter, &none])
}
