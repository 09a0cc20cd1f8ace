//! Readiness: a coroutine's wait until a socket can be read or written.
//!
//! Invariant: the loop watches the socket for it from `begin` to `end`, unless another watcher has taken its
//! place meanwhile, which goes on when this one ends.

use pyo3::prelude::*;
use tonnage_core::reactor::Fd;

use crate::coroutine::Next;
use crate::cpython::{Object, Owned, Visit};
use crate::event_loop::{Direction, EventLoop};
use crate::future::{self, Future};
use crate::names;

pub(super) struct Readiness {
    fd: Fd,
    direction: Direction,
    future: Owned<Future>,
}

impl Readiness {
    /// Watches the socket, and tells what to await.
    pub(super) fn begin<'py>(
        event_loop: &Bound<'py, EventLoop>,
        sock: &Object<'py>,
        direction: Direction,
    ) -> PyResult<(Self, Next<'py>)> {
        let py = sock.py();
        let fd: Fd = sock.call_method0(names::fileno(py))?.extract()?;
        event_loop.call_method1(names::_ensure_fd_no_transport(py), (fd,))?;
        let future = future::create_native(event_loop)?;
        event_loop.get().watch_future(py, fd, direction, (&future).into())?;
        let wait = Self { fd, direction, future: (&future).into() };
        Ok((wait, Next::Await(future.into_any())))
    }

    pub(super) fn end(self, event_loop: &Bound<'_, EventLoop>) -> PyResult<()> {
        let py = event_loop.py();
        event_loop.get().unwatch_future(py, self.fd, self.direction, self.future.bind(py))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.call(&self.future)
    }
}
