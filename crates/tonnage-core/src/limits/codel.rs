//! CoDel: tells a line that only smooths bursts from one that does not drain any more.
//!
//! The controlled delay of Nichols and Jacobson (RFC 8289), in the form that folly's `Codel` gave it for requests:
//! if the least delay of an interval was above the target, the line is overloaded; and while it is, who has waited
//! for more than twice the target is refused when its turn comes. Who is served is then served in time.

/// How long a line must not have drained to be overloaded: as folly's and the RFC's.
pub const INTERVAL_NS: u64 = 100_000_000;

#[derive(Debug)]
pub struct Codel {
    target_ns: u64,
    /// The least delay since the interval began.
    least_ns: u64,
    interval_ends_ns: u64,
    is_overloaded: bool,
}

impl Codel {
    #[must_use]
    pub fn new(target_ns: u64) -> Self {
        Self { target_ns, least_ns: 0, interval_ends_ns: 0, is_overloaded: false }
    }

    /// The turn has come of somebody who waited for `delay_ns`: is it to be refused?
    pub fn refuses(&mut self, now_ns: u64, delay_ns: u64) -> bool {
        if now_ns > self.interval_ends_ns {
            self.interval_ends_ns = now_ns.saturating_add(INTERVAL_NS);
            self.is_overloaded = self.least_ns > self.target_ns;
            self.least_ns = delay_ns;
            // Nobody is refused on the word of one.
            return false;
        }
        self.least_ns = self.least_ns.min(delay_ns);
        self.is_overloaded && delay_ns > self.target_ns.saturating_mul(2)
    }

    /// Somebody was served without a wait.
    #[inline]
    pub fn saw_no_delay(&mut self) {
        self.least_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_that_drains_is_not_refused() {
        let mut codel = Codel::new(10 * MS);
        for turn in 0..1000 {
            // Long waits, but each interval has a short one.
            let delay = if turn % 10 == 0 { MS } else { 500 * MS };
            assert!(!codel.refuses(turn * 10 * MS, delay));
        }
    }

    #[test]
    fn a_line_that_does_not_drain_is_overloaded_after_an_interval() {
        let mut codel = Codel::new(10 * MS);
        let refused: Vec<_> = (1..=30).filter(|turn| codel.refuses(turn * 10 * MS, 25 * MS)).collect();
        // The first interval ends after 100 ms; who opens the next is served.
        assert_eq!(refused.first(), Some(&13));
        assert!(!codel.refuses(305 * MS, 20 * MS), "twice the target is allowed");
    }

    #[test]
    fn one_that_did_not_wait_ends_the_overload_with_the_interval() {
        let mut codel = Codel::new(10 * MS);
        for turn in 1..=15 {
            codel.refuses(turn * 10 * MS, 25 * MS);
        }
        codel.saw_no_delay();
        assert!(codel.refuses(200 * MS, 25 * MS));
        assert!(!codel.refuses(240 * MS, 25 * MS));
        assert!(!codel.refuses(245 * MS, 25 * MS));
    }
}
