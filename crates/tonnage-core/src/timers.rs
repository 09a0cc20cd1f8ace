//! Timers in the order of their deadlines.
//!
//! A 4-ary heap of (deadline, sequence number) over a slab of payloads. Each
//! slab slot knows its place in the heap, so that removing a timer removes it
//! at once, in O(log n), and a cancelled timer holds nothing. Four children a
//! node make the heap half as deep as a binary one, and the siblings that are
//! compared lie beside each other.
//!
//! Invariants: `heap[slots[i].link].slot == i` for each occupied slot `i`;
//! timers with equal deadlines fire in the order of their insertion; a key is
//! good for one timer only, whatever its slot held later.
//!
//! The event loop calls this for `call_later`, `call_at` and `Handle.cancel`.

use std::mem::ManuallyDrop;

/// Children of a heap node.
const ARITY: usize = 4;
/// Ends the list of free slots.
const NO_SLOT: u32 = u32::MAX;
/// A heap or slab below this size is never shrunk: 40 KB with a pointer as payload.
const SLOTS_KEPT: usize = 1024;

/// Names one timer from its insertion on. When the timer is gone, its key
/// names nothing, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    deadline_ns: u64,
    sequence: u64,
    slot: u32,
}

impl Entry {
    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        (self.deadline_ns, self.sequence) < (other.deadline_ns, other.sequence)
    }
}

struct Slot<T> {
    /// How often this slot was given up.
    generation: u32,
    /// Occupied: the place in the heap. Free: the next free slot.
    link: u32,
    value: Option<T>,
}

