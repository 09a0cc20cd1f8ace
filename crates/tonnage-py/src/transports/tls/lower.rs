//! Lower: the transport that carries the encrypted bytes.
//!
//! A socket's transport of ours is called directly; any other one, be it TLS itself, a pipe or somebody
//! else's, by its methods.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::super::{SocketTransport, StreamTransport};
use crate::cpython::native_class::{exact, upcast};
use crate::cpython::{Object, Owned, Visit};
use crate::names;

pub(super) enum Lower {
    Socket(Owned<StreamTransport>),
    Other(Owned),
}

impl Lower {
    pub(super) fn of(transport: &Object<'_>) -> Self {
        match exact::<SocketTransport>(transport) {
            Some(socket) => Self::Socket(upcast(socket).into()),
            None => Self::Other(transport.into()),
        }
    }

    #[inline]
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::Socket(transport) => Self::Socket(transport.share(py)),
            Self::Other(transport) => Self::Other(transport.share(py)),
        }
    }

    pub(super) fn object<'py>(&self, py: Python<'py>) -> Object<'py> {
        match self {
            Self::Socket(transport) => transport.get_bound(py).into_any(),
            Self::Other(transport) => transport.get_bound(py),
        }
    }

    #[inline]
    pub(super) fn write(&self, data: &Object<'_>) -> PyResult<()> {
        let py = data.py();
        match self {
            Self::Socket(transport) => StreamTransport::write(transport.bind(py), data),
            Self::Other(transport) => transport.bind(py).call_method1(names::write(py), (data,)).map(drop),
        }
    }

    pub(super) fn write_all(&self, py: Python<'_>, chunks: Vec<PyBackedBytes>) -> PyResult<()> {
        match self {
            Self::Socket(transport) => StreamTransport::write_all(transport.bind(py), chunks),
            Self::Other(_) => chunks.into_iter().try_for_each(|chunk| {
                let Ok(chunk) = chunk.into_pyobject(py);
                self.write(chunk.as_any())
            }),
        }
    }

    /// Will it ask for what there is to send when this turn of the loop ends?
    #[inline]
    pub(super) fn asks_at_end_of_turn(&self, py: Python<'_>) -> bool {
        match self {
            Self::Socket(transport) => StreamTransport::asks_at_end_of_turn(transport.bind(py)),
            Self::Other(_) => false,
        }
    }

    pub(super) fn is_closing(&self, py: Python<'_>) -> PyResult<bool> {
        self.object(py).call_method0(names::is_closing(py))?.is_truthy()
    }

    pub(super) fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.object(py).call_method0(names::close(py)).map(drop)
    }

    pub(super) fn force_close(&self, py: Python<'_>, exception: Option<&Object<'_>>) -> PyResult<()> {
        match self {
            Self::Socket(transport) => StreamTransport::force_close(transport.bind(py), exception.cloned()),
            Self::Other(transport) => match transport.bind(py).getattr_opt(names::_force_close(py))? {
                Some(force_close) => force_close.call1((exception,)).map(drop),
                // A transport that is not asyncio's cannot be told why.
                None => transport.bind(py).call_method0(names::abort(py)).map(drop),
            },
        }
    }

    pub(super) fn pause_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.object(py).call_method0(names::pause_reading(py)).map(drop)
    }

    pub(super) fn resume_reading(&self, py: Python<'_>) -> PyResult<()> {
        self.object(py).call_method0(names::resume_reading(py)).map(drop)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Socket(transport) => visit.call(transport),
            Self::Other(transport) => visit.call(transport),
        }
    }
}
