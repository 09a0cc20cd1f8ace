//! The half of a reactor that knows what is waited for.
//!
//! It remembers the interest in each descriptor, so that asking for what is
//! registered already costs no system call. The memory is by number: whoever
//! closes a descriptor removes it first, or the next descriptor of that number
//! is taken for registered. (Python's selectors have the same rule.)
//!
//! Invariant: the kernel waits for what is remembered. If it did not take a
//! removal, it waits for more than that, until [`Registry::correct`].

use std::io;
use std::sync::Arc;

use super::{Backend, ChosenBackend, Fd, Interest};

/// The numbers of the errors by which a kernel says that it cannot wait for one more descriptor: for want of
/// memory, or because all that one user may watch is watched. Both pass.
pub const STARVED: [i32; 2] = [libc::ENOMEM, libc::ENOSPC];

/// Changes what the reactor waits for. Used by the loop's thread only.
pub struct Registry {
    /// `None` after [`Registry::close`].
    backend: Option<Arc<ChosenBackend>>,
    /// By descriptor. Linux gives out the smallest free number, so this is dense.
    interests: Vec<Interest>,
    registered: usize,
}

impl Registry {
    pub(super) fn new(backend: Arc<ChosenBackend>) -> Self {
        Self { backend: Some(backend), interests: Vec::new(), registered: 0 }
    }

    /// What is waited for on `fd`.
    #[inline]
    #[must_use]
    pub fn interest(&self, fd: Fd) -> Interest {
        usize::try_from(fd).ok().and_then(|index| self.interests.get(index)).copied().unwrap_or_default()
    }

    /// The number of registered descriptors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registered
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registered == 0
    }

    /// Waits for `interest` on `fd`, and for nothing else.
    ///
    /// Errors are the kernel's: `EBADF` for what is no open descriptor, `EPERM`
    /// for a file that cannot be waited for, [`STARVED`] for what may succeed later.
    #[inline]
    pub fn set(&mut self, fd: Fd, interest: Interest) -> io::Result<()> {
        let old = self.interest(fd);
        if old == interest { Ok(()) } else { self.change(fd, old, interest) }
    }

    /// As [`Self::set`], of a descriptor that may have been closed meanwhile, and its number given to another.
    #[inline]
    pub fn renew(&mut self, fd: Fd, interest: Interest) -> io::Result<()> {
        self.change(fd, self.interest(fd), interest)
    }

    /// Waits for `interest` no more. A descriptor may be closed already, and a
    /// kernel that lacks the memory to be told is told later, by [`Self::correct`].
    #[inline]
    pub fn clear(&mut self, fd: Fd, interest: Interest) {
        let old = self.interest(fd);
        let new = old.without(interest);
        if old != new && self.change(fd, old, new).is_err() && !self.interest(fd).is_none() {
            self.remember(fd, new);
        }
    }

    /// Waits for nothing on `fd`.
    #[inline]
    pub fn remove(&mut self, fd: Fd) {
        self.clear(fd, Interest::READ_WRITE);
    }

    /// Tells the kernel once more what is waited for on `fd`: it reported what nobody waits for, and would
    /// do so in each wait.
    #[cold]
    pub fn correct(&mut self, fd: Fd) {
        let interest = self.interest(fd);
        if let Some(backend) = &self.backend {
            // If this fails as well, the next wait is the next chance.
            drop(backend.change(fd, Interest::READ_WRITE, interest));
        }
    }

    /// Ends the registry: it forgets everything, lets go of the kernel queue,
    /// and refuses new descriptors.
    ///
    /// No registration is removed from the queue. In a forked child, that queue
    /// is the parent's: removing there would make the parent deaf, so a child
    /// calls this before it touches anything else.
    pub fn close(&mut self) {
        self.backend = None;
        self.interests = Vec::new();
        self.registered = 0;
    }

    fn change(&mut self, fd: Fd, old: Interest, new: Interest) -> io::Result<()> {
        let Some(backend) = &self.backend else {
            return Err(rustix::io::Errno::BADF.into());
        };
        let outcome = backend.change(fd, old, new);
        match &outcome {
            Ok(()) => self.remember(fd, new),
            Err(error) if is_gone(error) => self.remember(fd, Interest::NONE),
            Err(_) => {}
        }
        outcome
    }

    pub(super) fn remember(&mut self, fd: Fd, interest: Interest) {
        // A negative number never gets past the kernel, and was never remembered.
        let Ok(index) = usize::try_from(fd) else { return };
        if index >= self.interests.len() {
            if interest.is_none() {
                return;
            }
            self.interests.resize(index + 1, Interest::NONE);
        }
        let old = std::mem::replace(&mut self.interests[index], interest);
        match (old.is_none(), interest.is_none()) {
            (true, false) => self.registered += 1,
            (false, true) => self.registered -= 1,
            _ => {}
        }
    }
}

/// Whether the kernel says that the descriptor is closed or not registered.
fn is_gone(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::BADF | rustix::io::Errno::NOENT))
}
