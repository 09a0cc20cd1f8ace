//! Outcomes: what an adaptive limit is told of each piece of work that has ended, and what it makes of many.
//!
//! An adaptive limit decides by windows: it gathers the outcomes of some time, decides once by a percentile
//! of their latencies, and lets the decision take effect before it gathers again. A drop (refused, timed out,
//! connection lost) counts as a latency without end: its own time says nothing, as what fails fast is no
//! faster service. Memory is bounded: of more outcomes than `KEPT_MAX` the latest count.

/// How one piece of work ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub ended_ns: u64,
    pub latency_ns: u64,
    /// How many ran when it ended, itself included.
    pub in_flight: u32,
    /// It was refused or timed out behind the limit.
    pub dropped: bool,
}

impl Outcome {
    /// The latency that counts.
    const fn weight_ns(&self) -> u64 {
        if self.dropped { ENDLESS_NS } else { self.latency_ns }
    }
}

/// The latency of a drop.
pub const ENDLESS_NS: u64 = u64::MAX;

/// A limit stays between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitRange {
    pub min: u32,
    pub max: u32,
}

impl LimitRange {
    /// # Panics
    /// If `min` is 0 or above `max`.
    #[must_use]
    pub fn new(min: u32, max: u32) -> Self {
        assert!(0 < min && min <= max, "a limit needs 0 < min <= max");
        Self { min, max }
    }

    /// The nearest limit that is allowed.
    #[must_use]
    pub fn clamp(self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.min), f64::from(self.max))
    }
}

/// The most latencies that are kept: 600 are enough for a 0.99 percentile with a few percent of error.
pub const KEPT_MAX: usize = 1024;

/// Latencies, of which a percentile is asked.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    kept: Vec<u64>,
    /// Where the next one goes when `kept` is full.
    oldest: usize,
}

impl Latencies {
    pub(super) const fn new() -> Self {
        Self { kept: Vec::new(), oldest: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn add(&mut self, latency_ns: u64) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(latency_ns);
        } else {
            self.kept[self.oldest] = latency_ns;
            self.oldest = (self.oldest + 1) % KEPT_MAX;
        }
    }

    /// Empties it, and returns the latency that `percentile` of them do not exceed (nearest rank).
    pub(super) fn take_percentile(&mut self, percentile: f64) -> Option<u64> {
        let last = self.kept.len().checked_sub(1)?;
        let rank = (percentile * self.kept.len() as f64).ceil() as usize;
        let (_, latency_ns, _) = self.kept.select_nth_unstable(rank.saturating_sub(1).min(last));
        let latency_ns = *latency_ns;
        self.clear();
        Some(latency_ns)
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.oldest = 0;
    }
}

/// The outcomes since the last decision.
#[derive(Clone, Debug)]
pub(super) struct Window {
    length_ns: u64,
    /// It stays open until there are so many.
    outcomes_min: usize,
    /// Outcomes before this are of work that the last decision has not reached yet.
    opens_ns: u64,
    first_ns: Option<u64>,
    latencies: Latencies,
    in_flight_max: u32,
    has_drop: bool,
}

/// What one window says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The percentile that was asked for; `ENDLESS_NS` if that many were dropped.
    pub(super) latency_ns: u64,
    pub(super) in_flight_max: u32,
    pub(super) has_drop: bool,
}

impl Seen {
    /// Was at least half of `limit` in use? Else the outcomes tell nothing about it.
    pub(super) fn uses(&self, limit: f64) -> bool {
        f64::from(self.in_flight_max) * 2.0 >= limit.floor()
    }
}

impl Window {
    pub(super) const fn new(length_ns: u64, outcomes_min: usize) -> Self {
        Self {
            length_ns,
            outcomes_min,
            opens_ns: 0,
            first_ns: None,
            latencies: Latencies::new(),
            in_flight_max: 0,
            has_drop: false,
        }
    }

    /// Takes one outcome; says what the window saw if it ends with this one.
    pub(super) fn add(&mut self, outcome: Outcome, percentile: f64) -> Option<Seen> {
        if outcome.ended_ns < self.opens_ns {
            return None;
        }
        self.latencies.add(outcome.weight_ns());
        self.in_flight_max = self.in_flight_max.max(outcome.in_flight);
        self.has_drop |= outcome.dropped;
        let first_ns = *self.first_ns.get_or_insert(outcome.ended_ns);
        if outcome.ended_ns.saturating_sub(first_ns) < self.length_ns
            || self.latencies.len() < self.outcomes_min
        {
            return None;
        }
        let latency_ns = self.latencies.take_percentile(percentile)?;
        let seen = Seen { latency_ns, in_flight_max: self.in_flight_max, has_drop: self.has_drop };
        self.reopen(outcome.ended_ns);
        Some(seen)
    }

    /// Forgets what it saw, and gathers from `opens_ns` on.
    pub(super) fn reopen(&mut self, opens_ns: u64) {
        self.latencies.clear();
        self.opens_ns = opens_ns;
        self.first_ns = None;
        self.in_flight_max = 0;
        self.has_drop = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn outcome(ended_ms: u64, latency_ms: u64) -> Outcome {
        Outcome { ended_ns: ended_ms * MS, latency_ns: latency_ms * MS, in_flight: 1, dropped: false }
    }

    #[test]
    fn percentile_is_the_nearest_rank() {
        let mut latencies = Latencies::new();
        for (percentile, expected) in [(0.0, 1), (0.5, 5), (0.51, 6), (0.9, 9), (1.0, 10)] {
            for latency in [3, 10, 1, 7, 5, 9, 2, 8, 4, 6] {
                latencies.add(latency);
            }
            assert_eq!(latencies.take_percentile(percentile), Some(expected));
        }
        assert_eq!(latencies.take_percentile(0.5), None);
    }

    #[test]
    fn the_latest_latencies_are_kept() {
        let mut latencies = Latencies::new();
        for latency in 0..10_000 {
            latencies.add(latency);
        }
        assert_eq!(latencies.len(), KEPT_MAX);
        assert_eq!(latencies.take_percentile(0.0), Some(10_000 - KEPT_MAX as u64));
    }

    #[test]
    fn window_ends_after_its_time_and_with_enough_outcomes() {
        let mut window = Window::new(100 * MS, 3);
        assert!(window.add(outcome(1000, 5), 0.5).is_none());
        assert!(window.add(outcome(1200, 6), 0.5).is_none());
        assert_eq!(window.add(outcome(1300, 7), 0.5).expect("third outcome").latency_ns, 6 * MS);
        window.reopen(1500 * MS);
        assert!(window.add(outcome(1499, 100), 0.5).is_none());
        for ended in [1500, 1520] {
            assert!(window.add(outcome(ended, 8), 0.5).is_none());
        }
        assert_eq!(window.add(outcome(1600, 9), 0.5).expect("100 ms").latency_ns, 8 * MS);
    }

    #[test]
    fn drops_are_latencies_without_end() {
        let mut window = Window::new(0, 2);
        assert!(window.add(outcome(1, 5), 0.5).is_none());
        let seen = window.add(Outcome { dropped: true, ..outcome(2, 0) }, 0.5).expect("two");
        assert!(seen.has_drop && seen.latency_ns == 5 * MS);
        for _ in 0..1 {
            assert!(window.add(Outcome { dropped: true, ..outcome(3, 0) }, 0.5).is_none());
        }
        let seen = window.add(outcome(4, 5), 0.9).expect("two");
        assert_eq!(seen.latency_ns, ENDLESS_NS);
    }
}
