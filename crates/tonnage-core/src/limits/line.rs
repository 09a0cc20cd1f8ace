//! The line of those who wait for a limiter: by priority, then the keys in turn, then first come, first served.
//!
//! A higher priority is served first. Within a priority each key has a lane of its own, and the lanes are served
//! round robin, so that who asks most does not crowd out the others; within a lane it is first come, first served.
//! Whoever is first blocks all behind, however little these want, or else a large request would starve. Only a lane
//! whose key is at its cap is passed over; it keeps its turn until its key has room (`may_have_room`).
//! Joining and leaving costs O(log n), from any place. Nothing is dropped here: what leaves is handed to the caller.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::numbers::NumberMap;
use super::sparse::Sparse;

/// Who a request counts for: requests of one key take turns with those of the others. 0 is who has no key.
pub type Key = u64;

/// The key of who has none: it has a turn as any other, but no cap.
pub const NO_KEY: Key = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// 1 or more.
    pub tokens: u64,
    pub key: Key,
    /// Higher ones are served first.
    pub priority: i64,
}

/// A place in the line. It is good for one stay, and never names whoever comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// Who waits, for what, and since when.
#[derive(Debug)]
pub struct Entry<W> {
    pub request: Request,
    pub since_ns: u64,
    pub waiter: W,
}

/// A line of waiters. Bounded by `Admission`, or by its callers: each place belongs to somebody who waits.
#[derive(Debug)]
pub struct Line<W> {
    /// All who wait, in the order in which they came. The number of an arrival is its ticket.
    waiting: Sparse<Entry<W>>,
    levels: BTreeMap<Reverse<i64>, Level>,
    /// The priorities at which the lane of a key is passed over.
    passed_over: NumberMap<Vec<i64>>,
    next_number: u64,
}

/// Those of one priority. Invariant: each lane has somebody, and stands in `turns` unless it is passed over.
#[derive(Debug, Default)]
struct Level {
    lanes: NumberMap<Lane>,
    /// Whose turn comes when.
    turns: BTreeMap<u64, Key>,
    next_turn: u64,
    /// What all of this priority want.
    tokens: u64,
}

