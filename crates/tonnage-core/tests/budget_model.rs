//! A budget allows what a full record of all that happened allows, whatever happens in which order.

use proptest::prelude::*;
use tonnage_core::limits::budget::{BUCKETS, Budget};

const MS: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Action {
    Deposit,
    Withdraw,
    /// Milliseconds.
    Wait(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => Just(Action::Deposit),
        6 => Just(Action::Withdraw),
        3 => (0..400_u64).prop_map(Action::Wait),
        1 => (0..5_000_u64).prop_map(Action::Wait),
    ]
}

proptest! {
    #[test]
    fn a_budget_is_a_share_of_the_window(
        ratio_percent in 0..300_u64,
        min_per_second in 0..4_u64,
        window_ms in 10..3_000_u64,
        actions in prop::collection::vec(action(), 1..300),
    ) {
        let window_ns = window_ms * MS;
        let bucket_ns = window_ns / BUCKETS as u64;
        let mut budget = Budget::new(ratio_percent as f64 / 100.0, min_per_second as f64, window_ns);
        let (mut deposits, mut withdrawals) = (vec![], vec![]);
        let mut now_ns = 17 * MS;
        for action in actions {
            let in_window = |times: &Vec<u64>| {
                let oldest = (now_ns / bucket_ns).saturating_sub(BUCKETS as u64 - 1);
                times.iter().filter(|time| **time / bucket_ns >= oldest).count() as u64
            };
            match action {
                Action::Wait(ms) => now_ns += ms * MS,
                Action::Deposit => {
                    budget.deposit(now_ns);
                    deposits.push(now_ns);
                }
                Action::Withdraw => {
                    // In thousandths of hundredths, to be exact.
                    let earned = ratio_percent * 1_000 * in_window(&deposits) + 100 * min_per_second * window_ms;
                    let spent = 100_000 * in_window(&withdrawals);
                    let allowed = earned >= spent + 100_000;
                    prop_assert_eq!(budget.available(now_ns) > 0, allowed);
                    prop_assert_eq!(budget.withdraw(now_ns), allowed);
                    if allowed {
                        withdrawals.push(now_ns);
                    }
                }
            }
        }
    }
}
