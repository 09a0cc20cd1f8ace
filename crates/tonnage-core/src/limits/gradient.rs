//! Gradient: an adaptive limit that finds the latency of the unloaded service by itself.
//!
//! The gradient controller of Envoy's adaptive concurrency filter (Envoy's documentation, "Adaptive
//! Concurrency"): for each window, `limit * gradient + sqrt(limit * gradient)`, where the gradient is the
//! unloaded latency, with a tolerance, over the window's, and the square root is the headroom for bursts. The
//! unloaded latency is measured again and again, because what is estimated from loaded latencies drifts with
//! the load that it should bound: a probe lowers the limit for a short time.
//!
//! Where we differ from Envoy, and why, as measured in `tests/adaptive_limits.rs`:
//! - The limit moves a part of the way that the gradient says, and shrinks slower than it grows: a percentile of one
//!   window is noise to a fifth, and what the noise takes away is capacity.
//! - A measurement of the unloaded latency is averaged with those before, for the same reason, unless it is so far off
//!   that the service must have changed.
//! - After a change the next window opens one latency later, and it has ten outcomes at least: else a slow
//!   service is answered many times before the first answer shows.
//! - A limit of which less than half is in use stays as it is.
//! - Any work that ran while at most `probe_limit` did tells the unloaded latency, so a probe lowers the limit
//!   only if there was too little of such work since the last one. This is also how a limit that has sunk to
//!   `probe_limit`, because the service itself became slower, comes up again.
//! - A probe ends after a sixth of `probe_every`, however little it saw: with few or long calls it would
//!   hold the limit down.
//! - No jitter: probes begin when they are due, at a time that depends on each limit's own work.

use super::outcome::{ENDLESS_NS, KEPT_MAX, Latencies, LimitRange, Outcome, Seen, Window};

/// What a [`Gradient`] goes by.
#[derive(Clone, Copy, Debug)]
pub struct GradientSettings {
    pub window_ns: u64,
    /// Which latency of a window stands for it, from 0 to 1.
    pub percentile: f64,
    /// By how much of itself the unloaded latency may be exceeded before the limit shrinks.
    pub tolerance: f64,
    pub probe_every_ns: u64,
    /// What runs beside no more than so many, itself included, is unloaded.
    pub probe_limit: u32,
    /// So many unloaded latencies make a measurement.
    pub probe_samples: usize,
}

/// Envoy's clamp: how far one window may move the limit.
const GRADIENT_MIN: f64 = 0.5;
const GRADIENT_MAX: f64 = 2.0;
/// The part of the way that one window moves the limit: noise of a fifth becomes a few percent.
const GROWTH: f64 = 0.5;
const SHRINKAGE: f64 = 0.2;
/// The weight of a measurement beside those before it; from `CHANGED` times off it stands alone: three times the
/// spread between medians of fifty exponential times.
const MEASUREMENT: f64 = 0.25;
const CHANGED: f64 = 2.0;
/// A median of ten is off by a third of the spread or so.
const OUTCOMES_MIN: usize = 10;
/// The part of the time that probes may take.
const PROBE_SHARE: u64 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has ended yet.
    Unused,
    /// The limit follows the gradient, until the next probe is due.
    Following { probe_ns: u64 },
    /// The limit is lowered, until enough was seen or the time is over.
    Probing { until_ns: u64 },
}

/// The state of the limit.
#[derive(Clone, Debug)]
pub struct Gradient {
    settings: GradientSettings,
    range: LimitRange,
    /// The limit outside of probes.
    limit: f64,
    phase: Phase,
    window: Window,
    /// The unloaded latency, as it was last measured.
    unloaded_ns: Option<f64>,
    /// What the next measurement has seen.
    unloaded: Latencies,
    /// When more than `probe_limit` were last seen to run.
    loaded_ns: Option<u64>,
}

impl Gradient {
    #[must_use]
    pub fn new(settings: GradientSettings, range: LimitRange, initial: u32) -> Self {
        Self {
            settings,
            range,
            limit: range.clamp(f64::from(initial)),
            phase: Phase::Unused,
            window: Window::new(settings.window_ns, OUTCOMES_MIN),
            unloaded_ns: None,
            unloaded: Latencies::new(),
            loaded_ns: None,
        }
    }

    #[must_use]
    pub fn limit(&self) -> u32 {
        let limit = match self.phase {
            Phase::Probing { .. } => self.limit.min(self.range.clamp(f64::from(self.settings.probe_limit))),
            Phase::Unused | Phase::Following { .. } => self.limit,
        };
        limit as u32
    }

    /// The unloaded latency, as it was last measured.
    #[must_use]
    pub fn unloaded_ns(&self) -> Option<u64> {
        self.unloaded_ns.map(|unloaded_ns| unloaded_ns as u64)
    }

