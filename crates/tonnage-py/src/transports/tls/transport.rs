//! TLSTransport: what the user's protocol sees of a TLS connection.
//!
//! It holds no state but its protocol, which it keeps after the end.

use std::ffi::CStr;

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::super::telling;
use super::TLSProtocol;
use super::methods::one;
use super::protocol::{End, State};
use crate::cpython::{
    Args, Extras, Guarded, Native, NativeClass, Object, Owned, Parameters, Slots, Visit, native_class,
};
use crate::future::to_bool;
use crate::{errors, names};

pub(crate) struct TLSTransport {
    pub(crate) extras: Extras,
    protocol: Guarded<Option<Owned<TLSProtocol>>>,
}

type Transport<'py> = Bound<'py, TLSTransport>;

impl NativeClass for TLSTransport {
    const NAME: &'static CStr = c"tonnage.TLSTransport";
    const DOC: &'static CStr = c"The transport of a TLS connection.";
    const SUBCLASSED: bool = false;

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        let protocol = self.protocol.with(py, |protocol| protocol.as_ref().map(|found| found.share(py)));
        protocol.is_some_and(|protocol| {
            protocol.value().state.with(py, |state| !state.app.closed && state.lower.is_some())
        })
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.finalizer(finalize);
        slots.repr(repr);
        slots.passes_for(names::asyncio_tls_transport);
        add(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.protocol.traverse(0, |protocol| visit.option(protocol.as_deref()))
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.protocol.with(py, Option::take));
    }
}

impl TLSTransport {
    pub(super) fn create<'py>(protocol: &Bound<'py, TLSProtocol>) -> PyResult<Bound<'py, Self>> {
        let value = Self { extras: Extras::new(), protocol: Guarded::new(Some(protocol.into())) };
        native_class::create(protocol.py(), value)
    }

    fn protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, TLSProtocol>> {
        let found = self.protocol.with(py, |protocol| protocol.as_ref().map(|found| found.get_bound(py)));
        found.ok_or_else(|| errors::not_initialised("TLSTransport"))
    }

    fn is_closing(transport: &Bound<'_, Self>) -> PyResult<bool> {
        let py = transport.py();
        let protocol = transport.value().protocol(py)?;
        if protocol.value().state.with(py, |state| state.app.closed) {
            return Ok(true);
        }
        protocol.value().lower(py).map_or(Ok(false), |lower| lower.is_closing(py))
    }

    /// What is known of the connection; of the transport below what is not known here.
    fn extra_info<'py>(
        transport: &Bound<'py, Self>,
        name: &Object<'py>,
        default: Object<'py>,
    ) -> PyResult<Object<'py>> {
        let py = transport.py();
        let protocol = transport.value().protocol(py)?;
        if name.eq("tls_truncated")? {
            return flag(transport, |state| state.reading.end == End::Cut);
        }
        if let Some(extra) = protocol.value().extra(py)
            && let Some(found) = extra.get_item(name)?
        {
            return Ok(found);
        }
        match protocol.value().lower(py) {
            Some(lower) => lower.object(py).call_method1(names::get_extra_info(py), (name, default)),
            None => Ok(default),
        }
    }
}

