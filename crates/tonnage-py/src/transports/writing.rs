//! Writing: bytes are queued, and leave in one piece when the turn of the loop ends.
//!
//! They leave at once if no turn is under way, or if there is as much as a socket takes. The socket is
//! watched only while it takes no more. `bytes` are kept as they are; all else is copied when queued.

use std::io::{self, IoSlice};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use tonnage_core::reactor::{Fd, socket};
use tonnage_core::write_queue::WriteQueue;

use super::socket::Sending;
use super::{SocketTransport, telling};
use crate::cpython::buffer::snapshot;
use crate::cpython::{Native, Object, Owned};
use crate::event_loop::Direction;
use crate::{errors, names};

/// So much waits for the end of the turn, and not more: asyncio's high-water mark, and about what a
/// fresh socket takes.
const HELD_MAX: usize = 64 * 1024;

/// asyncio's `LOG_THRESHOLD_FOR_CONNLOST_WRITES`.
pub(super) const LATE_WRITES_MAX: u32 = 5;

pub(super) const WRITE_FAILED: &str = "Fatal write error on socket transport";

/// What came of an attempt to send all that is queued.
enum Sent {
    All,
    /// The socket took a part, or nothing.
    Some,
    Failed(io::Error),
}

impl SocketTransport {
    pub(super) fn write(transport: &Bound<'_, Self>, data: &Object<'_>) -> PyResult<()> {
        let is_data = data.is_instance_of::<PyBytes>()
            || data.is_instance_of::<PyByteArray>()
            || data.is_instance_of::<PyMemoryView>();
        if !is_data {
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
        let py = transport.py();
        Self::check_writable(transport, ["writelines", "writelines"])?;
        if !lines.is_truthy()? {
            return Ok(());
        }
        let mut chunks = vec![];
        for line in lines.try_iter()? {
            let line = line?;
            let chunk = match line.cast_into::<PyBytes>() {
                Ok(bytes) => bytes,
                Err(other) => snapshot(PyMemoryView::from(&other.into_inner())?.as_any())?,
            };
            if !chunk.as_bytes().is_empty() {
                chunks.push(PyBackedBytes::from(chunk));
            }
        }
        if !Self::is_in_time(transport)? || chunks.is_empty() {
            return Ok(());
        }
        transport
            .value()
            .state
            .with(py, |state| chunks.into_iter().for_each(|chunk| state.outgoing.queue.push(chunk)));
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

    /// Is the connection still there? Late writes are counted, and logged from the fifth on.
    fn is_in_time(transport: &Bound<'_, Self>) -> PyResult<bool> {
        let py = transport.py();
        let late = transport.value().state.with(py, |state| state.ending.note_write());
        if late >= LATE_WRITES_MAX {
            telling::warn_of_late_write(py)?;
        }
        Ok(late == 0)
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
            transport.value().state.with(py, |state| state.outgoing.sending = Sending::AtEndOfTurn);
            event_loop.get().flush_later(py, Owned::from(transport));
        }
        Ok(())
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

    /// The socket takes bytes again. Only what must leave the loop comes back as an error.
    pub(crate) fn writable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let is_wanted = transport
            .value()
            .state
            .with(py, |state| state.outgoing.sending == Sending::Blocked && state.ending.lost == 0);
        if !is_wanted {
            return Ok(());
        }
        Self::in_context(transport, || Self::send(transport))
    }

    /// Sends what is queued, as far as the socket takes it, and tells whom it concerns.
    pub(super) fn send(transport: &Bound<'_, Self>) -> PyResult<()> {
        match Self::try_send(transport) {
            Ok(Sent::All) => Self::sent_all(transport),
            Ok(Sent::Some) => Self::wait_until_writable(transport),
            Ok(Sent::Failed(error)) => Self::write_failed(transport, errors::os_error(error)),
            Err(error) if errors::is_exit(transport.py(), &error) => Err(error),
            Err(error) => Self::write_failed(transport, error),
        }
    }

    fn try_send(transport: &Bound<'_, Self>) -> PyResult<Sent> {
        let py = transport.py();
        let state = &transport.value().state;
        let fd = transport.value().descriptor(py)?;
        let sent = state.with(py, |state| send_queue(fd, &mut state.outgoing.queue));
        // Dropping a chunk may run the code of a subclass of bytes.
        while let Some(chunk) = state.with(py, |state| state.outgoing.queue.pop_sent()) {
            drop(chunk);
        }
        Ok(sent)
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
            let closes = state.ending.closing && state.ending.lost == 0;
            (waiter, outgoing.queue.is_empty(), closes, outgoing.eof)
        });
        if !is_empty {
            return Ok(());
        }
        if let Some(waiter) = waiter
            && !waiter.call_method0(names::done(py))?.is_truthy()?
        {
            waiter.call_method1(names::set_result(py), (py.None(),))?;
        }
        if closes {
            return Self::lose_connection(transport, None);
        }
        if eof { Self::shut_down(transport) } else { Ok(()) }
    }

    fn wait_until_writable(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (fd, watched) = transport.value().state.with(py, |state| {
            let watched = state.outgoing.sending == Sending::Blocked;
            state.outgoing.sending = Sending::Blocked;
            (state.fd, watched)
        });
        if watched {
            Self::resume_writers(transport)?;
        } else {
            let event_loop = transport.value().open_loop(py)?;
            event_loop.get().watch_transport(py, fd, Direction::Write, transport.into())?;
        }
        Self::pause_writers(transport)
    }

    /// Nothing is queued any more: watches the socket for writing no more.
    pub(super) fn stop_sending(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let (sending, fd) = transport
            .value()
            .state
            .with(py, |state| (std::mem::replace(&mut state.outgoing.sending, Sending::Idle), state.fd));
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
        Self::fatal_error(transport, error, WRITE_FAILED)?;
        Self::fail_empty_waiter(transport, &exception)
    }

    /// Tells a sendfile that waits for the queue that it will not be sent.
    pub(super) fn fail_empty_waiter(transport: &Bound<'_, Self>, exception: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        let waiter = transport
            .value()
            .state
            .with(py, |state| state.outgoing.empty_waiter.as_ref().map(|waiter| waiter.get_bound(py)));
        let Some(waiter) = waiter else { return Ok(()) };
        if waiter.call_method0(names::done(py))?.is_truthy()? {
            return Ok(());
        }
        waiter.call_method1(names::set_exception(py), (exception,)).map(drop)
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

    fn shut_down(transport: &Bound<'_, Self>) -> PyResult<()> {
        let py = transport.py();
        let sock =
            transport.value().state.with(py, |state| state.sock.as_ref().map(|sock| sock.get_bound(py)));
        let Some(sock) = sock else { return Ok(()) };
        sock.call_method1(names::shutdown(py), (names::shut_wr(py)?,)).map(drop)
    }

    /// A future that is done when all that was written is sent, for sendfile.
    pub(super) fn make_empty_waiter<'py>(transport: &Bound<'py, Self>) -> PyResult<Object<'py>> {
        let py = transport.py();
        if transport.value().state.with(py, |state| state.outgoing.empty_waiter.is_some()) {
            return Err(PyRuntimeError::new_err("Empty waiter is already set"));
        }
        let event_loop = transport.value().open_loop(py)?;
        let waiter = event_loop.call_method0(names::create_future(py))?;
        let kept = waiter.clone().into();
        let (old, sending) = transport
            .value()
            .state
            .with(py, |state| (state.outgoing.empty_waiter.replace(kept), state.outgoing.sending));
        drop(old);
        match sending {
            Sending::Idle => waiter.call_method1(names::set_result(py), (py.None(),)).map(drop)?,
            Sending::AtEndOfTurn => Self::send(transport)?,
            Sending::Blocked => {}
        }
        Ok(waiter)
    }
}

