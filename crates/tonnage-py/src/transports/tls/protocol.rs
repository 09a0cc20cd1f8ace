//! TLSProtocol: the state of one TLS connection, and its beginning and end.
//!
//! It is the protocol of the transport below, which it passes for a BufferedProtocol to, and holds the
//! transport that the user's protocol sees. Invariants: `phase` changes as asyncio's `SSLProtocolState`
//! does; `connection_lost` lets go of both transports and of the user's protocol, so that no cycle is
//! left; no Python code runs inside the guard.

use std::ffi::CStr;
use std::sync::Arc;

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyString};
use tonnage_core::tls_records::RecordEnds;

use super::super::telling;
use super::engine::Engine;
use super::flow_control::Limits;
use super::lower::Lower;
use super::writing::Backlog;
use super::{TLSTransport, methods};
use crate::cpython::native_class::exact;
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit};
use crate::event_loop::EventLoop;
use crate::{errors, names};

pub(crate) struct TLSProtocol {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<State>,
}

pub(super) struct State {
    /// `None` before `__init__`, as the engine.
    pub(super) event_loop: Option<Owned<EventLoop>>,
    pub(super) engine: Option<Arc<Engine>>,
    pub(super) phase: Phase,
    /// `None` before `connection_made` and after `connection_lost`.
    pub(super) lower: Option<Lower>,
    pub(super) app: App,
    /// What `get_extra_info` knows beside what the transport below does.
    pub(super) extra: Option<Owned<PyDict>>,
    /// Who waits for the handshake.
    pub(super) waiter: Option<Owned>,
    pub(super) timing: Timing,
    pub(super) reading: Reading,
    pub(super) writing: Writing,
    /// Has the stream below ended?
    pub(super) eof: bool,
    /// Counts the writes that came too late.
    pub(super) lost: u32,
}

/// Where a connection is: asyncio's `SSLProtocolState`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet, or no longer, connected.
    Unwrapped,
    Handshake,
    Wrapped,
    /// What was written is sent, what was sent is read; then it is shut down.
    Flushing,
    /// The close_notify of the peer is awaited.
    Shutdown,
}

/// What the user's protocol was told: asyncio's `AppProtocolState`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    Made,
    Eof,
    Lost,
}

/// The user's side.
pub(super) struct App {
    /// `None` after `connection_lost`, as the transport.
    pub(super) protocol: Option<Owned>,
    pub(super) transport: Option<Owned<TLSTransport>>,
    pub(super) into: Into,
    pub(super) stage: Stage,
    /// Was the transport closed, or its connection lost?
    pub(super) closed: bool,
    /// Was it closed once more, so that nobody will ask about the connection?
    pub(super) is_done: bool,
}

/// What the user's protocol takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    Bytes,
    /// It lends its own memory.
    Lent,
}

pub(super) struct Timing {
    /// Seconds, as they were given.
    pub(super) handshake_s: Option<Owned>,
    pub(super) shutdown_s: Option<Owned>,
    pub(super) handshake_timer: Option<Owned>,
    pub(super) shutdown_timer: Option<Owned>,
    /// In debug mode.
    pub(super) handshake_began_ns: u64,
}

pub(super) struct Reading {
    /// Did the user's protocol pause?
    pub(super) app_paused: bool,
    /// Did we pause the transport below?
    pub(super) lower_paused: bool,
    pub(super) limits: Limits,
    pub(super) end: End,
    /// Where the records end that OpenSSL was given.
    pub(super) records: RecordEnds,
    pub(super) untold: Untold,
    /// What a transport below that knows no other way reads into.
    pub(super) lent: Option<Owned<PyByteArray>>,
}

/// What OpenSSL was given, and has not told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Untold {
    /// Records, perhaps.
    Records,
    /// The beginning of a record at most.
    Beginning,
}

/// How the peer's stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    /// With the peer's close_notify: all that it sent is here.
    Closed,
    /// Without: somebody may have cut it.
    Cut,
}

