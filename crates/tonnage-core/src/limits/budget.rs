//! A budget for retries and hedges: a share of the real traffic, so that they cannot multiply an overload.
//!
//! Each request deposits, each retry withdraws. Within a sliding window there are at most `ratio` retries for each
//! request, and beside them `min_per_second`, so that who has just begun may retry too. The idea, and the defaults
//! of the share and of the window, are those of Finagle's RetryBudget and tower's TpsBudget (Rust). As there, the
//! window is made of ten buckets, so that it slides by a tenth; but what they hold is counted, and no balance kept:
//! it is exact, and a deposit and the retry that it has paid for need not expire together.

/// In how many parts the window slides.
pub const BUCKETS: usize = 10;

/// So much is a product too small or too large by, for what floating-point numbers cannot express.
const ROUNDING: f64 = 1e-9;

#[derive(Debug)]
pub struct Budget {
    ratio: f64,
    /// Retries in a window that no deposit pays for.
    reserve: f64,
    bucket_ns: u64,
    buckets: [Bucket; BUCKETS],
    /// The number of the newest bucket, counted from time 0; it stands at this modulo their number.
    newest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    deposits: u64,
    withdrawals: u64,
}

impl Budget {
    /// A share of `ratio` and `min_per_second` in a window of `window_ns`. Numbers that are not finite and positive
    /// (or 0, for the first two) are the caller's to refuse.
    #[must_use]
    pub fn new(ratio: f64, min_per_second: f64, window_ns: u64) -> Self {
        Self {
            ratio,
            reserve: min_per_second * (window_ns as f64 / 1e9),
            bucket_ns: (window_ns / BUCKETS as u64).max(1),
            buckets: [Bucket::default(); BUCKETS],
            newest: 0,
        }
    }

    /// A request was made.
    pub fn deposit(&mut self, now_ns: u64) {
        self.at(now_ns).deposits += 1;
    }

    /// May there be one more retry? If so, it is counted.
    #[must_use]
    pub fn withdraw(&mut self, now_ns: u64) -> bool {
        self.slide(now_ns);
        let allowed = self.balance() >= 1.0 - ROUNDING;
        if allowed {
            self.at(now_ns).withdrawals += 1;
        }
        allowed
    }

    /// How many retries there may be at this time.
    #[must_use]
    pub fn available(&mut self, now_ns: u64) -> u64 {
        self.slide(now_ns);
        // Below zero, it is cut off.
        (self.balance() + ROUNDING) as u64
    }

    fn balance(&self) -> f64 {
        let deposits: u64 = self.buckets.iter().map(|bucket| bucket.deposits).sum();
        let withdrawals: u64 = self.buckets.iter().map(|bucket| bucket.withdrawals).sum();
        self.ratio * deposits as f64 + self.reserve - withdrawals as f64
    }

    /// The newest bucket, at this time.
    fn at(&mut self, now_ns: u64) -> &mut Bucket {
        self.slide(now_ns);
        &mut self.buckets[place(self.newest)]
    }

    /// Empties the buckets that have left the window. A time before the newest counts as that of the newest.
    fn slide(&mut self, now_ns: u64) {
        let number = now_ns / self.bucket_ns;
        let passed = number.saturating_sub(self.newest);
        for gone in 1..=passed.min(BUCKETS as u64) {
            self.buckets[place(self.newest + gone)] = Bucket::default();
        }
        self.newest = self.newest.max(number);
    }
}

fn place(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn withdrawn(budget: &mut Budget, now_ns: u64) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now_ns)).take_while(|allowed| *allowed).count()
    }

    #[test]
    fn each_five_requests_pay_for_one_retry() {
        let mut budget = Budget::new(0.2, 0.0, 10 * S);
        for request in 1..=100_u64 {
            budget.deposit(S);
            assert_eq!(budget.withdraw(S), request % 5 == 0, "{request}");
        }
    }

    #[test]
    fn the_reserve_is_there_from_the_start_and_again_after_a_window() {
        let mut budget = Budget::new(0.2, 10.0, 10 * S);
        assert_eq!(withdrawn(&mut budget, 0), 100);
        assert_eq!(withdrawn(&mut budget, 9 * S), 0);
        assert_eq!(withdrawn(&mut budget, 10 * S), 100);
    }

    #[test]
    fn what_the_requests_paid_for_expires() {
        let mut budget = Budget::new(1.0, 0.0, 10 * S);
        budget.deposit(0);
        budget.deposit(5 * S);
        assert_eq!(budget.available(9 * S), 2);
        assert_eq!(budget.available(10 * S), 1);
        assert_eq!(budget.available(15 * S), 0);
        assert_eq!(budget.available(1_000 * S), 0);
    }

    #[test]
    fn a_retry_that_expires_after_its_request_leaves_a_debt_at_most_until_then() {
        let mut budget = Budget::new(1.0, 0.0, 10 * S);
        budget.deposit(0);
        assert!(budget.withdraw(5 * S));
        budget.deposit(12 * S);
        assert_eq!(budget.available(12 * S), 0);
        assert_eq!(budget.available(15 * S), 1);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut budget = Budget::new(1.0, 0.0, 10 * S);
        budget.deposit(100 * S);
        assert!(budget.withdraw(0));
        assert!(!budget.withdraw(100 * S));
    }

    #[test]
    fn a_share_that_is_no_binary_fraction_is_met_exactly() {
        for hundredths in 1..=100_u64 {
            let mut budget = Budget::new(hundredths as f64 / 100.0, 0.0, 10 * S);
            for _ in 0..100 {
                budget.deposit(0);
            }
            assert_eq!(withdrawn(&mut budget, 0) as u64, hundredths);
        }
    }
}
