//! A rate is never exceeded in any time, and nobody waits for longer than it asks.

use proptest::prelude::*;
use tonnage_core::limits::line::NO_KEY;
use tonnage_core::limits::rate::Rate;
use tonnage_core::limits::{Admission, Bounds, Refused, Request, Served, Supply};

#[derive(Clone, Debug)]
enum Action {
    /// So many tokens, of those that the burst allows.
    Acquire(u64),
    Pass(u64),
    /// As far as the next token.
    PassToNext,
    /// Who was granted gives up in the same moment.
    GiveUp,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..6_u64).prop_map(Action::Acquire),
        2 => (1..2_000_000_000_u64).prop_map(Action::Pass),
        4 => Just(Action::PassToNext),
        1 => Just(Action::GiveUp),
    ]
}

fn request(tokens: u64) -> Request {
    Request { tokens, key: NO_KEY, priority: 0 }
}

/// When which request was admitted, with how many tokens.
type Log = Vec<(u64, u64)>;

fn check_rate(log: &Log, rate_per_s: f64, burst: u64) {
    for (first, (began, _)) in log.iter().enumerate() {
        let mut tokens = 0;
        for (ended, of_one) in &log[first..] {
            tokens += of_one;
            let passed_s = (ended - began) as f64 / 1e9;
            assert!(tokens as f64 <= burst as f64 + rate_per_s * passed_s + 1e-6, "{log:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_rate_is_never_exceeded(
        rate in 0.1..1000.0_f64,
        burst in 1..6_u64,
        actions in prop::collection::vec(action(), 1..80),
    ) {
        let mut admission = Admission::new(Supply::Rate(Rate::new(rate, 1.0, burst)), Bounds::default());
        let (mut now, mut log, mut came, mut served) = (0_u64, Log::new(), 0_usize, 0_usize);
        for action in &actions {
            match action {
                Action::Acquire(tokens) => {
                    let request = request(*tokens.min(&burst));
                    let wait = admission.wait_ns(now, &request).expect("a rate knows");
                    if admission.try_take(now, &request) {
                        prop_assert_eq!(wait, 0);
                        log.push((now, request.tokens));
                    } else {
                        prop_assert!(wait > 0);
                        let _ticket = admission.join(now, request, came);
                        came += 1;
                    }
                }
                Action::Pass(ns) => now += ns,
                Action::PassToNext => {
                    if let Some(next) = admission.next_event_ns(now) {
                        prop_assert!(next > now, "who can be served is served");
                        prop_assert!(admission.serve(next - 1).is_none(), "woken too late");
                        now = next;
                        let due = matches!(admission.serve(now), Some(Served::Granted(entry)) if {
                            log.push((now, entry.request.tokens));
                            prop_assert_eq!(entry.waiter, served);
                            served += 1;
                            true
                        });
                        prop_assert!(due, "woken for nothing");
                    }
                }
                Action::GiveUp => {
                    let request = request(1);
                    if admission.try_take(now, &request) {
                        admission.untake(&request);
                    }
                }
            }
            while let Some(next) = admission.serve(now) {
                let Served::Granted(entry) = next else { unreachable!("nobody is refused: {next:?}") };
                prop_assert_eq!(entry.waiter, served);
                served += 1;
                log.push((now, entry.request.tokens));
            }
        }
        check_rate(&log, rate, burst);
        prop_assert_eq!(admission.line().len(), came - served);
    }

    #[test]
    fn the_wait_that_is_told_is_the_wait_that_it_is(
        rate in 0.1..1000.0_f64,
        burst in 1..6_u64,
        sizes in prop::collection::vec(1..6_u64, 1..20),
    ) {
        let mut admission = Admission::new(Supply::Rate(Rate::new(rate, 1.0, burst)), Bounds::default());
        let start = 1_000_000_000;
        let mut told = vec![];
        for tokens in sizes {
            let request = request(tokens.min(burst));
            let wait = admission.wait_ns(start, &request).expect("a rate knows");
            if !admission.try_take(start, &request) {
                let _ticket = admission.join(start, request, told.len());
                told.push(start + wait);
            }
        }
        let mut now = start;
        while let Some(next) = admission.next_event_ns(now) {
            now = next;
            let Some(Served::Granted(entry)) = admission.serve(now) else { unreachable!("it is due") };
            // One after the other, each is rounded up to a nanosecond; all at once, once.
            let late = now - told[entry.waiter];
            prop_assert!(late <= entry.waiter as u64 + 1, "late by {late} ns");
        }
    }

    #[test]
    fn who_would_wait_too_long_is_told_at_once(
        burst in 1..4_u64, max_wait in 0..5_u64, before in 0..6_u64, deadline in 0..5_u64,
    ) {
        // A token a second.
        const S: u64 = 1_000_000_000;
        let bounds = Bounds { max_wait_ns: Some(max_wait * S), ..Bounds::default() };
        let mut admission = Admission::new(Supply::Rate(Rate::new(1.0, 1.0, burst)), bounds);
        for _ in 0..burst {
            prop_assert!(admission.try_take(S, &request(1)));
        }
        for number in 0..before {
            let _ticket = admission.join(S, request(1), number);
        }
        let wait_ns = (before + 1) * S;
        let expected = if before + 1 > max_wait {
            Err(Refused::Delay { wait_ns })
        } else if before + 1 > deadline {
            Err(Refused::Deadline { wait_ns })
        } else {
            Ok(())
        };
        prop_assert_eq!(admission.may_join(S, &request(1), Some(S + deadline * S)), expected);
    }
}
