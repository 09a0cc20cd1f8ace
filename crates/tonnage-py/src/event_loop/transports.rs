//! The transports of a loop by their descriptors: so that nobody else uses these, and servers find their own.
//!
//! It keeps none of them alive: one that was abandoned is collected, and warns. Invariant: a socket transport is here
//! from when it is made until it has closed its socket, unless another one was made for the same number since. Which
//! transports of other kinds there are is known by weak references, which stay until their number is used again.

use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use tonnage_core::number_map::NumberMap;
use tonnage_core::reactor::Fd;

use super::EventLoop;
use crate::cpython::{Object, Owned, Unowned};
use crate::transports::SocketTransport;

#[derive(Default)]
pub(super) struct Transports {
    /// Linux gives out the smallest free number, so this is dense.
    ours: Vec<Option<Unowned<SocketTransport>>>,
    others: NumberMap<Fd, Owned<PyWeakrefReference>>,
}

impl Transports {
    fn ours(&self, fd: Fd) -> Option<&Unowned<SocketTransport>> {
        usize::try_from(fd).ok().and_then(|index| self.ours.get(index)?.as_ref())
    }

    fn put(&mut self, fd: Fd, transport: Unowned<SocketTransport>) {
        let Ok(index) = usize::try_from(fd) else { return };
        if index >= self.ours.len() {
            self.ours.resize_with(index + 1, || None);
        }
        self.ours[index] = Some(transport);
    }

    fn remove(&mut self, fd: Fd) {
        if let Some(place) = usize::try_from(fd).ok().and_then(|index| self.ours.get_mut(index)) {
            *place = None;
        }
    }
}

#[pymethods]
impl EventLoop {
    /// The transport that has the descriptor, if it is alive.
    fn _transport_at<'py>(&self, py: Python<'py>, fd: Fd) -> Option<Object<'py>> {
        self.transport_at(py, fd)
    }

    /// Another transport has the descriptor from here on.
    fn _note_transport(&self, fd: Fd, transport: &Object<'_>) -> PyResult<()> {
        let py = transport.py();
        let weak = Owned::from(PyWeakrefReference::new(transport)?);
        let before = self.transports.with(py, |transports| {
            transports.remove(fd);
            transports.others.insert(fd, weak)
        });
        drop(before);
        Ok(())
    }
}

impl EventLoop {
    /// A socket transport has the descriptor, until it is forgotten.
    pub(crate) fn note_transport(&self, transport: &Bound<'_, SocketTransport>, fd: Fd) {
        let other = self.transports.with(transport.py(), |transports| {
            transports.put(fd, Unowned::of(transport));
            transports.others.remove(&fd)
        });
        drop(other);
    }

    /// The transport has closed its socket, or nobody has it any more.
    pub(crate) fn forget_transport(&self, transport: &Object<'_>, fd: Fd) {
        self.transports.with(transport.py(), |transports| {
            if transports.ours(fd).is_some_and(|found| found.is(transport)) {
                transports.remove(fd);
            }
        });
    }

    pub(crate) fn transport_at<'py>(&self, py: Python<'py>, fd: Fd) -> Option<Object<'py>> {
        self.transports.with(py, |transports| match transports.ours(fd) {
            Some(ours) => ours.get(py).map(Bound::into_any),
            None => transports.others.get(&fd)?.bind(py).upgrade(),
        })
    }

    /// The socket transports for which `is_wanted` holds, which must not run Python code.
    pub(crate) fn transports_where<'py>(
        &self,
        py: Python<'py>,
        is_wanted: impl Fn(&Bound<'_, SocketTransport>) -> bool,
    ) -> Vec<Bound<'py, SocketTransport>> {
        self.transports.with(py, |transports| {
            let all = transports.ours.iter().flatten();
            all.filter(|ours| ours.with(py, &is_wanted) == Some(true))
                .filter_map(|ours| ours.get(py))
                .collect()
        })
    }
}
