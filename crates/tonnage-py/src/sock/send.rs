//! `sock_sendall`.

use std::io;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use tonnage_core::reactor::{Fd, socket};

use super::readiness::Readiness;
use super::{descriptor, unless_not_ready};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::buffer::Shown;
use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::{Direction, EventLoop};
use crate::{errors, names};

pub(crate) type SendAllCoroutine = Coroutine<SendAll>;

pub(crate) struct SendAll {
    readiness: Readiness,
    /// What the user gave; once a part is sent, a view of its bytes, so that nobody changes its size.
    data: Owned,
    sent: usize,
    delay: Option<Delay>,
}

/// A wait for a pass of the loop, in which others receive (`event_loop/turn_order.rs`).
struct Delay {
    fd: Fd,
    len: usize,
    /// The first attempt cannot wait; the wait begins right after it.
    has_begun: bool,
}

pub(super) fn all<'py>(
    event_loop: &Bound<'py, EventLoop>,
    sock: &Object<'py>,
    data: &Object<'py>,
) -> PyResult<Object<'py>> {
    let readiness = Readiness::of(event_loop, sock);
    let body = SendAll { readiness, data: data.into(), sent: 0, delay: None };
    Coroutine::create(event_loop.py(), body)
}

impl Body for SendAll {
    const QUALNAME: &'static str = "EventLoop.sock_sendall";

    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        self.readiness.check(py)?;
        if self.is_delayed(py)? || !self.attempt(py)? {
            return Ok(None);
        }
        Ok(Some(py.None().into_bound(py)))
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        if let Some(delay) = self.delay.as_mut().filter(|delay| !delay.has_begun) {
            delay.has_begun = true;
            return Ok(Next::Yield);
        }
        if let Some(Delay { fd, len, .. }) = self.delay.take() {
            self.readiness.event_loop().end_delay(py, fd, len);
            // Also if it was cancelled meanwhile: it was called before that.
            let is_all = self.attempt(py);
            awaited?;
            return if is_all? { Ok(Next::none(py)) } else { self.readiness.wait(py, Direction::Write) };
        }
        if !self.readiness.has_waited(py, awaited)? {
            self.view(py)?;
        } else if self.attempt(py)? {
            return Ok(Next::none(py));
        }
        self.readiness.wait(py, Direction::Write)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let shown = self.readiness.traverse(visit);
        if shown == 0 { visit.call(&self.data) } else { shown }
    }
}

impl SendAll {
    /// Is it to wait, since others receive first? Then it is noted to do so.
    fn is_delayed(&mut self, py: Python<'_>) -> PyResult<bool> {
        let event_loop = self.readiness.event_loop();
        if !event_loop.may_delay_sends(py) {
            return Ok(false);
        }
        let Some(fd) = descriptor(self.readiness.sock(py))? else { return Ok(false) };
        let data = self.data.bind(py);
        let bytes = data.cast_exact::<PyBytes>();
        // What can be changed meanwhile is not large enough to wait, but behind others.
        let len = bytes.as_ref().map_or(0, |bytes| bytes.as_bytes().len());
        if !event_loop.delays_send(py, fd, len) {
            return Ok(false);
        }
        if bytes.is_err() {
            let copy = Shown::by(data)?.with(|bytes| PyBytes::new(py, bytes));
            drop(std::mem::replace(&mut self.data, copy.into_any().into()));
        }
        event_loop.begin_delay(py, fd, len);
        self.delay = Some(Delay { fd, len, has_begun: false });
        Ok(true)
    }

    /// Sends what the socket takes; was that all?
    fn attempt(&mut self, py: Python<'_>) -> PyResult<bool> {
        let (sock, data) = (self.readiness.sock(py), self.data.bind(py));
        let Some(fd) = descriptor(sock)? else { return self.attempt_by_method(py) };
        let sent = |bytes: &[u8]| {
            let unsent = &bytes[self.sent..];
            socket::send(fd, unsent).map(|count| (count, count == unsent.len()))
        };
        let outcome = match data.cast::<PyBytes>() {
            Ok(bytes) => sent(bytes.as_bytes()),
            Err(_) => Shown::by(data)?.with(sent),
        };
        match outcome {
            Ok((count, is_all)) => {
                self.sent += count;
                Ok(is_all)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(errors::os_error(error)),
        }
    }

    #[cold]
    fn attempt_by_method(&mut self, py: Python<'_>) -> PyResult<bool> {
        let mut unsent = self.data.get_bound(py);
        if self.sent > 0 {
            let end = isize::try_from(unsent.len()?)?;
            unsent = unsent.get_item(PySlice::new(py, isize::try_from(self.sent)?, end, 1))?;
        }
        let called = self.readiness.sock(py).call_method1(names::send(py), (&unsent,));
        if let Some(count) = unless_not_ready(py, called)? {
            self.sent += count.extract::<usize>()?;
        }
        Ok(self.sent == Shown::by(self.data.bind(py))?.len())
    }

    /// From here on, the data is a view of bytes.
    fn view(&mut self, py: Python<'_>) -> PyResult<()> {
        let data = self.data.bind(py);
        if data.is_exact_instance_of::<PyBytes>() {
            return Ok(());
        }
        let view = PyMemoryView::from(data)?.call_method1(names::cast(py), ("B",))?;
        drop(std::mem::replace(&mut self.data, view.into()));
        Ok(())
    }
}
