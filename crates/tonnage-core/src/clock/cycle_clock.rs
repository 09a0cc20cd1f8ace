//! `CycleClock`: the time of the loop's clock, told from the processor's cycle counter.
//!
//! To read the kernel's clock takes 20 ns, since all instructions before must have ended; to read the counter takes
//! half as long, and nothing waits for it. So the counter tells the time, for a tenth of a millisecond after both
//! were read together. How long a cycle is, is measured from two such readings, and again with later ones.
//!
//! The time told is not behind the kernel's, but for the rounding of nanoseconds, and ahead of it by less than a reading
//! of both takes, which is less than 0.1 us: what is due so long after it is never early. It does not go back. And if the
//! kernel changes the speed of its clock, the machine was asleep, or its processors do not count alike, each time that
//! can make a difference of a tenth of a millisecond at most.

#![allow(unsafe_code, reason = "std has no cycle counter")]

use super::now_ns;

/// So long the counter tells the time: the kernel changes the speed of its clock by a two-thousandth, which is 50 ns.
const FRESH_NS: u64 = 100_000;
/// Between two readings that tell how long a cycle is: at least, and at most.
const MEASURED_NS: (u64, u64) = (5_000_000, 1_000_000_000);
/// Two measured speeds that differ by more than this part of them were not both right.
const AGREE_BITS: u32 = 10;
/// A reading of both takes no more cycles (50 to 80 where it was tried, some 150 with cold caches); else the thread was
/// interrupted, or the kernel's clock is made of something else than this counter, for a reason.
const READING_CYCLES_MAX: u64 = 160;
/// After so many longer ones in a row the counter is left alone: where a hypervisor counts, each look at it is slow.
const MISSES_MAX: u32 = 100;
/// Bits of a speed behind its point.
const POINT: u32 = 32;

/// What the counter and the kernel's clock told together.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    cycles: u64,
    ns: u64,
}

/// Each loop has one.
#[derive(Debug, Default)]
pub struct CycleClock {
    /// From where on the counter tells the time.
    last: Reading,
    /// For so many cycles; 0: not at all.
    fresh_cycles: u64,
    /// The speed by which it does, in 2^-32 ns.
    ns_per_cycle: u64,
    /// The speed that was measured last, and the reading to measure the next from.
    measured: u64,
    from: Option<Reading>,
    /// Readings in a row that took too long.
    misses: u32,
}

impl CycleClock {
    /// The time now.
    #[inline(always)]
    #[must_use]
    pub fn now_ns(&mut self) -> u64 {
        if self.misses >= MISSES_MAX {
            return self.without_counter(now_ns());
        }
        self.told_at(cycles()).unwrap_or_else(|| self.ask_kernel())
    }

    /// The time at that cycle, if both were read shortly before.
    #[inline(always)]
    fn told_at(&self, cycles: u64) -> Option<u64> {
        let since = cycles.wrapping_sub(self.last.cycles);
        if since < self.fresh_cycles { Some(self.told_after(since)) } else { None }
    }

    #[inline(always)]
    fn told_after(&self, cycles: u64) -> u64 {
        self.last.ns + ((cycles * self.ns_per_cycle) >> POINT)
    }

    #[cold]
    #[inline(never)]
    fn ask_kernel(&mut self) -> u64 {
        let began = cycles();
        let ns = now_ns();
        let took = cycles().wrapping_sub(began);
        self.begin_at(Reading { cycles: began, ns }, took)
    }

    #[cold]
    #[inline(never)]
    fn without_counter(&self, ns: u64) -> u64 {
        // Not before what was told last, as the counter may have run while the machine slept.
        ns.max(self.told_after(self.fresh_cycles))
    }

