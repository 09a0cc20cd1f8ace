//! Writing: bytes are queued, and leave in one piece when the turn of the loop ends.
//!
//! They leave at once if no turn is under way, or if there is as much as a socket takes. The socket is
//! watched only while it takes no more. `bytes` are kept as they are; all else is copied when queued.

use std::io::{self, IoSlice};
use std::mem;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use tonnage_core::reactor::socket;
use tonnage_core::write_queue::WriteQueue;

use super::again::{Refusals, try_again};
use super::file_waiter::wake;
use super::source::{Descriptor, Kind};
use super::stream::Sending;
use super::{AcceptedSocket, StreamTransport, TLSProtocol, chunks, telling};
use crate::cpython::buffer::snapshot;
use crate::cpython::{Native, Object, Owned};
use crate::event_loop::{Direction, EventLoop};
use crate::{errors, names};

/// So much waits for the end of the turn, and not more: asyncio's high-water mark, and about what a
/// fresh socket takes.
const HELD_MAX: usize = 64 * 1024;

/// What came of an attempt to send all that is queued.
pub(super) enum Sent {
    All,
    /// A part was taken, or nothing.
    Some,
    /// The kernel lacks the memory to take any.
    Starved,
    Failed(io::Error),
}

impl Sent {
    pub(super) fn not_all(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            Self::Some
        } else if socket::is_out_of_memory(&error) {
            Self::Starved
        } else {
            Self::Failed(error)
        }
    }
}

