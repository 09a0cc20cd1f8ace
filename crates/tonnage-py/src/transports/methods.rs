//! The methods of a transport that Python calls.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;

use super::stream::{State, StreamTransport};
use super::{SocketTransport, WritePipeTransport, socket};
use crate::cpython::native_class::{Extends, upcast};
use crate::cpython::{Args, Native, Object, Parameters, Slots};
use crate::future::to_bool;

/// Those that all have.
pub(super) fn add(slots: &mut Slots<StreamTransport>) {
    slots.no_args(c"close", c"Close the transport when buffered data is flushed.", |transport| {
        done(transport, StreamTransport::close(transport))
    });
    slots.no_args(c"is_closing", c"Return True if the transport is closing or closed.", |transport| {
        let py = transport.py();
        Ok(to_bool(py, transport.value().state.with(py, |state| state.ending.closing)))
    });
    slots.with_args(c"set_protocol", c"Set a new protocol.", set_protocol);
    slots.no_args(c"get_protocol", c"Return the current protocol.", |transport| {
        Ok(transport.value().protocol(transport.py()))
    });
    slots.with_args(c"get_extra_info", c"Get optional transport information.", get_extra_info);
    // What our callbacks and asyncio's own modules call.
    slots.no_args(c"_start_reading", c"Start to read, once connection_made() was called.", |transport| {
        done(transport, StreamTransport::start_reading(transport))
    });
    slots.one_arg(
        c"_call_connection_lost",
        c"Tell the protocol, and close the descriptor.",
        |transport, exception| done(transport, StreamTransport::call_connection_lost(transport, exception)),
    );
    slots.no_args(c"_send_again", c"Try to send, now that the kernel may have memory.", |transport| {
        done(transport, StreamTransport::send_again(transport))
    });
    slots.no_args(c"_start_again", c"Start to read, now that the kernel may have memory.", |transport| {
        done(transport, StreamTransport::start_again(transport))
    });
    slots.with_args(c"_fatal_error", c"Report an error, and close the transport.", fatal_error);
}

/// Those of a transport that reads.
pub(super) fn add_reading<T: Extends<StreamTransport>>(slots: &mut Slots<T>) {
    slots.no_args(c"is_reading", c"Return True if the transport is receiving.", |transport| {
        let py = transport.py();
        Ok(to_bool(py, upcast(transport).value().state.with(py, |state| state.is_reading())))
    });
    slots.no_args(c"pause_reading", c"Pause the receiving end.", |transport| {
        done(transport, StreamTransport::pause_reading(upcast(transport)))
    });
    slots.no_args(c"resume_reading", c"Resume the receiving end.", |transport| {
        done(transport, StreamTransport::resume_reading(upcast(transport)))
    });
}

/// Those of a transport that writes.
pub(super) fn add_writing<T: Extends<StreamTransport>>(slots: &mut Slots<T>) {
    slots.with_args(c"write", c"Write some data bytes to the transport.", |transport, args| {
        write(upcast(transport), args)
    });
    slots.with_args(c"writelines", c"Write a list of data bytes to the transport.", |transport, args| {
        writelines(upcast(transport), args)
    });
    slots.no_args(c"can_write_eof", c"Return True: this transport supports write_eof().", |transport| {
        Ok(to_bool(transport.py(), true))
    });
    slots.no_args(c"abort", c"Close the transport immediately.", |transport| {
        done(transport, StreamTransport::force_close(upcast(transport), None))
    });
    slots.with_args(
        c"set_write_buffer_limits",
        c"Set the high- and low-water limits for write flow control.",
        |transport, args| set_write_buffer_limits(upcast(transport), args),
    );
    slots.no_args(
        c"get_write_buffer_limits",
        c"Get the high and low watermarks for write flow control.",
        |transport| {
            let py = transport.py();
            let limits = |state: &mut State| (state.outgoing.flow.low, state.outgoing.flow.high);
            Ok(upcast(transport).value().state.with(py, limits).into_pyobject(py)?.into_any())
        },
    );
    slots.no_args(c"get_write_buffer_size", c"Return the current size of the write buffer.", |transport| {
        let py = transport.py();
        let size = upcast(transport).value().state.with(py, |state| state.unsent());
        Ok(size.into_pyobject(py)?.into_any())
    });
}

