//! The engine: OpenSSL, as the user's own context sets it up, between two buffers in memory.
//!
//! `ssl.SSLObject` only hands on to a C object, which is called directly where the class is the standard
//! library's. Calls release the interpreter's lock while OpenSSL works. Where OpenSSL itself can be reached, records
//! are read and written by it, and the C object is called for all else. Both may run callbacks of the context: nobody is
//! inside a guard meanwhile.

use std::ops::Range;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PySlice};
use tonnage_core::tls_records::PIECE_MAX;

use crate::cpython::buffer::{Growing, Shown, filled};
use crate::cpython::memory_bio::{EmptyBio, MemoryBio};
use crate::cpython::ssl_session::{Not, SslSession};
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

/// Encrypted bytes, which nobody changes.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a, 'py> {
    memory: &'a [u8],
    /// Whose they are, if they are an object's.
    object: Option<&'a Bound<'py, PyBytes>>,
}

impl<'a, 'py> Arrived<'a, 'py> {
    pub(super) fn in_memory(memory: &'a [u8]) -> Self {
        Self { memory, object: None }
    }

    pub(super) fn object(object: &'a Bound<'py, PyBytes>) -> Self {
        Self { memory: object.as_bytes(), object: Some(object) }
    }

    pub(super) fn memory(&self) -> &'a [u8] {
        self.memory
    }
}

pub(super) struct Engine {
    /// The `ssl.SSLObject`, or what the context makes in its place.
    object: Owned,
    /// Who reads and writes: the C object inside, or the object itself.
    worker: Owned,
    is_direct: bool,
    /// Who reads and writes without an object for each record, where that can be.
    session: Option<SslSession>,
    incoming: MemoryBio,
    outgoing: MemoryBio,
}

impl Engine {
    pub(super) fn create(context: &Object<'_>, side: &Side<'_>) -> PyResult<Self> {
        let py = context.py();
        let (incoming, outgoing) = (MemoryBio::create(py)?, MemoryBio::create(py)?);
        let options = PyDict::new(py);
        options.set_item(names::server_side(py), side.server)?;
        options.set_item(names::server_hostname(py), side.hostname.as_ref())?;
        let bios = (incoming.object(py), outgoing.object(py));
        let object = context.call_method(names::wrap_bio(py), bios, Some(&options))?;
        let is_direct = object.get_type().is(names::ssl_object_class(py)?);
        let worker = if is_direct { object.getattr(names::_sslobj(py))? } else { object.clone() };
        let session = if is_direct { SslSession::of(&worker, context, &incoming)? } else { None };
        Ok(Self { object: object.into(), worker: worker.into(), is_direct, session, incoming, outgoing })
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
        self.incoming.object(py)
    }

