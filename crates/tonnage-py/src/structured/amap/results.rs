//! What has come of the items, until somebody takes it.

use std::collections::VecDeque;

use crate::cpython::{Owned, Visit};

pub(super) struct Results {
    purpose: Purpose,
    ordered: bool,
    /// How many there were.
    count: usize,
    /// How many were handed out: in order, the first of the window has this index.
    consumed: usize,
    /// Those that are there; in order, with a gap for each that is still to come.
    window: VecDeque<Option<Owned>>,
}

/// What becomes of the results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are counted, and not kept.
    Count,
    /// They make a list.
    List,
    /// They are handed out; so many items may be begun whose results were not.
    Stream { room: usize },
}

impl Purpose {
    /// A stream has as much room as this.
    pub(super) fn with_room(self, room: usize) -> Self {
        match self {
            Self::Stream { .. } => Self::Stream { room },
            Self::Count | Self::List => self,
        }
    }
}

impl Results {
    pub(super) fn new(purpose: Purpose, ordered: bool) -> Self {
        Self { purpose, ordered, count: 0, consumed: 0, window: VecDeque::new() }
    }

    /// A stream has as much room as this from here on.
    pub(super) fn set_room(&mut self, room: usize) {
        self.purpose = self.purpose.with_room(room);
    }

    /// May one more item be begun, after `taken` others?
    #[inline]
    pub(super) fn has_room(&self, taken: usize) -> bool {
        match self.purpose {
            Purpose::Stream { room } => taken - self.consumed < room,
            Purpose::Count | Purpose::List => true,
        }
    }

    /// Keeps the result of the item with this index. What is not to be kept comes back.
    #[inline]
    #[must_use]
    pub(super) fn put(&mut self, index: usize, result: Owned) -> Option<Owned> {
        self.count += 1;
        if self.purpose == Purpose::Count {
            return Some(result);
        }
        if !self.ordered {
            self.window.push_back(Some(result));
            return None;
        }
        let place = index - self.consumed;
        if place == self.window.len() {
            self.window.push_back(Some(result));
            return None;
        }
        if place > self.window.len() {
            self.window.resize_with(place + 1, || None);
        }
        self.window[place].replace(result)
    }

    /// Takes the next result of a stream, if it is there.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Owned> {
        let result = self.window.front_mut()?.take()?;
        self.window.pop_front();
        self.consumed += 1;
        Some(result)
    }

    /// Can the next result of a stream be taken?
    #[inline]
    pub(super) fn has_next(&self) -> bool {
        matches!(self.purpose, Purpose::Stream { .. }) && matches!(self.window.front(), Some(Some(_)))
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn into_list(self) -> Vec<Owned> {
        self.window.into_iter().flatten().collect()
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        visit.each(self.window.iter().flatten())
    }
}
