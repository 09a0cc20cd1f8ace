//! StreamTransport: what all transports of a stream of bytes are made of.
//!
//! Sockets (`socket.rs`) and pipes (`pipe.rs`) inherit from it, and add what Python sees of them. The
//! Python object in `source` is the one owner of the descriptor. Invariants: the loop watches the
//! descriptor for reading exactly while `reading.watched`, and for writing exactly while `sending` is
//! `Blocked` and it is not `starved`; a timer is under way while it is, or `reading.refusals` waits;
//! `connection_lost` is scheduled once, when `ending.lost` becomes true; no Python code runs inside the guard.

use std::ffi::CStr;
use std::io;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyString};
use tonnage_core::write_queue::WriteQueue;

use super::again::Refusals;
use super::attributes::Stateful;
use super::flow_control::FlowControl;
use super::source::{self, Kind, Source};
use super::telling::{self, Report};
use super::{AcceptedSocket, attributes, closing, methods};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, context};
use crate::errors;
use crate::event_loop::EventLoop;

pub(crate) struct StreamTransport {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<State>,
}

pub(super) struct State {
    pub(super) source: Source,
    /// `None` before `__init__` and after `connection_lost`, as all that follow.
    pub(super) event_loop: Option<Owned<EventLoop>>,
    pub(super) protocol: Option<Owned<PyAny>>,
    pub(super) server: Option<Owned<PyAny>>,
    /// What `get_extra_info` knows; it stays after the end.
    pub(super) extra: Extra,
    /// Where the protocol's methods run.
    pub(super) context: Option<Owned<PyAny>>,
    pub(super) reading: Reading,
    pub(super) outgoing: Outgoing,
    pub(super) ending: Ending,
}

pub(super) enum Extra {
    /// Nothing: before `__init__`.
    None,
    Known(Owned<PyDict>),
    /// What the accepted socket tells, once somebody asks.
    Of(Owned<AcceptedSocket>),
}

pub(super) struct Reading {
    pub(super) into: Into,
    pub(super) paused: bool,
    pub(super) watched: bool,
    pub(super) refusals: Refusals,
}

/// Where the next read puts its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// Into the thread's scratch buffer, to be copied.
    Scratch,
    /// Into a bytes object, because the last read was large.
    Object,
    /// Into what the protocol lends.
    Lent,
    /// Nowhere: that a pipe to write to is readable means that its reader is gone.
    Nowhere,
}

/// What is to be sent, and what the writers were told.
pub(super) struct Outgoing {
    pub(super) queue: WriteQueue<PyBackedBytes>,
    /// What went wrong when something was sent that was not queued; the kernel tells only once.
    pub(super) failed: Option<io::Error>,
    pub(super) sending: Sending,
    /// While `Blocked`: did the kernel lack memory, and not the descriptor room?
    pub(super) starved: bool,
    pub(super) refusals: Refusals,
    pub(super) flow: FlowControl,
    /// Was `write_eof` called?
    pub(super) eof: bool,
    /// The future of a sendfile, which waits until the queue is empty, then until the socket has room.
    pub(super) empty_waiter: Option<Owned<PyAny>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing is queued.
    Idle,
    /// What is queued leaves when the turn of the loop ends.
    AtEndOfTurn,
    /// No more was taken, of the queue or of a file; it is watched.
    Blocked,
}

pub(super) struct Ending {
    /// Was it closed or aborted?
    pub(super) closing: bool,
    /// Is `connection_lost` scheduled?
    pub(super) lost: bool,
    /// Writes that came too late.
    pub(super) late_writes: u32,
}

impl Ending {
    pub(super) const fn new() -> Self {
        Self { closing: false, lost: false, late_writes: 0 }
    }

    /// Counts a write that comes too late; is it one of those that are logged?
    #[must_use]
    pub(super) fn note_late_write(&mut self) -> bool {
        self.late_writes = self.late_writes.saturating_add(1);
        self.late_writes >= LATE_WRITES_MAX
    }
}

/// asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`.
pub(super) const LATE_WRITES_MAX: u32 = 5;

impl State {
    const fn empty(kind: Kind) -> Self {
        Self {
            source: Source::empty(kind),
            event_loop: None,
            protocol: None,
            server: None,
            extra: Extra::None,
            context: None,
            reading: Reading {
                into: Into::Scratch,
                paused: false,
                watched: false,
                refusals: Refusals::none(),
            },
            outgoing: Outgoing {
                queue: WriteQueue::new(),
                failed: None,
                sending: Sending::Idle,
                starved: false,
                refusals: Refusals::none(),
                flow: FlowControl::new(),
                eof: false,
                empty_waiter: None,
            },
            ending: Ending::new(),
        }
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.ending.closing && !self.reading.paused
    }
}

impl Stateful for StreamTransport {
    type State = State;

    fn state(&self) -> &Guarded<State> {
        &self.state
    }
}