#[derive(Debug)]
struct Lane {
    numbers: Sparse<()>,
    turn: u64,
    is_passed_over: bool,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Line<W> {
    #[must_use]
    pub fn new() -> Self {
        Self {
            waiting: Sparse::new(),
            levels: BTreeMap::new(),
            passed_over: NumberMap::default(),
            next_number: 0,
        }
    }

    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets `entry` stand at the end of its key's lane.
    pub fn join(&mut self, entry: Entry<W>) -> Ticket {
        let Request { tokens, key, priority } = entry.request;
        let number = self.next_number;
        self.next_number += 1;
        let level = self.levels.entry(Reverse(priority)).or_default();
        level.tokens = level.tokens.saturating_add(tokens);
        let next_turn = &mut level.next_turn;
        let lane = level.lanes.entry(key).or_insert_with(|| {
            let turn = *next_turn;
            *next_turn += 1;
            level.turns.insert(turn, key);
            Lane { numbers: Sparse::new(), turn, is_passed_over: false }
        });
        lane.numbers.push(number, ());
        self.waiting.push(number, entry);
        Ticket(number)
    }

    /// Takes out who gave up, or waited too long; `None` if it has left the line already.
    #[must_use]
    pub fn leave(&mut self, ticket: Ticket) -> Option<Entry<W>> {
        let Request { key, .. } = self.waiting.get(ticket.0)?.request;
        // The next of its lane may want less.
        self.may_have_room(key);
        self.take(ticket.0)
    }

    /// Who is served next, if `is_at_cap` says of no key that it may have no more.
    #[must_use]
    pub fn first(&mut self, is_at_cap: impl Fn(&Request) -> bool) -> Option<&Entry<W>> {
        let number = self.first_number(i64::MIN, is_at_cap)?;
        self.waiting.get(number)
    }

    /// Takes out who is served next. Its key has had its turn.
    #[must_use]
    pub fn take_first(&mut self, is_at_cap: impl Fn(&Request) -> bool) -> Option<Entry<W>> {
        let number = self.first_number(i64::MIN, is_at_cap)?;
        let Request { key, priority, .. } = self.waiting.get(number)?.request;
        let level = self.levels.get_mut(&Reverse(priority)).expect("who waits has a level");
        if level.lanes.len() > 1 {
            let lane = level.lanes.get_mut(&key).expect("who waits has a lane");
            level.turns.remove(&lane.turn);
            lane.turn = level.next_turn;
            level.next_turn += 1;
            level.turns.insert(lane.turn, key);
        }
        self.take(number)
    }

    /// May a request that comes at this moment be served before all who wait? Not if somebody of its own or a
    /// higher priority is to be served first, nor if its own key waits.
    #[must_use]
    pub fn lets_pass(&mut self, request: &Request, is_at_cap: impl Fn(&Request) -> bool) -> bool {
        let levels = self.levels.range(..=Reverse(request.priority));
        let waits_itself = levels.into_iter().any(|(_, level)| level.lanes.contains_key(&request.key));
        !waits_itself && self.first_number(request.priority, is_at_cap).is_none()
    }

    /// The key has room, or its waiters want less: its lanes are passed over no more, and have their old turns.
    pub fn may_have_room(&mut self, key: Key) {
        if self.passed_over.is_empty() {
            return;
        }
        for priority in self.passed_over.remove(&key).into_iter().flatten() {
            let Some(level) = self.levels.get_mut(&Reverse(priority)) else { continue };
            if let Some(lane) = level.lanes.get_mut(&key) {
                lane.is_passed_over = false;
                level.turns.insert(lane.turn, key);
            }
        }
    }

    /// Who came first of all that wait.
    #[must_use]
    pub fn oldest(&self) -> Option<(Ticket, &Entry<W>)> {
        self.waiting.first().map(|(number, entry)| (Ticket(number), entry))
    }

    /// Who came last of all that wait.
    #[must_use]
    pub fn newest(&self) -> Option<Ticket> {
        self.waiting.last_number().map(Ticket)
    }

    /// How many tokens those want who are served before a request that joins with this priority. Keys take turns,
    /// so that it may come before some of them.
    #[must_use]
    pub fn tokens_before(&self, priority: i64) -> u64 {
        let levels = self.levels.range(..=Reverse(priority));
        levels.fold(0, |sum, (_, level)| level.tokens.saturating_add(sum))
    }

    /// All who wait, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<W>> {
        self.waiting.iter()
    }

    /// The first of this priority or a higher one. Lanes at their caps are passed over.
    fn first_number(&mut self, lowest: i64, is_at_cap: impl Fn(&Request) -> bool) -> Option<u64> {
        for (Reverse(priority), level) in self.levels.range_mut(..=Reverse(lowest)) {
            while let Some((&turn, &key)) = level.turns.first_key_value() {
                let lane = level.lanes.get_mut(&key).expect("a turn is a lane's");
                let (number, ()) = lane.numbers.first().expect("a lane has somebody");
                let entry = self.waiting.get(number).expect("a lane's numbers are of those who wait");
                if !is_at_cap(&entry.request) {
                    return Some(number);
                }
                level.turns.remove(&turn);
                lane.is_passed_over = true;
                self.passed_over.entry(key).or_default().push(*priority);
            }
        }
        None
    }