fn add(slots: &mut Slots<TLSTransport>) {
    slots.with_args(c"write", c"Write some data bytes to the transport.", |transport, args| {
        let [data] = args.parse(&one("write", "data"))?;
        done(transport, |protocol| TLSProtocol::write(protocol, &data.expect("required")))
    });
    slots.with_args(c"writelines", c"Write a list of data bytes to the transport.", |transport, args| {
        let [lines] = args.parse(&one("writelines", "list_of_data"))?;
        done(transport, |protocol| TLSProtocol::writelines(protocol, &lines.expect("required")))
    });
    slots.no_args(c"write_eof", c"Raise NotImplementedError: TLS closes both ways.", |_| {
        Err(PyNotImplementedError::new_err(()))
    });
    slots.no_args(c"can_write_eof", c"Return False: TLS closes both ways.", |transport| {
        Ok(to_bool(transport.py(), false))
    });
    slots.no_args(c"close", c"Close the transport when buffered data is flushed.", |transport| {
        done(transport, TLSProtocol::close)
    });
    slots.no_args(c"abort", c"Close the transport immediately.", |transport| {
        done(transport, |protocol| force_close(protocol, None))
    });
    slots.no_args(c"is_closing", c"Return True if the transport is closing or closed.", |transport| {
        Ok(to_bool(transport.py(), TLSTransport::is_closing(transport)?))
    });
    slots.no_args(c"is_reading", c"Return True if the transport is receiving.", |transport| {
        flag(transport, |state| !state.reading.app_paused)
    });
    slots.no_args(c"pause_reading", c"Pause the receiving end.", |transport| {
        done(transport, |protocol| {
            protocol.value().pause_reading(protocol.py());
            Ok(())
        })
    });
    slots.no_args(c"resume_reading", c"Resume the receiving end.", |transport| {
        done(transport, TLSProtocol::resume_reading)
    });
    slots.with_args(c"set_protocol", c"Set a new protocol.", |transport, args| {
        let [app] = args.parse(&one("set_protocol", "protocol"))?;
        done(transport, |protocol| TLSProtocol::set_app_protocol(protocol, &app.expect("required")))
    });
    slots.no_args(c"get_protocol", c"Return the current protocol.", |transport| {
        let py = transport.py();
        let app = transport.value().protocol(py)?.value().app_protocol(py);
        Ok(app.unwrap_or_else(|| py.None().into_bound(py)))
    });
    slots.with_args(c"get_extra_info", c"Get optional transport information.", get_extra_info);
    flow_control(slots);
    internal(slots);
}

fn flow_control(slots: &mut Slots<TLSTransport>) {
    slots.with_args(
        c"set_write_buffer_limits",
        c"Set the high- and low-water limits for write flow control.",
        |transport, args| {
            let [high, low] = limits("set_write_buffer_limits", &args)?;
            done(transport, |protocol| TLSProtocol::set_write_limits(protocol, high, low))
        },
    );
    slots.no_args(
        c"get_write_buffer_limits",
        c"Get the high and low watermarks for write flow control.",
        |transport| pair(transport, |state| (state.writing.limits.low, state.writing.limits.high)),
    );
    slots.no_args(c"get_write_buffer_size", c"Return the current size of the write buffer.", |transport| {
        let py = transport.py();
        let protocol = transport.value().protocol(py)?;
        let size = match protocol.value().open_engine(py) {
            Some(engine) => protocol.value().write_buffer_size(py, &engine)?,
            None => 0,
        };
        Ok(size.into_pyobject(py)?.into_any())
    });
    slots.with_args(
        c"set_read_buffer_limits",
        c"Set the high- and low-water limits for read flow control.",
        |transport, args| {
            let [high, low] = limits("set_read_buffer_limits", &args)?;
            done(transport, |protocol| TLSProtocol::set_read_limits(protocol, high, low))
        },
    );
    slots.no_args(
        c"get_read_buffer_limits",
        c"Get the high and low watermarks for read flow control.",
        |transport| pair(transport, |state| (state.reading.limits.low, state.reading.limits.high)),
    );
    slots.no_args(c"get_read_buffer_size", c"Return the current size of the read buffer.", |transport| {
        let py = transport.py();
        let protocol = transport.value().protocol(py)?;
        let size = match protocol.value().open_engine(py) {
            Some(engine) => protocol.value().read_buffer_size(py, &engine)?,
            None => 0,
        };
        Ok(size.into_pyobject(py)?.into_any())
    });
}

