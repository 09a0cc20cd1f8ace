//! Reading: from encrypted bytes of the transport below to `data_received` of the user's protocol.
//!
//! OpenSSL is given all whole records where they lie, or, if that cannot be, some at a time in its buffer, which so
//! stays small and in the cache. It is asked for no more than there can be, so that a batch of records ends without the
//! exception that says so. All records of a batch are handed over as one object.
//!
//! That is so while OpenSSL has told all before: only the beginning of a record is `untold`. Else it is
//! given all at once, and read until it has nothing more to tell.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PySlice};
use tonnage_core::tls_records::{Piece, RecordEnds};

use super::TLSProtocol;
use super::engine::{Arrived, Engine, RECORD_MAX, Step};
use super::protocol::{End, Into, Phase, Untold};
use crate::cpython::buffer::{Growing, snapshot};
use crate::cpython::{Native, Object};
use crate::names;

/// What a transport below is lent: four of the largest records.
const LENT: usize = 64 * 1024;

/// What OpenSSL knows after a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing that was not told.
    Nothing,
    /// More of the same record, perhaps.
    More,
    /// The end of the peer's stream.
    Closed,
}

impl Found {
    /// A read with room for `room` bytes returned `count`.
    fn after(count: usize, room: usize) -> Self {
        match count {
            0 => Self::Closed,
            count if count < room => Self::Nothing,
            _ => Self::More,
        }
    }
}

impl TLSProtocol {
    /// The transport below has read `data`.
    pub(crate) fn received(protocol: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        let data = snapshot(data)?;
        Self::arrived(protocol, Arrived::object(&data))
    }

    /// The transport below has read into memory, if that [is enough](Self::reads_in_place).
    pub(crate) fn received_memory(protocol: &Bound<'_, Self>, memory: &[u8]) -> PyResult<()> {
        Self::arrived(protocol, Arrived::in_memory(memory))
    }

    /// Is memory as good as an object, and better?
    pub(crate) fn reads_in_place(protocol: &Bound<'_, Self>) -> bool {
        let state = &protocol.value().state;
        state.with(protocol.py(), |state| state.engine.as_ref().is_some_and(|engine| engine.reads_in_place()))
    }

    fn arrived(protocol: &Bound<'_, Self>, arrived: Arrived<'_, '_>) -> PyResult<()> {
        let py = protocol.py();
        let engine = protocol.value().engine(py)?;
        let by_records = protocol.value().state.with(py, |state| {
            let reading = &state.reading;
            let is_asked = state.phase == Phase::Wrapped && !reading.app_paused;
            let is_told = reading.untold == Untold::Beginning && !reading.records.is_lost();
            is_asked && is_told && state.app.into == Into::Bytes
        });
        if by_records {
            return Self::guard(protocol, Self::read_records(protocol, &engine, arrived));
        }
        Self::take_in(protocol, arrived.memory(), RecordEnds::take_all);
        engine.feed(py, &arrived)?;
        match protocol.value().phase(py) {
            Phase::Wrapped => Self::guard(protocol, Self::read_all(protocol, &engine)),
            Phase::Unwrapped => Ok(()),
            Phase::Handshake => Self::do_handshake(protocol),
            Phase::Flushing => Self::do_flush(protocol),
            Phase::Shutdown => Self::do_shutdown(protocol),
        }
    }

