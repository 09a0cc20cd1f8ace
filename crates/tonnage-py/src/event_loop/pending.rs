//! Pending: the tasks of a loop that are not done, and how many there may be.
//!
//! Making a task costs one comparison as long as no bound is reached, and so does its end. `watched` is the number of
//! tasks at which a new one is looked at: the lower of the bounds that are in force.

use tonnage_core::slab::Slab;

use crate::cpython::Owned;
use crate::task::Task;

pub(super) struct Pending {
    /// The strong references, so that none vanishes.
    tasks: Slab<Owned<Task>>,
    watched: usize,
    /// At this number of tasks the warning is due again; `NEVER` while it is.
    rearmed_at: usize,
    max: usize,
    warn_at: usize,
}

const NEVER: usize = usize::MAX;

/// What becomes of a new task.
#[must_use]
pub(super) enum Admission {
    Admitted,
    /// Admitted, and there are more now than this number.
    Warn(usize),
    /// There are as many as may be.
    Refused(usize),
}

impl Pending {
    pub(super) const fn new() -> Self {
        Self { tasks: Slab::new(), watched: NEVER, rearmed_at: NEVER, max: NEVER, warn_at: NEVER }
    }

    /// Sets how many tasks there may be, and how many without a warning.
    pub(super) fn bound(&mut self, max: Option<usize>, warn_at: Option<usize>) {
        self.max = max.unwrap_or(NEVER);
        self.warn_at = warn_at.unwrap_or(NEVER);
        self.rearm();
    }

    /// May a task be made without asking `admit`?
    #[inline]
    pub(super) fn is_below_bounds(&self) -> bool {
        self.tasks.len() < self.watched
    }

    /// A task is about to be made.
    pub(super) fn admit(&mut self) -> Admission {
        let count = self.tasks.len();
        if count >= self.max {
            return Admission::Refused(self.max);
        }
        if count < self.watched {
            return Admission::Admitted;
        }
        // Warned once, until there are clearly fewer again.
        self.watched = self.max;
        self.rearmed_at = self.warn_at - self.warn_at.div_ceil(4);
        Admission::Warn(self.warn_at)
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, task: Owned<Task>) -> u32 {
        self.tasks.insert(task)
    }

    #[inline(always)]
    pub(super) fn remove(&mut self, key: u32) -> Option<Owned<Task>> {
        let task = self.tasks.remove(key);
        if self.tasks.len() == self.rearmed_at {
            self.rearm();
        }
        task
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Owned<Task>> {
        self.tasks.iter()
    }

    pub(super) fn drain(&mut self) -> Vec<Owned<Task>> {
        self.tasks.drain()
    }

    fn rearm(&mut self) {
        self.watched = self.max.min(self.warn_at);
        self.rearmed_at = NEVER;
    }
}