/// Those of a transport that only writes, though it passes for one that does both, as asyncio's does.
pub(super) fn refuse_reading(slots: &mut Slots<WritePipeTransport>) {
    slots.no_args(c"is_reading", c"Raise NotImplementedError: this transport does not read.", refused);
    slots.no_args(c"pause_reading", c"Raise NotImplementedError: this transport does not read.", refused);
    slots.no_args(c"resume_reading", c"Raise NotImplementedError: this transport does not read.", refused);
}

fn refused<'py>(_: &Bound<'py, WritePipeTransport>) -> PyResult<Object<'py>> {
    Err(PyNotImplementedError::new_err(()))
}

/// What half-closes a connection, and what sendfile and TLS call.
pub(super) fn add_of_socket(slots: &mut Slots<SocketTransport>) {
    slots.no_args(c"write_eof", c"Close the write end after flushing buffered data.", |transport| {
        done(transport, StreamTransport::write_eof(upcast(transport)))
    });
    slots.one_arg(
        c"_force_close",
        c"Close the transport immediately, because of an error.",
        |transport, exception| {
            let exception = (!exception.is_none()).then(|| exception.clone());
            done(transport, StreamTransport::force_close(upcast(transport), exception))
        },
    );
    slots.no_args(c"_make_empty_waiter", c"A future that is done when the buffer is empty.", |transport| {
        StreamTransport::make_empty_waiter(upcast(transport))
    });
    slots.no_args(
        c"_make_writable_waiter",
        c"A future that is done when the socket takes bytes again.",
        |transport| StreamTransport::make_writable_waiter(upcast(transport)),
    );
    slots.no_args(c"_reset_empty_waiter", c"Nobody waits for an empty buffer any more.", |transport| {
        done(transport, StreamTransport::reset_empty_waiter(upcast(transport)))
    });
}

pub(super) fn done<'py, T>(transport: &Bound<'py, T>, outcome: PyResult<()>) -> PyResult<Object<'py>> {
    outcome.map(|()| transport.py().None().into_bound(transport.py()))
}

fn write<'py>(transport: &Bound<'py, StreamTransport>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "write", names: ["data"], positional: 1, required: 1 };
    let [data] = args.parse(&PARAMETERS)?;
    done(transport, StreamTransport::write(transport, &data.expect("required")))
}

fn writelines<'py>(transport: &Bound<'py, StreamTransport>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "writelines", names: ["list_of_data"], positional: 1, required: 1 };
    let [lines] = args.parse(&PARAMETERS)?;
    done(transport, StreamTransport::writelines(transport, &lines.expect("required")))
}

fn set_protocol<'py>(transport: &Bound<'py, StreamTransport>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<1> =
        Parameters { function: "set_protocol", names: ["protocol"], positional: 1, required: 1 };
    let [protocol] = args.parse(&PARAMETERS)?;
    done(transport, StreamTransport::set_protocol(transport, &protocol.expect("required")))
}

fn get_extra_info<'py>(
    transport: &Bound<'py, StreamTransport>,
    args: Args<'_, 'py>,
) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "get_extra_info", names: ["name", "default"], positional: 2, required: 1 };
    let py = args.py();
    let [name, default] = args.parse(&PARAMETERS)?;
    let found = socket::extra_info(transport, &name.expect("required"))?;
    Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
}

fn set_write_buffer_limits<'py>(
    transport: &Bound<'py, StreamTransport>,
    args: Args<'_, 'py>,
) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> = Parameters {
        function: "set_write_buffer_limits",
        names: ["high", "low"],
        positional: 2,
        required: 0,
    };
    let [high, low] = args.parse(&PARAMETERS)?.map(|limit| limit.filter(|limit| !limit.is_none()));
    done(transport, StreamTransport::set_limits(transport, high, low))
}

fn fatal_error<'py>(transport: &Bound<'py, StreamTransport>, args: Args<'_, 'py>) -> PyResult<Object<'py>> {
    const PARAMETERS: Parameters<2> =
        Parameters { function: "_fatal_error", names: ["exc", "message"], positional: 2, required: 1 };
    let [exception, message] = args.parse(&PARAMETERS)?;
    let error = PyErr::from_value(exception.expect("required"));
    let message = match message {
        Some(message) => message.extract::<String>()?,
        None => transport.value().kind(args.py()).failed().to_owned(),
    };
    done(transport, StreamTransport::fatal_error(transport, error, &message))
}
