//! SocketTransport: TCP and Unix streams.

use std::ffi::CStr;

use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tonnage_core::reactor::{Fd, accept};

use super::opening::{self, Opening, Serving};
use super::source::{Kind, Source};
use super::stream::{Extra, StreamTransport};
use super::{AcceptedSocket, attributes, methods};
use crate::cpython::native_class::{create, upcast};
use crate::cpython::{Args, Native, NativeClass, Object, Owned, Parameters, Slots, Visit};
use crate::event_loop::{EventLoop, Ready};
use crate::names;

#[repr(C)]
pub(crate) struct SocketTransport {
    pub(crate) stream: StreamTransport,
}

const INIT: Parameters<7> = Parameters {
    function: "SocketTransport",
    names: ["loop", "sock", "protocol", "waiter", "extra", "server", "context"],
    positional: 7,
    required: 3,
};

/// Same order as asyncio: CPython 3.15, Lib/asyncio/selector_events.py, _SelectorSocketTransport.__init__.
fn init(transport: &Bound<'_, SocketTransport>, args: Args<'_, '_>) -> PyResult<()> {
    let py = args.py();
    let given = args.parse(&INIT)?.map(|value| value.filter(|value| !value.is_none()));
    let [Some(event_loop), Some(sock), protocol, waiter, extra, server, context] = given else {
        return Err(PyTypeError::new_err("SocketTransport() needs a loop and a socket"));
    };
    let event_loop = event_loop.cast_into::<EventLoop>()?;
    let (extra, fd) = match (AcceptedSocket::of(&sock), extra) {
        (Some(accepted), None) => (Extra::Of(accepted.into()), accepted.value().fileno(py)?),
        (Some(accepted), Some(extra)) => {
            let extra = extra.cast_into::<PyDict>()?;
            fill_extra_of_accepted(&extra, accepted)?;
            (Extra::Known(extra.into()), accepted.value().fileno(py)?)
        }
        (None, extra) => {
            let extra = opening::extra_or_empty(py, extra)?;
            let fd = fill_extra(&extra, &sock)?;
            (Extra::Known(extra.into()), fd)
        }
    };
    let context = opening::context_or_current(py, context)?;
    let source = Source { kind: Kind::Socket, owner: Some(sock.clone().into()), fd };
    let protocol = protocol.unwrap_or_else(|| py.None().into_bound(py));
    let transport = upcast(transport);
    set_nodelay(&sock)?;
    opening::open(transport, Opening { event_loop, source, protocol, extra, server, context })?;
    opening::start_soon(transport)?;
    opening::wake_soon(transport, waiter)
}

/// What `get_extra_info` tells; returns the descriptor.
pub(super) fn fill_extra(extra: &Bound<'_, PyDict>, sock: &Object<'_>) -> PyResult<Fd> {
    let py = extra.py();
    extra.set_item(names::socket(py), names::transport_socket(py)?.call1((sock,))?)?;
    extra.set_item(names::sockname(py), name_of(sock, names::getsockname(py))?)?;
    if !extra.contains(names::peername(py))? {
        extra.set_item(names::peername(py), name_of(sock, names::getpeername(py))?)?;
    }
    sock.call_method0(names::fileno(py))?.extract()
}

/// Small writes of TCP go out without waiting for an acknowledgement of the one before.
fn set_nodelay(sock: &Object<'_>) -> PyResult<()> {
    let py = sock.py();
    if let Some(accepted) = AcceptedSocket::of(sock) {
        return accepted.value().set_nodelay(py);
    }
    // asyncio's function looks at family and type as well: each makes a member of an enumeration, which
    // costs as much as the system call.
    if sock.getattr(names::proto(py))?.eq(accept::TCP)? {
        sock.call_method1(names::setsockopt(py), (accept::TCP, accept::NODELAY, 1))?;
    }
    Ok(())
}

/// As `fill_extra`; `extra_info` makes the socket object.
fn fill_extra_of_accepted(extra: &Bound<'_, PyDict>, accepted: &Bound<'_, AcceptedSocket>) -> PyResult<()> {
    let py = extra.py();
    let value = accepted.value();
    extra.set_item(names::socket(py), accepted)?;
    if !extra.contains(names::sockname(py))? {
        extra.set_item(names::sockname(py), value.own_name(py)?)?;
    }
    extra.set_item(names::peername(py), value.peer(py)?)
}