    pub(super) fn outgoing<'py>(&self, py: Python<'py>) -> Object<'py> {
        self.outgoing.object(py)
    }

    /// Takes what the peer sent.
    #[inline]
    pub(super) fn feed(&self, py: Python<'_>, arrived: &Arrived<'_, '_>) -> PyResult<()> {
        match arrived.object {
            Some(object) if !self.incoming.is_direct() => self.incoming.write_object(object.as_any()),
            _ => self.incoming.write(py, arrived.memory),
        }
    }

    /// Takes a part of what the peer sent.
    pub(super) fn feed_part(
        &self,
        py: Python<'_>,
        arrived: &Arrived<'_, '_>,
        part: Range<usize>,
    ) -> PyResult<()> {
        match arrived.object {
            Some(object) if !self.incoming.is_direct() => {
                Shown::by(object.as_any())?.part(part, |part| self.incoming.write_object(part))
            }
            _ => self.incoming.write(py, &arrived.memory[part]),
        }
    }

    /// Takes a part of what the peer sent, and has `read` read it: where it lies, if that can be.
    #[inline]
    pub(super) fn read_part<R>(
        &self,
        py: Python<'_>,
        (arrived, part): (&Arrived<'_, '_>, Range<usize>),
        read: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        if let Some(borrower) = self.borrower() {
            return borrower.lend(py, &arrived.memory[part], read);
        }
        self.feed_part(py, arrived, part)?;
        read()
    }

    /// How much it is given at a time. What is copied, is copied by pieces that stay in the cache.
    #[inline]
    pub(super) fn piece_max(&self) -> usize {
        if self.borrower().is_some() { usize::MAX } else { PIECE_MAX }
    }

    /// Are records read and written without the methods of an object?
    pub(super) fn is_in_place(&self) -> bool {
        self.session.is_some()
    }

    /// Does it read bytes where they lie?
    pub(super) fn reads_in_place(&self) -> bool {
        self.is_direct && self.incoming.is_direct()
    }

    /// Who reads bytes where they lie, if they are all that is to be read.
    #[inline]
    fn borrower(&self) -> Option<EmptyBio<'_>> {
        if self.is_direct { self.incoming.empty() } else { None }
    }

    /// Who has room for more than one record, if nothing waits to be sent.
    pub(super) fn room(&self) -> Option<EmptyBio<'_>> {
        if self.is_direct { self.outgoing.empty() } else { None }
    }

    /// Bytes of the peer that are not decrypted.
    #[inline]
    pub(super) fn unread(&self, py: Python<'_>) -> PyResult<usize> {
        self.incoming.pending(py)
    }

    /// Bytes for the peer that the transport below was not given.
    #[inline]
    pub(super) fn unsent(&self, py: Python<'_>) -> PyResult<usize> {
        self.outgoing.pending(py)
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
        if let Some(session) = &self.session {
            match filled(py, len_max, |memory| session.read(memory))? {
                Ok(data) => return Ok(Step::Done(data)),
                Err(Not::Yet) => return Ok(Step::Wants),
                Err(Not::Told) => {}
            }
        }
        match self.worker.bind(py).call_method1(names::read(py), (len_max,)) {
            Ok(data) => Ok(Step::Done(data.cast_into::<PyBytes>()?)),
            Err(error) => wants_more(py, error),
        }
    }

    /// As `read`, of as much as there is room for.
    #[inline]
    pub(super) fn read_more(&self, plain: &mut Growing<'_>) -> PyResult<Step<usize>> {
        if let Some(session) = &self.session {
            match plain.fill(|memory| session.read(memory)) {
                Ok(count) => return Ok(Step::Done(count)),
                Err(Not::Yet) => return Ok(Step::Wants),
                Err(Not::Told) => {}
            }
        }
        let (room, mut wants) = (plain.room(), false);
        let count = plain.extend(|memory| match self.read_into(room, memory)? {
            Step::Done(count) => Ok(count),
            Step::Wants => {
                wants = true;
                Ok(0)
            }
        })?;
        Ok(if wants { Step::Wants } else { Step::Done(count) })
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
    pub(super) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<Step<usize>> {
        match self.write_directly(data) {
            Some(step) => Ok(step),
            None => self.write_object(PyBytes::new(py, data).as_any()),
        }
    }

    /// As `write`, of the bytes of `data` from `start` on: of a record of them, or of all.
    pub(super) fn write_from(&self, data: &Bound<'_, PyBytes>, start: usize) -> PyResult<Step<usize>> {
        let (py, len) = (data.py(), data.as_bytes().len());
        let end = len.min(start + RECORD_MAX);
        if let Some(step) = self.write_directly(&data.as_bytes()[start..end]) {
            return Ok(step);
        }
        if start == 0 && end == len {
            return self.write_object(data.as_any());
        }
        if self.is_direct {
            return Shown::by(data.as_any())?.part(start..end, |rest| self.write_object(rest));
        }
        let rest = PySlice::new(py, start.cast_signed(), len.cast_signed(), 1);
        self.write_object(&PyMemoryView::from(data.as_any())?.get_item(rest)?)
    }

    /// `None`: an object says what there is to say.
    #[inline]
    fn write_directly(&self, data: &[u8]) -> Option<Step<usize>> {
        match self.session.as_ref()?.write(data) {
            Ok(count) => Some(Step::Done(count)),
            Err(Not::Yet) => Some(Step::Wants),
            Err(Not::Told) => None,
        }
    }

    fn write_object(&self, data: &Object<'_>) -> PyResult<Step<usize>> {
        let py = data.py();
        match self.worker.bind(py).call_method1(names::write(py), (data,)) {
            Ok(count) => count.extract().map(Step::Done),
            Err(error) => wants_more(py, error),
        }
    }

    /// What is to be sent to the peer, if there is anything.
    #[inline]
    pub(super) fn take_outgoing<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.outgoing.read(py)
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
        let mut shown = visit.each([&self.object, &self.worker]);
        if shown == 0 {
            shown = self.incoming.traverse(visit);
        }
        if shown == 0 { self.outgoing.traverse(visit) } else { shown }
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
