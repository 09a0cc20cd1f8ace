//! Values under small numbers, which are used again: the tasks that a loop or a group keeps.
//!
//! A number is good until its value is removed; after that it may name another. Nothing is dropped here.

#[derive(Debug)]
pub struct Slab<T> {
    /// Bounded by what is alive: each place holds a value, or is free.
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Places kept for the next values when all are gone.
const KEPT_MAX: usize = 4096;

impl<T> Slab<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the next `insert` gives.
    ///
    /// # Panics
    /// With more than four billion values.
    #[must_use]
    pub fn next_key(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| {
            u32::try_from(self.places.len()).expect("four billion values need more memory than there is")
        })
    }

    /// Keeps a value.
    ///
    /// # Panics
    /// With more than four billion values.
    pub fn insert(&mut self, value: T) -> u32 {
        let key = self.next_key();
        if self.free.pop().is_some() {
            self.places[key as usize] = Some(value);
        } else {
            self.places.push(Some(value));
        }
        key
    }

    #[must_use]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.places.get(key as usize)?.as_ref()
    }

    /// Gives a value back.
    #[must_use]
    pub fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.places.get_mut(key as usize)?.take();
        if value.is_some() {
            self.free.push(key);
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
        value
    }

    /// All values, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    /// The number of the first value that is wanted.
    #[must_use]
    pub fn position(&self, is_wanted: impl Fn(&T) -> bool) -> Option<u32> {
        let place = self.places.iter().position(|place| place.as_ref().is_some_and(&is_wanted))?;
        u32::try_from(place).ok()
    }

    /// Takes all values out.
    #[must_use]
    pub fn drain(&mut self) -> Vec<T> {
        self.free = Vec::new();
        std::mem::take(&mut self.places).into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.next_key(), a);
        assert_eq!(slab.insert("c"), a);
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (Some(&"c"), Some(&"b"), 2));
    }

    #[test]
    fn a_value_can_be_looked_for() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.position(|value| *value == "b"), Some(b));
        assert_eq!(slab.position(|value| *value == "a"), None);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..100_000).map(|value| slab.insert(value)).collect();
        for key in keys {
            assert_eq!(slab.remove(key), Some(key));
        }
        assert!(slab.is_empty());
        assert!(slab.places.capacity() <= KEPT_MAX);
    }

    #[test]
    fn all_can_be_taken_at_once() {
        let mut slab = Slab::new();
        let gone = slab.insert(1);
        slab.insert(2);
        slab.insert(3);
        assert_eq!(slab.remove(gone), Some(1));
        assert_eq!(slab.drain(), [2, 3]);
        assert!(slab.is_empty());
    }
}
