//! `sock_sendall`.

use std::io;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use tonnage_core::reactor::socket;

use super::readiness::Readiness;
use super::{check, descriptor, unless_not_ready};
use crate::coroutine::{Body, Coroutine, Next};
use crate::cpython::buffer::Shown;
use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::{Direction, EventLoop};
use crate::{errors, names};

pub(crate) type SendAllCoroutine = Coroutine<SendAll>;

pub(crate) struct SendAll {
    event_loop: Owned<EventLoop>,
    sock: Owned,
    /// What the user gave; once a part is sent, a view of its bytes, so that nobody changes its size.
    data: Owned,
    sent: usize,
    wait: Option<Readiness>,
}

pub(super) fn all<'py>(
    event_loop: &Bound<'py, EventLoop>,
    sock: &Object<'py>,
    data: &Object<'py>,
) -> PyResult<Object<'py>> {
    let body =
        SendAll { event_loop: event_loop.into(), sock: sock.into(), data: data.into(), sent: 0, wait: None };
    Coroutine::create(event_loop.py(), body)
}

impl Body for SendAll {
    const QUALNAME: &'static str = "EventLoop.sock_sendall";

    fn at_once<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Object<'py>>> {
        check(self.event_loop.bind(py), self.sock.bind(py))?;
        Ok(if self.attempt(py)? { Some(py.None().into_bound(py)) } else { None })
    }

    fn resume<'py>(&mut self, py: Python<'py>, awaited: PyResult<Object<'py>>) -> PyResult<Next<'py>> {
        match self.wait.take() {
            Some(wait) => {
                let ended = wait.end(self.event_loop.bind(py));
                awaited?;
                ended?;
                if self.attempt(py)? {
                    return Ok(Next::none(py));
                }
            }
            None => self.view(py)?,
        }
        let (wait, next) = Readiness::begin(self.event_loop.bind(py), self.sock.bind(py), Direction::Write)?;
        self.wait = Some(wait);
        Ok(next)
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let wait = self.wait.as_ref().map_or(0, |wait| wait.traverse(visit));
        if wait != 0 {
            return wait;
        }
        let all = [&self.sock, &self.data];
        let shown = all.into_iter().map(|object| visit.call(object)).find(|shown| *shown != 0).unwrap_or(0);
        if shown == 0 { visit.call(&self.event_loop) } else { shown }
    }
}

impl SendAll {
    /// Sends what the socket takes; was that all?
    fn attempt(&mut self, py: Python<'_>) -> PyResult<bool> {
        let (sock, data) = (self.sock.bind(py), self.data.bind(py));
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
        let called = self.sock.bind(py).call_method1(names::send(py), (&unsent,));
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
