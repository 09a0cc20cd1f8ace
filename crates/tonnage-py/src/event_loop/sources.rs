//! The watched descriptors: who is told when one is ready.
//!
//! Invariants: the reactor waits for reading (writing) on a descriptor exactly while a reader (writer)
//! is here; only a socket that `sock_recv` has waited for stays registered, for its next wait, and the reactor tells
//! of it once at most before that. The file that a user watches is kept open by us while it is watched, as by
//! `selectors`, and known again when it is closed and has no number left.

use std::collections::HashMap;
use std::io;

use pyo3::prelude::*;
use tonnage_core::number_map::NumberMap;
use tonnage_core::reactor::{Event, Fd, Interest, Registry};

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
    reader: Option<Watcher>,
    writer: Option<Watcher>,
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
    by_fd: NumberMap<Fd, Source>,
    /// The objects that `add_reader` and `add_writer` were given, where these were no numbers.
    files: HashMap<Fd, Owned>,
}

/// What the reactor waits for on behalf of [`Sources::watch_socket`].
const SOCKET: Interest = Interest::READ.union(Interest::ONCE);

/// What [`Sources`] forgets when it is closed, to be dropped outside of it.
pub(super) type Forgotten = (NumberMap<Fd, Source>, HashMap<Fd, Owned>);

impl Sources {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, by_fd: NumberMap::default(), files: HashMap::new() }
    }

    /// Watches `fd`; hands back the watcher that this one replaces, or the new one with the error.
    pub(super) fn watch(
        &mut self,
        fd: Fd,
        direction: Direction,
        watcher: Watcher,
    ) -> Result<Option<Watcher>, (io::Error, Watcher)> {
        if let Err(error) = self.registry.set(fd, self.interest(fd) | direction.interest()) {
            return Err((error, watcher));
        }
        Ok(self.by_fd.entry(fd).or_default().place(direction).replace(watcher))
    }

    /// Lets a future wait until there is something to read in a socket; hands back the watcher that it replaces. A
    /// socket that has waited before costs one system call, where adding and removing it would be two.
    pub(super) fn watch_socket(&mut self, fd: Fd, future: &Bound<'_, Future>) -> io::Result<Option<Watcher>> {
        match self.interest(fd).without(Interest::READ) {
            Interest::NONE => self.registry.renew(fd, SOCKET)?,
            others => self.registry.set(fd, others | Interest::READ)?,
        }
        let watcher = Watcher::Future(future.into());
        Ok(self.by_fd.entry(fd).or_default().reader.replace(watcher))
    }

    /// What those who are here wait for.
    pub(super) fn interest(&self, fd: Fd) -> Interest {
        self.by_fd.get(&fd).map_or(Interest::NONE, Source::interest)
    }

    /// Is it the handle that is told of the descriptor?
    pub(super) fn is_watched_by(&mut self, fd: Fd, direction: Direction, handle: &Bound<'_, Handle>) -> bool {
        let place = self.by_fd.get_mut(&fd).map(|source| source.place(direction));
        matches!(place, Some(Some(Watcher::Handle(found))) if found.is(handle))
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
        if self.files.is_empty() || self.by_fd.contains_key(&fd) {
            return None;
        }
        self.files.remove(&fd)
    }

    /// Watches `fd` no more; hands back who did.
    pub(super) fn unwatch(&mut self, fd: Fd, direction: Direction) -> Option<Watcher> {
        let Some(source) = self.by_fd.get_mut(&fd) else {
            self.registry.remove(fd);
            return None;
        };
        let watcher = source.place(direction).take();
        if source.reader.is_none() && source.writer.is_none() {
            self.by_fd.remove(&fd);
        }
        if watcher.is_some() {
            self.registry.clear(fd, direction.interest());
        }
        watcher
    }

    /// The future waits no more; hands it back, unless somebody has taken its place.
    pub(super) fn unwatch_future(
        &mut self,
        fd: Fd,
        direction: Direction,
        future: &Bound<'_, Future>,
    ) -> Option<Watcher> {
        let source = self.by_fd.get_mut(&fd)?;
        let place = source.place(direction);
        if !matches!(place, Some(Watcher::Future(found)) if found.is(future)) {
            return None;
        }
        if self.registry.interest(fd) != SOCKET {
            return self.unwatch(fd, direction);
        }
        // Nobody else waits for it, and it stays registered.
        let watcher = place.take();
        self.by_fd.remove(&fd);
        watcher
    }

    /// Who waits for what the reactor reported: the reader and the writer. If nobody does, the reactor is told so, which
    /// would report it again.
    pub(super) fn told(&mut self, py: Python<'_>, event: Event) -> (Option<Watcher>, Option<Watcher>) {
        let fd = event.fd;
        if event.once && self.registry.interest(fd) != SOCKET {
            // Of a socket that was closed here, and that somebody else has open still: the first and last event.
            return (None, None);
        }
        let source = self.by_fd.get(&fd);
        let reader = source.and_then(|source| source.reader.as_ref()).filter(|_| event.readable);
        let writer = source.and_then(|source| source.writer.as_ref()).filter(|_| event.writable);
        let watchers = (reader.map(|watcher| watcher.share(py)), writer.map(|watcher| watcher.share(py)));
        if (event.readable != reader.is_some() || event.writable != writer.is_some()) && !event.once {
            self.registry.correct(fd);
        }
        watchers
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
    pub(super) fn close(&mut self) -> Forgotten {
        self.registry.close();
        (std::mem::take(&mut self.by_fd), std::mem::take(&mut self.files))
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.by_fd
            .values()
            .flat_map(|source| [&source.reader, &source.writer])
            .flatten()
            .map(|watcher| watcher.traverse(visit))
            .chain(self.files.values().map(|file| visit.call(file)))
            .find(|shown| *shown != 0)
            .unwrap_or(0)
    }
}
