//! How a stream begins: `connection_made`, then reading, then whoever waits for the transport.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::source::Source;
use super::stream::Extra;
use super::{AcceptedSocket, Connections, SocketTransport, StreamTransport};
use crate::cpython::native_class::is_exact;
use crate::cpython::{Native, Object, context};
use crate::event_loop::{EventLoop, Ready, report_callback};
use crate::{errors, names};

/// What a transport is made with.
pub(super) struct Opening<'py> {
    pub(super) event_loop: Bound<'py, EventLoop>,
    pub(super) source: Source,
    pub(super) protocol: Object<'py>,
    pub(super) extra: Extra,
    /// Who counts the transport among its connections.
    pub(super) server: Option<Object<'py>>,
    pub(super) context: Object<'py>,
}

/// What the transport of an accepted connection is made with.
pub(super) struct Serving<'py> {
    pub(super) event_loop: Bound<'py, EventLoop>,
    pub(super) accepted: Bound<'py, AcceptedSocket>,
    pub(super) protocol: Object<'py>,
    pub(super) server: Option<Bound<'py, Connections>>,
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
    let protocol = opening.protocol.clone();
    take_over(transport, opening)?;
    let made = protocol.getattr(names::connection_made(transport.py()))?;
    StreamTransport::call_soon(transport, &made, &[transport.as_any()])
}

/// Takes the descriptor over.
pub(super) fn take_over(transport: &Bound<'_, StreamTransport>, opening: Opening<'_>) -> PyResult<()> {
    let py = transport.py();
    let Opening { event_loop, source, protocol, extra, server, context } = opening;
    if transport.value().state.with(py, |state| !matches!(state.extra, Extra::None)) {
        let name = transport.get_type().name()?;
        return Err(PyRuntimeError::new_err(format!("{name} object is already initialized")));
    }
    let kept_server = server.as_ref().map(|server| server.clone().into());
    transport.value().state.with(py, |state| {
        state.source = source;
        state.event_loop = Some(event_loop.into());
        state.extra = extra;
        state.context = Some(context.into());
        state.server = kept_server;
    });
    StreamTransport::set_protocol(transport, &protocol)?;
    let Some(server) = server else { return Ok(()) };
    match server.cast::<Connections>() {
        Ok(server) => server.value().attach(transport),
        Err(_) => server.call_method1(names::_attach(py), (transport,)).map(drop),
    }
}

/// The loop, if nobody can tell what it does for the transport itself from callbacks: unless either is overridden.
pub(super) fn quiet_loop<'py>(transport: &Bound<'py, StreamTransport>) -> Option<Bound<'py, EventLoop>> {
    let event_loop = transport.value().event_loop(transport.py())?;
    let is_quiet = event_loop.get().is_plain_and_quiet() && is_exact::<SocketTransport>(transport.as_any());
    is_quiet.then_some(event_loop)
}

/// The loop, and the context in which it calls the protocol; both until the connection is lost.
pub(super) fn loop_and_context<'py>(
    transport: &Bound<'py, StreamTransport>,
) -> (Option<Bound<'py, EventLoop>>, Option<Object<'py>>) {
    let py = transport.py();
    transport.value().state.with(py, |state| {
        let event_loop = state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py));
        (event_loop, state.context.as_ref().map(|context| context.get_bound(py)))
    })
}

impl StreamTransport {
    /// `connection_made`, and reading: two callbacks of the loop, one right after the other.
    pub(crate) fn begin(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (Some(event_loop), Some(own_context)) = loop_and_context(transport) else { return Ok(()) };
        let protocol = transport.value().protocol(py);
        let told = context::run(&own_context, || {
            protocol.call_method1(names::connection_made(py), (transport,)).map(drop)
        });
        match told {
            Ok(()) => Self::start(transport),
            Err(error) if errors::is_exit(py, &error) => {
                // Whoever runs the loop again finds the connection read.
                event_loop.get().schedule(py, Ready::Start(transport.into()))?;
                Err(error)
            }
            Err(error) => {
                let callback = protocol.getattr(names::connection_made(py))?;
                let argument = transport.clone().into_any();
                report_callback(event_loop.as_any(), callback, argument, (own_context, error))?;
                Self::start(transport)
            }
        }
    }
}

/// After `connection_made`: watches for what comes in.
pub(super) fn start_soon(transport: &Bound<'_, StreamTransport>) -> PyResult<()> {
    let py = transport.py();
    if let Some(event_loop) = quiet_loop(transport) {
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
