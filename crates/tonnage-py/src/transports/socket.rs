//! SocketTransport: TCP and Unix streams.
//!
//! The Python socket object is the one owner of the descriptor. Invariants: the loop watches the socket
//! for reading exactly while `reading.watched`, and for writing exactly while `sending` is `Blocked`;
//! `connection_lost` is scheduled once, when `lost` leaves 0; no Python code runs inside the guard.

use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyDict;
use tonnage_core::reactor::{Fd, socket};
use tonnage_core::write_queue::WriteQueue;

use super::flow_control::FlowControl;
use super::telling::Report;
use super::{attributes, methods, opening, telling};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, context};
use crate::event_loop::EventLoop;
use crate::{errors, names};

pub(crate) struct SocketTransport {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<State>,
}

pub(super) struct State {
    /// `None` before `__init__` and after `connection_lost`, as all that follow.
    pub(super) event_loop: Option<Owned<EventLoop>>,
    pub(super) sock: Option<Owned<PyAny>>,
    pub(super) fd: Fd,
    pub(super) protocol: Option<Owned<PyAny>>,
    pub(super) server: Option<Owned<PyAny>>,
    /// What `get_extra_info` knows; it stays after the end.
    pub(super) extra: Option<Owned<PyDict>>,
    /// Where the protocol's methods run.
    pub(super) context: Option<Owned<PyAny>>,
    pub(super) reading: Reading,
    pub(super) outgoing: Outgoing,
    pub(super) ending: Ending,
}

pub(super) struct Reading {
    pub(super) into: Into,
    pub(super) paused: bool,
    pub(super) watched: bool,
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
}

/// What is to be sent, and what the writers were told.
pub(super) struct Outgoing {
    pub(super) queue: WriteQueue<PyBackedBytes>,
    pub(super) sending: Sending,
    pub(super) flow: FlowControl,
    /// Was `write_eof` called?
    pub(super) eof: bool,
    /// The future of a sendfile that waits until the queue is empty.
    pub(super) empty_waiter: Option<Owned<PyAny>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing is queued.
    Idle,
    /// What is queued leaves when the turn of the loop ends.
    AtEndOfTurn,
    /// The socket took no more; it is watched.
    Blocked,
}

pub(super) struct Ending {
    /// Was it closed or aborted?
    pub(super) closing: bool,
    /// 0 until `connection_lost` is scheduled; then it counts the writes that came too late.
    pub(super) lost: u32,
}

impl Ending {
    pub(super) const fn new() -> Self {
        Self { closing: false, lost: 0 }
    }

    /// Somebody writes; how many did so since the connection was lost, and this write is one more of them.
    pub(super) fn note_write(&mut self) -> u32 {
        let late = self.lost;
        self.lost = if late == 0 { 0 } else { late.saturating_add(1) };
        late
    }
}

impl State {
    const fn empty() -> Self {
        Self {
            event_loop: None,
            sock: None,
            fd: -1,
            protocol: None,
            server: None,
            extra: None,
            context: None,
            reading: Reading { into: Into::Scratch, paused: false, watched: false },
            outgoing: Outgoing {
                queue: WriteQueue::new(),
                sending: Sending::Idle,
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

impl NativeClass for SocketTransport {
    const NAME: &'static CStr = c"tonnage.SocketTransport";
    const DOC: &'static CStr =
        c"SocketTransport(loop, sock, protocol, waiter=None, extra=None, server=None, \
        context=None)\n--\n\nA stream transport over a socket.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.sock.is_some())
    }

    fn empty() -> Option<Self> {
        Some(Self { extras: Extras::new(), state: Guarded::new(State::empty()) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(opening::init);
        slots.finalizer(finalize);
        slots.repr(attributes::repr);
        attributes::add(slots);
        methods::add(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let objects = [
                state.sock.as_ref(),
                state.protocol.as_ref(),
                state.server.as_ref(),
                state.context.as_ref(),
                state.outgoing.empty_waiter.as_ref(),
            ];
            let mut shown = visit.option(state.event_loop.as_deref());
            if shown == 0 {
                shown = visit.option(state.extra.as_deref());
            }
            for object in objects.into_iter().flatten() {
                if shown != 0 {
                    break;
                }
                shown = visit.call(object);
            }
            shown
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::empty())));
    }
}

impl SocketTransport {
    /// The loop; `None` once the connection is lost.
    #[inline]
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, EventLoop>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py)))
    }

    /// The descriptor, if it is still the socket's. Whoever closes a socket under its transport frees the
    /// number for any other file, and no byte may get there.
    #[inline]
    pub(super) fn descriptor(&self, py: Python<'_>) -> PyResult<Fd> {
        let (sock, fd) =
            self.state.with(py, |state| (state.sock.as_ref().map(|sock| sock.get_bound(py)), state.fd));
        let Some(sock) = sock else { return Err(errors::os_error(socket::closed())) };
        let now: Fd = sock.call_method0(names::fileno(py))?.extract()?;
        if now == fd && fd >= 0 { Ok(fd) } else { Err(errors::os_error(socket::closed())) }
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
}

/// An open transport that nobody holds: warns, and closes the socket.
fn finalize(transport: &Bound<'_, SocketTransport>) {
    let py = transport.py();
    let Some(sock) =
        transport.value().state.with(py, |state| state.sock.as_ref().map(|sock| sock.get_bound(py)))
    else {
        return;
    };
    let warned = telling::warn_unclosed(transport);
    let closed = sock.call_method0(names::close(py)).map(drop);
    let (sock, server) = transport.value().state.with(py, |state| (state.sock.take(), state.server.take()));
    let detached = match &server {
        Some(server) => server.bind(py).call_method1(names::_detach(py), (transport,)).map(drop),
        None => Ok(()),
    };
    drop(sock);
    for outcome in [warned, closed, detached] {
        if let Err(error) = outcome {
            error.write_unraisable(py, Some(transport));
        }
    }
}