impl StreamTransport {
    pub(super) fn write(transport: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        if !chunks::is_data(data) {
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes, bytearray, or memoryview object, not {}",
                data.get_type().name()?.repr()?
            )));
        }
        Self::check_writable(transport, ["write", "write"])?;
        let data = snapshot(data)?;
        if data.as_bytes().is_empty() || !Self::is_in_time(transport)? {
            return Ok(());
        }
        let py = transport.py();
        transport.value().state.with(py, |state| state.outgoing.queue.push(PyBackedBytes::from(data)));
        Self::queued(transport)
    }

    pub(super) fn writelines(transport: &Bound<'_, Self>, lines: &Object<'_>) -> PyResult<()> {
        Self::check_writable(transport, ["writelines", "writelines"])?;
        if !lines.is_truthy()? {
            return Ok(());
        }
        Self::push_all(transport, chunks::of_lines(lines)?)
    }

    /// As `write` of each, but they are sent together.
    pub(super) fn write_all(transport: &Bound<'_, Self>, chunks: Vec<PyBackedBytes>) -> PyResult<()> {
        Self::check_writable(transport, ["write", "write"])?;
        Self::push_all(transport, chunks)
    }

    fn push_all(transport: &Bound<'_, Self>, chunks: Vec<PyBackedBytes>) -> PyResult<()> {
        if !Self::is_in_time(transport)? || chunks.is_empty() {
            return Ok(());
        }
        let push = |queue: &mut WriteQueue<_>| chunks.into_iter().for_each(|chunk| queue.push(chunk));
        transport.value().state.with(transport.py(), |state| push(&mut state.outgoing.queue));
        Self::queued(transport)
    }

    /// Refuses writes after `write_eof`, and while a sendfile has the socket.
    fn check_writable(transport: &Bound<'_, Self>, [method, verb]: [&str; 2]) -> PyResult<()> {
        let py = transport.py();
        let (eof, sends_file) = transport.value().state.with(py, |state| {
            let outgoing = &state.outgoing;
            (outgoing.eof, outgoing.empty_waiter.is_some())
        });
        if eof {
            return Err(PyRuntimeError::new_err(format!("Cannot call {method}() after write_eof()")));
        }
        if sends_file {
            return Err(PyRuntimeError::new_err(format!("unable to {verb}; sendfile is in progress")));
        }
        Ok(())
    }

    /// Is it still possible to write? Late writes are counted, and logged from the fifth on.
    fn is_in_time(transport: &Bound<'_, Self>) -> PyResult<bool> {
        let py = transport.py();
        let (late, kind) = transport.value().state.with(py, |state| {
            let ending = &mut state.ending;
            let is_late = ending.lost || (ending.closing && state.source.kind == Kind::WritePipe);
            (is_late.then(|| ending.note_late_write()), state.source.kind)
        });
        if late == Some(true) {
            telling::warn(py, kind.wrote_late())?;
        }
        Ok(late.is_none())
    }

    /// Sends as much of `data` as is taken at once, if nothing has to leave before it, and returns how much that was.
    /// An error shows when the rest is written, which must be. Runs no Python code.
    pub(super) fn send_at_once(transport: &Bound<'_, Self>, data: &[u8]) -> usize {
        let py = transport.py();
        let state = &transport.value().state;
        let is_next = state.with(py, |state| {
            let outgoing = &state.outgoing;
            let takes = !outgoing.eof && outgoing.empty_waiter.is_none() && !state.ending.lost;
            takes && outgoing.queue.is_empty() && outgoing.sending != Sending::Blocked
        });
        let Some(fd) = transport.value().plain_socket(py).filter(|_| is_next) else { return 0 };
        socket::send(fd, data).unwrap_or_else(|error| {
            if let Sent::Failed(error) = Sent::not_all(error) {
                state.with(py, |state| state.outgoing.failed = Some(error));
            }
            0
        })
    }

    /// Something was queued: decides when it leaves.
    fn queued(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (sending, held) = transport
            .value()
            .state
            .with(py, |state| (state.outgoing.sending, state.outgoing.queue.len_bytes()));
        if sending == Sending::Blocked {
            return Self::pause_writers(transport);
        }
        let event_loop = transport.value().open_loop(py)?;
        if held >= HELD_MAX || !event_loop.get().is_own_thread() {
            return Self::send(transport);
        }
        if sending == Sending::Idle {
            Self::hold(transport, &event_loop);
        }
        Ok(())
    }

    /// Sends when the turn ends.
    fn hold(transport: &Bound<'_, Self>, event_loop: &Bound<'_, EventLoop>) {
        let py = transport.py();
        transport.value().state.with(py, |state| state.outgoing.sending = Sending::AtEndOfTurn);
        event_loop.get().flush_later(py, Owned::from(transport));
    }

    /// TLS has something to send: will it be asked for that when the turn ends?
    pub(super) fn asks_at_end_of_turn(transport: &Bound<'_, Self>) -> bool {
        let py = transport.py();
        let sending =
            transport.value().state.with(py, |state| (!state.ending.lost).then_some(state.outgoing.sending));
        match (sending, transport.value().event_loop(py)) {
            (Some(Sending::AtEndOfTurn), _) => true,
            (Some(Sending::Idle), Some(event_loop)) if event_loop.get().is_own_thread() => {
                Self::hold(transport, &event_loop);
                true
            }
            _ => false,
        }
    }

    /// TLS that waits for the end of the turn, if that is what the transport waits for.
    pub(super) fn waiting_tls<'py>(transport: &Bound<'py, Self>) -> Option<Bound<'py, TLSProtocol>> {
        let py = transport.py();
        let protocol = transport.value().state.with(py, |state| {
            let protocol = state.protocol.as_ref().filter(|_| state.outgoing.sending == Sending::AtEndOfTurn);
            protocol.map(|protocol| protocol.get_bound(py))
        });
        protocol.and_then(|protocol| TLSProtocol::of(&protocol).cloned())
    }

    /// The turn in which it was written to is over. Only what must leave the loop comes back as an error.
    pub(crate) fn flush(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let is_held =
            transport.value().state.with(py, |state| state.outgoing.sending == Sending::AtEndOfTurn);
        if !is_held {
            return Ok(());
        }
        Self::in_context(transport, || Self::send(transport))
    }

    /// Bytes are taken again. Only what must leave the loop comes back as an error.
    pub(crate) fn writable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (is_wanted, has_room_for_file) = transport.value().state.with(py, |state| {
            let is_wanted = state.outgoing.sending == Sending::Blocked && !state.ending.lost;
            (is_wanted, state.outgoing.queue.is_empty())
        });
        if !is_wanted {
            return Ok(());
        }
        Self::in_context(transport, || {
            if has_room_for_file { Self::wake_file(transport) } else { Self::send(transport) }
        })
    }

    /// Sends what is queued, as far as it is taken, and tells whom it concerns.
    pub(super) fn send(transport: &Bound<'_, Self>) -> PyResult<()> {
        match Self::try_send(transport) {
            Ok(sent) => Self::ended(transport, sent),
            Err(error) => Self::send_failed(transport, error),
        }
    }

    pub(super) fn ended(transport: &Bound<'_, Self>, sent: Sent) -> PyResult<()> {
        match sent {
            Sent::All => Self::sent_all(transport),
            Sent::Some => Self::wait_until_writable(transport),
            Sent::Starved => Self::wait_for_memory(transport),
            Sent::Failed(error) => Self::write_failed(transport, errors::os_error(error)),
        }
    }

    #[cold]
    pub(super) fn send_failed(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        if errors::is_exit(transport.py(), &error) {
            Err(error)
        } else {
            Self::write_failed(transport, error)
        }
    }

    fn try_send(transport: &Bound<'_, Self>) -> PyResult<Sent> {
        let py = transport.py();
        if let Some(tls) = Self::waiting_tls(transport) {
            TLSProtocol::hand_over(&tls)?;
        }
        let state = &transport.value().state;
        let into = transport.value().descriptor(py)?;
        let sent = state.with(py, |state| match state.outgoing.failed.take() {
            Some(error) => Sent::Failed(error),
            None => send_queue(into, &mut state.outgoing.queue),
        });
        Self::drop_sent(transport);
        Ok(sent)
    }

    /// Dropping a chunk may run the code of a subclass of bytes.
    pub(super) fn drop_sent(transport: &Bound<'_, Self>) {
        let state = &transport.value().state;
        while let Some(chunk) = state.with(transport.py(), |state| state.outgoing.queue.pop_sent()) {
            drop(chunk);
        }
    }

    /// Tries to send what only waits for the end of the turn, before the rest is thrown away.
    pub(super) fn send_held(transport: &Bound<'_, Self>) {
        let py = transport.py();
        if transport.value().state.with(py, |state| state.outgoing.sending == Sending::AtEndOfTurn) {
            // An error is no news to a connection that is being aborted.
            drop(Self::try_send(transport));
        }
    }

    /// In a forked child: drops what only waits for the end of the turn, because the parent sends it.
    pub(crate) fn forget_held(transport: &Bound<'_, Self>) {
        let py = transport.py();
        if let Some(tls) = Self::waiting_tls(transport) {
            TLSProtocol::forget_backlog(&tls);
        }
        let held = transport.value().state.with(py, |state| {
            let is_held = state.outgoing.sending == Sending::AtEndOfTurn;
            is_held.then(|| {
                state.outgoing.sending = Sending::Idle;
                state.outgoing.queue.drain()
            })
        });
        drop(held);
    }

    fn sent_all(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        Self::stop_sending(transport)?;
        // This may write more.
        Self::resume_writers(transport)?;
        let (waiter, is_empty, closes, eof) = transport.value().state.with(py, |state| {
            let outgoing = &state.outgoing;
            let waiter = outgoing.empty_waiter.as_ref().map(|waiter| waiter.get_bound(py));
            let closes = state.ending.closing && !state.ending.lost;
            (waiter, outgoing.queue.is_empty(), closes, outgoing.eof)
        });
        if !is_empty {
            return Ok(());
        }
        if let Some(waiter) = waiter {
            wake(&waiter)?;
        }
        if closes {
            return Self::lose_connection(transport, None);
        }
        if eof { Self::shut_down(transport) } else { Ok(()) }
    }

    pub(super) fn wait_until_writable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (fd, watched) = transport.value().state.with(py, |state| {
            let starved = mem::replace(&mut state.outgoing.starved, false);
            let watched = state.outgoing.sending == Sending::Blocked && !starved;
            state.outgoing.sending = Sending::Blocked;
            (state.source.fd, watched)
        });
        if watched {
            Self::resume_writers(transport)?;
        } else {
            let event_loop = transport.value().open_loop(py)?;
            let watched = event_loop.get().watch_transport(py, fd, Direction::Write, transport.into());
            if let Err(error) = watched {
                return Self::not_watched(transport, error);
            }
            transport.value().state.with(py, |state| state.outgoing.refusals = Refusals::none());
        }
        Self::pause_writers(transport)
    }

    /// Unless that passes, nothing would ever leave.
    #[cold]
    fn not_watched(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        let is_starved = errors::is_starved(py, &error);
        if transport.value().state.with(py, |state| state.outgoing.refusals.note(is_starved)) {
            Self::wait_for_memory(transport)
        } else {
            Self::write_failed(transport, error)
        }
    }

    /// Tries again later. It is not watched meanwhile: a socket counts as writable all the time.
    #[cold]
    fn wait_for_memory(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let event_loop = transport.value().open_loop(py)?;
        let (fd, sending, starved) = transport.value().state.with(py, |state| {
            let sending = mem::replace(&mut state.outgoing.sending, Sending::Blocked);
            (state.source.fd, sending, mem::replace(&mut state.outgoing.starved, true))
        });
        if sending == Sending::Blocked && !starved {
            event_loop.get().unwatch(py, fd, Direction::Write)?;
        }
        try_again(&event_loop, &transport.getattr(names::_send_again(py))?)?;
        Self::pause_writers(transport)
    }

    /// The kernel may have memory again.
    pub(super) fn send_again(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let is_wanted = transport.value().state.with(py, |state| {
            state.outgoing.sending == Sending::Blocked && state.outgoing.starved && !state.ending.lost
        });
        if is_wanted { Self::send(transport) } else { Ok(()) }
    }

    /// Nothing is queued any more: watches for writing no more.
    pub(super) fn stop_sending(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (sending, fd) = transport.value().state.with(py, |state| {
            state.outgoing.starved = false;
            (mem::replace(&mut state.outgoing.sending, Sending::Idle), state.source.fd)
        });
        match (sending, transport.value().event_loop(py)) {
            (Sending::Blocked, Some(event_loop)) => {
                event_loop.get().unwatch(py, fd, Direction::Write).map(drop)
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn write_failed(transport: &Bound<'_, Self>, error: PyErr) -> PyResult<()> {
        let py = transport.py();
        let unsent = transport.value().state.with(py, |state| state.outgoing.queue.drain());
        drop(unsent);
        let exception = error.value(py).clone().into_any();
        Self::stop_sending(transport)?;
        Self::fatal_error(transport, error, transport.value().kind(py).write_failed())?;
        Self::fail_empty_waiter(transport, &exception)
    }

    pub(super) fn write_eof(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let sending = transport.value().state.with(py, |state| {
            if state.ending.closing || state.outgoing.eof {
                return None;
            }
            state.outgoing.eof = true;
            Some(state.outgoing.sending)
        });
        match sending {
            Some(Sending::Idle) => Self::shut_down(transport),
            Some(Sending::AtEndOfTurn) => Self::send(transport),
            // It follows the last byte.
            Some(Sending::Blocked) | None => Ok(()),
        }
    }

    pub(super) fn shut_down(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let sock = transport
            .value()
            .state
            .with(py, |state| state.source.owner.as_ref().map(|sock| sock.get_bound(py)));
        let Some(sock) = sock else { return Ok(()) };
        let sock = AcceptedSocket::socket_of(sock)?;
        sock.call_method1(names::shutdown(py), (names::shut_wr(py)?,)).map(drop)
    }
}

/// As many chunks need no large array: a response, as a rule.
pub(super) const SLICES_FEW: usize = 8;

fn send_queue(into: Descriptor, queue: &mut WriteQueue<PyBackedBytes>) -> Sent {
    while queue.len_bytes() > 0 {
        let outcome = if queue.len_chunks() <= SLICES_FEW {
            send_slices::<SLICES_FEW>(into, queue)
        } else {
            send_many(into, queue)
        };
        match outcome {
            Ok((sent, offered)) => {
                queue.advance(sent);
                if sent < offered {
                    return Sent::Some;
                }
            }
            Err(error) => return Sent::not_all(error),
        }
    }
    Sent::All
}

#[inline(never)]
fn send_many(into: Descriptor, queue: &WriteQueue<PyBackedBytes>) -> io::Result<(usize, usize)> {
    send_slices::<{ socket::SLICES_MAX }>(into, queue)
}

/// Sends the first chunks; returns how many bytes were sent, and how many were offered.
#[inline]
fn send_slices<const N: usize>(
    into: Descriptor,
    queue: &WriteQueue<PyBackedBytes>,
) -> io::Result<(usize, usize)> {
    let mut slices = [IoSlice::new(&[]); N];
    let slices = queue.io_slices(&mut slices);
    let offered = slices.iter().map(|slice| slice.len()).sum();
    Ok((into.write(slices)?, offered))
}
