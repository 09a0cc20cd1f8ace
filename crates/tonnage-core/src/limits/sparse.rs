//! Sparse: values in the order of their numbers, of which any may be taken out.
//!
//! What is taken out of the middle leaves a hole; holes at the ends go at once, and when there are more holes
//! than values all are closed, so that each operation costs O(log n) at most, and memory follows what is there.
//! Invariant: neither the first nor the last place is a hole.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Sparse<T> {
    places: VecDeque<(u64, Option<T>)>,
    holes: usize,
}

/// Holes that are left alone, however few values there are; and places kept for the next ones when all are gone.
const HOLES_KEPT: usize = 32;

impl<T> Sparse<T> {
    pub(super) const fn new() -> Self {
        Self { places: VecDeque::new(), holes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.holes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a value under a number above all others.
    pub(super) fn push(&mut self, number: u64, value: T) {
        debug_assert!(self.places.back().is_none_or(|(last, _)| *last < number), "numbers only grow");
        self.places.push_back((number, Some(value)));
    }

    pub(super) fn first(&self) -> Option<(u64, &T)> {
        let (number, value) = self.places.front()?;
        value.as_ref().map(|value| (*number, value))
    }

    pub(super) fn last_number(&self) -> Option<u64> {
        self.places.back().map(|(number, _)| *number)
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.places.get(self.place(number)?)?.1.as_ref()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.place(number)?;
        let value = self.places[place].1.take()?;
        self.holes += 1;
        while matches!(self.places.front(), Some((_, None))) {
            self.places.pop_front();
            self.holes -= 1;
        }
        while matches!(self.places.back(), Some((_, None))) {
            self.places.pop_back();
            self.holes -= 1;
        }
        if self.holes > self.len() + HOLES_KEPT {
            self.places.retain(|(_, value)| value.is_some());
            self.holes = 0;
        }
        if self.places.capacity() > 4 * (self.places.len() + HOLES_KEPT) {
            self.places.shrink_to(2 * (self.places.len() + HOLES_KEPT));
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, value)| value.as_ref())
    }

    fn place(&self, number: u64) -> Option<usize> {
        match self.places.front() {
            // Most who leave are the first.
            Some((first, _)) if *first == number => Some(0),
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number).ok(),
        }
    }
}
