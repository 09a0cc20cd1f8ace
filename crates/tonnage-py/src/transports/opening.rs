//! How a connection begins: `connection_made`, then reading, then whoever waits for the transport.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{SocketTransport, telling};
use crate::cpython::{Args, Native, Object, Parameters, context};
use crate::event_loop::EventLoop;
use crate::names;

const INIT: Parameters<7> = Parameters {
    function: "SocketTransport",
    names: ["loop", "sock", "protocol", "waiter", "extra", "server", "context"],
    positional: 7,
    required: 3,
};

/// Same order as asyncio: CPython 3.15, Lib/asyncio/selector_events.py, _SelectorSocketTransport.__init__.
pub(super) fn init(transport: &Bound<'_, SocketTransport>, args: Args<'_, '_>) -> PyResult<()> {
    let py = args.py();
    let given = args.parse(&INIT)?.map(|value| value.filter(|value| !value.is_none()));
    let [Some(event_loop), Some(sock), protocol, waiter, extra, server, given_context] = given else {
        return Err(PyTypeError::new_err("SocketTransport() needs a loop and a socket"));
    };
    let event_loop = event_loop.cast_into::<EventLoop>()?;
    if transport.value().state.with(py, |state| state.extra.is_some()) {
        return Err(PyRuntimeError::new_err("SocketTransport object is already initialized"));
    }
    let extra = match extra {
        Some(extra) => extra.cast_into::<PyDict>()?,
        None => PyDict::new(py),
    };
    fill_extra(&extra, &sock)?;
    let fd = sock.call_method0(names::fileno(py))?.extract()?;
    let in_context = match given_context {
        Some(given) if context::is_context(&given) => given,
        Some(given) => {
            return Err(PyTypeError::new_err(format!("a Context was expected, got {}", given.repr()?)));
        }
        None => context::copy_current(py)?,
    };
    transport.value().state.with(py, |state| {
        state.event_loop = Some(event_loop.clone().into());
        state.sock = Some(sock.clone().into());
        state.fd = fd;
        state.extra = Some(extra.into());
        state.context = Some(in_context.clone().into());
        state.server = server.as_ref().map(|server| server.clone().into());
    });
    let protocol = protocol.unwrap_or_else(|| py.None().into_bound(py));
    SocketTransport::set_protocol(transport, &protocol)?;
    if let Some(server) = server {
        server.call_method1(names::_attach(py), (transport,))?;
    }
    // Small writes go out without waiting for an acknowledgement of the one before.
    names::set_nodelay(py)?.call1((&sock,))?;
    let made = protocol.getattr(names::connection_made(py))?;
    let in_context = Some(&in_context);
    telling::call_soon(&event_loop, in_context, &made, &[transport.as_any()])?;
    let start = transport.getattr(names::_start_reading(py))?;
    telling::call_soon(&event_loop, in_context, &start, &[])?;
    if let Some(waiter) = waiter {
        let none = py.None().into_bound(py);
        let wake = names::set_result_unless_cancelled(py)?;
        telling::call_soon(&event_loop, in_context, wake, &[&waiter, &none])?;
    }
    Ok(())
}

/// What `get_extra_info` knows of a socket.
pub(super) fn fill_extra(extra: &Bound<'_, PyDict>, sock: &Object<'_>) -> PyResult<()> {
    let py = extra.py();
    extra.set_item(names::socket(py), names::transport_socket(py)?.call1((sock,))?)?;
    extra.set_item(names::sockname(py), name_of(sock, names::getsockname(py))?)?;
    if !extra.contains(names::peername(py))? {
        extra.set_item(names::peername(py), name_of(sock, names::getpeername(py))?)?;
    }
    Ok(())
}

/// An end of the connection, or `None` if the socket does not say.
fn name_of<'py>(sock: &Object<'py>, method: &Bound<'py, PyString>) -> PyResult<Option<Object<'py>>> {
    match sock.call_method0(method) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(sock.py()) => Ok(None),
        Err(error) => Err(error),
    }
}
