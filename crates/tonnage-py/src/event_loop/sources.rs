//! The watched descriptors: who is told when one is ready.
//!
//! Invariant: the reactor waits for reading (writing) on a descriptor exactly while a reader (writer)
//! is here.

use std::collections::HashMap;
use std::io;

use pyo3::prelude::*;
use tonnage_core::reactor::{Fd, Interest, Registry};

use super::handle::Handle;
use crate::cpython::{Owned, Visit};
use crate::future::Future;
use crate::transports::AnyTransport;

/// Who waits for a descriptor.
pub(crate) enum Watcher {
    Handle(Owned<Handle>),
    Transport(AnyTransport),
    /// It is done when the descriptor is ready.
    Future(Owned<Future>),
}

impl Watcher {
    pub(super) fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::Handle(handle) => Self::Handle(handle.share(py)),
            Self::Transport(transport) => Self::Transport(transport.share(py)),
            Self::Future(future) => Self::Future(future.share(py)),
        }
    }

    fn traverse(&self, visit: &Visit<'_>) -> i32 {
        match self {
            Self::Handle(handle) => visit.call(handle),
            Self::Transport(transport) => transport.traverse(visit),
            Self::Future(future) => visit.call(future),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    fn interest(self) -> Interest {
        match self {
            Self::Read => Interest::READ,
            Self::Write => Interest::WRITE,
        }
    }
}

#[derive(Default)]
pub(super) struct Source {
    pub(super) reader: Option<Watcher>,
    pub(super) writer: Option<Watcher>,
}

impl Source {
    fn interest(&self) -> Interest {
        match (&self.reader, &self.writer) {
            (Some(_), Some(_)) => Interest::READ_WRITE,
            (Some(_), None) => Interest::READ,
            (None, Some(_)) => Interest::WRITE,
            (None, None) => Interest::NONE,
        }
    }

    fn place(&mut self, direction: Direction) -> &mut Option<Watcher> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

pub(super) struct Sources {
    registry: Registry,
    by_fd: HashMap<Fd, Source>,
}

impl Sources {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, by_fd: HashMap::new() }
    }

    /// Watches `fd`; hands back the watcher that this one replaces, or the new one with the error.
    pub(super) fn watch(
        &mut self,
        fd: Fd,
        direction: Direction,
        watcher: Watcher,
    ) -> Result<Option<Watcher>, (io::Error, Watcher)> {
        if let Err(error) = self.registry.add(fd, direction.interest()) {
            return Err((error, watcher));
        }
        Ok(self.by_fd.entry(fd).or_default().place(direction).replace(watcher))
    }

    /// Watches `fd` no more; hands back who did.
    pub(super) fn unwatch(&mut self, fd: Fd, direction: Direction) -> Option<Watcher> {
        let source = self.by_fd.get_mut(&fd)?;
        let watcher = source.place(direction).take();
        if source.reader.is_none() && source.writer.is_none() {
            self.by_fd.remove(&fd);
        }
        if watcher.is_some() {
            self.registry.clear(fd, direction.interest());
        }
        watcher
    }

    /// The reactor reported what nobody waits for.
    #[cold]
    pub(super) fn correct(&mut self, fd: Fd) {
        self.registry.correct(fd);
    }

    /// Does this future, and nobody in its place, wait for `fd`?
    pub(super) fn has_future(&self, fd: Fd, direction: Direction, future: &Bound<'_, Future>) -> bool {
        let watcher = self.by_fd.get(&fd).and_then(|source| match direction {
            Direction::Read => source.reader.as_ref(),
            Direction::Write => source.writer.as_ref(),
        });
        matches!(watcher, Some(Watcher::Future(found)) if found.is(future))
    }

    pub(super) fn get(&self, fd: Fd) -> Option<&Source> {
        self.by_fd.get(&fd)
    }

    /// Moves to another reactor, without a word to the old one, which a forked child shares with its
    /// parent. Hands back who waits for a descriptor that the new reactor refuses.
    #[must_use]
    pub(super) fn reopen(&mut self, registry: Registry) -> Vec<Source> {
        self.registry.close();
        self.registry = registry;
        let mut refused = vec![];
        for (fd, source) in std::mem::take(&mut self.by_fd) {
            if self.registry.set(fd, source.interest()).is_ok() {
                self.by_fd.insert(fd, source);
            } else {
                refused.push(source);
            }
        }
        refused
    }

    /// Forgets all, and lets go of the reactor.
    #[must_use]
    pub(super) fn close(&mut self) -> HashMap<Fd, Source> {
        self.registry.close();
        std::mem::take(&mut self.by_fd)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.by_fd
            .values()
            .flat_map(|source| [&source.reader, &source.writer])
            .flatten()
            .map(|watcher| watcher.traverse(visit))
            .find(|shown| *shown != 0)
            .unwrap_or(0)
    }
}
