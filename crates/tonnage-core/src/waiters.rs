//! The line of those who wait for a lock, a slot or an item: first come, first served.
//!
//! One line is under every primitive that makes tasks wait. Who is granted what it waits for leaves the
//! line at that moment (`pop`), so that nobody can pass it; who gives up leaves it in constant time
//! (`remove`), from any place. A ticket is good for one stay: it never names whoever comes later.
//! Nothing is dropped here: what leaves is handed to the caller.

use std::mem::{self, ManuallyDrop};

/// A place in the line, for as long as its owner waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    index: u32,
    stay: u32,
}

/// No place: the end of a chain.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Place<W> {
    waiter: Option<W>,
    /// How many have stood here; tells a ticket from those before it.
    stay: u32,
    before: u32,
    behind: u32,
}

impl<W> Place<W> {
    /// Who stood here has gone: it is the first of the free places, before `free`. Returns who stood behind.
    #[inline]
    fn leave(&mut self, free: u32) -> u32 {
        // Four billion stays at one place later a forgotten ticket would be good again.
        self.stay = self.stay.wrapping_add(1);
        mem::replace(&mut self.behind, free)
    }
}

/// A line of waiters. Bounded by its callers: each place belongs to a task that waits.
#[derive(Debug)]
pub struct Waiters<W> {
    places: Vec<Place<W>>,
    /// The first of the places where nobody stands, chained by `behind`.
    free: u32,
    first: u32,
    last: u32,
    count: usize,
    /// The stay that a place begins with: above all those before memory was given back.
    stay: u32,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Waiters<W> {
    #[must_use]
    pub const fn new() -> Self {
        Self { places: Vec::new(), free: NOWHERE, first: NOWHERE, last: NOWHERE, count: 0, stay: 0 }
    }

    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Lets `waiter` stand at the end of the line.
    ///
    /// # Panics
    /// With more than four billion waiters.
    #[inline(always)]
    pub fn push(&mut self, waiter: W) -> Ticket {
        let index = self.free_place();
        let last = self.last;
        let place = &mut self.places[index as usize];
        // Nobody stood there, to be dropped.
        let _nobody = ManuallyDrop::new(place.waiter.replace(waiter));
        place.before = last;
        place.behind = NOWHERE;
        let stay = place.stay;
        match self.places.get_mut(last as usize) {
            Some(last) => last.behind = index,
            None => self.first = index,
        }
        self.last = index;
        self.count += 1;
        Ticket { index, stay }
    }

    /// Lets `waiter` stand before all others: it was granted something that was taken back.
    ///
    /// # Panics
    /// With more than four billion waiters.
    pub fn push_front(&mut self, waiter: W) -> Ticket {
        let index = self.free_place();
        let first = self.first;
        let place = &mut self.places[index as usize];
        place.waiter = Some(waiter);
        place.before = NOWHERE;
        place.behind = first;
        let stay = place.stay;
        match first {
            NOWHERE => self.last = index,
            first => self.places[first as usize].before = index,
        }
        self.first = index;
        self.count += 1;
        Ticket { index, stay }
    }

    /// Takes the first of the line, to be granted what it waits for.
    #[inline]
    #[must_use]
    pub fn pop(&mut self) -> Option<W> {
        self.pop_if(|_first| true)
    }

    /// Takes the first of the line, if `wanted` says so of it.
    #[inline(always)]
    #[must_use]
    pub fn pop_if(&mut self, wanted: impl FnOnce(&W) -> bool) -> Option<W> {
        let index = self.first;
        // Nobody is nowhere.
        let place = self.places.get_mut(index as usize)?;
        let waiter = place.waiter.take_if(|waiter| wanted(waiter))?;
        let behind = place.leave(self.free);
        self.free = index;
        self.first = behind;
        match self.places.get_mut(behind as usize) {
            Some(behind) => behind.before = NOWHERE,
            None => self.last = NOWHERE,
        }
        self.count_out();
        Some(waiter)
    }

    /// Takes out who gave up; `None` if it has left the line already, because it was granted.
    #[inline]
    #[must_use]
    pub fn remove(&mut self, ticket: Ticket) -> Option<W> {
        let place = self.places.get(ticket.index as usize)?;
        if place.stay != ticket.stay {
            return None;
        }
        self.take(ticket.index)
    }

    /// The first of the line.
    #[must_use]
    pub fn first(&self) -> Option<&W> {
        self.iter().next()
    }

    /// All in their order.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let place = self.places.get(next as usize)?;
            next = place.behind;
            place.waiter.as_ref()
        })
    }

    /// Takes all out, in their order.
    #[must_use]
    pub fn drain(&mut self) -> Vec<W> {
        let mut all = Vec::with_capacity(self.count);
        while let Some(waiter) = self.pop() {
            all.push(waiter);
        }
        all
    }

    #[inline]
    fn free_place(&mut self) -> u32 {
        match self.places.get(self.free as usize) {
            Some(place) => mem::replace(&mut self.free, place.behind),
            None => self.one_more_place(),
        }
    }

    #[cold]
    fn one_more_place(&mut self) -> u32 {
        let index = u32::try_from(self.places.len()).ok().filter(|index| *index != NOWHERE);
        let index = index.expect("four billion waiters need more memory than there is");
        let stay = self.stay;
        self.places.push(Place { waiter: None, stay, before: NOWHERE, behind: NOWHERE });
        index
    }

    fn take(&mut self, index: u32) -> Option<W> {
        let place = &mut self.places[index as usize];
        let waiter = place.waiter.take()?;
        let before = place.before;
        let behind = place.leave(self.free);
        self.free = index;
        match before {
            NOWHERE => self.first = behind,
            before => self.places[before as usize].behind = behind,
        }
        match behind {
            NOWHERE => self.last = before,
            behind => self.places[behind as usize].before = before,
        }
        self.count_out();
        Some(waiter)
    }

    #[inline]
    fn count_out(&mut self) {
        self.count -= 1;
        if self.count == 0 {
            self.give_memory_back();
        }
    }

    /// All have gone, maybe after a burst. The stays go on, so that old tickets stay void.
    #[inline(never)]
    fn give_memory_back(&mut self) {
        if self.places.capacity() <= KEPT_MAX {
            return;
        }
        let stay = self.places.iter().map(|place| place.stay).max().unwrap_or(0);
        self.stay = stay;
        self.places.truncate(KEPT_MAX);
        self.places.shrink_to(KEPT_MAX);
        self.free = NOWHERE;
        for (index, place) in self.places.iter_mut().enumerate().rev() {
            place.stay = stay;
            place.behind = self.free;
            self.free = u32::try_from(index).expect("KEPT_MAX places at most");
        }
    }
}