    /// Takes the outcome of one piece of work, and returns the limit from here on.
    pub fn update(&mut self, outcome: Outcome) -> u32 {
        let now_ns = outcome.ended_ns;
        self.measure(outcome);
        match self.phase {
            Phase::Following { probe_ns } if now_ns < probe_ns => {
                if let Some(seen) = self.window.add(outcome, self.settings.percentile) {
                    self.follow(seen, outcome);
                }
            }
            Phase::Unused | Phase::Following { .. } => self.probe(now_ns),
            Phase::Probing { .. } => {
                self.expire(now_ns);
            }
        }
        self.limit()
    }

    /// When the limit comes up again by itself, if it is lowered.
    #[must_use]
    pub fn lowered_until_ns(&self) -> Option<u64> {
        match self.phase {
            Phase::Probing { until_ns } => Some(until_ns),
            Phase::Unused | Phase::Following { .. } => None,
        }
    }

    /// Ends a probe whose time is over, for when no work ends; returns the limit from here on.
    pub fn expire(&mut self, now_ns: u64) -> u32 {
        if self.lowered_until_ns().is_some_and(|until_ns| until_ns <= now_ns) {
            self.conclude(now_ns);
        }
        self.limit()
    }

    /// Keeps the latency of work that ran unloaded, and concludes if there is enough.
    fn measure(&mut self, outcome: Outcome) {
        if outcome.in_flight > self.settings.probe_limit {
            self.loaded_ns = Some(outcome.ended_ns);
            return;
        }
        // Whenever more ran, one of them ended later, and was seen.
        let began_ns = outcome.ended_ns.saturating_sub(outcome.latency_ns);
        if outcome.dropped || self.loaded_ns.is_some_and(|loaded_ns| began_ns < loaded_ns) {
            return;
        }
        self.unloaded.add(outcome.latency_ns);
        if self.unloaded.len() >= self.settings.probe_samples.min(KEPT_MAX) {
            self.conclude(outcome.ended_ns);
        }
    }

    fn probe(&mut self, now_ns: u64) {
        self.unloaded.clear();
        let until_ns = now_ns.saturating_add(self.settings.probe_every_ns / PROBE_SHARE);
        self.phase = Phase::Probing { until_ns };
    }

    /// Takes what was measured, if that is enough to go by, and follows the gradient again.
    fn conclude(&mut self, now_ns: u64) {
        if self.unloaded.len() >= OUTCOMES_MIN.min(self.settings.probe_samples)
            && let Some(measured_ns) = self.unloaded.take_percentile(self.settings.percentile)
        {
            let measured_ns = measured_ns.max(1) as f64;
            let before_ns = self.unloaded_ns.unwrap_or(measured_ns);
            let is_changed = measured_ns.max(before_ns) > CHANGED * measured_ns.min(before_ns);
            let weight = if is_changed { 1.0 } else { MEASUREMENT };
            self.unloaded_ns = Some(before_ns + weight * (measured_ns - before_ns));
        }
        if self.lowered_until_ns().is_some() {
            self.window.reopen(now_ns);
        }
        self.phase = Phase::Following { probe_ns: now_ns.saturating_add(self.settings.probe_every_ns) };
    }