    fn take(&mut self, number: u64) -> Option<Entry<W>> {
        let entry = self.waiting.remove(number)?;
        let Request { tokens, key, priority } = entry.request;
        let level = self.levels.get_mut(&Reverse(priority)).expect("who waits has a level");
        level.tokens = level.tokens.saturating_sub(tokens);
        let lane = level.lanes.get_mut(&key).expect("who waits has a lane");
        lane.numbers.remove(number);
        if lane.numbers.is_empty() {
            if !lane.is_passed_over {
                level.turns.remove(&lane.turn);
            }
            level.lanes.remove(&key);
            if level.lanes.is_empty() {
                self.levels.remove(&Reverse(priority));
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never(_: &Request) -> bool {
        false
    }

    fn request(tokens: u64, key: Key, priority: i64) -> Request {
        Request { tokens, key, priority }
    }

    fn line(requests: &[Request]) -> (Line<usize>, Vec<Ticket>) {
        let mut line = Line::new();
        let join = |(waiter, request): (usize, &Request)| {
            line.join(Entry { request: *request, since_ns: 0, waiter })
        };
        let tickets = requests.iter().enumerate().map(join).collect();
        (line, tickets)
    }

    fn drain(line: &mut Line<usize>) -> Vec<usize> {
        std::iter::from_fn(|| line.take_first(never)).map(|entry| entry.waiter).collect()
    }

    #[test]
    fn a_higher_priority_is_served_first() {
        let (mut line, _) = line(&[request(1, 0, 0), request(1, 0, 5), request(1, 0, -1), request(1, 0, 5)]);
        assert_eq!(line.tokens_before(5), 2);
        assert_eq!(line.tokens_before(0), 3);
        assert_eq!(drain(&mut line), [1, 3, 0, 2]);
        assert!(line.levels.is_empty());
    }

    #[test]
    fn keys_are_served_in_turn() {
        let of_key = |key| request(1, key, 0);
        let (mut line, _) =
            line(&[of_key(1), of_key(1), of_key(1), of_key(2), of_key(3), of_key(2), of_key(NO_KEY)]);
        assert_eq!(drain(&mut line), [0, 3, 4, 6, 1, 5, 2]);
    }

    #[test]
    fn a_key_at_its_cap_is_passed_over_and_keeps_its_turn() {
        let of_key = |key| request(1, key, 0);
        let (mut line, _) = line(&[of_key(1), of_key(2), of_key(2), of_key(3)]);
        assert_eq!(line.take_first(|request| request.key == 1).map(|entry| entry.waiter), Some(1));
        assert!(line.passed_over.contains_key(&1));
        line.may_have_room(1);
        assert_eq!(drain(&mut line), [0, 3, 2]);
    }

    #[test]
    fn who_comes_passes_only_those_who_are_served_later() {
        let (mut line, _) = line(&[request(9, 1, 1)]);
        assert!(line.lets_pass(&request(1, 2, 2), never));
        assert!(!line.lets_pass(&request(1, 2, 1), never));
        assert!(!line.lets_pass(&request(1, 2, 0), never));
        // Key 1 is at its cap: the others may pass, it may not.
        assert!(line.lets_pass(&request(1, 2, 0), |request| request.key == 1));
        assert!(!line.lets_pass(&request(1, 1, 1), |request| request.key == 1));
        assert!(line.lets_pass(&request(1, 1, 2), |request| request.key == 1));
    }

    #[test]
    fn a_lane_that_is_left_lets_its_next_be_looked_at_again() {
        let (mut line, tickets) = line(&[request(9, 1, 0), request(1, 1, 0)]);
        let is_at_cap = |request: &Request| request.tokens > 5;
        assert!(line.first(is_at_cap).is_none());
        assert_eq!(line.leave(tickets[0]).map(|entry| entry.waiter), Some(0));
        assert!(line.leave(tickets[0]).is_none());
        assert_eq!(line.first(is_at_cap).map(|entry| entry.waiter), Some(1));
    }

    #[test]
    fn those_who_come_and_go_behind_one_that_stays_leave_no_memory() {
        let (mut line, _) = line(&[request(1, 0, 0)]);
        for round in 0..10_000 {
            let join = |line: &mut Line<usize>, key| {
                line.join(Entry { request: request(1, key, 0), since_ns: 0, waiter: 0 })
            };
            let (first, second) = (join(&mut line, round % 2), join(&mut line, round));
            assert!(line.leave(first).is_some() && line.leave(second).is_some());
        }
        assert_eq!(line.len(), 1);
        assert_eq!(line.levels[&Reverse(0)].lanes.len(), 1);
        assert_eq!(line.levels[&Reverse(0)].turns.len(), 1);
    }
}
