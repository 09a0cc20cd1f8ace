//! Capacity: a number of tokens that are lent, and come back.
//!
//! The total may change at any time: raising it makes room at once, lowering it takes nothing back, so that for a
//! while more may be lent than there are. A request for more than a lowered total is served when nothing else is
//! lent: or else it would wait, and block the line, until somebody raises the total.

use super::line::{Key, NO_KEY, Request};
use super::numbers::NumberMap;

#[derive(Debug)]
pub struct Capacity {
    /// `u64::MAX`: no end.
    total: u64,
    in_use: u64,
    /// What one key may have.
    per_key: Option<u64>,
    /// What each key has, if there is a cap.
    by_key: NumberMap<u64>,
}

/// As many tokens as anybody wants.
pub const UNLIMITED: u64 = u64::MAX;

impl Capacity {
    #[must_use]
    pub fn new(total: u64, per_key: Option<u64>) -> Self {
        Self { total, in_use: 0, per_key, by_key: NumberMap::default() }
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn set_total(&mut self, total: u64) {
        self.total = total;
    }

    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    #[must_use]
    pub fn per_key(&self) -> Option<u64> {
        self.per_key
    }

    /// Are there tokens for it, whatever its key has?
    #[inline]
    #[must_use]
    pub fn fits(&self, request: &Request) -> bool {
        self.in_use == 0
            || (self.in_use <= self.total && request.tokens <= self.total - self.in_use)
            || self.total == UNLIMITED
    }

    /// May its key have no more?
    #[inline]
    #[must_use]
    pub fn is_at_cap(&self, request: &Request) -> bool {
        let Some(per_key) = self.per_key.filter(|_| request.key != NO_KEY) else { return false };
        let has = self.by_key.get(&request.key).copied().unwrap_or(0);
        has > 0 && request.tokens > per_key.saturating_sub(has)
    }

    #[inline]
    pub fn take(&mut self, request: &Request) {
        self.in_use = self.in_use.saturating_add(request.tokens);
        if self.per_key.is_some() && request.key != NO_KEY {
            let has = self.by_key.entry(request.key).or_insert(0);
            *has = has.saturating_add(request.tokens);
        }
    }

    #[inline]
    pub fn give_back(&mut self, tokens: u64, key: Key) {
        self.in_use = self.in_use.saturating_sub(tokens);
        if self.per_key.is_some()
            && key != NO_KEY
            && let Some(has) = self.by_key.get_mut(&key)
        {
            *has = has.saturating_sub(tokens);
            if *has == 0 {
                self.by_key.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_key(tokens: u64, key: Key) -> Request {
        Request { tokens, key, priority: 0 }
    }

    #[test]
    fn what_is_lent_is_never_more_than_there_is() {
        let mut capacity = Capacity::new(3, None);
        capacity.take(&of_key(2, NO_KEY));
        assert!(capacity.fits(&of_key(1, NO_KEY)));
        assert!(!capacity.fits(&of_key(2, NO_KEY)));
        capacity.give_back(2, NO_KEY);
        assert!(capacity.fits(&of_key(3, NO_KEY)));
    }

    #[test]
    fn lowering_takes_nothing_back_and_starves_nobody() {
        let mut capacity = Capacity::new(5, None);
        capacity.take(&of_key(5, NO_KEY));
        capacity.set_total(2);
        assert_eq!(capacity.in_use(), 5);
        capacity.give_back(4, NO_KEY);
        assert!(capacity.fits(&of_key(1, NO_KEY)));
        assert!(!capacity.fits(&of_key(4, NO_KEY)));
        capacity.give_back(1, NO_KEY);
        assert!(capacity.fits(&of_key(4, NO_KEY)));
    }

    #[test]
    fn a_key_has_its_cap_and_who_has_none_has_not() {
        let mut capacity = Capacity::new(10, Some(2));
        capacity.take(&of_key(1, 7));
        assert!(!capacity.is_at_cap(&of_key(1, 7)));
        assert!(capacity.is_at_cap(&of_key(2, 7)));
        assert!(!capacity.is_at_cap(&of_key(2, 8)));
        capacity.take(&of_key(5, NO_KEY));
        assert!(!capacity.is_at_cap(&of_key(5, NO_KEY)));
        capacity.give_back(1, 7);
        assert!(capacity.by_key.is_empty());
    }

    #[test]
    fn without_an_end_all_fits() {
        let mut capacity = Capacity::new(UNLIMITED, None);
        capacity.take(&of_key(u64::MAX, NO_KEY));
        assert!(capacity.fits(&of_key(u64::MAX, NO_KEY)));
    }
}
