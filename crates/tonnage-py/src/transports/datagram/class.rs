//! DatagramTransport: a socket whose messages keep their borders.
//!
//! The Python socket object is the one owner of the descriptor. Invariants: the loop watches the socket
//! for reading exactly while `receiving.watched`, and for writing exactly while `outgoing.watched`; a timer
//! is under way while `receiving.refusals` waits; `connection_lost` is scheduled once, when `lost` leaves 0;
//! no Python code runs inside the guard.

use std::collections::VecDeque;
use std::ffi::CStr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tonnage_core::reactor::datagram::Family;
use tonnage_core::reactor::{Fd, socket};

use super::senders::Senders;
use super::{attributes, closing, methods, opening};
use crate::cpython::{Extras, Guarded, Native, NativeClass, Object, Owned, Slots, Visit, call, context};
use crate::event_loop::EventLoop;
use crate::transports::again::Refusals;
use crate::transports::attributes::Stateful;
use crate::transports::flow_control::FlowControl;
use crate::transports::stream::Ending;
use crate::transports::telling::Report;
use crate::{errors, names};

pub(crate) struct DatagramTransport {
    pub(crate) extras: Extras,
    pub(super) state: Guarded<State>,
}

pub(in crate::transports) struct State {
    /// `None` before `__init__` and after `connection_lost`, as the two that follow.
    pub(super) event_loop: Option<Owned<EventLoop>>,
    pub(super) sock: Option<Sock>,
    pub(super) protocol: Option<Owned<PyAny>>,
    pub(super) fd: Fd,
    pub(super) family: Family,
    /// What `get_extra_info` knows; it stays after the end.
    pub(super) extra: Option<Owned<PyDict>>,
    pub(super) remote: Remote,
    pub(super) receiving: Receiving,
    pub(super) outgoing: Outgoing,
    pub(super) ending: Ending,
}

/// The Python socket, and its method `fileno`, which is asked for each datagram.
pub(super) struct Sock {
    pub(super) object: Owned<PyAny>,
    pub(super) fileno: Owned<PyAny>,
}

/// Whom the transport talks to, if that is settled.
pub(super) struct Remote {
    /// The one address that `sendto` takes.
    pub(super) address: Option<Owned<PyAny>>,
    pub(super) peer: Peer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The socket is not connected.
    None,
    /// It is connected to a Unix socket without a name, as one of a pair is.
    Nameless,
    Named,
}

pub(super) struct Receiving {
    pub(super) paused: bool,
    pub(super) watched: bool,
    pub(super) refusals: Refusals,
    /// So many looks at the socket take one datagram each, before one tries to take more.
    pub(super) alone: u8,
    pub(super) senders: Senders,
    /// Where the protocol's methods run; a copy of what was current when reading began, as in asyncio.
    pub(super) context: Option<Owned<PyAny>>,
}

/// What is to be sent, and what the senders were told.
pub(super) struct Outgoing {
    pub(super) queue: VecDeque<Datagram>,
    /// The size of the queue, with `HEADER_LEN` for each datagram.
    pub(super) bytes: usize,
    pub(super) flow: FlowControl,
    pub(super) watched: bool,
    /// A copy of what was current when the socket took no more.
    pub(super) context: Option<Owned<PyAny>>,
}

/// A datagram that the socket did not take yet.
pub(super) struct Datagram {
    pub(super) data: Owned<PyBytes>,
    pub(super) address: Option<Owned<PyAny>>,
}

/// Each datagram in the queue counts for so much more, so that empty ones count, too: asyncio's `_header_size`.
const HEADER_LEN: usize = 8;

/// A queue that drained keeps room for so many datagrams.
const PLACES_KEPT: usize = 64;

impl Outgoing {
    pub(super) fn push(&mut self, py: Python<'_>, datagram: Datagram) {
        self.bytes += datagram.len(py);
        self.queue.push_back(datagram);
    }

    pub(super) fn push_front(&mut self, py: Python<'_>, datagram: Datagram) {
        self.bytes += datagram.len(py);
        self.queue.push_front(datagram);
    }

    pub(super) fn pop(&mut self, py: Python<'_>) -> Option<Datagram> {
        let datagram = self.queue.pop_front()?;
        self.bytes -= datagram.len(py);
        if self.queue.is_empty() {
            self.queue.shrink_to(PLACES_KEPT);
        }
        Some(datagram)
    }

    #[must_use]
    pub(super) fn drain(&mut self) -> VecDeque<Datagram> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

impl Datagram {
    fn len(&self, py: Python<'_>) -> usize {
        self.data.bind(py).as_bytes().len() + HEADER_LEN
    }
}

impl State {
    const fn empty() -> Self {
        Self {
            event_loop: None,
            sock: None,
            protocol: None,
            fd: -1,
            family: Family::Other,
            extra: None,
            remote: Remote { address: None, peer: Peer::None },
            receiving: Receiving {
                paused: false,
                watched: false,
                refusals: Refusals::none(),
                alone: 0,
                senders: Senders::new(),
                context: None,
            },
            outgoing: Outgoing {
                queue: VecDeque::new(),
                bytes: 0,
                flow: FlowControl::new(),
                watched: false,
                context: None,
            },
            ending: Ending::new(),
        }
    }

