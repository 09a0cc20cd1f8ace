//! The engine: OpenSSL, as the user's own context sets it up, between two buffers in memory.
//!
//! `ssl.SSLObject` only hands on to a C object, which is called directly where the class is the standard
//! library's. Calls release the interpreter's lock while OpenSSL works, and may run callbacks of the
//! context: nobody is inside a guard meanwhile.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PySlice};

use crate::cpython::buffer::Shown;
use crate::cpython::{Object, Owned, Visit};
use crate::names;

/// The most that one record carries, and so one read returns: RFC 8446, section 5.1.
pub(super) const RECORD_MAX: usize = 16 * 1024;

/// As much as asyncio asks for: CPython 3.15, Lib/asyncio/sslproto.py, SSLProtocol.max_size.
const READ_MAX: usize = 256 * 1024;

/// What came of a step that may need more bytes from the peer.
pub(super) enum Step<T = ()> {
    Done(T),
    /// The peer has to send more first.
    Wants,
}

/// Which end of a connection it is.
pub(super) struct Side<'py> {
    pub(super) server: bool,
    pub(super) hostname: Option<Object<'py>>,
}

pub(super) struct Engine {
    /// The `ssl.SSLObject`, or what the context makes in its place.
    object: Owned,
    /// Who reads and writes: the C object inside, or the object itself.
    worker: Owned,
    is_direct: bool,
    incoming: Owned,
    outgoing: Owned,
}

impl Engine {
    pub(super) fn create(context: &Object<'_>, side: &Side<'_>) -> PyResult<Self> {
        let py = context.py();
        let (incoming, outgoing) = (names::memory_bio(py)?.call0()?, names::memory_bio(py)?.call0()?);
        let options = PyDict::new(py);
        options.set_item(names::server_side(py), side.server)?;
        options.set_item(names::server_hostname(py), side.hostname.as_ref())?;
        let object = context.call_method(names::wrap_bio(py), (&incoming, &outgoing), Some(&options))?;
        let is_direct = object.get_type().is(names::ssl_object_class(py)?);
        let worker = if is_direct { object.getattr(names::_sslobj(py))? } else { object.clone() };
        Ok(Self {
            object: object.into(),
            worker: worker.into(),
            is_direct,
            incoming: incoming.into(),
            outgoing: outgoing.into(),
        })
    }

    #[inline]
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        Self {
            object: self.object.share(py),
            worker: self.worker.share(py),
            is_direct: self.is_direct,
            incoming: self.incoming.share(py),
            outgoing: self.outgoing.share(py),
        }
    }

    /// Are the standard library's C objects called? They keep nothing of what they are given.
    #[inline]
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    pub(super) fn object<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.object.get_bound(py)
    }

    pub(super) fn incoming<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.incoming.get_bound(py)
    }

    pub(super) fn outgoing<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.outgoing.get_bound(py)
    }

    /// Takes what the peer sent.
    #[inline]
    pub(super) fn feed(&self, data: &Object<'_>) -> PyResult<()> {
        let py = data.py();
        self.incoming.bind(py).call_method1(names::write(py), (data,)).map(drop)
    }

    /// Bytes of the peer that are not decrypted.
    #[inline]
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming.bind(py).getattr(names::pending(py))?.extract()
    }

    /// Bytes for the peer that the transport below was not given.
    #[inline]
    pub(super) fn unsent(&self, py: Python<'_>) -> PyResult<usize> {
        self.outgoing.bind(py).getattr(names::pending(py))?.extract()
    }

    /// The most that the next read can return; 0 if it would find nothing, so that it need not be tried.
    /// A record is longer than what it carries. `is_between`: no record is half handed over.
    #[inline]
    pub(super) fn readable(&self, py: Python<'_>, is_between: bool) -> PyResult<usize> {
        if !self.is_direct {
            return Ok(READ_MAX);
        }
        let unread = self.unread(py)?;
        if is_between || unread >= RECORD_MAX {
            return Ok(unread.min(RECORD_MAX));
        }
        let decrypted: usize = self.worker.bind(py).call_method0(names::pending(py))?.extract()?;
        Ok((unread + decrypted).min(RECORD_MAX))
    }

    /// Decrypts one record, at most `len_max` bytes of it. No bytes are the peer's close_notify.
    #[inline]
    pub(super) fn read<'py>(&self, py: Python<'py>, len_max: usize) -> PyResult<Step<Bound<'py, PyBytes>>> {
        match self.worker.bind(py).call_method1(names::read(py), (len_max,)) {
            Ok(data) => Ok(Step::Done(data.cast_into::<PyBytes>()?)),
            Err(error) => wants_more(py, error),
        }
    }

    /// As `read`, into memory of the protocol.
    pub(super) fn read_into(&self, len_max: usize, memory: &Object<'_>) -> PyResult<Step<usize>> {
        let py = memory.py();
        match self.worker.bind(py).call_method1(names::read(py), (len_max, memory)) {
            Ok(count) => count.extract().map(Step::Done),
            Err(error) => wants_more(py, error),
        }
    }

    /// Encrypts one record of `data`, and returns how much of it that took.
    #[inline]
    pub(super) fn write(&self, data: &Object<'_>) -> PyResult<Step<usize>> {
        let py = data.py();
        match self.worker.bind(py).call_method1(names::write(py), (data,)) {
            Ok(count) => count.extract().map(Step::Done),
            Err(error) => wants_more(py, error),
        }
    }

    /// As `write`, of the bytes of `data` from `start` on: of a record of them, or of all.
    pub(super) fn write_from(&self, data: &Bound<'_, PyBytes>, start: usize) -> PyResult<Step<usize>> {
        let (py, len) = (data.py(), data.as_bytes().len());
        if self.is_direct {
            let end = len.min(start + RECORD_MAX);
            return Shown::by(data.as_any())?.part(start..end, |rest| self.write(rest));
        }
        let rest = PySlice::new(py, start.cast_signed(), len.cast_signed(), 1);
        self.write(&PyMemoryView::from(data.as_any())?.get_item(rest)?)
    }

    /// What is to be sent to the peer, if there is anything.
    #[inline]
    pub(super) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let data = self.outgoing.bind(py).call_method0(names::read(py))?.cast_into::<PyBytes>()?;
        Ok((!data.as_bytes().is_empty()).then_some(data))
    }

    pub(super) fn handshake(&self, py: Python<'_>) -> PyResult<Step> {
        match self.object.bind(py).call_method0(names::do_handshake(py)) {
            Ok(_) => Ok(Step::Done(())),
            Err(error) => wants_more(py, error),
        }
    }

    /// Sends close_notify, and waits for the peer's.
    pub(super) fn unwrap(&self, py: Python<'_>) -> PyResult<Step> {
        match self.object.bind(py).call_method0(names::unwrap(py)) {
            Ok(_) => Ok(Step::Done(())),
            Err(error) => wants_more(py, error),
        }
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.each([&self.object, &self.worker, &self.incoming, &self.outgoing])
    }
}

/// asyncio's `SSLAgainErrors` are no errors.
fn wants_more<T>(py: Python<'_>, error: PyErr) -> PyResult<Step<T>> {
    if error.matches(py, names::ssl_want_read_error(py)?)?
        || error.matches(py, names::ssl_syscall_error(py)?)?
    {
        return Ok(Step::Wants);
    }
    Err(error)
}

/// Is it an error of TLS?
pub(super) fn is_ssl_error(py: Python<'_>, error: &PyErr) -> bool {
    names::ssl_error(py).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}