pub(super) struct Writing {
    pub(super) backlog: Backlog,
    /// Encrypted, and taken from OpenSSL before more was encrypted.
    pub(super) encrypted: Backlog,
    pub(super) encrypting: Encrypting,
    /// Did the transport below pause us?
    pub(super) lower_paused: bool,
    /// Did we pause the user's protocol?
    pub(super) app_paused: bool,
    pub(super) limits: Limits,
}

/// When the backlog is encrypted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encrypting {
    /// There is none, or it waits for the handshake or the peer.
    Not,
    /// When the transport below asks for it.
    AtEndOfTurn,
    Underway,
}

impl State {
    const fn empty() -> Self {
        Self {
            event_loop: None,
            engine: None,
            phase: Phase::Unwrapped,
            lower: None,
            app: App {
                protocol: None,
                transport: None,
                into: Into::Bytes,
                stage: Stage::Before,
                closed: false,
                is_done: false,
            },
            extra: None,
            waiter: None,
            timing: Timing {
                handshake_s: None,
                shutdown_s: None,
                handshake_timer: None,
                shutdown_timer: None,
                handshake_began_ns: 0,
            },
            reading: Reading {
                app_paused: false,
                lower_paused: false,
                limits: Limits::READ,
                end: End::NotYet,
                records: RecordEnds::new(),
                untold: Untold::Records,
                lent: None,
            },
            writing: Writing {
                backlog: Backlog::new(),
                encrypted: Backlog::new(),
                encrypting: Encrypting::Not,
                lower_paused: false,
                app_paused: false,
                limits: Limits::WRITE,
            },
            eof: false,
            lost: 0,
        }
    }
}

impl Writing {
    /// Bytes that are not handed over, without those that OpenSSL keeps.
    pub(super) fn kept(&self) -> usize {
        self.backlog.len_bytes() + self.encrypted.len_bytes()
    }
}

/// What outlives a connection while somebody may ask for it.
type Rest = (Option<Arc<Engine>>, Option<Owned<PyDict>>);

impl State {
    /// What is of no use to anybody once the connection is lost and the transport was closed for good.
    pub(super) fn take_rest(&mut self) -> Option<Rest> {
        let is_lost = self.app.stage == Stage::Lost && self.lower.is_none();
        (is_lost && self.app.is_done).then(|| (self.engine.take(), self.extra.take()))
    }
}

impl NativeClass for TLSProtocol {
    const NAME: &'static CStr = c"tonnage.TLSProtocol";
    const DOC: &'static CStr =
        c"TLSProtocol(loop, app_protocol, sslcontext, waiter=None, *, server_side=False, \
        server_hostname=None, call_connection_made=True, ssl_handshake_timeout=None, \
        ssl_shutdown_timeout=None)\n--\n\nThe protocol that puts TLS between a transport and a protocol.";
    const SUBCLASSED: bool = false;

    fn empty() -> Option<Self> {
        Some(Self { extras: Extras::new(), state: Guarded::new(State::empty()) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(methods::init);
        slots.passes_for(names::buffered_protocol);
        methods::add(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let objects = [
                state.app.protocol.as_ref(),
                state.waiter.as_ref(),
                state.timing.handshake_s.as_ref(),
                state.timing.shutdown_s.as_ref(),
                state.timing.handshake_timer.as_ref(),
                state.timing.shutdown_timer.as_ref(),
            ];
            let mut shown = visit.option(state.event_loop.as_deref());
            if shown == 0 {
                shown = visit.option(state.app.transport.as_deref());
            }
            if shown == 0 {
                shown = visit.option(state.extra.as_deref());
            }
            if shown == 0 {
                shown = state.engine.as_ref().map_or(0, |engine| engine.traverse(visit));
            }
            if shown == 0 {
                shown = state.lower.as_ref().map_or(0, |lower| lower.traverse(visit));
            }
            if shown == 0 { visit.each(objects.into_iter().flatten()) } else { shown }
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::empty())));
    }
}

impl TLSProtocol {
    /// The object as a TLS protocol, if it is one.
    #[inline]
    pub(crate) fn of<'a, 'py>(protocol: &'a Object<'py>) -> Option<&'a Bound<'py, Self>> {
        exact::<Self>(protocol)
    }

    #[inline]
    pub(super) fn phase(&self, py: Python<'_>) -> Phase {
        self.state.with(py, |state| state.phase)
    }

