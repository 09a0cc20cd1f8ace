//! The loop's clock: nanoseconds of `CLOCK_MONOTONIC`.
//!
//! This is the clock of Python's `time.monotonic()`, so that a time taken there
//! can be compared with a deadline here. No other file reads a clock: a
//! simulated loop replaces what this file returns, and would lie otherwise.

#![allow(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]

use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

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
#[inline]
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

/// A time in seconds, as Python has it.
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