    /// Tells the time from this reading on, which took so many cycles; and which time it is.
    fn begin_at(&mut self, read: Reading, took: u64) -> u64 {
        // No more was told.
        let since = read.cycles.wrapping_sub(self.last.cycles).min(self.fresh_cycles);
        let ns = read.ns.max(self.told_after(since));
        if !(1..=READING_CYCLES_MAX).contains(&took) {
            self.misses += 1;
            return ns;
        }
        self.misses = 0;
        self.measure(read);
        self.last = Reading { cycles: read.cycles, ns };
        // Who is ahead is slower, and meets the kernel's time at the end.
        let ahead_ns = (ns - read.ns).min(FRESH_NS / 2);
        let slower = (ahead_ns << POINT).checked_div(self.fresh_cycles).unwrap_or(0);
        self.ns_per_cycle = self.measured.saturating_sub(slower);
        ns
    }

    /// Measures the speed, if it is time to.
    fn measure(&mut self, read: Reading) {
        let Some(from) = self.from else {
            self.from = Some(read);
            return;
        };
        let (cycles, ns) = (read.cycles.wrapping_sub(from.cycles), read.ns.saturating_sub(from.ns));
        let (least_ns, most_ns) = MEASURED_NS;
        if ns < least_ns {
            return;
        }
        self.from = Some(read);
        if ns > most_ns {
            return;
        }
        let before = self.measured;
        self.measured = (ns << POINT).checked_div(cycles).unwrap_or(0);
        let do_agree = self.measured.abs_diff(before) <= self.measured >> AGREE_BITS;
        self.fresh_cycles =
            if do_agree { (FRESH_NS << POINT).checked_div(self.measured).unwrap_or(0) } else { 0 };
    }
}

