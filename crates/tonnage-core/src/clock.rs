//! The loop's clock: nanoseconds of `CLOCK_MONOTONIC`.
//!
//! This is the clock of Python's `time.monotonic()`, so that a time taken there
//! can be compared with a deadline here. No other file reads a clock, but for the
//! cycle counter below: a simulated loop replaces what these return, and would
//! lie otherwise.

#![allow(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]

mod cycle_clock;

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

pub use cycle_clock::CycleClock;

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// The time now, as `time.monotonic()` tells it.
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// The time of the kernel's last tick: up to 4 ms (at 250 Hz) behind
/// [`now_ns`], never ahead of it, and cheaper, since no counter is read.
#[inline]
#[must_use]
pub fn coarse_ns() -> u64 {
    #[cfg(target_os = "linux")]
    let now = clock_gettime(ClockId::MonotonicCoarse);
    #[cfg(not(target_os = "linux"))]
    let now = clock_gettime(ClockId::Monotonic);
    to_ns(now)
}

/// Is `deadline_ns` past? Far deadlines are told by the cheap clock.
#[inline(always)]
#[must_use]
pub fn is_past(deadline_ns: u64) -> bool {
    !is_far(deadline_ns, coarse_ns()) && deadline_ns <= now_ns()
}

/// Is `deadline_ns` not past for certain, since [`coarse_ns`] tells `coarse_ns` just now?
#[inline]
#[must_use]
pub fn is_far(deadline_ns: u64, coarse_ns: u64) -> bool {
    /// Ten of the slowest ticks that Linux can be built with.
    const FAR_NS: u64 = NS_PER_S / 10;
    deadline_ns > coarse_ns.saturating_add(FAR_NS)
}

/// The smallest step of [`now_ns`], as `time.get_clock_info('monotonic').resolution` tells it.
#[must_use]
pub fn resolution_ns() -> u64 {
    to_ns(clock_getres(ClockId::Monotonic)).max(1)
}

/// A point in time: in seconds, as Python has it, and the first nanosecond that is not before.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub seconds: f64,
    pub ns: u64,
}

const S_PER_NS: f64 = 1e-9;

/// 104 days: below, each nanosecond is a float of its own.
const EXACT_NS: i64 = 1 << f64::MANTISSA_DIGITS;

impl Moment {
    /// A nanosecond of the clock. Its seconds are rounded down, so that they are not ahead of `time.monotonic()`, which
    /// divides.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a float has 15 digits")]
    pub fn of_ns(ns: u64) -> Self {
        /// By more than what the factor, the product and a quotient are rounded by.
        const DOWN: f64 = S_PER_NS.next_down().next_down().next_down();
        Self { seconds: ns.cast_signed() as f64 * DOWN, ns }
    }

    /// As many seconds of the clock, and the first such nanosecond.
    #[inline(always)]
    #[must_use]
    pub fn at(seconds: f64) -> Self {
        Self { seconds, ns: deadline_ns(seconds) }
    }

    /// So much later, or earlier. What is later is at most 3 ns late, for which nothing is divided.
    #[inline(always)]
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "saturates, which is wanted"
    )]
    pub fn plus(self, delay_s: f64) -> Self {
        /// What may be cut off from the delay, and what both may be rounded up by in seconds.
        const LATE_NS: i64 = 3;
        let seconds = self.seconds + delay_s;
        let delay_ns = (delay_s * NS_PER_S as f64) as i64;
        let late_ns = if delay_s > 0.0 { LATE_NS } else { 0 };
        let ns = self.ns.cast_signed().saturating_add(delay_ns).saturating_add(late_ns);
        if ns < EXACT_NS { Self { seconds, ns: ns.max(0).cast_unsigned() } } else { Self::far(seconds) }
    }

    #[cold]
    #[inline(never)]
    fn far(seconds: f64) -> Self {
        Self::at(seconds)
    }
}

/// The first nanosecond that is, in seconds, not less than `when`.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "saturates, which is wanted")]
pub fn deadline_ns(when: f64) -> u64 {
    let whole = (when * NS_PER_S as f64) as i64;
    // No branch, as a processor would guess wrong: most times are a whole number of nanoseconds but for rounding.
    let deadline = whole.saturating_add(i64::from(signed_to_seconds(whole) < when));
    let deadline = if deadline < EXACT_NS { deadline } else { search(deadline, when) };
    deadline.max(0).cast_unsigned()
}

/// After months of uptime a second has fewer bits than nanoseconds.
#[cold]
#[inline(never)]
fn search(mut ns: i64, when: f64) -> i64 {
    while ns < i64::MAX && signed_to_seconds(ns) < when {
        ns += 1;
    }
    ns
}

