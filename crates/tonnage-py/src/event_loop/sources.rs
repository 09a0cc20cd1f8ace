//! The watched descriptors: who is told when one is ready.
//!
//! Invariants: the reactor waits for reading (writing) on a descriptor exactly while a reader (writer)
//! is here. The file that a user watches is kept open by us while it is watched, as by `selectors`, and
//! known again when it is closed and has no number left.

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
    /// Linux gives out the smallest free number, so this is dense.
    by_fd: Vec<Source>,
    /// The objects that `add_reader` and `add_writer` were given, where these were no numbers.
    files: HashMap<Fd, Owned>,
}

/// What [`Sources`] forgets when it is closed, to be dropped outside of it.
pub(super) type Forgotten = (Vec<Source>, HashMap<Fd, Owned>);

impl Sources {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, by_fd: vec![], files: HashMap::new() }
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
        // A negative number has been refused.
        let index = usize::try_from(fd).unwrap_or_default();
        if index >= self.by_fd.len() {
            self.by_fd.resize_with(index + 1, Source::default);
        }
        Ok(self.by_fd[index].place(direction).replace(watcher))
    }

    /// Keeps `file` while its `fd` is watched; hands it back if a file is kept already.
    pub(super) fn keep_file(&mut self, fd: Fd, file: Owned) -> Option<Owned> {
        if self.files.contains_key(&fd) {
            return Some(file);
        }
        self.files.insert(fd, file)
    }

    /// The number that a watched file had, which may be closed.
    pub(super) fn fd_of_file(&self, file: &Bound<'_, PyAny>) -> Option<Fd> {
        self.files.iter().find(|(_, kept)| kept.is(file)).map(|(fd, _)| *fd)
    }

    /// Hands back the file of a descriptor that is watched no more.
    pub(super) fn release_file(&mut self, fd: Fd) -> Option<Owned> {
        if self.files.is_empty() || self.get(fd).is_some_and(|source| !source.interest().is_none()) {
            return None;
        }
        self.files.remove(&fd)
    }

    /// Watches `fd` no more; hands back who did.
    pub(super) fn unwatch(&mut self, fd: Fd, direction: Direction) -> Option<Watcher> {
        let source = self.by_fd.get_mut(usize::try_from(fd).ok()?)?;
        let watcher = source.place(direction).take();
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
        let watcher = self.get(fd).and_then(|source| match direction {
            Direction::Read => source.reader.as_ref(),
            Direction::Write => source.writer.as_ref(),
        });
        matches!(watcher, Some(Watcher::Future(found)) if found.is(future))
    }

    pub(super) fn get(&self, fd: Fd) -> Option<&Source> {
        self.by_fd.get(usize::try_from(fd).ok()?)
    }

    /// Moves to another reactor, without a word to the old one, which a forked child shares with its
    /// parent. Hands back who waits for a descriptor that the new reactor refuses.
    #[must_use]
    pub(super) fn reopen(&mut self, registry: Registry) -> Vec<Source> {
        self.registry.close();
        self.registry = registry;
        let mut refused = vec![];
        for (fd, source) in (0..).zip(&mut self.by_fd) {
            if self.registry.set(fd, source.interest()).is_err() {
                refused.push(std::mem::take(source));
            }
        }
        refused
    }

    /// Forgets all, and lets go of the reactor.
    #[must_use]
    pub(super) fn close(&mut self) -> Forgotten {
        self.registry.close();
        (std::mem::take(&mut self.by_fd), std::mem::take(&mut self.files))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.by_fd
            .iter()
            .flat_map(|source| [&source.reader, &source.writer])
            .flatten()
            .map(|watcher| watcher.traverse(visit))
            .chain(self.files.values().map(|file| visit.call(file)))
            .find(|shown| *shown != 0)
            .unwrap_or(0)
    }
}
