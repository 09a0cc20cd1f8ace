//! Source: the descriptor of a transport, what it is, and the Python object that owns it.
//!
//! Invariant: the owner alone closes the descriptor. The transport asks it for the number before each
//! system call, so that no byte gets into a file that was given the number of a closed one.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use tonnage_core::reactor::{Fd, pipe, socket};

use super::{AcceptedSocket, StreamTransport};
use crate::cpython::{Native, Object, Owned};
use crate::{errors, names};

/// What kind of transport it is, where the kinds differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Socket,
    ReadPipe,
    WritePipe,
}

pub(super) struct Source {
    pub(super) kind: Kind,
    /// `None` before `__init__` and after `connection_lost`.
    pub(super) owner: Option<Owned<PyAny>>,
    pub(super) fd: Fd,
}

impl Source {
    pub(super) const fn empty(kind: Kind) -> Self {
        Self { kind, owner: None, fd: -1 }
    }
}

/// The texts of asyncio: CPython 3.15, Lib/asyncio, selector_events.py and unix_events.py.
impl Kind {
    pub(super) fn read_failed(self) -> &'static str {
        match self {
            Self::Socket => "Fatal read error on socket transport",
            Self::ReadPipe | Self::WritePipe => "Fatal read error on pipe transport",
        }
    }

    pub(super) fn write_failed(self) -> &'static str {
        match self {
            Self::Socket => "Fatal write error on socket transport",
            Self::ReadPipe | Self::WritePipe => "Fatal write error on pipe transport",
        }
    }

    pub(super) fn failed(self) -> &'static str {
        match self {
            Self::Socket => "Fatal error on transport",
            Self::ReadPipe | Self::WritePipe => "Fatal error on pipe transport",
        }
    }

    pub(super) fn wrote_late(self) -> &'static str {
        match self {
            Self::Socket => "socket.send() raised exception.",
            Self::ReadPipe | Self::WritePipe => {
                "pipe closed by peer or os.write(pipe, data) raised exception."
            }
        }
    }

    /// Is the error one of the other end, which the debug log gets, and not the exception handler?
    pub(super) fn expects(self, py: Python<'_>, error: &PyErr) -> bool {
        match self {
            Self::Socket | Self::WritePipe => error.is_instance_of::<PyOSError>(py),
            // A terminal whose other end is gone.
            Self::ReadPipe => errors::is_input_output(py, error),
        }
    }
}

/// A descriptor that was open a moment ago, for one system call.
#[derive(Clone, Copy)]
pub(super) struct Descriptor {
    kind: Kind,
    fd: Fd,
}

impl Descriptor {
    /// Reads what is there; no bytes are the end of the stream.
    #[inline]
    pub(super) fn read(self, memory: &mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]> {
        match self.kind {
            Kind::Socket => socket::recv_uninit(self.fd, memory),
            Kind::ReadPipe | Kind::WritePipe => pipe::read_uninit(self.fd, memory),
        }
    }

    /// Writes as much as is taken.
    #[inline]
    pub(super) fn write(self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self.kind, slices) {
            (Kind::Socket, [slice]) => socket::send(self.fd, slice),
            (Kind::Socket, slices) => socket::send_vectored(self.fd, slices),
            (Kind::ReadPipe | Kind::WritePipe, [slice]) => pipe::write(self.fd, slice),
            (Kind::ReadPipe | Kind::WritePipe, slices) => pipe::write_vectored(self.fd, slices),
        }
    }
}

impl StreamTransport {
    #[inline]
    pub(super) fn kind(&self, py: Python<'_>) -> Kind {
        self.state.with(py, |state| state.source.kind)
    }

    /// The descriptor, if it is still that of a socket, and the socket no class of the user's, whose code would run.
    #[inline]
    pub(super) fn plain_socket(&self, py: Python<'_>) -> Option<Fd> {
        let owner = self.state.with(py, |state| {
            let Source { kind, owner, .. } = &state.source;
            owner.as_ref().filter(|_| *kind == Kind::Socket).map(|owner| owner.get_bound(py))
        })?;
        let is_plain = AcceptedSocket::of(&owner).is_some()
            || names::socket_class(py).is_ok_and(|class| owner.get_type().is(class));
        if is_plain { self.descriptor(py).ok().map(|descriptor| descriptor.fd) } else { None }
    }

    /// The descriptor, if it is still the owner's. Whoever closes a socket under its transport frees the
    /// number for any other file, and no byte may get there.
    #[inline]
    pub(super) fn descriptor(&self, py: Python<'_>) -> PyResult<Descriptor> {
        let (owner, fd, kind) = self.state.with(py, |state| {
            let Source { kind, owner, fd } = &state.source;
            (owner.as_ref().map(|owner| owner.get_bound(py)), *fd, *kind)
        });
        let Some(owner) = owner else { return Err(errors::os_error(socket::closed())) };
        let now = match AcceptedSocket::of(&owner) {
            Some(accepted) => accepted.value().fileno(py)?,
            None => number_of(&owner)?,
        };
        if now == fd && fd >= 0 {
            Ok(Descriptor { kind, fd })
        } else {
            Err(errors::os_error(socket::closed()))
        }
    }
}

/// Closes the descriptor.
pub(super) fn close(owner: &Object<'_>) -> PyResult<()> {
    let py = owner.py();
    match AcceptedSocket::of(owner) {
        Some(accepted) => accepted.value().close(py),
        None => owner.call_method0(names::close(py)).map(drop),
    }
}

fn number_of(owner: &Object<'_>) -> PyResult<Fd> {
    match owner.call_method0(names::fileno(owner.py())) {
        Ok(number) => number.extract(),
        // A file object that is closed says so; a socket says -1.
        Err(error) if error.is_instance_of::<PyValueError>(owner.py()) => Ok(-1),
        Err(error) => Err(error),
    }
}