/// A set of timers, each with a deadline and a payload.
pub struct Timers<T> {
    heap: Vec<Entry>,
    slots: Vec<Slot<T>>,
    free_head: u32,
    next_sequence: u64,
    /// The generation of a slot that is made, higher than those of all slots
    /// that were cut off, so that their keys stay stale.
    first_generation: u32,
    /// Slots given up since the memory was last looked through.
    freed: usize,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            heap: Vec::new(),
            slots: Vec::new(),
            free_head: NO_SLOT,
            next_sequence: 0,
            first_generation: 0,
            freed: 0,
        }
    }

    /// Adds a timer that is due at `deadline_ns`, after all others of the same deadline.
    #[inline]
    pub fn insert(&mut self, deadline_ns: u64, value: T) -> TimerKey {
        let place = self.heap.len();
        let key = self.occupy_slot(place, value);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.heap.push(Entry { deadline_ns, sequence, slot: key.index });
        if place > 0 {
            self.sift_up(place);
        }
        key
    }

    /// The payload of a timer, or `None` if the timer is gone.
    #[must_use]
    pub fn get(&self, key: TimerKey) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The earliest deadline.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<u64> {
        self.heap.first().map(|entry| entry.deadline_ns)
    }

    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The payloads in no useful order. Allocates nothing, so that a garbage
    /// collector may walk it.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Takes out the earliest timer if it is due at `now_ns`.
    #[inline]
    pub fn pop_due(&mut self, now_ns: u64) -> Option<T> {
        match self.heap.first() {
            Some(first) if first.deadline_ns <= now_ns => Some(self.take_at(0)),
            _ => None,
        }
    }

    /// Takes out a timer before it is due. `None` if it is gone.
    #[inline]
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation != key.generation || slot.value.is_none() {
            return None;
        }
        let place = slot.link as usize;
        Some(self.take_at(place))
    }

    /// Takes out all timers, in the order in which they would have fired.
    #[must_use]
    pub fn drain(&mut self) -> Vec<T> {
        let mut entries = std::mem::take(&mut self.heap);
        entries.sort_unstable_by_key(|entry| (entry.deadline_ns, entry.sequence));
        let values = entries.iter().map(|entry| self.vacate_slot(entry.slot)).collect();
        self.shrink();
        values
    }

    #[inline]
    fn take_at(&mut self, place: usize) -> T {
        // The last one leaves no gap.
        let last = self.heap.len() - 1;
        let slot = self.heap[place].slot;
        if place == last {
            self.heap.truncate(last);
        } else {
            self.fill_gap(place);
        }
        let value = self.vacate_slot(slot);
        self.shrink_after_burst();
        value
    }

    /// Puts the last entry in the place of one that goes.
    #[inline(never)]
    fn fill_gap(&mut self, place: usize) {
        self.heap.swap_remove(place);
        // It may belong further down, or, if it came from another branch, further up.
        if !self.sift_up(place) {
            self.sift_down(place);
        }
    }

    #[inline]
    fn occupy_slot(&mut self, place: usize, value: T) -> TimerKey {
        // Places fit, as slots do: there is one of each for each timer.
        let link = place as u32;
        let Some(slot) = self.slots.get_mut(self.free_head as usize) else {
            return self.add_slot(link, value);
        };
        let key = TimerKey { index: self.free_head, generation: slot.generation };
        self.free_head = slot.link;
        slot.link = link;
        // The slot was free: there is nothing to drop, and no code for it.
        let _nothing = ManuallyDrop::new(slot.value.replace(value));
        key
    }

    #[cold]
    #[inline(never)]
    fn add_slot(&mut self, link: u32, value: T) -> TimerKey {
        let generation = self.first_generation;
        let index = u32::try_from(self.slots.len()).ok().filter(|index| *index != NO_SLOT);
        let index = index.expect("a slot costs 16 bytes, so memory ends first");
        self.slots.push(Slot { generation, link, value: Some(value) });
        TimerKey { index, generation }
    }

    #[inline]
    fn vacate_slot(&mut self, index: u32) -> T {
        let slot = &mut self.slots[index as usize];
        let value = slot.value.take().expect("each heap entry names an occupied slot");
        self.freed += 1;
        // A slot whose generations are used up is never given out again: its
        // next key could be the first one's twin.
        if slot.generation < u32::MAX {
            slot.generation += 1;
            slot.link = self.free_head;
            self.free_head = index;
        }
        value
    }

    /// Moves an entry towards the root. Says whether it moved.
    fn sift_up(&mut self, start: usize) -> bool {
        let moving = self.heap[start];
        let mut place = start;
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if !moving.is_before(&self.heap[parent]) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, moving);
        place != start
    }

    fn sift_down(&mut self, start: usize) {
        let moving = self.heap[start];
        let mut place = start;
        loop {
            let first_child = place * ARITY + 1;
            let children_end = (first_child + ARITY).min(self.heap.len());
            let Some(least) = (first_child..children_end)
                .reduce(|a, b| if self.heap[b].is_before(&self.heap[a]) { b } else { a })
            else {
                break;
            };
            if !self.heap[least].is_before(&moving) {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, moving);
    }

    /// Writes an entry, and tells its slot where it is.
    #[inline]
    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        // `occupy_slot` made sure that every place fits.
        self.slots[entry.slot as usize].link = place as u32;
    }

    /// Gives memory back when three quarters of it are unused. Looking through
    /// the slots is paid for by the removals since the last time.
    #[inline]
    fn shrink_after_burst(&mut self) {
        let slots = self.slots.len();
        if slots <= SLOTS_KEPT || self.heap.len() > slots / 4 {
            return;
        }
        if self.heap.is_empty() || self.freed >= slots / 4 {
            self.shrink();
        }
    }

    /// Cuts off the free slots behind the last occupied one: a key holds an
    /// index, so an occupied slot cannot move.
    #[cold]
    fn shrink(&mut self) {
        self.freed = 0;
        while self.slots.len() > SLOTS_KEPT {
            match self.slots.last() {
                // A slot that is used up (see `vacate_slot`) stays, since no generation is above its own.
                Some(last) if last.value.is_none() && last.generation < u32::MAX => {
                    self.first_generation = self.first_generation.max(last.generation);
                    self.slots.pop();
                }
                _ => break,
            }
        }
        self.slots.shrink_to(SLOTS_KEPT);
        self.heap.shrink_to(SLOTS_KEPT.max(self.heap.len() * 2));
        self.free_head = NO_SLOT;
        for (index, slot) in self.slots.iter_mut().enumerate().rev() {
            if slot.value.is_none() && slot.generation < u32::MAX {
                slot.link = self.free_head;
                self.free_head = index as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fire_all(timers: &mut Timers<u32>, now_ns: u64) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_due(now_ns)).collect()
    }

    #[test]
    fn timers_fire_by_deadline() {
        let mut timers = Timers::new();
        for value in [5, 3, 9, 1, 7] {
            timers.insert(u64::from(value), value);
        }
        assert_eq!(timers.peek(), Some(1));
        assert_eq!(fire_all(&mut timers, 5), [1, 3, 5]);
        assert_eq!(timers.peek(), Some(7));
        assert_eq!(timers.len(), 2);
    }

    #[test]
    fn equal_deadlines_fire_in_order_of_insertion() {
        let mut timers = Timers::new();
        let keys: Vec<_> = (0..100).map(|value| timers.insert(8, value)).collect();
        for value in (0..100).filter(|value| value % 3 == 0) {
            assert_eq!(timers.remove(keys[value as usize]), Some(value));
        }
        let expected: Vec<_> = (0..100).filter(|value| value % 3 != 0).collect();
        assert_eq!(fire_all(&mut timers, 8), expected);
    }

    #[test]
    fn stale_key_removes_nothing() {
        let mut timers = Timers::new();
        let stale = timers.insert(1, 1);
        assert_eq!(timers.pop_due(1), Some(1));
        let fresh = timers.insert(2, 2);
        assert_eq!(stale.index, fresh.index);
        assert_eq!(timers.remove(stale), None);
        assert_eq!(timers.get(stale), None);
        assert_eq!(timers.get(fresh), Some(&2));
    }

    #[test]
    fn key_stays_stale_after_memory_was_given_back() {
        let mut timers = Timers::new();
        let stale: Vec<_> = (0..10_000).map(|value| timers.insert(1, value)).collect();
        assert_eq!(timers.drain().len(), 10_000);
        assert!(timers.slots.capacity() <= SLOTS_KEPT && timers.heap.capacity() <= SLOTS_KEPT);
        for value in 0..10_000 {
            timers.insert(1, value);
        }
        assert!(stale.iter().all(|key| timers.remove(*key).is_none()));
        assert_eq!(timers.len(), 10_000);
    }

    #[test]
    fn burst_leaves_no_memory_behind() {
        let mut timers = Timers::new();
        for round in 0..3 {
            let keys: Vec<_> = (0..100_000).map(|value| timers.insert(value, value)).collect();
            for key in keys {
                assert!(timers.remove(key).is_some(), "round {round}");
            }
            assert!(timers.slots.capacity() <= SLOTS_KEPT && timers.heap.capacity() <= SLOTS_KEPT);
        }
    }

    #[test]
    fn used_up_slot_is_retired() {
        let mut timers = Timers::new();
        timers.insert(1, 1);
        timers.slots[0].generation = u32::MAX;
        assert_eq!(timers.pop_due(1), Some(1));
        let key = timers.insert(2, 2);
        assert_eq!(key.index, 1);
    }

    #[test]
    fn drain_hands_back_everything_in_firing_order() {
        let mut timers = Timers::new();
        for value in [4, 2, 8, 6] {
            timers.insert(u64::from(value), value);
        }
        assert_eq!(timers.iter().sum::<u32>(), 20);
        assert_eq!(timers.drain(), [2, 4, 6, 8]);
        assert!(timers.is_empty() && timers.peek().is_none());
    }
}
