//! Writing: what the user's protocol writes is kept, encrypted when the turn of the loop ends, and handed
//! to the transport below.
//!
//! It is encrypted at once if no turn is under way, if there is much, or if the transport below does not
//! say when its turn ends. Small writes share a record. The records of a large write go into a buffer that connections
//! share, and from there into the socket; what that does not take is copied. Where there is no such buffer, they are
//! taken from OpenSSL one by one, so that its own stays as small as one, and are handed over together.

use std::io::IoSlice;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use tonnage_core::write_queue::WriteQueue;

use super::super::stream::LATE_WRITES_MAX;
use super::super::together::TOGETHER_MAX;
use super::super::{StreamTransport, chunks, telling};
use super::TLSProtocol;
use super::engine::{Engine, RECORD_MAX, Step};
use super::lower::Lower;
use super::protocol::{Encrypting, Phase};
use crate::cpython::buffer::snapshot;
use crate::cpython::{Native, Object};

/// What waits: writes to be encrypted, or records to be handed over.
pub(super) type Backlog = WriteQueue<PyBackedBytes>;

/// So much waits for the end of the turn, and not more, as in the transport below.
const HELD_MAX: usize = 64 * 1024;

/// So much is encrypted before it is sent: about as much as a socket takes.
const ROOM_MAX: usize = 128 * 1024;

/// The most writes that share a record.
const JOINED_MAX: usize = 64;

/// What is encrypted next.
enum Piece<'py> {
    /// A write, from some byte on.
    Of(Bound<'py, PyBytes>, usize),
    /// Some writes, or their ends.
    Joined(Vec<u8>),
}

impl TLSProtocol {
    pub(super) fn write(protocol: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        if !chunks::is_data(data) {
            let name = data.get_type().name()?;
            let text = format!("data: expecting a bytes-like instance, got {name}");
            return Err(PyTypeError::new_err(text));
        }
        let data = snapshot(data)?;
        if data.as_bytes().is_empty() || !Self::is_in_time(protocol)? {
            return Ok(());
        }
        let data = PyBackedBytes::from(data);
        protocol.value().state.with(protocol.py(), |state| state.writing.backlog.push(data));
        Self::queued(protocol)
    }

    pub(super) fn writelines(protocol: &Bound<'_, Self>, lines: &Object<'_>) -> PyResult<()> {
        let chunks = chunks::of_lines(lines)?;
        if !Self::is_in_time(protocol)? || chunks.is_empty() {
            return Ok(());
        }
        protocol.value().state.with(protocol.py(), |state| {
            chunks.into_iter().for_each(|chunk| state.writing.backlog.push(chunk));
        });
        Self::queued(protocol)
    }

    /// Keeps a write until something else is written: CPython's tests fill the backlog so.
    pub(super) fn append_backlog(protocol: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        let data = PyBackedBytes::from(snapshot(data)?);
        protocol.value().state.with(protocol.py(), |state| state.writing.backlog.push(data));
        Ok(())
    }

    /// Is it open for writing? Late writes are counted, and logged from the fifth on.
    fn is_in_time(protocol: &Bound<'_, Self>) -> PyResult<bool> {
        let py = protocol.py();
        let late = protocol.value().state.with(py, |state| {
            if matches!(state.phase, Phase::Handshake | Phase::Wrapped) {
                return None;
            }
            state.lost = state.lost.saturating_add(1);
            Some(state.lost - 1)
        });
        if late.is_some_and(|late| late >= LATE_WRITES_MAX) {
            telling::warn(py, "SSL connection is closed")?;
        }
        Ok(late.is_none())
    }