/// As many chunks need no large array: a response, as a rule.
const SLICES_FEW: usize = 8;

fn send_queue(fd: Fd, queue: &mut WriteQueue<PyBackedBytes>) -> Sent {
    while queue.len_bytes() > 0 {
        let outcome = if queue.len_chunks() <= SLICES_FEW {
            send_slices::<SLICES_FEW>(fd, queue)
        } else {
            send_many(fd, queue)
        };
        match outcome {
            Ok((sent, offered)) => {
                queue.advance(sent);
                if sent < offered {
                    return Sent::Some;
                }
            }
            Err(error) if is_transient(&error) => return Sent::Some,
            Err(error) => return Sent::Failed(error),
        }
    }
    Sent::All
}

#[inline(never)]
fn send_many(fd: Fd, queue: &WriteQueue<PyBackedBytes>) -> io::Result<(usize, usize)> {
    send_slices::<{ socket::SLICES_MAX }>(fd, queue)
}

/// Sends the first chunks; returns how many bytes were sent, and how many were offered.
#[inline]
fn send_slices<const N: usize>(fd: Fd, queue: &WriteQueue<PyBackedBytes>) -> io::Result<(usize, usize)> {
    let mut slices = [IoSlice::new(&[]); N];
    let slices = queue.io_slices(&mut slices);
    let offered = slices.iter().map(|slice| slice.len()).sum();
    let sent = match slices {
        [slice] => socket::send(fd, slice)?,
        slices => socket::send_vectored(fd, slices)?,
    };
    Ok((sent, offered))
}

/// Does it help to try again when the socket is writable? The kernel may lack memory for a moment.
fn is_transient(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || socket::is_out_of_memory(error)
}