/// Places kept for the next waiters when all are gone.
const KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_in_order_of_arrival() {
        let mut line = Waiters::new();
        for waiter in 0..5 {
            line.push(waiter);
        }
        assert_eq!(line.drain(), [0, 1, 2, 3, 4]);
        assert!(line.is_empty());
    }

    #[test]
    fn who_gives_up_leaves_from_any_place() {
        for gone in 0..4 {
            let mut line = Waiters::new();
            let tickets: Vec<_> = (0..4).map(|waiter| line.push(waiter)).collect();
            assert_eq!(line.remove(tickets[gone]), Some(gone));
            assert_eq!(line.remove(tickets[gone]), None);
            let rest: Vec<_> = (0..4).filter(|waiter| *waiter != gone).collect();
            assert_eq!(line.iter().copied().collect::<Vec<_>>(), rest);
            assert_eq!(line.drain(), rest);
        }
    }

    #[test]
    fn a_ticket_does_not_name_the_next_at_its_place() {
        let mut line = Waiters::new();
        let old = line.push("old");
        assert_eq!(line.pop(), Some("old"));
        let new = line.push("new");
        assert_eq!(line.remove(old), None);
        assert_eq!(line.remove(new), Some("new"));
    }

    #[test]
    fn old_tickets_stay_void_when_memory_was_given_back() {
        let mut line = Waiters::new();
        let tickets: Vec<_> = (0..1000).map(|waiter| line.push(waiter)).collect();
        assert_eq!(line.drain().len(), 1000);
        assert!(line.places.capacity() <= KEPT_MAX);
        for waiter in 0..1000 {
            line.push(waiter);
        }
        for ticket in tickets {
            assert_eq!(line.remove(ticket), None);
        }
        assert_eq!(line.len(), 1000);
    }

    #[test]
    fn the_first_is_taken_if_it_is_wanted() {
        let mut line = Waiters::new();
        assert_eq!(line.pop_if(|_: &i32| panic!("nobody stands in the line")), None);
        let tickets: Vec<_> = (0..3).map(|waiter| line.push(waiter)).collect();
        assert_eq!(line.pop_if(|first| *first == 1), None);
        assert_eq!(line.pop_if(|first| *first == 0), Some(0));
        assert_eq!(line.remove(tickets[0]), None);
        assert_eq!(line.remove(tickets[1]), Some(1));
        line.push(3);
        assert_eq!(line.drain(), [2, 3]);
    }

    #[test]
    fn who_comes_and_goes_in_any_order_is_served_in_order() {
        // As a queue of pairs, whichever places are used again.
        let mut line = Waiters::new();
        let mut model = std::collections::VecDeque::new();
        let mut random: u32 = 1;
        for waiter in 0..20_000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match (random >> 16) % 5 {
                0 | 1 => model.push_back((line.push(waiter), waiter)),
                2 => model.push_front((line.push_front(waiter), waiter)),
                3 => assert_eq!(line.pop(), model.pop_front().map(|(_, waiter)| waiter)),
                _ if model.is_empty() => assert!(line.is_empty()),
                _ => {
                    let (ticket, gone) =
                        model.remove((random >> 8) as usize % model.len()).expect("in bounds");
                    assert_eq!(line.remove(ticket), Some(gone));
                    assert_eq!(line.remove(ticket), None);
                }
            }
            assert_eq!(line.len(), model.len());
        }
        assert!(line.iter().eq(model.iter().map(|(_, waiter)| waiter)));
    }

    #[test]
    fn a_waiter_put_back_is_the_first() {
        let mut line = Waiters::new();
        line.push(2);
        line.push_front(1);
        line.push(3);
        assert_eq!(line.first(), Some(&1));
        assert_eq!(line.drain(), [1, 2, 3]);
    }
}
