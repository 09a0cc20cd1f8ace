//! The end of a connection: all that was written is sent, close_notify goes both ways, and the transport
//! below is closed; or it is aborted.

use pyo3::prelude::*;

use super::super::telling;
use super::TLSProtocol;
use super::engine::{Step, is_ssl_error};
use super::handshake::cancel;
use super::protocol::{End, Phase, Stage};
use crate::cpython::{Native, Object};
use crate::{errors, names};

impl TLSProtocol {
    /// `close()` of the user's transport. Who closes what is closed, by the peer as a rule, is done with
    /// the connection: nothing of it is kept for longer than needed, as in asyncio.
    pub(super) fn close(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let (was_closed, gone) = protocol.value().state.with(py, |state| {
            let was_closed = std::mem::replace(&mut state.app.closed, true);
            state.app.is_done |= was_closed;
            (was_closed, state.take_rest())
        });
        drop(gone);
        if was_closed { Ok(()) } else { Self::start_shutdown(protocol) }
    }

    pub(super) fn start_shutdown(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let (phase, timeout) = protocol.value().state.with(py, |state| {
            let phase = state.phase;
            if matches!(phase, Phase::Handshake | Phase::Wrapped) {
                state.app.closed = true;
            }
            if phase == Phase::Wrapped {
                state.phase = Phase::Flushing;
            }
            (phase, state.timing.shutdown_s.as_ref().map(|timeout| timeout.share(py)))
        });
        match phase {
            Phase::Handshake => Self::abort(protocol, None),
            Phase::Wrapped => {
                let timer = Self::call_later(protocol, timeout, names::_check_shutdown_timeout(py))?;
                drop(protocol.value().state.with(py, |state| state.timing.shutdown_timer.replace(timer)));
                Self::do_flush(protocol)
            }
            Phase::Unwrapped | Phase::Flushing | Phase::Shutdown => Ok(()),
        }
    }

    pub(super) fn check_shutdown_timeout(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        if !matches!(protocol.value().phase(py), Phase::Flushing | Phase::Shutdown) {
            return Ok(());
        }
        let Some(lower) = protocol.value().lower(py) else { return Ok(()) };
        let error = names::timeout_error(py)?.call1(("SSL shutdown timed out",))?;
        lower.force_close(py, Some(&error))
    }

    /// Reads what is there and sends what is written, and goes on to the shutdown.
    pub(super) fn do_flush(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        Self::do_read(protocol)?;
        // A protocol that paused reading has still to be written for.
        Self::guard(protocol, Self::encrypt_backlog(protocol))?;
        // The user's protocol may have aborted it meanwhile.
        let goes_on = protocol.value().state.with(py, |state| {
            let goes_on = state.phase == Phase::Flushing;
            if goes_on {
                state.phase = Phase::Shutdown;
            }
            goes_on
        });
        if goes_on { Self::do_shutdown(protocol) } else { Ok(()) }
    }

    pub(super) fn do_shutdown(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        if !protocol.value().state.with(py, |state| state.eof) {
            match protocol.value().engine(py)?.unwrap(py) {
                Ok(Step::Done(())) => {}
                Ok(Step::Wants) => return Self::send_outgoing(protocol),
                Err(error) if is_ssl_error(py, &error) => return Self::shutdown_failed(protocol, &error),
                Err(error) => return Err(error),
            }
        }
        Self::send_outgoing(protocol)?;
        Self::call_eof_received(protocol)?;
        Self::shutdown_done(protocol)
    }

    fn shutdown_failed(protocol: &Bound<'_, Self>, error: &PyErr) -> PyResult<()> {
        let py = protocol.py();
        let timer = protocol.value().state.with(py, |state| state.timing.shutdown_timer.take());
        cancel(py, timer)?;
        Self::fatal_error(protocol, error, "Fatal error on transport")
    }

    fn shutdown_done(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let Some(lower) = protocol.value().lower(py) else { return Ok(()) };
        // The transport below sends what it holds first, which a peer that does not read can delay for
        // ever: the timer runs until the connection is lost, also if the peer began.
        let (is_timed, timeout) = protocol.value().state.with(py, |state| {
            let timing = &state.timing;
            (timing.shutdown_timer.is_some(), timing.shutdown_s.as_ref().map(|timeout| timeout.share(py)))
        });
        if !is_timed {
            let timer = Self::call_later(protocol, timeout, names::_check_shutdown_timeout(py))?;
            drop(protocol.value().state.with(py, |state| state.timing.shutdown_timer.replace(timer)));
        }
        let close = lower.object(py).getattr(names::close(py))?;
        protocol.value().event_loop(py)?.call_method1(names::call_soon(py), (close,)).map(drop)
    }

    /// Ends the connection at once.
    pub(super) fn abort(protocol: &Bound<'_, Self>, exception: Option<&Object<'_>>) -> PyResult<()> {
        let py = protocol.py();
        // asyncio would have sent these already.
        let sent = if protocol.value().phase(py) == Phase::Wrapped {
            Self::guard(protocol, Self::encrypt_backlog(protocol))
        } else {
            Ok(())
        };
        protocol.value().set_phase(py, Phase::Unwrapped);
        let ended = match protocol.value().lower(py) {
            Some(lower) => lower.force_close(py, exception),
            None => Ok(()),
        };
        sent.and(ended)
    }

    /// The peer sent close_notify: all that it had to say is here.
    pub(super) fn peer_closed(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        protocol.value().state.with(py, |state| state.reading.end = End::Closed);
        Self::call_eof_received(protocol)?;
        Self::start_shutdown(protocol)
    }

    fn call_eof_received(protocol: &Bound<'_, Self>) -> PyResult<()> {
        let py = protocol.py();
        let is_first = protocol.value().state.with(py, |state| {
            let is_first = state.app.stage == Stage::Made;
            if is_first {
                state.app.stage = Stage::Eof;
            }
            is_first
        });
        let Some(app) = protocol.value().app_protocol(py).filter(|_| is_first) else { return Ok(()) };
        let keep_open = app.call_method0(names::eof_received(py)).and_then(|kept| kept.is_truthy());
        match keep_open {
            Ok(false) => Ok(()),
            Ok(true) => telling::warn(py, "returning true from eof_received() has no effect when using ssl"),
            Err(error) if errors::is_exit(py, &error) => Err(error),
            Err(error) => Self::fatal_error(protocol, &error, "Error calling eof_received()"),
        }
    }
}