/// What asyncio's own modules ask for, and its tests.
fn internal(slots: &mut Slots<TLSTransport>) {
    slots.one_arg(
        c"_force_close",
        c"Close the transport immediately, because of an error.",
        |transport, exception| {
            done(transport, |protocol| force_close(protocol, (!exception.is_none()).then_some(exception)))
        },
    );
    slots.one_arg(c"_test__append_write_backlog", c"Write without sending, for tests.", |transport, data| {
        done(transport, |protocol| TLSProtocol::append_backlog(protocol, data))
    });
    slots.getter(c"_ssl_protocol", |transport| Ok(transport.value().protocol(transport.py())?.into_any()));
    slots.getter(c"_loop", |transport| {
        let py = transport.py();
        Ok(transport.value().protocol(py)?.value().event_loop(py)?.into_any())
    });
    slots.getter(c"_closed", |transport| flag(transport, |state| state.app.closed));
    slots.getter(c"_protocol_paused", |transport| flag(transport, |state| state.writing.app_paused));
    slots.getter(c"_start_tls_compatible", |transport| Ok(to_bool(transport.py(), true)));
    slots.getter(c"_sendfile_compatible", |transport| {
        names::sendfile_mode(transport.py())?.getattr("FALLBACK")
    });
}

fn force_close(protocol: &Bound<'_, TLSProtocol>, exception: Option<&Object<'_>>) -> PyResult<()> {
    protocol.value().state.with(protocol.py(), |state| state.app.closed = true);
    TLSProtocol::abort(protocol, exception)
}

fn limits<'py>(function: &'static str, args: &Args<'_, 'py>) -> PyResult<[Option<Object<'py>>; 2]> {
    let parameters = Parameters { function, names: ["high", "low"], positional: 2, required: 0 };
    Ok(args.parse(&parameters)?.map(|limit| limit.filter(|limit| !limit.is_none())))
}

fn done<'py>(
    transport: &Transport<'py>,
    work: impl FnOnce(&Bound<'py, TLSProtocol>) -> PyResult<()>,
) -> PyResult<Object<'py>> {
    let py = transport.py();
    work(&transport.value().protocol(py)?).map(|()| py.None().into_bound(py))
}

fn flag<'py>(transport: &Transport<'py>, test: impl FnOnce(&State) -> bool) -> PyResult<Object<'py>> {
    let py = transport.py();
    Ok(to_bool(py, transport.value().protocol(py)?.value().state.with(py, |state| test(state))))
}

fn pair<'py>(transport: &Transport<'py>, read: impl FnOnce(&State) -> (i64, i64)) -> PyResult<Object<'py>> {
    let py = transport.py();
    let pair = transport.value().protocol(py)?.value().state.with(py, |state| read(state));
    Ok(pair.into_pyobject(py)?.into_any())
}

fn get_extra_info<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "get_extra_info", names: ["name", "default"], positional: 2, required: 1 };
    let py = args.py();
    let [name, default] = args.parse(&PARAMETERS)?;
    let default = default.unwrap_or_else(|| py.None().into_bound(py));
    TLSTransport::extra_info(transport, &name.expect("required"), default)
}

fn repr<'py>(transport: &Transport<'py>) -> PyResult<Object<'py>> {
    let py = transport.py();
    let protocol = transport.value().protocol(py)?;
    let name = transport.get_type().name()?;
    let text = match protocol.value().lower(py) {
        Some(lower) => {
            let closing = if TLSTransport::is_closing(transport)? { " closing" } else { "" };
            format!("<{name}{closing} over {}>", lower.object(py).repr()?)
        }
        None if protocol.value().state.with(py, |state| state.app.closed) => format!("<{name} closed>"),
        None => format!("<{name} not connected>"),
    };
    Ok(PyString::new(py, &text).into_any())
}

/// An open transport that nobody holds.
fn finalize(transport: &Transport<'_>) {
    let py = transport.py();
    let Ok(protocol) = transport.value().protocol(py) else { return };
    if !transport.value().needs_finalizer(py) {
        return;
    }
    let warned = telling::warn_unclosed(transport.as_any());
    protocol.value().state.with(py, |state| state.app.closed = true);
    if let Err(error) = warned {
        error.write_unraisable(py, Some(transport));
    }
}
