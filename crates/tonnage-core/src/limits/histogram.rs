//! Histogram: how many waits were how long. Counts only grow, so that two snapshots can be subtracted.

use crate::clock::NS_PER_S;

/// The upper bounds: steps of about three times, from a tenth of a millisecond to half a minute.
pub const BOUNDS_NS: [u64; 12] = [
    NS_PER_S / 10_000,
    NS_PER_S * 3 / 10_000,
    NS_PER_S / 1_000,
    NS_PER_S * 3 / 1_000,
    NS_PER_S / 100,
    NS_PER_S * 3 / 100,
    NS_PER_S / 10,
    NS_PER_S * 3 / 10,
    NS_PER_S,
    NS_PER_S * 3,
    NS_PER_S * 10,
    NS_PER_S * 30,
];

#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is above all.
    counts: [u64; BOUNDS_NS.len() + 1],
}

impl Histogram {
    pub fn add(&mut self, waited_ns: u64) {
        self.counts[BOUNDS_NS.partition_point(|bound| *bound < waited_ns)] += 1;
    }

    /// Each upper bound with the number of waits up to it and above the bound before; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = BOUNDS_NS.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_counts_what_is_not_above_it() {
        let mut histogram = Histogram::default();
        for waited_ns in [0, 100_000, 100_001, u64::MAX] {
            histogram.add(waited_ns);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets[0], (Some(100_000), 2));
        assert_eq!(buckets[1], (Some(300_000), 1));
        assert_eq!(buckets.last(), Some(&(None, 1)));
    }
}