    pub(super) fn set_phase(&self, py: Python<'_>, phase: Phase) {
        self.state.with(py, |state| state.phase = phase);
    }

    /// `None` before `__init__`, and when nobody needs it any more.
    #[inline]
    pub(super) fn open_engine(&self, py: Python<'_>) -> Option<Arc<Engine>> {
        self.state.with(py, |state| state.engine.clone())
    }

    #[inline]
    pub(super) fn engine(&self, py: Python<'_>) -> PyResult<Arc<Engine>> {
        self.open_engine(py).ok_or_else(|| errors::not_initialised("TLSProtocol"))
    }

    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, EventLoop>> {
        let found =
            self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py)));
        found.ok_or_else(|| errors::not_initialised("TLSProtocol"))
    }

    #[inline]
    pub(super) fn lower(&self, py: Python<'_>) -> Option<Lower> {
        self.state.with(py, |state| state.lower.as_ref().map(|lower| lower.share(py)))
    }

    #[inline]
    pub(super) fn app_protocol<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.app.protocol.as_ref().map(|protocol| protocol.get_bound(py)))
    }

    /// What `get_extra_info` knows beside what the transport below does, while there is anybody to ask.
    pub(super) fn extra<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDict>> {
        self.state.with(py, |state| state.extra.as_ref().map(|extra| extra.get_bound(py)))
    }

    /// The transport that the user's protocol sees.
    pub(super) fn app_transport<'py>(&self, py: Python<'py>) -> Object<'py> {
        let found =
            self.state.with(py, |state| state.app.transport.as_ref().map(|found| found.get_bound(py)));
        found.map_or_else(|| py.None().into_bound(py), Bound::into_any)
    }

    pub(super) fn set_app_protocol(protocol: &Bound<'_, Self>, app: &Object<'_>) -> PyResult<()> {
        let py = protocol.py();
        // TLS within TLS takes bytes as they are.
        let lends = Self::of(app).is_none() && app.is_instance(names::buffered_protocol(py)?)?;
        let app = app.clone().into();
        let old = protocol.value().state.with(py, |state| {
            state.app.into = if lends { Into::Lent } else { Into::Bytes };
            state.app.protocol.replace(app)
        });
        drop(old);
        Ok(())
    }

    /// `loop.call_later(delay, self.method)`.
    pub(super) fn call_later(
        protocol: &Bound<'_, Self>,
        delay: Option<Owned>,
        method: &Bound<'_, PyString>,
    ) -> PyResult<Owned> {
        let py = protocol.py();
        let callback = protocol.getattr(method)?;
        let delay = delay.map(|delay| delay.into_bound(py));
        let event_loop = protocol.value().event_loop(py)?;
        Ok(event_loop.call_method1(names::call_later(py), (delay, callback))?.into())
    }

    /// The transport below is connected.
    pub(super) fn connection_made(protocol: &Bound<'_, Self>, transport: &Object<'_>) -> PyResult<()> {
        let py = protocol.py();
        let lower = Lower::of(transport);
        let (old, closed) =
            protocol.value().state.with(py, |state| (state.lower.replace(lower), state.app.closed));
        drop(old);
        if closed {
            // Whoever wanted the connection has given up: no handshake, which might wait for a minute.
            return Self::abort(protocol, None);
        }
        Self::start_handshake(protocol)
    }

    /// The connection below is gone.
    pub(super) fn connection_lost(protocol: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let py = protocol.py();
        let event_loop = protocol.value().event_loop(py)?;
        // Else it is we who ended it.
        let by_network = exception.is_instance_of::<PyOSError>();
        let (tells, gone, app, waiter) = protocol.value().state.with(py, |state| {
            let app = &mut state.app;
            let tells = state.phase != Phase::Handshake && matches!(app.stage, Stage::Made | Stage::Eof);
            if tells {
                app.stage = Stage::Lost;
            }
            if by_network && state.phase == Phase::Wrapped {
                state.reading.end = End::Cut;
            }
            app.closed = true;
            state.phase = Phase::Unwrapped;
            state.lost += 1;
            let timers = (state.timing.handshake_timer.take(), state.timing.shutdown_timer.take());
            let unsent = (state.writing.backlog.drain(), state.writing.encrypted.drain());
            let gone = (state.lower.take(), app.transport.take(), unsent, timers);
            (tells, gone, app.protocol.take(), state.waiter.take())
        });
        let (lower, transport, unsent, (handshake_timer, shutdown_timer)) = gone;
        drop((lower, transport, unsent));
        let mut outcome = match protocol.value().open_engine(py) {
            Some(engine) => engine.take_outgoing(py).map(drop),
            None => Ok(()),
        };
        drop(protocol.value().state.with(py, State::take_rest));
        if let Some(app) = app
            && tells
        {
            let callback = app.bind(py).getattr(names::connection_lost(py));
            let told = callback
                .and_then(|callback| event_loop.call_method1(names::call_soon(py), (callback, exception)));
            outcome = outcome.and(told.map(drop));
        }
        let exception = (!exception.is_none()).then_some(exception);
        outcome = outcome.and(wake(py, waiter, exception));
        for timer in [handshake_timer, shutdown_timer].into_iter().flatten() {
            outcome = outcome.and(timer.bind(py).call_method0(names::cancel(py)).map(drop));
        }
        outcome
    }

    /// Tells who waits for the handshake.
    pub(super) fn wake_waiter(protocol: &Bound<'_, Self>, exception: Option<&Object<'_>>) -> PyResult<()> {
        let py = protocol.py();
        let waiter = protocol.value().state.with(py, |state| state.waiter.take());
        wake(py, waiter, exception)
    }

    /// Ends the connection because of an error; an OSError is the network's, and no news.
    #[cold]
    pub(super) fn fatal_error(protocol: &Bound<'_, Self>, error: &PyErr, message: &str) -> PyResult<()> {
        let py = protocol.py();
        let exception = error.value(py).clone().into_any();
        let lower = protocol.value().lower(py);
        if let Some(lower) = &lower {
            lower.force_close(py, Some(&exception))?;
        }
        let event_loop = protocol.value().event_loop(py)?;
        if error.is_instance_of::<PyOSError>(py) {
            if !event_loop.get().debug() {
                return Ok(());
            }
            let details = PyDict::new(py);
            details.set_item("exc_info", exception)?;
            let args = ("%r: %s", protocol, message);
            return names::asyncio_logger(py)?.call_method(names::debug(py), args, Some(&details)).map(drop);
        }
        if errors::is_cancelled(py, error) {
            return Ok(());
        }
        let details = PyDict::new(py);
        details.set_item("message", message)?;
        details.set_item("exception", exception)?;
        details.set_item("transport", lower.map(|lower| lower.object(py)))?;
        details.set_item("protocol", protocol)?;
        event_loop.call_method1(names::call_exception_handler(py), (details,)).map(drop)
    }

    /// As `except Exception` of asyncio: an error of ours or of the user's protocol ends the connection;
    /// what is no Exception goes on.
    pub(super) fn guard(protocol: &Bound<'_, Self>, outcome: PyResult<()>) -> PyResult<()> {
        match outcome {
            Err(error) if error.is_instance_of::<PyException>(protocol.py()) => {
                Self::fatal_error(protocol, &error, "Fatal error on SSL protocol")
            }
            outcome => outcome,
        }
    }

    /// In debug mode: `logger.debug(format, protocol)`.
    pub(super) fn log(protocol: &Bound<'_, Self>, format: &str) -> PyResult<()> {
        let py = protocol.py();
        telling::log(protocol.as_any(), &protocol.value().event_loop(py)?, names::debug(py), format)
    }
}

fn wake(py: Python<'_>, waiter: Option<Owned>, exception: Option<&Object<'_>>) -> PyResult<()> {
    let Some(waiter) = waiter.map(|waiter| waiter.into_bound(py)) else { return Ok(()) };
    if waiter.call_method0(names::done(py))?.is_truthy()? {
        return Ok(());
    }
    match exception {
        Some(exception) => waiter.call_method1(names::set_exception(py), (exception,)).map(drop),
        None => waiter.call_method1(names::set_result(py), (py.None(),)).map(drop),
    }
}
