//! Rate: so many tokens in a time, of which some may come at once.
//!
//! The generic cell rate algorithm, in its form of virtual scheduling: ITU-T I.371 and the ATM Forum's Traffic
//! Management 4.0. One number, the theoretical arrival time, says all: it is when what was admitted so far would
//! have come if it had come at the rate. In any time t at most burst + rate * t tokens are admitted. An interval is
//! kept in fractions of a nanosecond and rounded up, so that no rounding ever adds to the rate.

use crate::clock::NS_PER_S;

/// Bits of a fraction of a nanosecond.
const FRACTION: u32 = 32;

/// A time in fractions of a nanosecond.
type Fine = u128;

#[derive(Debug)]
pub struct Rate {
    /// Between two tokens.
    interval: Fine,
    burst: u64,
    /// The theoretical arrival time: when the next token would be due at the rate.
    due: Fine,
}

/// No longer interval is kept: thirty years, which is for ever, and too short to overflow.
const INTERVAL_MAX: f64 = 1e9 * 1e9;

impl Rate {
    /// `rate` tokens in `per_s` seconds, both above 0.
    #[must_use]
    pub fn new(rate: f64, per_s: f64, burst: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "nine digits")]
        let interval_ns = (per_s / rate * NS_PER_S as f64).min(INTERVAL_MAX);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and bounded above"
        )]
        let interval = (interval_ns * (1_u64 << FRACTION) as f64).ceil() as Fine;
        Self { interval: interval.max(1), burst: burst.max(1), due: 0 }
    }

    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst
    }

    #[inline]
    #[must_use]
    pub fn fits(&self, now_ns: u64, tokens: u64) -> bool {
        self.due_after(now_ns, tokens) <= fine(now_ns).saturating_add(self.tolerance())
    }

    /// Takes tokens that fit.
    #[inline]
    pub fn take(&mut self, now_ns: u64, tokens: u64) {
        self.due = self.due_after(now_ns, tokens);
    }

    /// Gives tokens back that were not used.
    pub fn untake(&mut self, tokens: u64) {
        self.due = self.due.saturating_sub(self.of(tokens));
    }

    /// The first nanosecond at which so many tokens fit if they are taken one after the other.
    #[must_use]
    pub fn when(&self, now_ns: u64, tokens: u64) -> u64 {
        let fine_when = self.due_after(now_ns, tokens).saturating_sub(self.tolerance());
        let when = fine_when.div_ceil(1 << FRACTION);
        u64::try_from(when).unwrap_or(u64::MAX).max(now_ns)
    }

    /// How many tokens of the burst are in use.
    #[must_use]
    pub fn in_use(&self, now_ns: u64) -> u64 {
        let ahead = self.due_at(now_ns) - fine(now_ns);
        u64::try_from(ahead.div_ceil(self.interval)).unwrap_or(u64::MAX).min(self.burst)
    }

    fn tolerance(&self) -> Fine {
        self.of(self.burst)
    }

    fn of(&self, tokens: u64) -> Fine {
        self.interval.saturating_mul(Fine::from(tokens))
    }

    fn due_after(&self, now_ns: u64, tokens: u64) -> Fine {
        self.due_at(now_ns).saturating_add(self.of(tokens))
    }

    /// What was saved up is lost beyond the burst. Nothing can be due later than a whole burst from now: such a
    /// time is from another clock, of a loop that is gone.
    fn due_at(&self, now_ns: u64) -> Fine {
        let now = fine(now_ns);
        self.due.max(now).min(now.saturating_add(self.tolerance()))
    }
}

fn fine(ns: u64) -> Fine {
    Fine::from(ns) << FRACTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_at_once_and_then_the_rate() {
        let mut rate = Rate::new(10.0, 1.0, 3);
        let start = 5 * NS_PER_S;
        for _ in 0..3 {
            assert!(rate.fits(start, 1));
            rate.take(start, 1);
        }
        assert!(!rate.fits(start, 1));
        assert_eq!(rate.in_use(start), 3);
        assert_eq!(rate.when(start, 1), start + NS_PER_S / 10);
        assert!(!rate.fits(start + NS_PER_S / 10 - 1, 1));
        assert!(rate.fits(start + NS_PER_S / 10, 1));
        assert_eq!(rate.in_use(start + NS_PER_S), 0);
    }

    #[test]
    fn what_does_not_divide_is_never_early() {
        let mut rate = Rate::new(3.0, 1.0, 1);
        let mut now = 0;
        for _ in 0..3000 {
            now = rate.when(now, 1);
            assert!(rate.fits(now, 1) && (now == 0 || !rate.fits(now - 1, 1)));
            rate.take(now, 1);
        }
        // 2999 intervals of a third of a second, each late by less than a nanosecond.
        let exact = 2999 * NS_PER_S / 3;
        assert!((exact..exact + 3000).contains(&now), "{now}");
    }

    #[test]
    fn tokens_given_back_can_be_taken_again() {
        let mut rate = Rate::new(1.0, 1.0, 2);
        rate.take(0, 2);
        assert!(!rate.fits(0, 1));
        rate.untake(1);
        assert!(rate.fits(0, 1));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_stop_it() {
        let mut rate = Rate::new(1.0, 1.0, 2);
        rate.take(1_000_000 * NS_PER_S, 2);
        assert_eq!(rate.when(0, 1), NS_PER_S);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let slow = Rate::new(1e-300, 1e300, u64::MAX);
        assert!(slow.fits(u64::MAX, u64::MAX));
        let fast = Rate::new(1e300, 1e-300, u64::MAX);
        assert!(fast.fits(0, u64::MAX));
    }
}
