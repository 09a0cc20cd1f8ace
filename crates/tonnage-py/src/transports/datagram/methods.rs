//! The methods of a datagram transport that Python calls.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::reactor::datagram;

use super::DatagramTransport;
use crate::cpython::{Args, Native, Object, Parameters, Slots};
use crate::future::to_bool;
use crate::names;
use crate::transports::flow_control::{HIGH_DEFAULT, limits, pause_protocol};

type Transport<'py> = Bound<'py, DatagramTransport>;

pub(super) fn add(slots: &mut Slots<DatagramTransport>) {
    slots.with_args(c"sendto", c"Send data to the transport.", sendto);
    slots.no_args(c"close", c"Close the transport when buffered data is flushed.", |transport| {
        done(transport, DatagramTransport::close(transport))
    });
    slots.no_args(c"abort", c"Close the transport immediately.", |transport| {
        done(transport, DatagramTransport::force_close(transport, None))
    });
    slots.no_args(c"is_closing", c"Return True if the transport is closing or closed.", |transport| {
        let py = transport.py();
        Ok(to_bool(py, transport.value().state.with(py, |state| state.ending.closing)))
    });
    slots.no_args(c"is_reading", c"Return True if the transport is receiving.", |transport| {
        let py = transport.py();
        Ok(to_bool(py, transport.value().state.with(py, |state| state.is_reading())))
    });
    slots.no_args(c"pause_reading", c"Pause the receiving end.", |transport| {
        done(transport, DatagramTransport::pause_reading(transport))
    });
    slots.no_args(c"resume_reading", c"Resume the receiving end.", |transport| {
        done(transport, DatagramTransport::resume_reading(transport))
    });
    slots.with_args(c"set_protocol", c"Set a new protocol.", set_protocol);
    slots.no_args(c"get_protocol", c"Return the current protocol.", |transport| {
        Ok(transport.value().protocol(transport.py()))
    });
    slots.with_args(c"get_extra_info", c"Get optional transport information.", get_extra_info);
    slots.with_args(
        c"set_write_buffer_limits",
        c"Set the high- and low-water limits for write flow control.",
        set_write_buffer_limits,
    );
    slots.no_args(
        c"get_write_buffer_limits",
        c"Get the high and low watermarks for write flow control.",
        |transport| {
            let py = transport.py();
            let limits = transport.value().state.with(py, |state| {
                let flow = &state.outgoing.flow;
                (flow.low, flow.high)
            });
            Ok(limits.into_pyobject(py)?.into_any())
        },
    );
    slots.no_args(c"get_write_buffer_size", c"Return the current size of the write buffer.", |transport| {
        let py = transport.py();
        let size = transport.value().state.with(py, |state| state.outgoing.bytes);
        Ok(size.into_pyobject(py)?.into_any())
    });
    refuse_streams(slots);
    internal(slots);
}

/// Those of a stream, which it passes for, as asyncio's does.
fn refuse_streams(slots: &mut Slots<DatagramTransport>) {
    slots.one_arg(c"write", c"Raise NotImplementedError: use sendto().", |_, _| refused());
    slots.one_arg(c"writelines", c"Raise NotImplementedError: use sendto().", |_, _| refused());
    slots.no_args(c"write_eof", c"Raise NotImplementedError: datagrams have no end.", |_| refused());
    slots.no_args(c"can_write_eof", c"Raise NotImplementedError: datagrams have no end.", |_| refused());
}

fn refused<'py>() -> PyResult<Object<'py>> {
    Err(PyNotImplementedError::new_err(()))
}

/// What our callbacks and asyncio's own modules call.
fn internal(slots: &mut Slots<DatagramTransport>) {
    slots.no_args(c"_start_reading", c"Start to read, once connection_made() was called.", |transport| {
        done(transport, DatagramTransport::start_reading(transport))
    });
    slots.no_args(c"_start_again", c"Start to read, now that the kernel may have memory.", |transport| {
        done(transport, DatagramTransport::start_again(transport))
    });
    slots.one_arg(
        c"_call_connection_lost",
        c"Tell the protocol, and close the socket.",
        |transport, exception| done(transport, DatagramTransport::call_connection_lost(transport, exception)),
    );
    slots.one_arg(
        c"_force_close",
        c"Close the transport immediately, because of an error.",
        |transport, exception| {
            let exception = (!exception.is_none()).then(|| exception.clone());
            done(transport, DatagramTransport::force_close(transport, exception))
        },
    );
    slots.with_args(c"_fatal_error", c"Report an error, and close the transport.", fatal_error);
}

fn done<'py>(transport: &Transport<'py>, outcome: PyResult<()>) -> PyResult<Object<'py>> {
    outcome.map(|()| transport.py().None().into_bound(transport.py()))
}

fn sendto<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "sendto", names: ["data", "addr"], positional: 2, required: 1 };
    let [data, address] = args.parse(&PARAMETERS)?;
    let address = address.filter(|address| !address.is_none());
    done(transport, DatagramTransport::send_to(transport, &data.expect("required"), address))
}

fn set_protocol<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "set_protocol", names: ["protocol"], positional: 1, required: 1 };
    let py = args.py();
    let [protocol] = args.parse(&PARAMETERS)?;
    let protocol = protocol.expect("required").into();
    drop(transport.value().state.with(py, |state| state.protocol.replace(protocol)));
    done(transport, Ok(()))
}

fn get_extra_info<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "get_extra_info", names: ["name", "default"], positional: 2, required: 1 };
    let py = args.py();
    let [name, default] = args.parse(&PARAMETERS)?;
    let name = name.expect("required");
    let extra =
        transport.value().state.with(py, |state| state.extra.as_ref().map(|extra| extra.get_bound(py)));
    let extra = extra.unwrap_or_else(|| PyDict::new(py));
    let mut found = extra.get_item(&name)?;
    if found.is_none() && name.eq(names::dropped(py))? {
        found = dropped(transport)?;
    }
    Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
}

/// How many datagrams the kernel dropped, if it says so and the socket is open.
fn dropped<'py>(transport: &Transport<'py>) -> PyResult<Option<Object<'py>>> {
    let py = transport.py();
    let counted = transport.value().descriptor(py).ok().and_then(|fd| datagram::dropped(fd).ok());
    counted.map(|count| Ok(count.into_pyobject(py)?.into_any())).transpose()
}

fn set_write_buffer_limits<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> = Parameters {
        function: "set_write_buffer_limits",
        names: ["high", "low"],
        positional: 2,
        required: 0,
    };
    let py = args.py();
    let [high, low] = args.parse(&PARAMETERS)?.map(|limit| limit.filter(|limit| !limit.is_none()));
    let (high, low) = limits(high, low, HIGH_DEFAULT)?;
    let pauses = transport.value().state.with(py, |state| {
        let size = state.outgoing.bytes;
        let flow = &mut state.outgoing.flow;
        (flow.high, flow.low) = (high, low);
        flow.pauses_at(size)
    });
    if pauses {
        pause_protocol(DatagramTransport::teller(transport))?;
    }
    done(transport, Ok(()))
}

fn fatal_error<'py>(transport: &Transport<'py>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "_fatal_error", names: ["exc", "message"], positional: 2, required: 1 };
    let [exception, message] = args.parse(&PARAMETERS)?;
    let error = PyErr::from_value(exception.expect("required"));
    let message = match message {
        Some(message) => message.extract::<String>()?,
        None => "Fatal error on transport".to_owned(),
    };
    done(transport, DatagramTransport::fatal_error(transport, error, &message))
}
