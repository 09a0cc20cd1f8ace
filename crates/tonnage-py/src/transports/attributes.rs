//! What Python sees of a transport: its repr, and asyncio's attributes.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::source::Kind;
use super::stream::{Sending, State, StreamTransport};
use super::{AcceptedSocket, SocketTransport, socket};
use crate::cpython::native_class::{Extends, upcast};
use crate::cpython::{Guarded, Native, NativeClass, Object, Owned, Slots};
use crate::future::to_bool;
use crate::names;

type Transport<'py> = Bound<'py, StreamTransport>;

/// Those that all have.
pub(super) fn add(slots: &mut Slots<StreamTransport>) {
    slots.getter(c"_loop", |transport| {
        let py = transport.py();
        Ok(transport.value().event_loop(py).map_or_else(|| py.None().into_bound(py), Bound::into_any))
    });
    slots.getter(c"_protocol", |transport| part(transport, |state| state.protocol.as_deref()));
    slots.getter(c"_extra", |transport| {
        socket::extra_info(transport, names::socket(transport.py()).as_any())?;
        let extra = socket::extra_of(transport)?;
        Ok(extra.map_or_else(|| transport.py().None().into_bound(transport.py()), Bound::into_any))
    });
    slots.getter(c"_context", |transport| part(transport, |state| state.context.as_deref()));
    slots.getter(c"_closing", |transport| flag(transport, |state| state.ending.closing));
}

/// Those of a transport that reads.
pub(super) fn add_reading<T: Extends<StreamTransport>>(slots: &mut Slots<T>) {
    slots.getter(c"_paused", |transport| flag(upcast(transport), |state| state.reading.paused));
}

/// Those of a transport that writes.
pub(super) fn add_writing<T: Extends<StreamTransport>>(slots: &mut Slots<T>) {
    slots.getter(c"_conn_lost", |transport| {
        let late_too = |state: &State| i64::from(state.ending.lost) + i64::from(state.ending.late_writes);
        number(upcast(transport), late_too)
    });
    slots.getter(c"_high_water", |transport| number(upcast(transport), |state| state.outgoing.flow.high));
    slots.getter(c"_low_water", |transport| number(upcast(transport), |state| state.outgoing.flow.low));
    slots
        .getter(c"_protocol_paused", |transport| flag(upcast(transport), |state| state.outgoing.flow.paused));
    slots.getter(c"_buffer", |transport| buffer(upcast(transport)));
}

pub(super) fn add_of_socket(slots: &mut Slots<SocketTransport>) {
    slots.getter(c"_sock", |transport| {
        AcceptedSocket::socket_of(part(upcast(transport), |state| state.source.owner.as_deref())?)
    });
    slots.getter(c"_sock_fd", |transport| number(upcast(transport), |state| state.source.fd.into()));
    slots.getter(c"_server", |transport| part(upcast(transport), |state| state.server.as_deref()));
    slots.getter(c"_empty_waiter", |transport| {
        part(upcast(transport), |state| state.outgoing.empty_waiter.as_deref())
    });
    slots.getter(c"_eof", |transport| flag(upcast(transport), |state| state.outgoing.eof));
    slots.getter(c"_protocol_connected", |transport| {
        flag(upcast(transport), |state| state.protocol.is_some())
    });
    slots.getter(c"_start_tls_compatible", |transport| flag(upcast(transport), |_| true));
    slots.getter(c"_sendfile_compatible", |transport| {
        names::sendfile_mode(transport.py())?.getattr("TRY_NATIVE")
    });
}

pub(super) fn add_of_pipe<T: Extends<StreamTransport>>(slots: &mut Slots<T>) {
    // Who sets it to None takes the pipe from the transport, which closes it no more.
    slots.attribute_pair(
        c"_pipe",
        |transport| part(upcast(transport), |state| state.source.owner.as_deref()),
        |transport, pipe| {
            let owner = (!pipe.is_none()).then(|| Owned::from(pipe));
            let replace = |state: &mut State| std::mem::replace(&mut state.source.owner, owner);
            drop(upcast(transport).value().state.with(transport.py(), replace));
            Ok(())
        },
    );
    slots.getter(c"_fileno", |transport| number(upcast(transport), |state| state.source.fd.into()));
}