impl StreamTransport {
    pub(super) const fn new(kind: Kind) -> Self {
        Self { extras: Extras::new(), state: Guarded::new(State::empty(kind)) }
    }
}

impl NativeClass for StreamTransport {
    const NAME: &'static CStr = c"tonnage.StreamTransport";
    const DOC: &'static CStr = c"A transport of a stream of bytes.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.source.owner.is_some())
    }

    fn empty() -> Option<Self> {
        None
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.finalizer(finalize);
        attributes::add(slots);
        methods::add(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let objects = [
                state.source.owner.as_ref(),
                state.protocol.as_ref(),
                state.server.as_ref(),
                state.context.as_ref(),
                state.outgoing.empty_waiter.as_ref(),
            ];
            let mut shown = visit.option(state.event_loop.as_deref());
            if shown == 0 {
                shown = match &state.extra {
                    Extra::None => 0,
                    Extra::Known(extra) => visit.call(extra),
                    Extra::Of(accepted) => visit.call(accepted),
                };
            }
            if shown == 0 { visit.each(objects.into_iter().flatten()) } else { shown }
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| {
            let kind = state.source.kind;
            std::mem::replace(state, State::empty(kind))
        }));
    }
}

impl StreamTransport {
    /// The loop; `None` once the connection is lost.
    #[inline]
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, EventLoop>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py)))
    }

    /// The loop, in methods that need one.
    pub(super) fn open_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, EventLoop>> {
        self.event_loop(py).ok_or_else(|| PyRuntimeError::new_err("the transport is closed"))
    }

    /// The protocol, or `None`, as an object to be handed out.
    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> Object<'py> {
        let found =
            self.state.with(py, |state| state.protocol.as_ref().map(|protocol| protocol.get_bound(py)));
        found.unwrap_or_else(|| py.None().into_bound(py))
    }

    /// `loop.call_soon(callback, *args, context=...)`, in the transport's context; nothing once it is gone.
    pub(super) fn call_soon(
        transport: &Bound<'_, Self>,
        callback: &Object<'_>,
        args: &[&Object<'_>],
    ) -> PyResult<()> {
        let py = transport.py();
        let (event_loop, in_context) = transport.value().state.with(py, |state| {
            let event_loop = state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py));
            (event_loop, state.context.as_ref().map(|in_context| in_context.get_bound(py)))
        });
        let Some(event_loop) = event_loop else { return Ok(()) };
        telling::call_soon(&event_loop, in_context.as_ref(), callback, args)
    }

    /// Runs `work` as a callback of the loop would run: in the transport's context, and with errors told
    /// to the exception handler. Only what must leave the loop comes back.
    #[inline]
    pub(super) fn in_context(
        transport: &Bound<'_, Self>,
        work: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        let py = transport.py();
        let found =
            transport.value().state.with(py, |state| state.context.as_ref().map(|found| found.get_bound(py)));
        let ran = match &found {
            Some(found) => context::run(found, work),
            None => work(),
        };
        match ran {
            Ok(()) => Ok(()),
            Err(error) if errors::is_exit(py, &error) => Err(error),
            Err(error) => Self::report(transport, "Exception in callback of transport", error),
        }
    }

    /// Tells the loop's exception handler.
    #[cold]
    pub(super) fn report(transport: &Bound<'_, Self>, message: &str, error: PyErr) -> PyResult<()> {
        Self::teller(transport).send(message, error)
    }

    /// Whom errors are told to.
    pub(super) fn teller<'a, 'py>(transport: &'a Bound<'py, Self>) -> Report<'a, 'py> {
        let py = transport.py();
        let event_loop = transport.value().event_loop(py);
        Report { transport: transport.as_any(), event_loop, protocol: transport.value().protocol(py) }
    }

    /// In debug mode: `logger.debug(format, transport)`, or another level.
    #[inline]
    pub(super) fn log(
        transport: &Bound<'_, Self>,
        level: &Bound<'_, PyString>,
        format: &str,
    ) -> PyResult<()> {
        telling::log(transport.as_any(), &transport.value().open_loop(transport.py())?, level, format)
    }
}

/// An open transport that nobody holds: warns, and closes the descriptor.
fn finalize(transport: &Bound<'_, StreamTransport>) {
    let py = transport.py();
    let owner = transport
        .value()
        .state
        .with(py, |state| state.source.owner.as_ref().map(|owner| owner.get_bound(py)));
    let Some(owner) = owner else { return };
    let warned = telling::warn_unclosed(transport.as_any());
    let closed = source::close(&owner);
    let gone = transport.value().state.with(py, |state| (state.source.owner.take(), state.server.take()));
    let (owner, server) = gone;
    let detached = closing::detach(transport, server);
    drop(owner);
    for outcome in [warned, closed, detached] {
        if let Err(error) = outcome {
            error.write_unraisable(py, Some(transport));
        }
    }
}
