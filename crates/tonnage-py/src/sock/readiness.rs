//! Readiness: a coroutine's wait until its socket can be read or written.
//!
//! Invariant: the loop watches the socket for it from `wait` to `has_waited`, unless another watcher has taken
//! its place meanwhile, which goes on when this wait ends.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tonnage_core::reactor::Fd;

use super::{check, descriptor};
use crate::coroutine::Next;
use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::{Direction, EventLoop};
use crate::future::{self, Future};
use crate::names;

/// What an operation works on, and its wait for that.
pub(super) struct Readiness {
    event_loop: Owned<EventLoop>,
    sock: Owned,
    /// Of a plain socket, from an attempt to the wait that follows it, before Python code could close it.
    fd: Option<Fd>,
    wait: Option<Wait>,
}

struct Wait {
    fd: Fd,
    direction: Direction,
    future: Owned<Future>,
}

impl Readiness {
    pub(super) fn of(event_loop: &Bound<'_, EventLoop>, sock: &Object<'_>) -> Self {
        Self { event_loop: event_loop.into(), sock: sock.into(), fd: None, wait: None }
    }

    pub(super) fn sock<'a, 'py>(&'a self, py: Python<'py>) -> &'a Object<'py> {
        self.sock.bind(py)
    }

    pub(super) fn event_loop(&self) -> &EventLoop {
        self.event_loop.get()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// The checks that come before the first attempt.
    pub(super) fn check(&self, py: Python<'_>) -> PyResult<()> {
        check(self.event_loop.bind(py), self.sock.bind(py))
    }

    /// The descriptor of a plain socket, for an attempt and the wait that may follow.
    #[inline]
    pub(super) fn descriptor(&mut self, py: Python<'_>) -> PyResult<Option<Fd>> {
        self.fd = descriptor(self.sock.bind(py))?;
        Ok(self.fd)
    }

    /// Watches the socket, and tells what to await.
    pub(super) fn wait<'py>(&mut self, py: Python<'py>, direction: Direction) -> PyResult<Next<'py>> {
        if self.fd.is_none() {
            self.descriptor(py)?;
        }
        let event_loop = self.event_loop.bind(py);
        let sock = self.sock.bind(py);
        let fd = match self.fd.take() {
            Some(fd) => fd,
            None => sock.call_method0(names::fileno(py))?.extract()?,
        };
        ensure_no_transport(event_loop, fd)?;
        let future = future::create_native(event_loop)?;
        match direction {
            Direction::Read => event_loop.get().watch_socket(fd, &future)?,
            Direction::Write => event_loop.get().watch_future(py, fd, direction, (&future).into())?,
        }
        self.wait = Some(Wait { fd, direction, future: (&future).into() });
        Ok(Next::Await(future.into_any()))
    }

    /// Ends the wait, if there is one, with what was awaited.
    pub(super) fn has_waited(&mut self, py: Python<'_>, awaited: PyResult<Object<'_>>) -> PyResult<bool> {
        let Some(wait) = self.wait.take() else { return Ok(false) };
        let event_loop = self.event_loop.bind(py);
        event_loop.get().unwatch_future(py, wait.fd, wait.direction, wait.future.bind(py));
        awaited.map(|_| true)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        let mut shown = self.wait.as_ref().map_or(0, |wait| visit.call(&wait.future));
        if shown == 0 {
            shown = visit.call(&self.sock);
        }
        if shown == 0 { visit.call(&self.event_loop) } else { shown }
    }
}

/// Refuses the descriptor of a transport.
fn ensure_no_transport(event_loop: &Bound<'_, EventLoop>, fd: Fd) -> PyResult<()> {
    let py = event_loop.py();
    // The dictionary of weak references in the WeakValueDictionary.
    let known = event_loop.getattr(names::_transports(py))?.getattr_opt(names::data(py))?;
    match known.as_ref().map(|known| known.cast::<PyDict>()) {
        Some(Ok(known)) if !known.contains(fd)? => Ok(()),
        _ => event_loop.call_method1(names::_ensure_fd_no_transport(py), (fd,)).map(drop),
    }
}