    /// Something was written: decides when it is encrypted. In a handshake that is after its end.
    fn queued(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let (lower, may_wait) = protocol.value().state.with(py, |state| {
            let writing = &state.writing;
            let may_wait = writing.backlog.len_bytes() < HELD_MAX && !writing.lower_paused;
            let is_seen_to = match writing.encrypting {
                Encrypting::Not => state.phase != Phase::Wrapped,
                Encrypting::AtEndOfTurn => may_wait,
                Encrypting::Underway => true,
            };
            let lower = state.lower.as_ref().filter(|_| !is_seen_to);
            (lower.map(|lower| lower.share(py)), may_wait)
        });
        let Some(lower) = lower else { return Ok(()) };
        if may_wait && lower.asks_at_end_of_turn(py) {
            protocol.value().state.with(py, |state| state.writing.encrypting = Encrypting::AtEndOfTurn);
            return Ok(());
        }
        Self::guard(protocol, Self::encrypt_backlog(protocol))
    }

    /// The transport below sends: gives it what waits for the end of the turn.
    #[inline]
    pub(crate) fn hand_over(protocol: &Bound<'_, Self>) -> PyResult<()> {
        match protocol.value().state.with(protocol.py(), |state| state.writing.encrypting) {
            Encrypting::AtEndOfTurn => Self::guard(protocol, Self::encrypt_backlog(protocol)),
            Encrypting::Not | Encrypting::Underway => Ok(()),
        }
    }

    /// How much is to be encrypted when the turn ends; `None` if nothing waits for that.
    #[inline]
    pub(crate) fn held(protocol: &Bound<'_, Self>) -> Option<usize> {
        protocol.value().state.with(protocol.py(), |state| match state.writing.encrypting {
            Encrypting::AtEndOfTurn => Some(state.writing.backlog.len_bytes()),
            Encrypting::Not | Encrypting::Underway => None,
        })
    }

    /// In a forked child: drops what waits for the end of the turn, because the parent sends it.
    pub(crate) fn forget_backlog(protocol: &Bound<'_, Self>) {
        let gone = protocol.value().state.with(protocol.py(), |state| {
            state.writing.encrypting = Encrypting::Not;
            state.writing.backlog.drain()
        });
        drop(gone);
    }

