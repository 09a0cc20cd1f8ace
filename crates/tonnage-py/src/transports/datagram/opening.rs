//! How a datagram transport begins: `connection_made`, then receiving, then whoever waits for the transport.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

use super::DatagramTransport;
use super::addresses;
use super::class::{Peer, Remote, Sock};
use crate::cpython::{Args, Native, Parameters};
use crate::event_loop::EventLoop;
use crate::names;
use crate::transports::opening::extra_or_empty;
use crate::transports::socket::fill_extra;
use crate::transports::telling::call_soon;

const INIT: Parameters<6> = Parameters {
    function: "DatagramTransport",
    names: ["loop", "sock", "protocol", "address", "waiter", "extra"],
    positional: 6,
    required: 3,
};

/// Same order as asyncio: CPython 3.15, Lib/asyncio/selector_events.py, _SelectorDatagramTransport.__init__.
/// Each callback gets a copy of the context that is current when it is scheduled.
pub(super) fn init(transport: &Bound<'_, DatagramTransport>, args: Args<'_, '_>) -> PyResult<()> {
    let py = args.py();
    let given = args.parse(&INIT)?.map(|value| value.filter(|value| !value.is_none()));
    let [Some(event_loop), Some(sock), protocol, address, waiter, extra] = given else {
        return Err(PyTypeError::new_err("DatagramTransport() needs a loop and a socket"));
    };
    let event_loop = event_loop.cast_into::<EventLoop>()?;
    if transport.value().state.with(py, |state| state.extra.is_some()) {
        return Err(PyRuntimeError::new_err("DatagramTransport object is already initialized"));
    }
    let extra = extra_or_empty(py, extra)?;
    fill_extra(&extra, &sock)?;
    let peer = match extra.get_item(names::peername(py))? {
        None => Peer::None,
        Some(name) if name.is_none() => Peer::None,
        Some(name) if name.is_truthy()? => Peer::Named,
        Some(_) => Peer::Nameless,
    };
    let address = match address {
        Some(address) if address.is_truthy()? => Some(address),
        _ => None,
    };
    let fileno = sock.getattr(names::fileno(py))?;
    let fd = fileno.call0()?.extract()?;
    let family = addresses::family_of(&sock)?;
    let protocol = protocol.unwrap_or_else(|| py.None().into_bound(py));
    transport.value().state.with(py, |state| {
        state.event_loop = Some(event_loop.clone().into());
        state.sock = Some(Sock { object: sock.into(), fileno: fileno.into() });
        state.protocol = Some(protocol.clone().into());
        state.fd = fd;
        state.family = family;
        state.extra = Some(extra.into());
        state.remote = Remote { address: address.map(Into::into), peer };
    });
    let made = protocol.getattr(names::connection_made(py))?;
    call_soon(&event_loop, None, &made, &[transport.as_any()])?;
    let start = transport.getattr(names::_start_reading(py))?;
    call_soon(&event_loop, None, &start, &[])?;
    if let Some(waiter) = waiter {
        let none = py.None().into_bound(py);
        call_soon(&event_loop, None, names::set_result_unless_cancelled(py)?, &[&waiter, &none])?;
    }
    Ok(())
}