/// A class of transports, whose objects keep all that changes in one state.
pub(super) trait Stateful: NativeClass {
    type State;
    fn state(&self) -> &Guarded<Self::State>;
}

pub(super) fn part<'py, T: Stateful>(
    transport: &Bound<'py, T>,
    part: impl FnOnce(&T::State) -> Option<&Py<PyAny>>,
) -> PyResult<Object<'py>> {
    let py = transport.py();
    let found = transport.value().state().with(py, |state| part(state).map(|object| object.bind(py).clone()));
    Ok(found.unwrap_or_else(|| py.None().into_bound(py)))
}

pub(super) fn flag<'py, T: Stateful>(
    transport: &Bound<'py, T>,
    test: impl FnOnce(&T::State) -> bool,
) -> PyResult<Object<'py>> {
    let py = transport.py();
    Ok(to_bool(py, transport.value().state().with(py, |state| test(state))))
}

pub(super) fn number<'py, T: Stateful>(
    transport: &Bound<'py, T>,
    read: impl FnOnce(&T::State) -> i64,
) -> PyResult<Object<'py>> {
    let py = transport.py();
    Ok(transport.value().state().with(py, |state| read(state)).into_pyobject(py)?.into_any())
}

/// The chunks that are not sent in full, copied: for those who look, as CPython's tests do.
fn buffer<'py>(transport: &Transport<'py>) -> PyResult<Object<'py>> {
    let py = transport.py();
    let chunks: Vec<Vec<u8>> = transport
        .value()
        .state
        .with(py, |state| state.outgoing.queue.iter().map(|chunk| chunk.to_vec()).collect());
    Ok(PyList::new(py, chunks.iter().map(|chunk| PyBytes::new(py, chunk)))?.into_any())
}

/// As asyncio: CPython 3.15, Lib/asyncio/selector_events.py, _SelectorTransport.__repr__.
pub(super) fn repr_of_socket<'py>(transport: &Transport<'py>) -> PyResult<Object<'py>> {
    repr(transport, |state, is_open| {
        if !is_open {
            return String::new();
        }
        let read = if state.reading.watched { "polling" } else { "idle" };
        let write = if state.outgoing.sending == Sending::Blocked { "polling" } else { "idle" };
        format!(" read={read} write=<{write}, bufsize={}>", state.outgoing.queue.len_bytes())
    })
}

/// As asyncio: CPython 3.15, Lib/asyncio/unix_events.py, __repr__ of both.
pub(super) fn repr_of_pipe<'py>(transport: &Transport<'py>) -> PyResult<Object<'py>> {
    repr(transport, |state, is_open| {
        if state.source.owner.is_none() {
            return " closed".to_owned();
        }
        if !is_open {
            return " open".to_owned();
        }
        let name = |is_polling| if is_polling { "polling" } else { "idle" };
        if state.source.kind == Kind::ReadPipe {
            return format!(" {}", name(state.reading.watched));
        }
        let sending = name(state.outgoing.sending == Sending::Blocked);
        format!(" {sending} bufsize={}", state.outgoing.queue.len_bytes())
    })
}

/// The class, how far it is closed, the descriptor, and what `rest` tells, which knows whether the loop is open.
fn repr<'py>(transport: &Transport<'py>, rest: impl FnOnce(&State, bool) -> String) -> PyResult<Object<'py>> {
    let py = transport.py();
    let event_loop = transport.value().event_loop(py);
    let is_open = event_loop.is_some_and(|event_loop| !event_loop.get().is_closed());
    let name = transport.get_type().name()?;
    let text = transport.value().state.with(py, |state| {
        let ending = match (&state.source.owner, state.ending.closing) {
            (None, _) => " closed",
            (Some(_), true) => " closing",
            (Some(_), false) => "",
        };
        format!("<{name}{ending} fd={}{}>", state.source.fd, rest(state, is_open))
    });
    Ok(PyString::new(py, &text).into_any())
}
