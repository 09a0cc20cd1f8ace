//! Slots: how many may run at once. The one place that decides whether one more may; groups and gathers with
//! `limit=` ask here. Where limiters decide (`limits::door`), it counts.

use super::limit::Limit;

pub(super) struct Slots {
    limit: usize,
    taken: usize,
}

impl Slots {
    pub(super) fn new(limit: &Limit) -> Self {
        let limit = match *limit {
            Limit::Count(limit) => limit,
            Limit::Door(_) => usize::MAX,
        };
        Self { limit, taken: 0 }
    }

    #[inline]
    pub(super) fn is_any_free(&self) -> bool {
        self.taken < self.limit
    }

    /// Is none free, and none borrowed?
    #[inline]
    pub(super) fn are_just_taken(&self) -> bool {
        self.taken == self.limit
    }

    /// Takes a slot, if one is free.
    #[inline]
    #[must_use]
    pub(super) fn take(&mut self) -> bool {
        let is_free = self.is_any_free();
        self.taken += usize::from(is_free);
        is_free
    }

    /// Takes one that is not there: somebody who has a slot waits for who gets this. Nobody is let in until
    /// as many have been given back.
    pub(super) fn borrow(&mut self) {
        self.taken += 1;
    }

    pub(super) fn give_back(&mut self) {
        self.taken = self.taken.checked_sub(1).expect("who gives a slot back has taken it");
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}
