//! Reading: one `recv` or `read` for each time that the loop finds the descriptor readable, as asyncio.
//!
//! Bytes for `data_received` are read into a scratch buffer of the thread, so that the object is as
//! large as what arrived. A BufferedProtocol lends its own memory.

use std::io;

use pyo3::exceptions::{PyBrokenPipeError, PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::again::{Refusals, try_again};
use super::source::{Descriptor, Kind};
use super::stream::{Into, Reading};
use super::{StreamTransport, TLSProtocol};
use crate::cpython::buffer::{Lent, filled};
use crate::cpython::{Native, Object};
use crate::event_loop::Direction;
use crate::{errors, names, scratch};

/// The most that one read returns. Larger objects would be mappings of their own, until the program has
/// freed a large one. Measured in a fresh process: an echo of 100 KiB costs 10 µs, with asyncio's 256 KiB
/// per read it costs 47.
const READ_MAX: usize = 128 * 1024 - 64;

/// Reads of so much are worth an object of their own; smaller ones are cheaper to copy.
/// Measured: a copy of 100 KiB costs 15 % of an echo.
const LARGE: usize = 32 * 1024;

/// Reads what there is; no bytes are the end of the stream.
fn receive(py: Python<'_>, from: Descriptor, into: Into) -> PyResult<io::Result<Bound<'_, PyBytes>>> {
    if into == Into::Object {
        return filled(py, READ_MAX, |memory| from.read(memory).map(|bytes| bytes.len()));
    }
    Ok(scratch::lend(READ_MAX, |memory| from.read(memory).map(|bytes| PyBytes::new(py, bytes))))
}

pub(super) fn is_not_ready(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

const BUFFER_UPDATED_FAILED: &str = "Fatal error: protocol.buffer_updated() call failed.";

impl StreamTransport {
    /// The protocol knows of the connection: `start_reading`, as a callback of the loop.
    pub(crate) fn start(transport: &Bound<'_, Self>) -> PyResult<()> {
        Self::in_context(transport, || Self::start_reading(transport))
    }

    /// There are bytes, or their end. Only what must leave the loop comes back as an error.
    #[inline]
    pub(crate) fn readable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        // Another callback of this turn may have paused or closed it.
        let (is_wanted, into) = transport.value().state.with(py, |state| {
            let is_wanted = state.reading.watched && !state.ending.lost;
            (is_wanted, state.reading.into)
        });
        if !is_wanted {
            return Ok(());
        }
        Self::in_context(transport, || match into {
            Into::Scratch | Into::Object => Self::read_bytes(transport),
            Into::Lent => Self::read_into_buffer(transport),
            Into::Nowhere => Self::reader_gone(transport),
        })
    }

    fn read_bytes(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let protocol = transport.value().protocol(py);
        if let Some(tls) = TLSProtocol::of(&protocol)
            && TLSProtocol::reads_in_place(tls)
        {
            return Self::read_for_tls(transport, tls);
        }
        let into = transport.value().state.with(py, |state| state.reading.into);
        let received = transport.value().descriptor(py).and_then(|from| receive(py, from, into));
        let data = match received {
            Ok(Ok(data)) => data,
            Ok(Err(error)) if is_not_ready(&error) => return Ok(()),
            Ok(Err(error)) => return Self::read_failed(transport, errors::os_error(error)),
            Err(error) => return Self::read_failed(transport, error),
        };
        let count = data.as_bytes().len();
        if count == 0 {
            return Self::read_end(transport);
        }
        let next = if count >= LARGE { Into::Object } else { Into::Scratch };
        if into != next {
            transport.value().state.with(py, |state| state.reading.into = next);
        }
        let received = match TLSProtocol::of(&protocol) {
            Some(tls) => TLSProtocol::received(tls, data.as_any()),
            None => protocol.call_method1(names::data_received(py), (data,)).map(drop),
        };
        received.or_else(|error| Self::receiver_failed(transport, error))
    }

    /// As `read_bytes`, without an object for what is encrypted.
    fn read_for_tls(transport: &Bound<'_, Self>, tls: &Bound<'_, TLSProtocol>) -> PyResult<()> {
        let from = match transport.value().descriptor(transport.py()) {
            Ok(from) => from,
            Err(error) => return Self::read_failed(transport, error),
        };
        scratch::lend(READ_MAX, |memory| match from.read(memory) {
            Ok([]) => Self::read_end(transport),
            Ok(bytes) => TLSProtocol::received_memory(tls, bytes)
                .or_else(|error| Self::receiver_failed(transport, error)),
            Err(error) if is_not_ready(&error) => Ok(()),
            Err(error) => Self::read_failed(transport, errors::os_error(error)),
        })
    }

    #[cold]
    fn receiver_failed(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        // asyncio's TLS is given its bytes in a buffer.
        let text = match TLSProtocol::of(&transport.value().protocol(transport.py())) {
            Some(_) => BUFFER_UPDATED_FAILED,
            None => "Fatal error: protocol.data_received() call failed.",
        };
        Self::protocol_failed(transport, error, text)
    }

    fn read_into_buffer(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let protocol = transport.value().protocol(py);
        let buffer = match lend(&protocol) {
            Ok(buffer) => buffer,
            Err(error) => {
                return Self::protocol_failed(
                    transport,
                    error,
                    "Fatal error: protocol.get_buffer() call failed.",
                );
            }
        };
        let received = Lent::by(&buffer).map_err(|error| not_lent(&buffer, error)).and_then(|mut lent| {
            // After the calls of Python code above, which may have done anything.
            let from = transport.value().descriptor(py)?;
            Ok(lent.fill(|memory| from.read(memory).map(|bytes| bytes.len())))
        });
        let received = match received {
            Ok(received) => received,
            Err(error) => return Self::read_failed(transport, error),
        };
        let count = match received {
            Ok(0) => return Self::read_end(transport),
            Ok(count) => count,
            Err(error) if is_not_ready(&error) => return Ok(()),
            Err(error) => return Self::read_failed(transport, errors::os_error(error)),
        };
        match protocol.call_method1(names::buffer_updated(py), (count,)) {
            Ok(_) => Ok(()),
            Err(error) => Self::protocol_failed(transport, error, BUFFER_UPDATED_FAILED),
        }
    }

    /// The peer sends no more.
    fn read_end(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        if transport.value().kind(py) == Kind::ReadPipe {
            return Self::writers_gone(transport);
        }
        Self::log(transport, names::debug(py), "%r received EOF")?;
        let keep_open = match transport.value().protocol(py).call_method0(names::eof_received(py)) {
            Ok(keep_open) => keep_open,
            Err(error) => {
                return Self::protocol_failed(
                    transport,
                    error,
                    "Fatal error: protocol.eof_received() call failed.",
                );
            }
        };
        if keep_open.is_truthy()? { Self::stop_reading(transport) } else { Self::close(transport) }
    }

    /// The end of a pipe, of which the protocol is told in callbacks of their own, as in asyncio.
    fn writers_gone(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        Self::log(transport, names::info(py), "%r was closed by peer")?;
        transport.value().state.with(py, |state| state.ending.closing = true);
        Self::stop_reading(transport)?;
        let told = transport.value().protocol(py).getattr(names::eof_received(py))?;
        Self::call_soon(transport, &told, &[])?;
        Self::lose_connection(transport, None)
    }

    /// Nobody reads what is written into the pipe.
    fn reader_gone(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        Self::log(transport, names::info(py), "%r was closed by peer")?;
        // asyncio would have tried to send these already.
        Self::send_held(transport);
        let is_all_sent = transport.value().state.with(py, |state| state.outgoing.queue.is_empty());
        let exception = (!is_all_sent).then(|| PyBrokenPipeError::new_err(()).into_value(py));
        Self::force_close(transport, exception.map(|exception| exception.into_bound(py).into_any()))
    }

    /// An exception of the protocol ends a connection, unless it ends the program. A pipe stays open, as
    /// in asyncio: it is reported as that of a callback.
    #[cold]
    fn protocol_failed(transport: &Bound<'_, Self>, error: PyErr, message: &str) -> PyResult<()> {
        let py = transport.py();
        if errors::is_exit(py, &error) || transport.value().kind(py) == Kind::ReadPipe {
            return Err(error);
        }
        Self::fatal_error(transport, error, message)
    }

    #[cold]
    fn read_failed(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        if errors::is_exit(py, &error) {
            return Err(error);
        }
        Self::fatal_error(transport, error, transport.value().kind(py).read_failed())
    }

    /// Watches the descriptor for reading, if it is to be read.
    pub(super) fn start_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let starts = transport.value().state.with(py, |state| {
            let Reading { watched, refusals, .. } = &state.reading;
            let is_idle = !watched && !refusals.is_waiting() && state.source.owner.is_some();
            let starts = state.is_reading() && is_idle;
            starts.then_some(state.source.fd)
        });
        let Some(fd) = starts else { return Ok(()) };
        let event_loop = transport.value().open_loop(py)?;
        match event_loop.get().watch_transport(py, fd, Direction::Read, transport.into()) {
            Ok(()) => {
                transport.value().state.with(py, |state| {
                    state.reading.watched = true;
                    state.reading.refusals = Refusals::none();
                });
                Ok(())
            }
            Err(error) => Self::not_watched_for_reading(transport, error),
        }
    }

    /// Unless that passes, nothing would ever arrive.
    #[cold]
    fn not_watched_for_reading(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        let is_starved = errors::is_starved(py, &error);
        let (passes, kind) = transport
            .value()
            .state
            .with(py, |state| (state.reading.refusals.note(is_starved), state.source.kind));
        if passes {
            let again = transport.getattr(names::_start_again(py))?;
            return try_again(&transport.value().open_loop(py)?, &again);
        }
        // A pipe to write into is watched only for the end of its reader, which a write is told as well.
        if kind == Kind::WritePipe { Ok(()) } else { Self::read_failed(transport, error) }
    }

    /// The kernel may have memory again. Who paused the transport meanwhile resumes it later.
    pub(super) fn start_again(transport: &Bound<'_, Self>) -> PyResult<()> {
        transport.value().state.with(transport.py(), |state| state.reading.refusals.end_wait());
        Self::start_reading(transport)
    }

    /// Watches the descriptor for reading no more.
    pub(super) fn stop_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let stops = transport.value().state.with(py, |state| {
            std::mem::replace(&mut state.reading.watched, false).then_some(state.source.fd)
        });
        match (stops, transport.value().event_loop(py)) {
            (Some(fd), Some(event_loop)) => event_loop.get().unwatch(py, fd, Direction::Read).map(drop),
            _ => Ok(()),
        }
    }

    pub(super) fn pause_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let pauses = transport.value().state.with(py, |state| {
            let pauses = state.is_reading();
            state.reading.paused |= pauses;
            pauses
        });
        if !pauses {
            return Ok(());
        }
        Self::stop_reading(transport)?;
        Self::log(transport, names::debug(py), "%r pauses reading")
    }

    pub(super) fn resume_reading(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let resumes = transport.value().state.with(py, |state| {
            let resumes = !state.ending.closing && state.reading.paused;
            state.reading.paused &= !resumes;
            resumes
        });
        if !resumes {
            return Ok(());
        }
        Self::start_reading(transport)?;
        Self::log(transport, names::debug(py), "%r resumes reading")
    }

    pub(super) fn set_protocol(transport: &Bound<'_, Self>, protocol: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        // TLS of ours takes bytes as they are.
        let lends =
            TLSProtocol::of(protocol).is_none() && protocol.is_instance(names::buffered_protocol(py)?)?;
        let protocol = protocol.clone().into();
        let old = transport.value().state.with(py, |state| {
            state.reading.into = match state.source.kind {
                Kind::Socket if lends => Into::Lent,
                Kind::Socket | Kind::ReadPipe => Into::Scratch,
                Kind::WritePipe => Into::Nowhere,
            };
            state.protocol.replace(protocol)
        });
        drop(old);
        Ok(())
    }
}

/// What `recv_into` says of memory that cannot be written to.
#[cold]
fn not_lent(buffer: &Object<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyBufferError>(buffer.py()) {
        return error;
    }
    match buffer.get_type().name() {
        Ok(name) => PyTypeError::new_err(format!(
            "recv_into() argument 1 must be read-write bytes-like object, not {name}"
        )),
        Err(error) => error,
    }
}

/// Asks the protocol for memory.
fn lend<'py>(protocol: &Object<'py>) -> PyResult<Object<'py>> {
    let py = protocol.py();
    let buffer = protocol.call_method1(names::get_buffer(py), (-1,))?;
    if buffer.len()? == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
    }
    Ok(buffer)
}
