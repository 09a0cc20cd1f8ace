//! The handshake: from `connection_made` of the transport below to that of the user's protocol.

use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError, PyException};
use pyo3::prelude::*;
use tonnage_core::clock;

use super::TLSProtocol;
use super::engine::{Step, is_ssl_error};
use super::protocol::{Phase, Stage};
use crate::cpython::{Native, Owned};
use crate::names;

impl TLSProtocol {
    pub(super) fn start_handshake(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        Self::log(protocol, "%r starts SSL handshake")?;
        let timeout = protocol.value().state.with(py, |state| {
            state.timing.handshake_began_ns = clock::now_ns();
            state.phase = Phase::Handshake;
            state.timing.handshake_s.as_ref().map(|timeout| timeout.share(py))
        });
        let timer = Self::call_later(protocol, timeout, names::_check_handshake_timeout(py))?;
        drop(protocol.value().state.with(py, |state| state.timing.handshake_timer.replace(timer)));
        Self::do_handshake(protocol)
    }

    pub(super) fn check_handshake_timeout(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let timeout = protocol.value().state.with(py, |state| match state.phase {
            Phase::Handshake => state.timing.handshake_s.as_ref().map(|timeout| timeout.share(py)),
            _ => None,
        });
        let Some(timeout) = timeout else { return Ok(()) };
        let seconds = timeout.bind(py).str()?;
        let text = format!("SSL handshake is taking longer than {seconds} seconds: aborting the connection");
        Self::fatal_error(protocol, &PyConnectionAbortedError::new_err(text), "Fatal error on transport")
    }

    pub(super) fn do_handshake(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        match protocol.value().engine(py)?.handshake(py) {
            Ok(Step::Done(())) => Self::handshake_done(protocol),
            Ok(Step::Wants) => Self::send_outgoing(protocol),
            Err(error) if is_ssl_error(py, &error) => Self::handshake_failed(protocol, error),
            Err(error) => Err(error),
        }
    }

    /// The stream ended before the handshake did.
    pub(super) fn handshake_cut(protocol: &Bound<'_, Self>) -> PyResult<()> {
        Self::handshake_failed(protocol, PyConnectionResetError::new_err(()))
    }

    fn handshake_done(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let object = protocol.value().engine(py)?.object(py);
        let timer = protocol.value().state.with(py, |state| {
            // A callback of the context may have ended the connection.
            if state.phase == Phase::Handshake {
                state.phase = Phase::Wrapped;
            }
            state.timing.handshake_timer.take()
        });
        cancel(py, timer)?;
        if protocol.value().phase(py) != Phase::Wrapped {
            return Ok(());
        }
        let certificate = match object.call_method0(names::getpeercert(py)) {
            Ok(certificate) => certificate,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                return Self::handshake_failed(protocol, error);
            }
            Err(error) => return Err(error),
        };
        Self::log_duration(protocol)?;
        if let Some(extra) = protocol.value().extra(py) {
            extra.set_item(names::peercert(py), certificate)?;
            extra.set_item(names::cipher(py), object.call_method0(names::cipher(py))?)?;
            extra.set_item(names::compression(py), object.call_method0(names::compression(py))?)?;
            extra.set_item(names::ssl_object(py), object)?;
        }
        let is_first = protocol.value().state.with(py, |state| {
            let is_first = state.app.stage == Stage::Before;
            if is_first {
                state.app.stage = Stage::Made;
            }
            is_first
        });
        if let Some(app) = protocol.value().app_protocol(py)
            && is_first
        {
            app.call_method1(names::connection_made(py), (protocol.value().app_transport(py),))?;
        }
        Self::wake_waiter(protocol, None)?;
        Self::do_read(protocol)
    }

    #[cold]
    fn handshake_failed(protocol: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = protocol.py();
        let timer = protocol.value().state.with(py, |state| {
            state.phase = Phase::Unwrapped;
            state.timing.handshake_timer.take()
        });
        cancel(py, timer)?;
        let message = if error.matches(py, names::certificate_error(py)?)? {
            "SSL handshake failed on verifying the certificate"
        } else {
            "SSL handshake failed"
        };
        let exception = error.value(py).clone().into_any();
        let told = Self::fatal_error(protocol, &error, message);
        told.and(Self::wake_waiter(protocol, Some(&exception)))
    }

    fn log_duration(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        if !protocol.value().event_loop(py)?.get().debug() {
            return Ok(());
        }
        let began_ns = protocol.value().state.with(py, |state| state.timing.handshake_began_ns);
        let took_ms = clock::to_seconds(clock::now_ns() - began_ns) * 1e3;
        let args = ("%r: SSL handshake took %.1f ms", protocol, took_ms);
        names::asyncio_logger(py)?.call_method1(names::debug(py), args).map(drop)
    }
}

/// Cancels a timer, if there is one.
pub(super) fn cancel(py: Python<'_>, timer: Option<Owned>) -> PyResult<()> {
    match timer {
        Some(timer) => timer.bind(py).call_method0(names::cancel(py)).map(drop),
        None => Ok(()),
    }
}
