//! The table of pending tasks: the loop's strong references, so that no task vanishes.

use std::num::NonZeroU32;

use crate::cpython::{Owned, Visit};
use crate::task::{KeptAt, Task};

#[derive(Default)]
pub(super) struct PendingTasks {
    /// Bounded by the tasks that are alive: each place holds one, or is free.
    places: Vec<Option<Owned<Task>>>,
    free: Vec<u32>,
}

impl PendingTasks {
    pub(super) fn keep(&mut self, task: Owned<Task>) -> KeptAt {
        let index = match self.free.pop() {
            Some(index) => {
                self.places[index as usize] = Some(task);
                index
            }
            None => {
                self.places.push(Some(task));
                u32::try_from(self.places.len() - 1)
                    .expect("four billion tasks need more memory than there is")
            }
        };
        KeptAt(NonZeroU32::MIN.saturating_add(index))
    }

    #[must_use]
    pub(super) fn forget(&mut self, at: KeptAt) -> Option<Owned<Task>> {
        let index = at.0.get() - 1;
        let task = self.places.get_mut(index as usize)?.take();
        if task.is_some() {
            self.free.push(index);
        }
        if self.free.len() == self.places.len() {
            // All gone: give the memory of a burst back.
            self.places.clear();
            self.free.clear();
            if self.places.capacity() > KEPT_MAX {
                self.places.shrink_to(KEPT_MAX);
                self.free.shrink_to(KEPT_MAX);
            }
        }
        task
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Owned<Task>> {
        self.places.iter().flatten()
    }

    #[must_use]
    pub(super) fn drain(&mut self) -> Vec<Option<Owned<Task>>> {
        self.free = Vec::new();
        std::mem::take(&mut self.places)
    }

    pub(super) fn traverse(&self, visit: &Visit<'_>) -> i32 {
        self.iter().map(|task| visit.call(task)).find(|shown| *shown != 0).unwrap_or(0)
    }
}

/// Places kept for the next tasks when all are gone.
const KEPT_MAX: usize = 4096;
