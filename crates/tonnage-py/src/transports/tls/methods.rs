//! The methods of the protocol that the transport below calls, its constructor, and asyncio's attributes.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString};

use super::engine::{Engine, Side};
use super::protocol::{Phase, Stage};
use super::{TLSProtocol, TLSTransport};
use crate::cpython::{Args, Native, Object, Owned, Parameters, Slots};
use crate::event_loop::EventLoop;
use crate::future::to_bool;
use crate::names;

/// asyncio's: CPython 3.15, Lib/asyncio/constants.py, SSL_HANDSHAKE_TIMEOUT and SSL_SHUTDOWN_TIMEOUT.
const HANDSHAKE_TIMEOUT_S: f64 = 60.0;
const SHUTDOWN_TIMEOUT_S: f64 = 30.0;

const INIT: Parameters<9> = Parameters {
    function: "TLSProtocol",
    names: [
        "loop",
        "app_protocol",
        "sslcontext",
        "waiter",
        "server_side",
        "server_hostname",
        "call_connection_made",
        "ssl_handshake_timeout",
        "ssl_shutdown_timeout",
    ],
    positional: 4,
    required: 3,
};

/// Same order as asyncio: CPython 3.15, Lib/asyncio/sslproto.py, SSLProtocol.__init__.
pub(super) fn init(protocol: &Bound<'_, TLSProtocol>, args: Args<'_, '_>) -> PyResult<()> {
    let py = args.py();
    let given = args.parse(&INIT)?.map(|value| value.filter(|value| !value.is_none()));
    let [event_loop, app, context, waiter, server_side, hostname, calls_made, handshake_s, shutdown_s] =
        given;
    let Some(event_loop) = event_loop else {
        return Err(PyTypeError::new_err("TLSProtocol() needs a loop"));
    };
    let event_loop = event_loop.cast_into::<EventLoop>()?;
    if protocol.value().state.with(py, |state| state.event_loop.is_some()) {
        return Err(PyRuntimeError::new_err("TLSProtocol object is already initialized"));
    }
    let handshake_s = positive("ssl_handshake_timeout", handshake_s, HANDSHAKE_TIMEOUT_S, py)?;
    let shutdown_s = positive("ssl_shutdown_timeout", shutdown_s, SHUTDOWN_TIMEOUT_S, py)?;
    let server = is_true(server_side.as_ref(), false)?;
    let hostname = match hostname {
        Some(hostname) if !server && hostname.is_truthy()? => Some(hostname),
        _ => None,
    };
    let side = Side { server, hostname };
    let context = match context {
        Some(context) => context,
        None => default_context(py, &side)?,
    };
    let engine = Engine::create(&context, &side)?;
    let extra = PyDict::new(py);
    extra.set_item(names::sslcontext(py), context)?;
    let transport = TLSTransport::create(protocol)?;
    let calls_made = is_true(calls_made.as_ref(), true)?;
    protocol.value().state.with(py, |state| {
        state.event_loop = Some(event_loop.into());
        state.engine = Some(Arc::new(engine));
        state.app.transport = Some(transport.into());
        state.app.stage = if calls_made { Stage::Before } else { Stage::Made };
        state.extra = Some(extra.into());
        state.waiter = waiter.map(Owned::from);
        state.timing.handshake_s = Some(handshake_s.into());
        state.timing.shutdown_s = Some(shutdown_s.into());
    });
    let app = app.unwrap_or_else(|| py.None().into_bound(py));
    TLSProtocol::set_app_protocol(protocol, &app)
}

fn positive<'py>(
    name: &str,
    given: Option<Object<'py>>,
    usual_s: f64,
    py: Python<'py>,
) -> PyResult<Object<'py>> {
    match given {
        None => Ok(PyFloat::new(py, usual_s).into_any()),
        Some(given) if given.le(0)? => {
            let given = given.str()?;
            Err(PyValueError::new_err(format!("{name} should be a positive number, got {given}")))
        }
        Some(given) => Ok(given),
    }
}

fn is_true(given: Option<&Object<'_>>, usual: bool) -> PyResult<bool> {
    given.map_or(Ok(usual), PyAnyMethods::is_truthy)
}

/// What `ssl=True` means: asyncio's `_create_transport_context`.
fn default_context<'py>(py: Python<'py>, side: &Side<'py>) -> PyResult<Object<'py>> {
    if side.server {
        return Err(PyValueError::new_err("Server side SSL needs a valid SSLContext"));
    }
    let context = names::create_default_context(py)?.call0()?;
    if side.hostname.is_none() {
        context.setattr(names::check_hostname(py), false)?;
    }
    Ok(context)
}

/// A method with one argument.
pub(super) fn one(function: &'static str, name: &'static str) -> Parameters<1> {
    Parameters { function, names: [name], positional: 1, required: 1 }
}

