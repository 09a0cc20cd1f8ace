//! Reading: from encrypted bytes of the transport below to `data_received` of the user's protocol.
//!
//! OpenSSL is asked for no more than there can be, so that a batch of records ends without the exception
//! that says so. All records of a batch are handed over as one object.

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PySlice};

use super::TLSProtocol;
use super::engine::{Engine, Step};
use super::protocol::{End, Into, Phase};
use crate::cpython::{Native, Object};
use crate::names;

/// What a transport below is lent: four of the largest records.
const LENT: usize = 64 * 1024;

impl TLSProtocol {
    /// The transport below has read `data`.
    pub(crate) fn received(protocol: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        let py = protocol.py();
        let engine = protocol.value().engine(py)?;
        engine.feed(data)?;
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
        if !paused {
            let closed =
                if lends { Self::read_lent(protocol, engine)? } else { Self::read_bytes(protocol, engine)? };
            if closed {
                Self::peer_closed(protocol)?;
            }
        }
        Self::answer(protocol, engine)?;
        Self::control_lower(protocol, engine)
    }

    /// Returns whether the peer has closed the stream.
    fn read_bytes(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<bool> {
        let py = protocol.py();
        let mut records = vec![];
        let mut is_between = false;
        let closed = loop {
            let readable = engine.readable(py, is_between)?;
            if readable == 0 {
                break false;
            }
            match engine.read(py, readable)? {
                Step::Wants => break false,
                Step::Done(data) if data.as_bytes().is_empty() => break true,
                Step::Done(data) => {
                    is_between = data.as_bytes().len() < readable;
                    records.push(data);
                }
            }
        };
        let data = match records.as_slice() {
            [] => return Ok(closed),
            [record] => record.clone().into_any(),
            _ => PyBytes::new(py, b"").call_method1(names::join(py), (PyList::new(py, records)?,))?,
        };
        let Some(app) = protocol.value().app_protocol(py) else { return Ok(closed) };
        match Self::of(&app) {
            Some(inner) => Self::received(inner, &data)?,
            None => drop(app.call_method1(names::data_received(py), (data,))?),
        }
        Ok(closed)
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
