//! ReadPipeTransport and WritePipeTransport: one end of a pipe, or of what passes for one.
//!
//! That is a FIFO, a terminal or another character device, or a socket. The meaning is that of CPython
//! 3.15, Lib/asyncio/unix_events.py, _UnixReadPipeTransport and _UnixWritePipeTransport. A descriptor is
//! made non-blocking, which whoever shares the open file sees too.

use std::ffi::CStr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use tonnage_core::reactor::pipe::{self, PipeKind};

use super::opening::{self, Opening};
use super::source::{Kind, Source};
use super::stream::{Extra, StreamTransport};
use super::{attributes, methods};
use crate::cpython::native_class::upcast;
use crate::cpython::{Args, Native, NativeClass, Object, Parameters, Slots, Visit, context};
use crate::event_loop::EventLoop;
use crate::{errors, names};

#[repr(C)]
pub(crate) struct ReadPipeTransport {
    pub(crate) stream: StreamTransport,
}

#[repr(C)]
pub(crate) struct WritePipeTransport {
    pub(crate) stream: StreamTransport,
}

const fn parameters(function: &'static str) -> Parameters<5> {
    Parameters {
        function,
        names: ["loop", "pipe", "protocol", "waiter", "extra"],
        positional: 5,
        required: 3,
    }
}

fn init_reader(transport: &Bound<'_, ReadPipeTransport>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<5> = parameters("ReadPipeTransport");
    let transport = upcast(transport);
    let (_, waiter) = open(transport, args.parse(&PARAMETERS)?)?;
    opening::start_soon(transport)?;
    opening::wake_soon(transport, waiter)
}

fn init_writer(transport: &Bound<'_, WritePipeTransport>, args: Args<'_, '_>) -> PyResult<()> {
    const PARAMETERS: Parameters<5> = parameters("WritePipeTransport");
    let transport = upcast(transport);
    let (kind, waiter) = open(transport, args.parse(&PARAMETERS)?)?;
    // That a pipe is readable means that its reader is gone. A terminal's input is not ours to look at.
    if kind != PipeKind::CharacterDevice {
        opening::start_soon(transport)?;
    }
    opening::wake_soon(transport, waiter)
}

/// Takes the pipe over. Returns what it is, and who waits for the transport.
fn open<'py>(
    transport: &Bound<'py, StreamTransport>,
    given: [Option<Object<'py>>; 5],
) -> PyResult<(PipeKind, Option<Object<'py>>)> {
    let py = transport.py();
    let given = given.map(|value| value.filter(|value| !value.is_none()));
    let [Some(event_loop), Some(pipe), protocol, waiter, extra] = given else {
        return Err(PyTypeError::new_err("a pipe transport needs a loop and a pipe"));
    };
    let event_loop = event_loop.cast_into::<EventLoop>()?;
    let extra = opening::extra_or_empty(py, extra)?;
    extra.set_item(names::pipe(py), &pipe)?;
    let fd = pipe.call_method0(names::fileno(py))?.extract()?;
    let kind = transport.value().kind(py);
    let Some(pipe_kind) = pipe::kind(fd).map_err(errors::os_error)? else {
        return Err(PyValueError::new_err(match kind {
            Kind::WritePipe => "Pipe transport is only for pipes, sockets and character devices",
            Kind::ReadPipe | Kind::Socket => "Pipe transport is for pipes/sockets only.",
        }));
    };
    pipe::set_nonblocking(fd).map_err(errors::os_error)?;
    let source = Source { kind, owner: Some(pipe.into()), fd };
    let protocol = protocol.unwrap_or_else(|| py.None().into_bound(py));
    let context = context::copy_current(py)?;
    let extra = Extra::Known(extra.into());
    opening::open(transport, Opening { event_loop, source, protocol, extra, server: None, context })?;
    Ok((pipe_kind, waiter))
}

impl NativeClass for ReadPipeTransport {
    const NAME: &'static CStr = c"tonnage.ReadPipeTransport";
    const DOC: &'static CStr = c"ReadPipeTransport(loop, pipe, protocol, waiter=None, extra=None)\n--\n\n\
        A transport that reads from a pipe.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.stream.needs_finalizer(py)
    }

    fn empty() -> Option<Self> {
        Some(Self { stream: StreamTransport::new(Kind::ReadPipe) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init_reader);
        slots.passes_for(names::asyncio_read_transport);
        slots.repr(|transport| attributes::repr_of_pipe(upcast(transport)));
        attributes::add_reading(slots);
        attributes::add_of_pipe(slots);
        methods::add_reading(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.stream.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.stream.clear(py);
    }
}

impl NativeClass for WritePipeTransport {
    const NAME: &'static CStr = c"tonnage.WritePipeTransport";
    const DOC: &'static CStr = c"WritePipeTransport(loop, pipe, protocol, waiter=None, extra=None)\n--\n\n\
        A transport that writes into a pipe.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.stream.needs_finalizer(py)
    }

    fn empty() -> Option<Self> {
        Some(Self { stream: StreamTransport::new(Kind::WritePipe) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(init_writer);
        slots.passes_for(names::asyncio_transport);
        slots.repr(|transport| attributes::repr_of_pipe(upcast(transport)));
        attributes::add_writing(slots);
        attributes::add_of_pipe(slots);
        methods::add_writing(slots);
        methods::refuse_reading(slots);
        slots.no_args(c"write_eof", c"Close the pipe after flushing buffered data.", |transport| {
            methods::done(upcast(transport), StreamTransport::close(upcast(transport)))
        });
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.stream.traverse(visit)
    }

    fn clear(&self, py: Python<'_>) {
        self.stream.clear(py);
    }
}
