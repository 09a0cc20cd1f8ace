//! Flow control: the user's protocol by what is not sent, the transport below by what is not read.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::super::flow_control;
use super::TLSProtocol;
use super::engine::Engine;
use super::protocol::{Encrypting, Untold};
use crate::cpython::{Native, Object};
use crate::{errors, names};

/// A pair of limits, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) high: i64,
    pub(super) low: i64,
    default_high: i64,
}

/// What a number of bytes means for whom the limits are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Pause,
    Resume,
}

impl Limits {
    /// asyncio's: CPython 3.15, Lib/asyncio/constants.py, FLOW_CONTROL_HIGH_WATER_SSL_READ.
    pub(super) const READ: Self = Self::of(256 * 1024);
    /// FLOW_CONTROL_HIGH_WATER_SSL_WRITE.
    pub(super) const WRITE: Self = Self::of(512 * 1024);

    const fn of(high: i64) -> Self {
        Self { high, low: high / 4, default_high: high }
    }

    fn set(&mut self, (high, low): (i64, i64)) {
        self.high = high;
        self.low = low;
    }

    /// At the high limit who was not paused is, at the low one it goes on.
    fn change(self, bytes: usize, paused: bool) -> Change {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if bytes >= self.high && !paused {
            Change::Pause
        } else if bytes <= self.low && paused {
            Change::Resume
        } else {
            Change::None
        }
    }
}

impl TLSProtocol {
    /// `set_write_buffer_limits(high, low)`.
    pub(super) fn set_write_limits(
        protocol: &Bound<'_, Self>,
        high: Option<Object<'_>>,
        low: Option<Object<'_>>,
    ) -> PyResult<()> {
        let py = protocol.py();
        let limits = flow_control::limits(high, low, Limits::WRITE.default_high)?;
        protocol.value().state.with(py, |state| state.writing.limits.set(limits));
        match protocol.value().open_engine(py) {
            Some(engine) => Self::control_writers(protocol, engine.unsent(py)?),
            None => Ok(()),
        }
    }

    /// `set_read_buffer_limits(high, low)`.
    pub(super) fn set_read_limits(
        protocol: &Bound<'_, Self>,
        high: Option<Object<'_>>,
        low: Option<Object<'_>>,
    ) -> PyResult<()> {
        let py = protocol.py();
        let limits = flow_control::limits(high, low, Limits::READ.default_high)?;
        protocol.value().state.with(py, |state| state.reading.limits.set(limits));
        match protocol.value().open_engine(py) {
            Some(engine) => Self::control_lower(protocol, &engine),
            None => Ok(()),
        }
    }

    /// Bytes that were written, and which the transport below was not given. What merely waits for the end of the turn
    /// does not count: asyncio would have handed it over already.
    #[inline]
    pub(super) fn write_buffer_size(&self, py: Python<'_>, engine: &Engine) -> PyResult<usize> {
        let kept = self.state.with(py, |state| match state.writing.encrypting {
            Encrypting::AtEndOfTurn => state.writing.encrypted.len_bytes(),
            Encrypting::Not | Encrypting::Underway => state.writing.kept(),
        });
        Ok(engine.unsent(py)? + kept)
    }

    /// Pauses the user's protocol if too much is unsent, or lets it go on. OpenSSL keeps `encrypted` bytes.
    #[inline]
    pub(super) fn control_writers(protocol: &Bound<'_, Self>, encrypted: usize) -> PyResult<()> {
        let py = protocol.py();
        let change = protocol.value().state.with(py, |state| {
            let writing = &mut state.writing;
            let unsent = encrypted + writing.kept();
            let change = writing.limits.change(unsent, writing.app_paused);
            writing.app_paused = change == Change::Pause || (writing.app_paused && change == Change::None);
            change
        });
        match change {
            Change::None => Ok(()),
            Change::Pause => {
                Self::tell_writers(protocol, names::pause_writing(py), "protocol.pause_writing() failed")
            }
            Change::Resume => {
                Self::tell_writers(protocol, names::resume_writing(py), "protocol.resume_writing() failed")
            }
        }
    }

    fn tell_writers(protocol: &Bound<'_, Self>, method: &Bound<'_, PyString>, failed: &str) -> PyResult<()> {
        let py = protocol.py();
        let Some(app) = protocol.value().app_protocol(py) else { return Ok(()) };
        let error = match app.call_method0(method) {
            Ok(_) => return Ok(()),
            Err(error) if errors::is_exit(py, &error) => return Err(error),
            Err(error) => error,
        };
        let details = PyDict::new(py);
        details.set_item("message", failed)?;
        details.set_item("exception", error.into_value(py))?;
        details.set_item("transport", protocol.value().app_transport(py))?;
        // As asyncio, which does not name the protocol that was called: CPython 3.15, Lib/asyncio/sslproto.py,
        // _control_app_writing.
        details.set_item("protocol", protocol)?;
        let event_loop = protocol.value().event_loop(py)?;
        event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
    }

    /// Bytes of the peer that wait for the user's protocol. Those of a record that is not whole do not.
    #[inline]
    pub(super) fn read_buffer_size(&self, py: Python<'_>, engine: &Engine) -> PyResult<usize> {
        match self.state.with(py, |state| state.reading.untold) {
            Untold::Beginning => Ok(0),
            Untold::Records => engine.unread(py),
        }
    }

    /// Pauses the transport below if too much is unread, or lets it go on.
    #[inline]
    pub(super) fn control_lower(protocol: &Bound<'_, Self>, engine: &Engine) -> PyResult<()> {
        let py = protocol.py();
        let unread = protocol.value().read_buffer_size(py, engine)?;
        let change = protocol.value().state.with(py, |state| {
            let reading = &mut state.reading;
            let change = reading.limits.change(unread, reading.lower_paused);
            reading.lower_paused =
                change == Change::Pause || (reading.lower_paused && change == Change::None);
            change
        });
        if change == Change::None {
            return Ok(());
        }
        let Some(lower) = protocol.value().lower(py) else { return Ok(()) };
        if change == Change::Pause { lower.pause_reading(py) } else { lower.resume_reading(py) }
    }
}