    /// Memory for a transport below that reads into what it is lent.
    pub(super) fn lend<'py>(protocol: &Bound<'py, Self>) -> PyResult<Object<'py>> {
        let py = protocol.py();
        let known = protocol
            .value()
            .state
            .with(py, |state| state.reading.lent.as_ref().map(|lent| lent.get_bound(py)));
        let lent = match known {
            Some(lent) => lent,
            None => {
                let lent = PyByteArray::new_with(py, LENT, |_| Ok(()))?;
                let kept = lent.clone().into();
                drop(protocol.value().state.with(py, |state| state.reading.lent.replace(kept)));
                lent
            }
        };
        Ok(PyMemoryView::from(lent.as_any())?.into_any())
    }

    /// The transport below has read so many bytes into what it was lent.
    pub(super) fn filled(protocol: &Bound<'_, Self>, count: usize) -> PyResult<()> {
        let py = protocol.py();
        let data = Self::lend(protocol)?.get_item(PySlice::new(py, 0, count.cast_signed(), 1))?;
        Self::received(protocol, &data)
    }

    /// The stream below has ended. Returns whether the transport below is to be kept open.
    pub(super) fn ended(protocol: &Bound<'_, Self>) -> PyResult<bool> {
        let py = protocol.py();
        protocol.value().state.with(py, |state| state.eof = true);
        match Self::end(protocol) {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let closed = protocol.value().lower(py).map_or(Ok(()), |lower| lower.close(py));
                Err(closed.err().unwrap_or(error))
            }
            ended => ended,
        }
    }

    fn end(protocol: &Bound<'_, Self>) -> PyResult<bool> {
        let py = protocol.py();
        Self::log(protocol, "%r received EOF")?;
        let (phase, paused) = protocol.value().state.with(py, |state| {
            let phase = state.phase;
            if phase == Phase::Wrapped {
                state.phase = Phase::Flushing;
                // A close_notify that is still unread says otherwise, when it is read.
                state.reading.end = End::Cut;
            }
            (phase, state.reading.app_paused)
        });
        match phase {
            Phase::Unwrapped => Ok(()),
            Phase::Handshake => Self::handshake_cut(protocol),
            Phase::Wrapped if paused => return Ok(true),
            Phase::Wrapped => Self::do_flush(protocol),
            Phase::Flushing => {
                Self::encrypt_backlog(protocol)?;
                protocol.value().state.with(py, |state| {
                    if state.phase == Phase::Flushing {
                        state.phase = Phase::Shutdown;
                    }
                });
                Self::do_shutdown(protocol)
            }
            Phase::Shutdown => Self::do_shutdown(protocol),
        }?;
        Ok(false)
    }

    /// Hands on what is there. An error ends the connection.
    pub(super) fn do_read(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        if !matches!(protocol.value().phase(py), Phase::Wrapped | Phase::Flushing) {
            return Ok(());
        }
        let engine = protocol.value().engine(py)?;
        Self::guard(protocol, Self::read_all(protocol, &engine))
    }

    fn read_all(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<()> {
        let py = protocol.py();
        let (paused, lends) =
            protocol.value().state.with(py, |state| (state.reading.app_paused, state.app.into == Into::Lent));
        let closed = match (paused, lends) {
            (true, _) => false,
            (false, true) => Self::read_lent(protocol, engine)?,
            (false, false) => Self::read_bytes(protocol, engine)?,
        };
        Self::was_read(protocol, engine, closed)
    }

    /// After reading: tells whom it concerns, be it the peer.
    fn was_read(protocol: &Bound<'_, Self>, engine: &Engine, closed: bool) -> PyResult<()> {
        if closed {
            Self::peer_closed(protocol)?;
        }
        Self::answer(protocol, engine)?;
        Self::control_lower(protocol, engine)
    }

    /// OpenSSL is given some of `data` next: `take` says how much.
    fn take_in<R>(
        protocol: &Bound<'_, Self>,
        data: &[u8],
        take: impl FnOnce(&mut RecordEnds, &[u8]) -> R,
    ) -> R {
        protocol.value().state.with(protocol.py(), |state| {
            state.reading.untold = Untold::Records;
            take(&mut state.reading.records, data)
        })
    }

    /// Hands on the records that end in what arrived, when OpenSSL has told all that it was given before.
    fn read_records(protocol: &Bound<'_, Self>, engine: &Engine, arrived: Arrived<'_, '_>) -> PyResult<()> {
        let py = protocol.py();
        let begun = protocol.value().state.with(py, |state| state.reading.records.begun());
        let len = arrived.memory().len();
        let len_max = engine.piece_max();
        let take = |records: &mut RecordEnds, data: &[u8]| records.take(data, len_max);
        let first = Self::take_in(protocol, arrived.memory(), take);
        let (one, found) = if first.len == len && first.records == 0 {
            engine.feed(py, &arrived)?;
            (None, Found::Nothing)
        } else if first.len == len && first.records == 1 {
            let len_max = (begun + len).min(RECORD_MAX + 1);
            engine.read_part(py, (&arrived, 0..len), || read_one(py, engine, len_max))?
        } else {
            let mut plain = Growing::create(py, begun + len)?;
            let found = Self::read_pieces(protocol, engine, (arrived, first), &mut plain)?;
            (plain.finish()?, found)
        };
        let is_told = protocol.value().state.with(py, |state| {
            let is_told = found == Found::Nothing && !state.reading.records.is_lost();
            if is_told {
                state.reading.untold = Untold::Beginning;
            }
            is_told
        });
        let mut closed = found == Found::Closed;
        if is_told || closed {
            one.map_or(Ok(()), |one| Self::hand_on(protocol, one))?;
        } else {
            let mut records = Vec::from_iter(one);
            closed = Self::read_rest(protocol, engine, &mut records)?;
            Self::hand_on_all(protocol, records)?;
        }
        if is_told && first.records == 0 { Ok(()) } else { Self::was_read(protocol, engine, closed) }
    }

    /// Gives OpenSSL what arrived piece by piece, the first of which is taken, and reads the records of each.
    fn read_pieces<'py>(
        protocol: &Bound<'py, Self>,
        engine: &Engine,
        (arrived, first): (Arrived<'_, '_>, Piece),
        plain: &mut Growing<'py>,
    ) -> PyResult<Found> {
        let py = protocol.py();
        let (mut start, mut piece, mut found) = (0, first, Ok(Found::Nothing));
        loop {
            let part = start..start + piece.len;
            start = part.end;
            // After an error, which may be a KeyboardInterrupt, OpenSSL is given the rest even so.
            if matches!(found, Ok(Found::Nothing)) && piece.records > 0 {
                let read = || read_some(engine, piece.records, plain);
                found = engine.read_part(py, (&arrived, part), read);
            } else {
                engine.feed_part(py, &arrived, part)?;
            }
            let rest = &arrived.memory()[start..];
            if rest.is_empty() {
                return found;
            }
            let len_max = engine.piece_max();
            piece = protocol.value().state.with(py, |state| state.reading.records.take(rest, len_max));
        }
    }

    /// Returns whether the peer has closed the stream.
    fn read_bytes(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<bool> {
        let mut records = vec![];
        let closed = Self::read_rest(protocol, engine, &mut records)?;
        Self::hand_on_all(protocol, records)?;
        Ok(closed)
    }

    /// Reads until OpenSSL has nothing more to tell. Returns whether the peer has closed the stream.
    fn read_rest<'py>(
        protocol: &Bound<'py, Self>,
        engine: &Engine,
        records: &mut Vec<Bound<'py, PyBytes>>,
    ) -> PyResult<bool> {
        let py = protocol.py();
        let mut is_between = false;
        loop {
            let readable = engine.readable(py, is_between)?;
            if readable == 0 {
                break;
            }
            match engine.read(py, readable)? {
                Step::Wants => break,
                Step::Done(data) if data.as_bytes().is_empty() => return Ok(true),
                Step::Done(data) => {
                    is_between = data.as_bytes().len() < readable;
                    records.push(data);
                }
            }
        }
        if engine.is_direct() {
            protocol.value().state.with(py, |state| state.reading.untold = Untold::Beginning);
        }
        Ok(false)
    }

    fn hand_on_all<'py>(protocol: &Bound<'py, Self>, records: Vec<Bound<'py, PyBytes>>) -> PyResult<()> {
        let py = protocol.py();
        let data = match records.as_slice() {
            [] => return Ok(()),
            [record] => record.clone(),
            _ => {
                let joined =
                    PyBytes::new(py, b"").call_method1(names::join(py), (PyList::new(py, &records)?,))?;
                joined.cast_into()?
            }
        };
        drop(records);
        Self::hand_on(protocol, data)
    }

    /// Hands what was read to the user's protocol.
    #[inline]
    fn hand_on(protocol: &Bound<'_, Self>, data: Bound<'_, PyBytes>) -> PyResult<()> {
        let py = protocol.py();
        let Some(app) = protocol.value().app_protocol(py) else { return Ok(()) };
        match Self::of(&app) {
            Some(inner) => Self::arrived(inner, Arrived::object(&data)),
            None => app.call_method1(names::data_received(py), (data,)).map(drop),
        }
    }

    /// As `read_bytes`, into the memory of the protocol. What does not fit is read in the next turn.
    fn read_lent(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<bool> {
        let py = protocol.py();
        let Some(app) = protocol.value().app_protocol(py) else { return Ok(false) };
        if engine.readable(py, false)? == 0 {
            return Ok(false);
        }
        let hint = engine.unread(py)?;
        let buffer = app.call_method1(names::get_buffer(py), (hint,))?;
        let len = buffer.len()?;
        if len == 0 {
            return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer"));
        }
        let (count, closed) = fill(engine, &buffer, len)?;
        drop(buffer);
        if count == len {
            let again = protocol.getattr(names::_do_read(py))?;
            protocol.value().event_loop(py)?.call_method1(names::call_soon(py), (again,))?;
        }
        if count > 0 {
            app.call_method1(names::buffer_updated(py), (count,))?;
        }
        Ok(closed)
    }

    pub(super) fn pause_reading(&self, py: Python<'_>) {
        self.state.with(py, |state| state.reading.app_paused = true);
    }

    pub(super) fn resume_reading(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let was_paused =
            protocol.value().state.with(py, |state| std::mem::replace(&mut state.reading.app_paused, false));
        if !was_paused {
            return Ok(());
        }
        let resume = protocol.getattr(names::_resume(py))?;
        protocol.value().event_loop(py)?.call_method1(names::call_soon(py), (resume,)).map(drop)
    }

    /// The turn after the user's protocol resumed.
    pub(super) fn resume(protocol: &Bound<'_, Self>) -> PyResult<()> {
        match protocol.value().phase(protocol.py()) {
            Phase::Wrapped => Self::do_read(protocol),
            Phase::Flushing => Self::do_flush(protocol),
            Phase::Shutdown => Self::do_shutdown(protocol),
            Phase::Unwrapped | Phase::Handshake => Ok(()),
        }
    }
}

