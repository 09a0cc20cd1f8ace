//! How long each request of a run took, and the only reader of the clock.

use std::time::{Duration, Instant};

/// The time at which a request is sent or a run starts.
#[expect(clippy::disallowed_methods, reason = "the client measures; this is its one clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The latencies of one run.
#[derive(Debug)]
pub(crate) struct Latencies {
    each_ns: Vec<u128>,
    pub(crate) elapsed: Duration,
}

impl Latencies {
    pub(crate) fn with_capacity(requests: usize) -> Self {
        Self { each_ns: Vec::with_capacity(requests), elapsed: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        self.each_ns.push(latency.as_nanos());
    }

    pub(crate) fn count(&self) -> usize {
        self.each_ns.len()
    }

    pub(crate) fn to_json(&self) -> String {
        let mut sorted_ns = self.each_ns.clone();
        sorted_ns.sort_unstable();
        let at = |per_mille: usize| {
            let index = sorted_ns.len().saturating_mul(per_mille) / 1000;
            let last = sorted_ns.len().saturating_sub(1);
            sorted_ns.get(index.min(last)).copied().unwrap_or_default()
        };
        format!(
            "{{\"requests\": {}, \"elapsed_ns\": {}, \"p50_ns\": {}, \"p90_ns\": {}, \
             \"p99_ns\": {}, \"p999_ns\": {}, \"max_ns\": {}}}",
            sorted_ns.len(),
            self.elapsed.as_nanos(),
            at(500),
            at(900),
            at(990),
            at(999),
            at(1000)
        )
    }
}