    pub(super) fn is_reading(&self) -> bool {
        !self.ending.closing && !self.receiving.paused
    }
}

impl NativeClass for DatagramTransport {
    const NAME: &'static CStr = c"tonnage.DatagramTransport";
    const DOC: &'static CStr = c"DatagramTransport(loop, sock, protocol, address=None, waiter=None, \
        extra=None)\n--\n\nA transport of datagrams over a socket.";

    fn needs_finalizer(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.sock.is_some())
    }

    fn empty() -> Option<Self> {
        Some(Self { extras: Extras::new(), state: Guarded::new(State::empty()) })
    }

    fn slots(slots: &mut Slots<Self>) {
        slots.init(opening::init);
        slots.finalizer(closing::finalize);
        slots.repr(attributes::repr);
        slots.passes_for(names::datagram_class);
        attributes::add(slots);
        methods::add(slots);
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.state.traverse(0, |state| {
            let shown = visit.option(state.event_loop.as_deref());
            if shown != 0 {
                return shown;
            }
            let shown = visit.option(state.extra.as_deref());
            if shown != 0 {
                return shown;
            }
            let shown = state.receiving.senders.traverse(visit);
            if shown != 0 {
                return shown;
            }
            let fields = [
                state.sock.as_ref().map(|sock| &sock.object),
                state.sock.as_ref().map(|sock| &sock.fileno),
                state.protocol.as_ref(),
                state.remote.address.as_ref(),
                state.receiving.context.as_ref(),
                state.outgoing.context.as_ref(),
            ];
            let queued = state.outgoing.queue.iter().map(|datagram| datagram.address.as_ref());
            let mut objects = fields.into_iter().chain(queued).flatten();
            objects.find_map(|object| Some(visit.call(object)).filter(|shown| *shown != 0)).unwrap_or(0)
        })
    }

    fn clear(&self, py: Python<'_>) {
        drop(self.state.with(py, |state| std::mem::replace(state, State::empty())));
    }
}

impl Stateful for DatagramTransport {
    type State = State;

    fn state(&self) -> &Guarded<State> {
        &self.state
    }
}

impl DatagramTransport {
    /// The loop; `None` once the connection is lost.
    #[inline]
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, EventLoop>> {
        self.state.with(py, |state| state.event_loop.as_ref().map(|event_loop| event_loop.get_bound(py)))
    }

    /// The loop, in methods that need one.
    pub(super) fn open_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, EventLoop>> {
        self.event_loop(py).ok_or_else(|| PyRuntimeError::new_err("the transport is closed"))
    }

    #[inline]
    pub(super) fn sock<'py>(&self, py: Python<'py>) -> Option<Object<'py>> {
        self.state.with(py, |state| state.sock.as_ref().map(|sock| sock.object.get_bound(py)))
    }

    /// The protocol, or `None`, as an object to be handed out.
    #[inline]
    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> Object<'py> {
        let found =
            self.state.with(py, |state| state.protocol.as_ref().map(|protocol| protocol.get_bound(py)));
        found.unwrap_or_else(|| py.None().into_bound(py))
    }

    /// The descriptor, if it is still the socket's: see `StreamTransport::descriptor`.
    #[inline]
    pub(super) fn descriptor(&self, py: Python<'_>) -> PyResult<Fd> {
        let (fileno, fd) = self
            .state
            .with(py, |state| (state.sock.as_ref().map(|sock| sock.fileno.get_bound(py)), state.fd));
        let Some(fileno) = fileno else { return Err(errors::os_error(socket::closed())) };
        let now: Fd = call::builtin(&fileno)?.extract()?;
        if now == fd && fd >= 0 { Ok(fd) } else { Err(errors::os_error(socket::closed())) }
    }

    /// Whom errors are told to.
    pub(super) fn teller<'a, 'py>(transport: &'a Bound<'py, Self>) -> Report<'a, 'py> {
        let py = transport.py();
        let event_loop = transport.value().event_loop(py);
        Report { transport: transport.as_any(), event_loop, protocol: transport.value().protocol(py) }
    }

    /// Runs `work` in a context, if there is one.
    #[inline]
    pub(super) fn in_context(
        in_context: Option<&Object<'_>>,
        work: impl FnOnce() -> PyResult<()>,
    ) -> PyResult<()> {
        match in_context {
            Some(found) => context::run(found, work),
            None => work(),
        }
    }

    /// As when a callback of the loop raises: the exception handler is told, and the transport stays open.
    #[inline]
    pub(super) fn end_of_callback(transport: &Bound<'_, Self>, ran: PyResult<()>) -> PyResult<()> {
        match ran {
            Ok(()) => Ok(()),
            Err(error) if errors::is_exit(transport.py(), &error) => Err(error),
            Err(error) => Self::teller(transport).send("Exception in callback of transport", error),
        }
    }

    /// `protocol.error_received(error)`: what the network says of a datagram, which ends nothing.
    #[cold]
    pub(super) fn error_received(transport: &Bound<'_, Self>, error: &PyErr) -> PyResult<()> {
        let py = transport.py();
        let protocol = transport.value().protocol(py);
        protocol.call_method1(names::error_received(py), (error.value(py),)).map(drop)
    }
}