impl SocketTransport {
    /// The transport of an accepted connection, as `__init__` makes it.
    pub(super) fn serve(serving: Serving<'_>) -> PyResult<Bound<'_, Self>> {
        let Serving { event_loop, accepted, protocol, server, context } = serving;
        let py = event_loop.py();
        let fd = accepted.value().fileno(py)?;
        accepted.value().set_nodelay(py)?;
        // A class that has none cannot be served, and is told before anything is open.
        let made = protocol.getattr(names::connection_made(py))?;
        let transport = create(py, Self { stream: StreamTransport::new(Kind::Socket) })?;
        let stream = upcast(&transport);
        let source = Source { kind: Kind::Socket, owner: Some(Owned::from(accepted.as_any())), fd };
        let extra = Extra::Of(accepted.into());
        let server = server.map(Bound::into_any);
        opening::take_over(stream, Opening { event_loop, source, protocol, extra, server, context })?;
        match opening::quiet_loop(stream) {
            Some(event_loop) => event_loop.get().schedule(py, Ready::Begin(stream.into()))?,
            None => {
                StreamTransport::call_soon(stream, &made, &[stream.as_any()])?;
                opening::start_soon(stream)?;
            }
        }
        Ok(transport)
    }
}

/// What `get_extra_info` knows; `None` before `__init__`.
pub(super) fn extra_of<'py>(transport: &Bound<'py, StreamTransport>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = transport.py();
    let state = &transport.value().state;
    let found = state.with(py, |state| match &state.extra {
        Extra::None => Ok(None),
        Extra::Known(extra) => Ok(Some(extra.get_bound(py))),
        Extra::Of(accepted) => Err(accepted.get_bound(py)),
    });
    let accepted = match found {
        Ok(known) => return Ok(known),
        Err(accepted) => accepted,
    };
    let extra = PyDict::new(py);
    fill_extra_of_accepted(&extra, &accepted)?;
    let known = Extra::Known((&extra).into());
    let before = state.with(py, |state| std::mem::replace(&mut state.extra, known));
    drop(before);
    Ok(Some(extra))
}

/// `get_extra_info(name)`, or `None` for what nobody knows.
pub(super) fn extra_info<'py>(
    transport: &Bound<'py, StreamTransport>,
    name: &Object<'py>,
) -> PyResult<Option<Object<'py>>> {
    let py = transport.py();
    if is_only_accepted(transport) && !is_of_socket(name)? {
        // Streams ask for TLS: a dictionary of what nobody asks for would be a sixth of a connection.
        return Ok(None);
    }
    let Some(extra) = extra_of(transport)? else { return Ok(None) };
    let found = extra.get_item(name)?;
    let Some(accepted) = found.as_ref().and_then(AcceptedSocket::of) else { return Ok(found) };
    let socket = names::transport_socket(py)?.call1((accepted.value().as_socket(py)?,))?;
    extra.set_item(name, &socket)?;
    Ok(Some(socket))
}

/// Is what `get_extra_info` knows what the accepted socket tells, and nothing else?
fn is_only_accepted(transport: &Bound<'_, StreamTransport>) -> bool {
    transport.value().state.with(transport.py(), |state| matches!(state.extra, Extra::Of(_)))
}

/// May it be one of the names of what a socket tells?
fn is_of_socket(name: &Object<'_>) -> PyResult<bool> {
    let py = name.py();
    if !name.is_exact_instance_of::<PyString>() {
        return Ok(true);
    }
    Ok(name.eq(names::socket(py))? || name.eq(names::sockname(py))? || name.eq(names::peername(py))?)
}

/// An end of the connection, or `None` if the socket does not say.
fn name_of<'py>(sock: &Object<'py>, method: &Bound<'py, PyString>) -> PyResult<Option<Object<'py>>> {
    match sock.call_method0(method) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_instance_of::<PyOSError>(sock.py()) => Ok(None),
        Err(error) => Err(error),
    }
}

impl NativeClass for SocketTransport {
    const NAME: &'static CStr = c"tonnage.SocketTransport";
    const DOC: &'static CStr =
        c"SocketTransport(loop, sock, protocol, waiter=None, extra=None, server=None, \
        context=None)\n--\n\nA stream transport over a socket.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.stream.needs_finalizer(py)
    }

    fn empty() -> Option<Self> {
        Some(Self { stream: StreamTransport::new(Kind::Socket) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init);
        slots.passes_for(names::asyncio_transport);
        slots.repr(|transport| attributes::repr_of_socket(upcast(transport)));
        attributes::add_reading(slots);
        attributes::add_writing(slots);
        attributes::add_of_socket(slots);
        methods::add_reading(slots);
        methods::add_writing(slots);
        methods::add_of_socket(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.stream.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.stream.clear(py);
    }
}
