//! What others do, as simply as it can be said: to show in the same simulation what we do not do.

use tonnage_core::limits::outcome::Outcome;

use super::SECOND;
use super::adaptive::{Algorithm, INITIAL, RANGE};

/// Gradient2 of Netflix's concurrency-limits, with its defaults: the gradient is the mean latency of a long time
/// (600 windows) over that of a short time (a window of a second). What is taken for unloaded is loaded, so
/// under steady overload the limit and the long mean push each other up.
pub struct Gradient2 {
    limit: f64,
    long_ns: f64,
    windows: f64,
    window_end_ns: u64,
    sum_ns: f64,
    count: f64,
    in_flight_max: u32,
}

impl Gradient2 {
    pub fn new() -> Self {
        Self {
            limit: f64::from(INITIAL),
            long_ns: 0.0,
            windows: 0.0,
            window_end_ns: SECOND,
            sum_ns: 0.0,
            count: 0.0,
            in_flight_max: 0,
        }
    }

    fn decide(&mut self, short_ns: f64) {
        const LONG_WINDOWS: f64 = 600.0;
        const WARM_UP_WINDOWS: f64 = 10.0;
        const TOLERANCE: f64 = 1.5;
        const QUEUE: f64 = 4.0;
        const SMOOTHING: f64 = 0.2;
        self.windows += 1.0;
        if self.windows <= WARM_UP_WINDOWS {
            self.long_ns += (short_ns - self.long_ns) / self.windows;
        } else {
            self.long_ns += (short_ns - self.long_ns) * 2.0 / (LONG_WINDOWS + 1.0);
        }
        if self.long_ns > 2.0 * short_ns {
            self.long_ns *= 0.95;
        }
        if f64::from(self.in_flight_max) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long_ns / short_ns).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + QUEUE;
        self.limit = RANGE.clamp(self.limit * (1.0 - SMOOTHING) + wanted * SMOOTHING);
    }
}

impl Algorithm for Gradient2 {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn update(&mut self, outcome: Outcome) {
        self.sum_ns += outcome.latency_ns as f64;
        self.count += 1.0;
        self.in_flight_max = self.in_flight_max.max(outcome.in_flight);
        if outcome.ended_ns >= self.window_end_ns {
            self.decide(self.sum_ns / self.count);
            self.window_end_ns = outcome.ended_ns + SECOND;
            (self.sum_ns, self.count, self.in_flight_max) = (0.0, 0.0, 0);
        }
    }
}

/// Vegas of Netflix's concurrency-limits, deciding on each latency: the least latency ever seen is the unloaded
/// one. Where service times vary, that is far below what the service needs on average, and all else looks
/// like a queue.
pub struct Vegas {
    limit: f64,
    least_ns: u64,
    samples: f64,
}

impl Vegas {
    pub fn new() -> Self {
        Self { limit: f64::from(INITIAL), least_ns: u64::MAX, samples: 0.0 }
    }
}

impl Algorithm for Vegas {
    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn update(&mut self, outcome: Outcome) {
        const PROBE_LIMITS: f64 = 30.0;
        self.samples += 1.0;
        if self.samples >= PROBE_LIMITS * self.limit {
            self.samples = 0.0;
            self.least_ns = outcome.latency_ns;
            return;
        }
        self.least_ns = self.least_ns.min(outcome.latency_ns);
        if f64::from(outcome.in_flight) * 2.0 < self.limit {
            return;
        }
        let step = self.limit.log10().max(1.0);
        let queue = (self.limit * (1.0 - self.least_ns as f64 / outcome.latency_ns as f64)).ceil();
        if queue <= step {
            self.limit += 6.0 * step;
        } else if queue < 3.0 * step {
            self.limit += step;
        } else if queue > 6.0 * step {
            self.limit -= step;
        }
        self.limit = RANGE.clamp(self.limit);
    }
}
