//! Flow control: `pause_writing` and `resume_writing`, by the bytes that were not taken.
//!
//! Bytes that merely wait for the end of the turn do not count: asyncio would have sent them already.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::StreamTransport;
use super::stream::{Sending, State};
use super::telling::Report;
use crate::cpython::{Native, Object};
use crate::{errors, names};

/// The limits, and what the protocol was told last.
pub(super) struct FlowControl {
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) paused: bool,
}

impl FlowControl {
    pub(super) const fn new() -> Self {
        Self { high: HIGH_DEFAULT, low: HIGH_DEFAULT / 4, paused: false }
    }

    /// Must the protocol be paused, with so many bytes unsent? Remembers that it is.
    #[must_use]
    pub(super) fn pauses_at(&mut self, unsent: usize) -> bool {
        if self.paused || i64::try_from(unsent).is_ok_and(|unsent| unsent <= self.high) {
            return false;
        }
        self.paused = true;
        true
    }

    /// May the protocol go on, with so many bytes unsent? Remembers that it does.
    #[must_use]
    pub(super) fn resumes_at(&mut self, unsent: usize) -> bool {
        if !self.paused || i64::try_from(unsent).is_ok_and(|unsent| unsent > self.low) {
            return false;
        }
        self.paused = false;
        true
    }
}

/// asyncio's: CPython, Lib/asyncio/transports.py, _FlowControlMixin.
pub(super) const HIGH_DEFAULT: i64 = 64 * 1024;

impl State {
    /// Bytes that the socket or the pipe did not take.
    pub(super) fn unsent(&self) -> usize {
        if self.outgoing.sending == Sending::Blocked { self.outgoing.queue.len_bytes() } else { 0 }
    }
}

impl StreamTransport {
    /// `set_write_buffer_limits(high, low)`.
    pub(super) fn set_limits(
        transport: &Bound<'_, Self>,
        high: Option<Object<'_>>,
        low: Option<Object<'_>>,
    ) -> PyResult<()> {
        let py = transport.py();
        let (high, low) = limits(high, low, HIGH_DEFAULT)?;
        transport.value().state.with(py, |state| {
            state.outgoing.flow.high = high;
            state.outgoing.flow.low = low;
        });
        Self::pause_writers(transport)
    }

    /// Calls `pause_writing` if too much is unsent.
    pub(super) fn pause_writers(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let pauses = transport.value().state.with(py, |state| {
            let unsent = state.unsent();
            state.outgoing.flow.pauses_at(unsent)
        });
        if !pauses {
            return Ok(());
        }
        pause_protocol(Self::teller(transport))
    }

    /// Calls `resume_writing` if enough was sent.
    #[inline]
    pub(super) fn resume_writers(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let resumes = transport.value().state.with(py, |state| {
            let unsent = state.unsent();
            state.outgoing.flow.resumes_at(unsent)
        });
        if !resumes {
            return Ok(());
        }
        resume_protocol(Self::teller(transport))
    }
}

/// `protocol.pause_writing()`; errors go to the exception handler.
#[cold]
pub(super) fn pause_protocol(teller: Report<'_, '_>) -> PyResult<()> {
    let method = names::pause_writing(teller.transport.py());
    tell_writers(teller, method, "protocol.pause_writing() failed")
}

/// `protocol.resume_writing()`; errors go to the exception handler.
#[cold]
pub(super) fn resume_protocol(teller: Report<'_, '_>) -> PyResult<()> {
    let method = names::resume_writing(teller.transport.py());
    tell_writers(teller, method, "protocol.resume_writing() failed")
}

fn tell_writers(teller: Report<'_, '_>, method: &Bound<'_, PyString>, failed: &str) -> PyResult<()> {
    match teller.protocol.call_method0(method) {
        Ok(_) => Ok(()),
        Err(error) if errors::is_exit(method.py(), &error) => Err(error),
        Err(error) => teller.send(failed, error),
    }
}

/// The limits, high and low, as `set_write_buffer_limits(high, low)` was given them.
pub(super) fn limits(
    high: Option<Object<'_>>,
    low: Option<Object<'_>>,
    high_default: i64,
) -> PyResult<(i64, i64)> {
    let high = high.as_ref().map(bytes).transpose()?;
    let low = low.as_ref().map(bytes).transpose()?;
    let high = high.unwrap_or_else(|| low.map_or(high_default, |low| low.saturating_mul(4)));
    let low = low.unwrap_or(high.div_euclid(4));
    if !(high >= low && low >= 0) {
        return Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")));
    }
    Ok((high, low))
}

/// A number of bytes; asyncio takes fractions too.
fn bytes(number: &Object<'_>) -> PyResult<i64> {
    if let Ok(number) = number.extract::<i64>() {
        return Ok(number);
    }
    #[allow(clippy::cast_possible_truncation, reason = "saturates, which is wanted")]
    let number = number.extract::<f64>()? as i64;
    Ok(number)
}
