//! CoDel: tells from how long things have waited whether a line serves or only grows.
//!
//! The rule is folly's (Meta, `folly/executors/Codel.h`), after Nichols and Jacobson, "Controlling Queue
//! Delay", ACM Queue 2012. A burst makes a few wait for long, and somebody soon waits for nearly nothing. In
//! an overload even the least wait of an interval is long. Then whatever has waited for more than twice the
//! target is dropped, so that what is served is served in time.

use crate::clock::NS_PER_S;

/// How long one judgement holds: the interval of the paper, about the longest round trip.
pub const INTERVAL_NS: u64 = NS_PER_S / 10;

#[derive(Clone, Debug)]
pub struct Codel {
    target_ns: u64,
    /// The least wait since the interval began.
    least_ns: u64,
    interval_ends_ns: u64,
    is_overloaded: bool,
}

impl Codel {
    #[must_use]
    pub const fn new(target_ns: u64) -> Self {
        Self { target_ns, least_ns: u64::MAX, interval_ends_ns: 0, is_overloaded: false }
    }

    /// Is what comes to the head of the line after a wait of `waited_ns` to be dropped?
    pub fn is_late(&mut self, now_ns: u64, waited_ns: u64) -> bool {
        if now_ns >= self.interval_ends_ns {
            // An interval in which nothing came says nothing of an overload.
            let is_next = self.interval_ends_ns.saturating_add(INTERVAL_NS) > now_ns;
            self.is_overloaded = is_next && self.least_ns != u64::MAX && self.least_ns > self.target_ns;
            self.interval_ends_ns = now_ns.saturating_add(INTERVAL_NS);
            self.least_ns = waited_ns;
        } else {
            self.least_ns = self.least_ns.min(waited_ns);
        }
        self.is_overloaded && waited_ns > self.target_ns.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = NS_PER_S / 1000;
    const TARGET: u64 = 5 * MS;

    /// Items that come every `step_ns` from `start_ns` on, each of which has waited `waited_ns`.
    fn count_late(
        codel: &mut Codel,
        start_ns: u64,
        step_ns: u64,
        waits_ns: impl Iterator<Item = u64>,
    ) -> usize {
        let times = (start_ns..).step_by(usize::try_from(step_ns).expect("small"));
        times.zip(waits_ns).filter(|(now_ns, waited_ns)| codel.is_late(*now_ns, *waited_ns)).count()
    }

    #[test]
    fn nothing_is_dropped_while_somebody_waits_for_less_than_the_target() {
        let mut codel = Codel::new(TARGET);
        let waits = (0..1000).map(|n| if n % 10 == 0 { TARGET } else { 50 * MS });
        assert_eq!(count_late(&mut codel, 0, MS, waits), 0);
    }

    #[test]
    fn what_waited_for_twice_the_target_is_dropped_once_a_whole_interval_was_slow() {
        let mut codel = Codel::new(TARGET);
        assert_eq!(count_late(&mut codel, 0, MS, std::iter::repeat_n(20 * MS, 100)), 0);
        assert_eq!(count_late(&mut codel, 100 * MS, MS, std::iter::repeat_n(20 * MS, 100)), 100);
        assert!(!codel.is_late(200 * MS, 2 * TARGET));
        assert!(codel.is_late(201 * MS, 2 * TARGET + 1));
    }

    #[test]
    fn an_overload_ends_with_an_interval_in_which_somebody_was_served_in_time() {
        let mut codel = Codel::new(TARGET);
        count_late(&mut codel, 0, MS, std::iter::repeat_n(20 * MS, 150));
        assert!(!codel.is_late(150 * MS, MS));
        assert_eq!(count_late(&mut codel, 200 * MS, MS, std::iter::repeat_n(20 * MS, 100)), 0);
    }

    #[test]
    fn a_quiet_time_ends_an_overload() {
        let mut codel = Codel::new(TARGET);
        count_late(&mut codel, 0, MS, std::iter::repeat_n(20 * MS, 150));
        assert!(!codel.is_late(10_000 * MS, 20 * MS));
    }
}
