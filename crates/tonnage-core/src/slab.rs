//! Values under small numbers, which are used again: the tasks that a loop or a group keeps.
//!
//! A number is good until its value is removed; after that it may name another. Nothing is dropped here.

#[derive(Debug)]
pub struct Slab<T> {
    /// Bounded by what is alive: each place holds a value, or is free.
    places: Vec<Place<T>>,
    /// The free place that is used next, from which the others are chained.
    free: u32,
    count: usize,
}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// The free place that comes after it.
    Free(u32),
}

impl<T> Place<T> {
    #[inline]
    fn value(&self) -> Option<&T> {
        match self {
            Self::Taken(value) => Some(value),
            Self::Free(_) => None,
        }
    }

    fn into_value(self) -> Option<T> {
        match self {
            Self::Taken(value) => Some(value),
            Self::Free(_) => None,
        }
    }
}

/// No place: the end of the chain.
const NOWHERE: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Places kept for the next values when all are gone.
const KEPT_MAX: usize = 4096;

/// Places to begin with: growing by one, two, four costs more than the values. What is not larger than 128 bytes is
/// among what the allocator of the C library gives at the least cost.
const FIRST: usize = 7;

/// How many places are made together, beside the one that is needed: as many as there are, within these bounds.
const AT_ONCE: (u32, u32) = (6, 31);

impl<T> Slab<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: NOWHERE, count: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number that the next `insert` gives.
    ///
    /// # Panics
    /// With more than four billion values.
    #[inline]
    #[must_use]
    pub fn next_key(&self) -> u32 {
        if self.free == NOWHERE { number(self.places.len()) } else { self.free }
    }

    /// Keeps a value.
    ///
    /// # Panics
    /// With more than four billion values.
    #[inline]
    pub fn insert(&mut self, value: T) -> u32 {
        self.count += 1;
        let Some(place) = self.places.get_mut(self.free as usize) else { return self.append(value) };
        let Place::Free(next) = *place else { unreachable!("the chain is of free places") };
        *place = Place::Taken(value);
        std::mem::replace(&mut self.free, next)
    }

    /// As `insert`, where no place is free: makes some for the next values as well.
    #[inline(never)]
    fn append(&mut self, value: T) -> u32 {
        let key = number(self.places.len());
        if self.places.is_empty() {
            self.places.reserve(FIRST);
        }
        self.places.push(Place::Taken(value));
        let at_once = key.clamp(AT_ONCE.0, AT_ONCE.1);
        let last = key.saturating_add(at_once).min(NOWHERE - 1);
        self.places.extend((key + 1..=last).map(|place| Place::Free(place + 1)));
        if last > key {
            self.free = key + 1;
            if let Some(end) = self.places.last_mut() {
                *end = Place::Free(NOWHERE);
            }
        }
        key
    }

    #[must_use]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.places.get(key as usize)?.value()
    }

    /// Gives a value back.
    #[inline]
    #[must_use]
    pub fn remove(&mut self, key: u32) -> Option<T> {
        let place = self.places.get_mut(key as usize)?;
        if let Place::Free(_) = place {
            return None;
        }
        let Place::Taken(value) = std::mem::replace(place, Place::Free(self.free)) else { return None };
        self.free = key;
        self.count -= 1;
        if self.count == 0 {
            self.forget_places();
        }
        Some(value)
    }

    /// All are gone: the numbers begin anew, and the memory of a burst goes back.
    #[inline(never)]
    fn forget_places(&mut self) {
        self.places.clear();
        self.free = NOWHERE;
        if self.places.capacity() > KEPT_MAX {
            self.places.shrink_to(KEPT_MAX);
        }
    }

    /// All values, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(Place::value)
    }

    /// The number of the first value that is wanted.
    #[must_use]
    pub fn position(&self, is_wanted: impl Fn(&T) -> bool) -> Option<u32> {
        let place = self.places.iter().position(|place| place.value().is_some_and(&is_wanted))?;
        u32::try_from(place).ok()
    }

    /// Takes all values out.
    #[must_use]
    pub fn drain(&mut self) -> Vec<T> {
        let places = std::mem::take(self).places;
        places.into_iter().filter_map(Place::into_value).collect()
    }
}

fn number(place: usize) -> u32 {
    let number = u32::try_from(place).ok().filter(|number| *number != NOWHERE);
    number.expect("four billion values need more memory than there is")
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
    fn the_next_number_is_known_before() {
        let mut slab = Slab::new();
        for value in 0..100 {
            assert_eq!(slab.next_key(), value);
            assert_eq!(slab.insert(value), value);
        }
        assert_eq!(slab.iter().count(), slab.len());
        for value in (0..100).step_by(3) {
            assert_eq!(slab.remove(value), Some(value));
        }
        for value in 100..200 {
            let next = slab.next_key();
            assert_eq!(slab.insert(value), next);
            assert_eq!(slab.get(next), Some(&value));
        }
        assert_eq!((slab.iter().count(), slab.len()), (166, 166));
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
