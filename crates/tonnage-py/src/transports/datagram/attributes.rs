//! What Python sees of a datagram transport beside its methods: its repr, and asyncio's attributes.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::DatagramTransport;
use crate::cpython::{Native, Object, Slots};
use crate::transports::attributes::{flag, number, part};

type Transport<'py> = Bound<'py, DatagramTransport>;

pub(super) fn add(slots: &mut Slots<DatagramTransport>) {
    slots.getter(c"_loop", |transport| {
        let py = transport.py();
        Ok(transport.value().event_loop(py).map_or_else(|| py.None().into_bound(py), Bound::into_any))
    });
    slots
        .getter(c"_sock", |transport| part(transport, |state| state.sock.as_ref().map(|sock| &*sock.object)));
    slots.getter(c"_protocol", |transport| part(transport, |state| state.protocol.as_deref()));
    slots.getter(c"_extra", |transport| part(transport, |state| state.extra.as_deref().map(Py::as_any)));
    slots.getter(c"_address", |transport| part(transport, |state| state.remote.address.as_deref()));
    slots.getter(c"_sock_fd", |transport| number(transport, |state| state.fd.into()));
    slots.getter(c"_conn_lost", |transport| {
        number(transport, |state| i64::from(state.ending.lost) + i64::from(state.ending.late_writes))
    });
    slots.getter(c"_high_water", |transport| number(transport, |state| state.outgoing.flow.high));
    slots.getter(c"_low_water", |transport| number(transport, |state| state.outgoing.flow.low));
    slots.getter(c"_closing", |transport| flag(transport, |state| state.ending.closing));
    slots.getter(c"_paused", |transport| flag(transport, |state| state.receiving.paused));
    slots.getter(c"_protocol_paused", |transport| flag(transport, |state| state.outgoing.flow.paused));
    slots.getter(c"_protocol_connected", |transport| flag(transport, |state| state.protocol.is_some()));
}

pub(super) fn repr<'py>(transport: &Transport<'py>) -> PyResult<Object<'py>> {
    let py = transport.py();
    let event_loop = transport.value().event_loop(py);
    let is_open = event_loop.is_some_and(|event_loop| !event_loop.get().is_closed());
    let name = transport.get_type().name()?;
    let text = transport.value().state.with(py, |state| {
        let mut text = format!("<{name}");
        if state.sock.is_none() {
            text.push_str(" closed");
        } else if state.ending.closing {
            text.push_str(" closing");
        }
        text.push_str(&format!(" fd={}", state.fd));
        if is_open {
            let read = if state.receiving.watched { "polling" } else { "idle" };
            let write = if state.outgoing.watched { "polling" } else { "idle" };
            let size = state.outgoing.bytes;
            text.push_str(&format!(" read={read} write=<{write}, bufsize={size}>"));
        }
        text.push('>');
        text
    });
    Ok(PyString::new(py, &text).into_any())
}