pub(super) fn add(slots: &mut Slots<TLSProtocol>) {
    slots.with_args(c"connection_made", c"Start the handshake.", |protocol, args| {
        let [transport] = args.parse(&one("connection_made", "transport"))?;
        done(protocol, TLSProtocol::connection_made(protocol, &transport.expect("required")))
    });
    slots.with_args(c"connection_lost", c"End the connection.", |protocol, args| {
        let [exception] = args.parse(&one("connection_lost", "exc"))?;
        done(protocol, TLSProtocol::connection_lost(protocol, &exception.expect("required")))
    });
    slots.with_args(c"get_buffer", c"Lend memory for encrypted bytes.", |protocol, args| {
        args.parse(&one("get_buffer", "sizehint"))?;
        TLSProtocol::lend(protocol)
    });
    slots.with_args(
        c"buffer_updated",
        c"Take encrypted bytes from the memory that was lent.",
        |protocol, args| {
            let [count] = args.parse(&one("buffer_updated", "nbytes"))?;
            done(protocol, TLSProtocol::filled(protocol, count.expect("required").extract()?))
        },
    );
    slots.one_arg(c"data_received", c"Take encrypted bytes.", |protocol, data| {
        done(protocol, TLSProtocol::received(protocol, data))
    });
    slots.no_args(c"eof_received", c"Take the end of the encrypted stream.", |protocol| {
        Ok(to_bool(protocol.py(), TLSProtocol::ended(protocol)?))
    });
    slots.no_args(c"pause_writing", c"Hand over no more encrypted bytes.", |protocol| {
        protocol.value().pause_writing(protocol.py());
        done(protocol, Ok(()))
    });
    slots.no_args(c"resume_writing", c"Hand over encrypted bytes again.", |protocol| {
        done(protocol, TLSProtocol::resume_writing(protocol))
    });
    scheduled(slots);
    attributes(slots);
}

/// What the loop is given to call.
fn scheduled(slots: &mut Slots<TLSProtocol>) {
    slots.no_args(c"_do_read", c"Read on.", |protocol| done(protocol, TLSProtocol::do_read(protocol)));
    slots.no_args(c"_resume", c"Go on after the protocol resumed.", |protocol| {
        done(protocol, TLSProtocol::resume(protocol))
    });
    slots.no_args(c"_check_handshake_timeout", c"Abort a handshake that takes too long.", |protocol| {
        done(protocol, TLSProtocol::check_handshake_timeout(protocol))
    });
    slots.no_args(c"_check_shutdown_timeout", c"Abort a shutdown that takes too long.", |protocol| {
        done(protocol, TLSProtocol::check_shutdown_timeout(protocol))
    });
}

fn attributes(slots: &mut Slots<TLSProtocol>) {
    slots.getter(c"_loop", |protocol| Ok(protocol.value().event_loop(protocol.py())?.into_any()));
    slots.getter(c"_app_transport", |protocol| Ok(protocol.value().app_transport(protocol.py())));
    slots.getter(c"_app_protocol", |protocol| {
        let py = protocol.py();
        Ok(protocol.value().app_protocol(py).unwrap_or_else(|| py.None().into_bound(py)))
    });
    slots.getter(c"_sslcontext", |protocol| {
        let py = protocol.py();
        let context = match protocol.value().extra(py) {
            Some(extra) => extra.get_item(names::sslcontext(py))?,
            None => None,
        };
        Ok(context.unwrap_or_else(|| py.None().into_bound(py)))
    });
    slots.getter(c"_app_reading_paused", |protocol| {
        let py = protocol.py();
        Ok(to_bool(py, protocol.value().state.with(py, |state| state.reading.app_paused)))
    });
    slots.getter(c"_transport", |protocol| {
        let py = protocol.py();
        let lower = protocol.value().lower(py);
        Ok(lower.map_or_else(|| py.None().into_bound(py), |lower| lower.object(py)))
    });
    slots.getter(c"_incoming", |protocol| {
        let py = protocol.py();
        Ok(protocol.value().engine(py)?.incoming(py))
    });
    slots.getter(c"_outgoing", |protocol| {
        let py = protocol.py();
        Ok(protocol.value().engine(py)?.outgoing(py))
    });
    slots.getter(c"_sslobj", |protocol| {
        let py = protocol.py();
        Ok(protocol.value().engine(py)?.object(py))
    });
    slots.getter(c"_is_in_place", |protocol| {
        let py = protocol.py();
        Ok(to_bool(py, protocol.value().engine(py)?.is_in_place()))
    });
    slots.getter(c"_state", |protocol| {
        let name = match protocol.value().phase(protocol.py()) {
            Phase::Unwrapped => "UNWRAPPED",
            Phase::Handshake => "DO_HANDSHAKE",
            Phase::Wrapped => "WRAPPED",
            Phase::Flushing => "FLUSHING",
            Phase::Shutdown => "SHUTDOWN",
        };
        Ok(PyString::new(protocol.py(), name).into_any())
    });
}

fn done<'py>(protocol: &Bound<'py, TLSProtocol>, outcome: PyResult<()>) -> PyResult<Object<'py>> {
    outcome.map(|()| protocol.py().None().into_bound(protocol.py()))
}