/// How many cycles the processor has counted.
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn cycles() -> u64 {
    // SAFETY: each such processor has the instruction, and the kernel's clock is made of it in this process as well.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// None is known: the kernel is asked each time.
#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn cycles() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of 2.5 GHz.
    const NS_PER_CYCLE: f64 = 0.4;
    const TOOK: u64 = 60;

    /// A processor and a kernel whose clock is made of its counter.
    #[derive(Clone, Copy)]
    struct Machine {
        cycles: u64,
        ns: f64,
        /// The kernel's clock is so much faster than 1.
        skew: f64,
    }

    impl Machine {
        fn new() -> Self {
            Self { cycles: u64::MAX - 3_000_000, ns: 1e12, skew: 0.0 }
        }

        fn pass(&mut self, cycles: u64) {
            self.cycles = self.cycles.wrapping_add(cycles);
            self.ns += cycles as f64 * NS_PER_CYCLE * (1.0 + self.skew);
        }

        fn time(&self) -> u64 {
            self.ns as u64
        }

        /// As `CycleClock::now_ns` does it, with what it cost: did it ask the kernel?
        fn tell(&mut self, clock: &mut CycleClock, took: u64) -> (u64, bool) {
            if let Some(told) = clock.told_at(self.cycles) {
                return (told, false);
            }
            let cycles = self.cycles;
            self.pass(took);
            (clock.begin_at(Reading { cycles, ns: self.time() }, took), true)
        }

        /// Until the counter is trusted.
        fn warm(&mut self, clock: &mut CycleClock) {
            for _ in 0..3 {
                self.pass(20_000_000);
                let _ = self.tell(clock, TOOK);
            }
        }
    }

    #[test]
    fn the_counter_tells_the_time_once_two_measurements_agree() {
        let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
        assert!(machine.tell(&mut clock, TOOK).1 && machine.tell(&mut clock, TOOK).1);
        machine.warm(&mut clock);
        machine.pass(100);
        assert!(!machine.tell(&mut clock, TOOK).1);
        machine.pass(300_000);
        assert!(machine.tell(&mut clock, TOOK).1, "a tenth of a millisecond is over");
        assert!(!machine.tell(&mut clock, TOOK).1);
    }

    #[test]
    fn a_counter_that_stands_still_is_not_asked() {
        let mut clock = CycleClock::default();
        for ns in (0..100).map(|count| count * MEASURED_NS.0) {
            assert_eq!(clock.told_at(0), None);
            assert_eq!(clock.begin_at(Reading { cycles: 0, ns }, 0), ns);
        }
    }

    #[test]
    fn a_reading_that_was_interrupted_tells_nothing_of_the_counter() {
        let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
        for _ in 0..MISSES_MAX {
            machine.pass(20_000_000);
            let (told, asked) = machine.tell(&mut clock, READING_CYCLES_MAX + 1);
            assert!(asked && told == machine.time());
        }
        assert_eq!(clock.misses, MISSES_MAX);
        let (before, told) = (now_ns(), clock.now_ns());
        assert!((before..=now_ns()).contains(&told), "the kernel's time, not the machine's");
    }

    #[test]
    fn who_gives_the_counter_up_does_not_go_back() {
        let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
        machine.warm(&mut clock);
        // Asleep for less than a tenth of a millisecond.
        machine.cycles = machine.cycles.wrapping_add(200_000);
        let (told, asked) = machine.tell(&mut clock, TOOK);
        assert!(!asked && told > machine.time());
        for _ in 0..MISSES_MAX {
            machine.cycles = machine.cycles.wrapping_add(300_000);
            assert!(machine.tell(&mut clock, READING_CYCLES_MAX + 1).0 >= told);
        }
        assert!(clock.without_counter(machine.time()) >= told);
    }

    #[test]
    fn a_counter_that_went_on_while_the_clock_stood_is_measured_anew() {
        let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
        machine.warm(&mut clock);
        // Asleep: the counter runs, the clock does not.
        machine.cycles = machine.cycles.wrapping_add(1_000_000_000);
        machine.pass(20_000_000);
        assert!(machine.tell(&mut clock, TOOK).1 && machine.tell(&mut clock, TOOK).1);
        machine.warm(&mut clock);
        machine.pass(100_000);
        let (told, asked) = machine.tell(&mut clock, TOOK);
        assert!(!asked && told.abs_diff(machine.time()) < 100, "{told} at {}", machine.time());
    }

    proptest! {
        /// Whatever passes between: not behind (but for rounding, and what a change of speed makes), hardly ahead,
        /// and never back.
        #[test]
        fn the_time_told_is_that_of_the_kernel(
            steps in prop::collection::vec((0..22u32, 0..4u64, any::<bool>(), -1..=1i32), 1..400)
        ) {
            let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
            machine.warm(&mut clock);
            let mut last = 0;
            for (bits, more, is_slow, skew) in steps {
                machine.skew = f64::from(skew) / 2000.0;
                machine.pass((1 << bits) + more);
                let began = machine.time();
                let took = if is_slow { READING_CYCLES_MAX } else { TOOK };
                let (told, _) = machine.tell(&mut clock, took);
                // By two speeds that differ by a thousandth, for a tenth of a millisecond.
                prop_assert!(told + 110 >= began, "{} ns behind", began - told);
                let reading_ns = (READING_CYCLES_MAX as f64 * NS_PER_CYCLE) as u64;
                prop_assert!(told <= machine.time() + reading_ns + 110, "{} ns ahead", told - machine.time());
                prop_assert!(told >= last, "back by {} ns", last - told);
                last = told;
            }
        }

        /// The same without a change of speed.
        #[test]
        fn what_is_told_is_not_early(steps in prop::collection::vec((0..22u32, 0..4u64, any::<bool>()), 1..400)) {
            let (mut machine, mut clock) = (Machine::new(), CycleClock::default());
            machine.warm(&mut clock);
            for (bits, more, is_slow) in steps {
                machine.pass((1 << bits) + more);
                let began = machine.time();
                let (told, _) = machine.tell(&mut clock, if is_slow { READING_CYCLES_MAX } else { TOOK });
                prop_assert!(told + 5 >= began, "{} ns behind", began - told);
            }
        }
    }

    #[test]
    fn of_this_machine_the_time_told_lies_between_two_of_the_kernel() {
        let mut clock = CycleClock::default();
        let (mut last, end) = (0, now_ns() + 30_000_000);
        while last < end {
            let before = now_ns();
            let told = clock.now_ns();
            let after = now_ns();
            assert!(told + 200 >= before, "{} ns behind", before - told);
            assert!(told <= after + 1000, "{} ns ahead", told - after);
            assert!(told >= last, "back by {} ns", last - told);
            last = told;
        }
    }
}