    fn follow(&mut self, seen: Seen, outcome: Outcome) {
        if !seen.uses(self.limit) {
            return;
        }
        let unloaded_ns = match self.unloaded_ns {
            Some(unloaded_ns) => unloaded_ns,
            // What is dropped is too slow whatever the unloaded latency may be.
            None if seen.latency_ns == ENDLESS_NS => 0.0,
            None => return,
        };
        let tolerated_ns = unloaded_ns * (1.0 + self.settings.tolerance);
        let gradient = (tolerated_ns / seen.latency_ns.max(1) as f64).clamp(GRADIENT_MIN, GRADIENT_MAX);
        let wanted = self.limit * gradient + (self.limit * gradient).sqrt();
        let share = if wanted > self.limit { GROWTH } else { SHRINKAGE };
        self.limit = self.range.clamp(self.limit + share * (wanted - self.limit));
        let settles_ns = if seen.latency_ns == ENDLESS_NS { outcome.latency_ns } else { seen.latency_ns };
        self.window.reopen(outcome.ended_ns.saturating_add(settles_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;
    const SETTINGS: GradientSettings = GradientSettings {
        window_ns: 100 * MS,
        percentile: 0.5,
        tolerance: 0.25,
        probe_every_ns: 60 * SECOND,
        probe_limit: 3,
        probe_samples: 50,
    };

    fn gradient() -> Gradient {
        Gradient::new(SETTINGS, LimitRange::new(1, 200), 20)
    }

    /// An outcome each 10 ms, from one time to another.
    fn run(gradient: &mut Gradient, span_ms: std::ops::Range<u64>, latency_ms: u64, in_flight: u32) -> u32 {
        for ended_ms in span_ms.step_by(10) {
            let latency_ns = latency_ms * MS;
            gradient.update(Outcome { ended_ns: ended_ms * MS, latency_ns, in_flight, dropped: false });
        }
        gradient.limit()
    }

    /// A gradient that has measured 50 ms, until 1000 ms.
    fn measured() -> Gradient {
        let mut gradient = gradient();
        assert_eq!(run(&mut gradient, 0..10, 50, 20), 3);
        assert_eq!(run(&mut gradient, 100..1000, 50, 3), 20);
        assert_eq!(gradient.unloaded_ns(), Some(50 * MS));
        gradient
    }

    #[test]
    fn begins_with_a_probe_and_goes_on_from_the_initial_limit() {
        assert_eq!(gradient().limit(), 20);
        measured();
    }

    #[test]
    fn work_that_began_before_a_probe_is_not_measured() {
        let mut gradient = gradient();
        run(&mut gradient, 0..50, 50, 20);
        run(&mut gradient, 100..130, 500, 3);
        assert_eq!(run(&mut gradient, 200..1000, 50, 3), 20);
        assert_eq!(gradient.unloaded_ns(), Some(50 * MS));
    }

    #[test]
    fn grows_while_latency_is_near_the_unloaded_one_and_half_of_it_is_in_use() {
        let mut gradient = measured();
        let limit = run(&mut gradient, 1000..2000, 50, 40);
        assert!(limit > 50, "{limit}");
        let limit = run(&mut gradient, 2000..2200, 50, limit / 2 - 1);
        assert_eq!(run(&mut gradient, 2200..9000, 50, limit / 2 - 1), limit);
        assert_eq!(run(&mut gradient, 9000..20_000, 50, 400), 200);
    }

    #[test]
    fn shrinks_to_its_headroom_when_latency_grows() {
        let mut gradient = measured();
        let limit = run(&mut gradient, 1000..30_000, 500, 40);
        assert!((1..=4).contains(&limit), "{limit}");
    }

    #[test]
    fn drops_shrink_it_however_fast_they_are() {
        let mut gradient = measured();
        for ended_ms in (1000..30_000).step_by(10) {
            let ended_ns = ended_ms * MS;
            gradient.update(Outcome { ended_ns, latency_ns: MS, in_flight: 20, dropped: true });
        }
        assert!(gradient.limit() <= 4, "{}", gradient.limit());
        assert_eq!(gradient.unloaded_ns(), Some(50 * MS));
    }

    #[test]
    fn drops_shrink_it_also_when_nothing_was_ever_measured() {
        let mut gradient = gradient();
        for ended_ms in (0..40_000).step_by(10) {
            let ended_ns = ended_ms * MS;
            gradient.update(Outcome { ended_ns, latency_ns: MS, in_flight: 20, dropped: true });
        }
        assert!(gradient.limit() <= 4, "{}", gradient.limit());
        assert_eq!(gradient.unloaded_ns(), None);
    }

    #[test]
    fn probes_when_no_work_ran_unloaded_for_a_minute() {
        let mut gradient = measured();
        let limit = run(&mut gradient, 1000..60_500, 70, 40);
        assert!(limit > 3);
        assert_eq!(run(&mut gradient, 60_500..61_000, 70, 40), 3);
        assert!(gradient.lowered_until_ns().is_some_and(|until_ns| until_ns > 70 * SECOND));
        // A measurement counts beside those before it.
        assert_eq!(run(&mut gradient, 61_000..62_000, 60, 3), limit);
        assert!((51 * MS..54 * MS).contains(&gradient.unloaded_ns().expect("measured")));
    }

    #[test]
    fn does_not_probe_while_work_runs_unloaded() {
        let mut gradient = measured();
        for second in 1..300 {
            assert_eq!(run(&mut gradient, second * 1000..second * 1000 + 1000, 50, 2), 20);
        }
    }

    #[test]
    fn takes_a_service_that_has_changed_as_it_is() {
        let mut gradient = measured();
        run(&mut gradient, 1000..2000, 500, 3);
        assert_eq!(gradient.unloaded_ns(), Some(500 * MS));
    }

    #[test]
    fn probe_without_work_ends_by_itself() {
        let mut gradient = gradient();
        assert_eq!(run(&mut gradient, 0..10, 50, 20), 3);
        assert_eq!(gradient.lowered_until_ns(), Some(10 * SECOND));
        assert_eq!(gradient.expire(10 * SECOND - 1), 3);
        assert_eq!(gradient.expire(10 * SECOND), 20);
        assert_eq!(gradient.unloaded_ns(), None);
        // Nothing is known, so nothing changes until the next probe.
        assert_eq!(run(&mut gradient, 10_000..60_000, 5000, 20), 20);
        assert_eq!(run(&mut gradient, 60_000..71_000, 50, 20), 3);
    }

    #[test]
    fn stays_within_its_bounds_also_in_a_probe() {
        let mut gradient = Gradient::new(SETTINGS, LimitRange::new(8, 10), 20);
        assert_eq!(gradient.limit(), 10);
        assert_eq!(run(&mut gradient, 0..10, 50, 20), 8);
    }
}