/// A time of the clock in seconds. One instruction makes a float of a signed number; to multiply takes a third of the time
/// of a division, and is off by a last bit, which is less than a nanosecond for as long as nanoseconds can be told.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "a float has 15 digits")]
fn signed_to_seconds(ns: i64) -> f64 {
    ns as f64 * S_PER_NS
}

/// A time in seconds, as Python has it, in nanoseconds; what is negative is 0, what is too much the most there is.
#[inline]
#[must_use]
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is wanted"
)]
pub fn from_seconds(seconds: f64) -> u64 {
    (seconds * NS_PER_S as f64) as u64
}

/// A duration in seconds, as Python has it.
#[inline]
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a float has 15 digits")]
pub fn to_seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}

/// The monotonic clock starts at boot, so neither field is ever negative, and
/// a `u64` of nanoseconds lasts for 584 years.
#[inline]
fn to_ns(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(NS_PER_S).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let mut last = now_ns();
        for _ in 0..10_000 {
            let now = now_ns();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_deadline_is_past_from_its_nanosecond_on() {
        let now = now_ns();
        assert!(is_past(0) && is_past(now));
        assert!(!is_past(now + NS_PER_S / 20) && !is_past(now + 3600 * NS_PER_S) && !is_past(u64::MAX));
    }

    #[test]
    fn a_deadline_comes_when_its_second_does() {
        let seconds =
            [0.0, 0.1, 1.0 / 3.0, 1.000_000_001, 60.0, 86_400.7, 1e6 + 0.123_456_789, 1e8 + 0.1, 9e9];
        for when in seconds.into_iter().flat_map(|when| [when, f64::next_up(when), f64::next_down(when)]) {
            let deadline = deadline_ns(when);
            assert!(signed_to_seconds(deadline.cast_signed()) >= when, "{when} is early");
            // Later, more than one nanosecond has the same number of seconds.
            let is_told_apart = (1e-9..9e6).contains(&when);
            assert!(!is_told_apart || signed_to_seconds(deadline.cast_signed() - 2) < when, "{when} is late");
        }
    }

    #[test]
    fn a_moment_in_the_future_is_not_early_and_at_most_three_nanoseconds_late() {
        for ns in [0, 1, 999_999_999, 61_234_567_890_123, 8_000_000_000_000_001, 40_000_000_000_000_003] {
            let now = Moment::of_ns(ns);
            for delay in [1e-9, 1e-7 / 3.0, 0.1, 1.0, 60.0, 1e5 / 7.0, 1e8 + 0.1, 1e300, f64::INFINITY] {
                let later = now.plus(delay);
                assert!(later.seconds == now.seconds + delay);
                assert!(
                    signed_to_seconds(later.ns.cast_signed()) >= later.seconds
                        || later.ns > i64::MAX as u64 - 1,
                    "{ns} {delay}"
                );
                assert!(
                    later.ns.saturating_sub(ns) <= from_seconds(delay).saturating_add(40),
                    "{ns} {delay} is late"
                );
                let is_exact = later.ns < 1 << 53;
                assert!(
                    !is_exact || later.ns.saturating_sub(ns) <= from_seconds(delay).saturating_add(3),
                    "{ns} {delay} is late"
                );
            }
        }
    }

    #[test]
    fn a_moment_is_not_ahead_of_a_clock_that_divides() {
        let mut ns = 1_u64;
        for step in 0..100_000 {
            ns = ns.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step) >> 11;
            let (seconds, divided) = (Moment::of_ns(ns).seconds, to_seconds(ns));
            assert!(seconds <= divided && divided - seconds < 8e-9, "{ns}: {seconds} and {divided}");
        }
    }

    #[test]
    fn a_moment_in_the_past_is_past() {
        let now = Moment::of_ns(now_ns());
        for delay in [0.0, -1e-12, -0.5, -1e300, f64::NEG_INFINITY] {
            assert!(now.plus(delay).ns <= now.ns && is_past(now.plus(delay).ns));
        }
    }

    #[test]
    fn deadlines_out_of_range_are_at_once_or_never() {
        assert_eq!(deadline_ns(-1.0), 0);
        assert_eq!(deadline_ns(f64::NEG_INFINITY), 0);
        assert!(deadline_ns(f64::INFINITY) > 200 * 365 * 86_400 * NS_PER_S);
        assert_eq!(deadline_ns(1e300), deadline_ns(f64::INFINITY));
    }

    #[test]
    fn coarse_time_is_behind_by_a_tick_at_most() {
        let coarse = coarse_ns();
        let now = now_ns();
        assert!(coarse <= now);
        // 100 Hz is the slowest tick that Linux can be built with. Ten of them
        // leave room for a machine that is busy with something else.
        assert!(now - coarse < NS_PER_S / 10, "{} ns behind", now - coarse);
    }

    #[test]
    fn resolution_is_at_most_a_tick() {
        assert!((1..=NS_PER_S / 100).contains(&resolution_ns()));
    }
}
