//! AIMD: an adaptive limit for when the wanted latency is known.
//!
//! Additive increase, multiplicative decrease, as in TCP congestion avoidance (Chiu and Jain, "Analysis of the
//! increase and decrease algorithms for congestion avoidance in computer networks", 1989), by windows: if a
//! percentile of the window's latencies is above the target, or anything was dropped, the limit shrinks by a
//! factor; else it grows by one, if at least half of it was in use. After a decrease the next window opens when
//! what began before it has ended, so that one overload is answered once.

use super::outcome::{ENDLESS_NS, LimitRange, Outcome, Window};

/// What an [`Aimd`] goes by.
#[derive(Clone, Copy, Debug)]
pub struct AimdSettings {
    pub target_latency_ns: u64,
    pub window_ns: u64,
    /// Which latency of a window is compared with the target, from 0 to 1.
    pub percentile: f64,
    /// The factor of a decrease, above 0 and below 1.
    pub backoff: f64,
}

/// The state of the limit.
#[derive(Clone, Debug)]
pub struct Aimd {
    settings: AimdSettings,
    range: LimitRange,
    limit: f64,
    window: Window,
}

impl Aimd {
    #[must_use]
    pub fn new(settings: AimdSettings, range: LimitRange, initial: u32) -> Self {
        let limit = range.clamp(f64::from(initial));
        Self { settings, range, limit, window: Window::new(settings.window_ns, 1) }
    }

    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Takes the outcome of one piece of work, and returns the limit from here on.
    pub fn update(&mut self, outcome: Outcome) -> u32 {
        if let Some(seen) = self.window.add(outcome, self.settings.percentile) {
            if seen.has_drop || seen.latency_ns > self.settings.target_latency_ns {
                self.limit = self.range.clamp(self.limit * self.settings.backoff);
                let settles_ns =
                    if seen.latency_ns == ENDLESS_NS { outcome.latency_ns } else { seen.latency_ns };
                self.window.reopen(outcome.ended_ns.saturating_add(settles_ns));
            } else if seen.uses(self.limit) {
                self.limit = self.range.clamp(self.limit + 1.0);
            }
        }
        self.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SETTINGS: AimdSettings =
        AimdSettings { target_latency_ns: 100 * MS, window_ns: 1000 * MS, percentile: 0.9, backoff: 0.9 };

    fn aimd(initial: u32) -> Aimd {
        Aimd::new(SETTINGS, LimitRange::new(2, 50), initial)
    }

    /// Ten outcomes a second, for so many seconds.
    fn run(aimd: &mut Aimd, from_s: u64, seconds: u64, outcome: Outcome) -> u32 {
        for tick in from_s * 10..=(from_s + seconds) * 10 {
            aimd.update(Outcome { ended_ns: tick * 100 * MS, ..outcome });
        }
        aimd.limit()
    }

    const FAST: Outcome = Outcome { ended_ns: 0, latency_ns: 50 * MS, in_flight: 20, dropped: false };
    const SLOW: Outcome = Outcome { latency_ns: 200 * MS, ..FAST };

    #[test]
    fn grows_by_one_a_window_up_to_its_maximum() {
        assert_eq!(run(&mut aimd(20), 0, 1, FAST), 21);
        assert_eq!(run(&mut aimd(20), 0, 100, Outcome { in_flight: 60, ..FAST }), 50);
    }

    #[test]
    fn does_not_grow_unless_half_of_it_is_in_use() {
        assert_eq!(run(&mut aimd(20), 0, 100, Outcome { in_flight: 9, ..FAST }), 20);
        assert_eq!(run(&mut aimd(20), 0, 100, Outcome { in_flight: 12, ..FAST }), 25);
    }

    #[test]
    fn shrinks_when_the_latency_is_above_the_target_down_to_its_minimum() {
        assert_eq!(run(&mut aimd(20), 0, 1, SLOW), 18);
        assert_eq!(run(&mut aimd(20), 0, 100, SLOW), 2);
    }

    #[test]
    fn one_drop_in_a_window_is_enough() {
        let mut aimd = aimd(20);
        aimd.update(Outcome { dropped: true, ..FAST });
        assert_eq!(run(&mut aimd, 0, 1, FAST), 18);
    }

    #[test]
    fn answers_one_overload_once() {
        let mut aimd = aimd(40);
        // Work of ten seconds, all begun before the first decrease, at 1.0 s.
        assert_eq!(run(&mut aimd, 0, 10, Outcome { latency_ns: 10_000 * MS, ..FAST }), 36);
    }
}