    /// After reading: sends what OpenSSL answered, and what could not be encrypted before.
    #[inline]
    pub(super) fn answer(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<()> {
        let py = protocol.py();
        let (encrypting, is_empty) = protocol
            .value()
            .state
            .with(py, |state| (state.writing.encrypting, state.writing.backlog.is_empty()));
        match encrypting {
            Encrypting::Not if is_empty => Self::send_outgoing_of(protocol, engine),
            Encrypting::Not => Self::encrypt_backlog(protocol),
            Encrypting::AtEndOfTurn | Encrypting::Underway => Ok(()),
        }
    }

    /// Encrypts what was written, as far as the state of the connection allows, and hands it over.
    pub(super) fn encrypt_backlog(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let engine = protocol.value().engine(py)?;
        let before = protocol
            .value()
            .state
            .with(py, |state| std::mem::replace(&mut state.writing.encrypting, Encrypting::Underway));
        if before == Encrypting::Underway {
            // A callback of the context wrote; the loop below finds it.
            return Ok(());
        }
        let encrypted = Self::encrypt_all(protocol, &engine);
        protocol.value().state.with(py, |state| state.writing.encrypting = Encrypting::Not);
        encrypted?;
        Self::send_outgoing_of(protocol, &engine)
    }

    fn encrypt_all(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<()> {
        let py = protocol.py();
        let state = &protocol.value().state;
        while let Some(room) = engine.room()
            && let Some(socket) = Self::socket_for_much(protocol)
        {
            let encrypt = || Self::encrypt_much(protocol, engine);
            let send = |records: &[u8]| StreamTransport::send_at_once(&socket, records);
            if !room.in_room(py, encrypt, send)? {
                return Ok(());
            }
        }
        while Self::encrypt_piece(protocol, engine)?.is_some() {
            let goes_on = state.with(py, |state| {
                state.writing.backlog.len_bytes() > 0 && matches!(state.lower, Some(Lower::Socket(_)))
            });
            if goes_on && let Some(record) = engine.take_outgoing(py)? {
                // OpenSSL's buffer never gets smaller again.
                state.with(py, |state| state.writing.encrypted.push(record.into()));
            }
        }
        Ok(())
    }

    /// Encrypts as much as is sent at once. Returns whether there may be more.
    fn encrypt_much(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<bool> {
        let mut len = 0;
        while len < ROOM_MAX {
            match Self::encrypt_piece(protocol, engine)? {
                Some(count) => len += count,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Encrypts what makes one record, and returns how much that is. `None`: there is none, or the peer has to send
    /// something first.
    fn encrypt_piece(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<Option<usize>> {
        let py = protocol.py();
        let state = &protocol.value().state;
        // Each call of the engine may end the connection.
        let piece = state.with(py, |state| match state.phase {
            Phase::Wrapped | Phase::Flushing => next_piece(py, &state.writing.backlog),
            Phase::Unwrapped | Phase::Handshake | Phase::Shutdown => None,
        });
        let written = match piece {
            None => return Ok(None),
            Some(Piece::Of(data, sent)) => engine.write_from(&data, sent)?,
            Some(Piece::Joined(bytes)) => engine.write(py, &bytes)?,
        };
        let Step::Done(count) = written else { return Ok(None) };
        state.with(py, |state| {
            let backlog = &mut state.writing.backlog;
            backlog.advance(count.min(backlog.len_bytes()));
        });
        while let Some(sent) = state.with(py, |state| state.writing.backlog.pop_sent()) {
            drop(sent);
        }
        Ok(Some(count))
    }

    /// The socket below, if there is more to encrypt than would leave together with what others send.
    fn socket_for_much<'py>(protocol: &Bound<'py, Self>) -> Option<Bound<'py, StreamTransport>> {
        let py = protocol.py();
        protocol.value().state.with(py, |state| match &state.lower {
            Some(Lower::Socket(socket)) if state.writing.backlog.len_bytes() > TOGETHER_MAX => {
                Some(socket.get_bound(py))
            }
            _ => None,
        })
    }

    pub(super) fn send_outgoing(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let engine = protocol.value().engine(protocol.py())?;
        Self::send_outgoing_of(protocol, &engine)
    }

    /// Hands what is encrypted to the transport below, unless that has paused us.
    fn send_outgoing_of(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<()> {
        let py = protocol.py();
        let state = &protocol.value().state;
        let lower = state.with(py, |state| {
            let lower = state.lower.as_ref().filter(|_| !state.writing.lower_paused);
            lower.map(|lower| lower.share(py))
        });
        if let Some(lower) = lower {
            let last = engine.take_outgoing(py)?;
            let mut encrypted = Vec::from(state.with(py, |state| state.writing.encrypted.drain()));
            if encrypted.is_empty() {
                last.map_or(Ok(()), |last| lower.write(last.as_any()))?;
            } else {
                encrypted.extend(last.map(PyBackedBytes::from));
                lower.write_all(py, encrypted)?;
            }
            if state.with(py, |state| !state.writing.lower_paused) {
                return Self::control_writers(protocol, 0);
            }
        }
        Self::control_writers(protocol, engine.unsent(py)?)
    }

    /// The transport below holds too much.
    pub(super) fn pause_writing(&self, py: Python<'_>) {
        self.state.with(py, |state| state.writing.lower_paused = true);
    }

    /// The transport below takes more.
    pub(super) fn resume_writing(protocol: &Bound<'_, Self>) -> PyResult<()> {
        protocol.value().state.with(protocol.py(), |state| state.writing.lower_paused = false);
        Self::send_outgoing(protocol)
    }
}

fn next_piece<'py>(py: Python<'py>, backlog: &Backlog) -> Option<Piece<'py>> {
    let (head, sent) = backlog.head()?;
    if head.len() - sent < RECORD_MAX && backlog.len_chunks() > 1 {
        let mut slices = [IoSlice::new(&[]); JOINED_MAX];
        let mut joined = vec![];
        let mut count = 0;
        for slice in backlog.io_slices(&mut slices) {
            if joined.len() + slice.len() > RECORD_MAX {
                break;
            }
            joined.extend_from_slice(slice);
            count += 1;
        }
        if count > 1 {
            return Some(Piece::Joined(joined));
        }
    }
    let Ok(head) = head.into_pyobject(py);
    Some(Piece::Of(head, sent))
}
