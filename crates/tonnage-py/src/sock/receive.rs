//! `sock_recv` and `sock_recv_into`.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tonnage_core::reactor::{Fd, socket};

use super::readiness::Readiness;
use super::{descriptor, unless_not_ready};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::buffer::{Lent, filled};
use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::{Direction, EventLoop};
use crate::scratch::{self, SCRATCH_LEN};
use crate::{errors, names};

/// After a read of so much, the next one is into an object of its own: a copy would cost more than to
/// shorten the object.
const LARGE: usize = 32 * 1024;

thread_local! {
    static WAS_LARGE: Cell<bool> = const { Cell::new(false) };
}

pub(crate) type ReceiveCoroutine = Coroutine<Receive<false>>;
pub(crate) type ReceiveIntoCoroutine = Coroutine<Receive<true>>;

/// Receives bytes, or `INTO` memory that the user lends.
pub(crate) struct Receive<const INTO: bool> {
    readiness: Readiness,
    /// How many bytes, or the memory.
    argument: Owned,
    /// Has it waited for a pass, although there was something to receive?
    was_delayed: bool,
}

pub(super) fn to_bytes<'py>(
    event_loop: &Bound<'py, EventLoop>,
    sock: &Object<'py>,
    n: &Object<'py>,
) -> PyResult<Object<'py>> {
    let readiness = Readiness::of(event_loop, sock);
    let body = Receive::<false> { readiness, argument: n.into(), was_delayed: false };
    Coroutine::create(event_loop.py(), body)
}

pub(super) fn into_buffer<'py>(
    event_loop: &Bound<'py, EventLoop>,
    sock: &Object<'py>,
    buffer: &Object<'py>,
) -> PyResult<Object<'py>> {
    let readiness = Readiness::of(event_loop, sock);
    let body = Receive::<true> { readiness, argument: buffer.into(), was_delayed: false };
    Coroutine::create(event_loop.py(), body)
}

impl<const INTO: bool> Body for Receive<INTO> {
    const QUALNAME: &'static str = if INTO { "EventLoop.sock_recv_into" } else { "EventLoop.sock_recv" };

    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        self.readiness.check(py)?;
        self.attempt(py)
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        // For one pass at most, whatever the others do.
        if awaited.is_ok()
            && self.readiness.is_waiting()
            && self.readiness.event_loop().has_much_to_send(py)
            && !std::mem::replace(&mut self.was_delayed, true)
        {
            return Ok(Next::Yield);
        }
        self.was_delayed = false;
        if self.readiness.has_waited(py, awaited)?
            && let Some(received) = self.attempt(py)?
        {
            return Ok(Next::Return(received));
        }
        self.readiness.wait(py, Direction::Read)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.readiness.traverse(visit);
        if shown == 0 { visit.call(&self.argument) } else { shown }
    }
}

impl<const INTO: bool> Receive<INTO> {
    /// Receives; nothing: the socket is not ready.
    fn attempt<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        // Who gives back memory that was lent may do anything, before the wait.
        let fd = if INTO { descriptor(self.readiness.sock(py))? } else { self.readiness.descriptor(py)? };
        let (sock, argument) = (self.readiness.sock(py), self.argument.bind(py));
        let Some(fd) = fd else { return by_method::<INTO>(sock, argument) };
        let received = if INTO {
            let mut lent = match Lent::by(argument) {
                Ok(lent) if lent.len() > 0 => lent,
                // The kernel would wait for something to put nowhere.
                _ => return by_method::<INTO>(sock, argument),
            };
            let count = lent.fill(|memory| socket::recv_uninit(fd, memory).map(|bytes| bytes.len()));
            count.map(|count| count.into_pyobject(py).map(Bound::into_any))
        } else {
            match argument.extract::<isize>() {
                Ok(n @ 1..) => receive_bytes(py, fd, n.cast_unsigned())?.map(|bytes| Ok(bytes.into_any())),
                _ => return by_method::<INTO>(sock, argument),
            }
        };
        match received {
            Ok(received) => Ok(Some(received?)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(errors::os_error(error)),
        }
    }
}

#[cold]
fn by_method<'py, const INTO: bool>(
    sock: &Object<'py>,
    argument: &Object<'py>,
) -> PyResult<Option<Object<'py>>> {
    let py = sock.py();
    let method = if INTO { names::recv_into(py) } else { names::recv(py) };
    unless_not_ready(py, sock.call_method1(method, (argument,)))
}

fn receive_bytes(py: Python<'_>, fd: Fd, n: usize) -> PyResult<io::Result<Bound<'_, PyBytes>>> {
    let read = |memory: &mut [MaybeUninit<u8>]| socket::recv_uninit(fd, memory).map(|bytes| bytes.len());
    let received = if n > SCRATCH_LEN || (n > LARGE && WAS_LARGE.get()) {
        filled(py, n, read)?
    } else {
        scratch::lend(n, |memory| socket::recv_uninit(fd, memory).map(|bytes| PyBytes::new(py, bytes)))
    };
    if let Ok(bytes) = &received {
        WAS_LARGE.set(bytes.as_bytes().len() >= LARGE);
    }
    Ok(received)
}