/// Reads a record that OpenSSL was given, of at most so many bytes.
fn read_one<'py>(
    py: Python<'py>,
    engine: &Engine,
    len_max: usize,
) -> PyResult<(Option<Bound<'py, PyBytes>>, Found)> {
    let Step::Done(data) = engine.read(py, len_max)? else { return Ok((None, Found::Nothing)) };
    let len = data.as_bytes().len();
    Ok(((len > 0).then_some(data), Found::after(len, len_max)))
}

/// Reads so many records that OpenSSL was given, if all of them carry data.
fn read_some(engine: &Engine, records: usize, plain: &mut Growing<'_>) -> PyResult<Found> {
    for _ in 0..records {
        let room = plain.room();
        if room == 0 {
            return Ok(Found::More);
        }
        let Step::Done(count) = engine.read_more(plain)? else { break };
        let found = Found::after(count, room);
        if found != Found::Nothing {
            return Ok(found);
        }
    }
    Ok(Found::Nothing)
}

/// Fills the memory as far as there is something to read. Returns how far, and whether the peer has closed
/// the stream.
fn fill(engine: &Engine, buffer: &Object<'_>, len: usize) -> PyResult<(usize, bool)> {
    let py = buffer.py();
    let mut count = 0;
    while count < len && engine.readable(py, false)? > 0 {
        let read = if count == 0 {
            engine.read_into(len, buffer)?
        } else {
            let slice = PySlice::new(py, count.cast_signed(), len.cast_signed(), 1);
            let rest = PyMemoryView::from(buffer)?.get_item(slice)?;
            engine.read_into(len - count, &rest)?
        };
        match read {
            Step::Wants => break,
            Step::Done(0) => return Ok((count, true)),
            Step::Done(more) => count += more,
        }
    }
    Ok((count, false))
}
