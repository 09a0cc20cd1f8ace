//! Adaptive limits before a simulated service: they let it do what it can, and do not drift.

mod simulation;

use proptest::prelude::*;
use simulation::adaptive::{
    AIMD, BIMODAL, EXPONENTIAL, FIXED, GRADIENT, Run, Scenario, aimd, aimd_for, gradient, run,
};
use simulation::peers::{Gradient2, Vegas};
use simulation::service::Work;
use simulation::{MS, SECOND};
use tonnage_core::limits::aimd::Aimd;
use tonnage_core::limits::gradient::Gradient;
use tonnage_core::limits::outcome::{LimitRange, Outcome};

const MINUTE_S: u64 = 60;

/// At least 97 % of what the servers can do, with a limit of a few times what they need.
fn assert_good(name: &str, run: &Run, limit_max: u32) {
    assert!(run.goodput() >= 0.97, "{name}: goodput {:.3}", run.goodput());
    assert!(run.limit_max() <= limit_max, "{name}: limit {}", run.limit_max());
}

#[test]
fn gradient_serves_what_the_servers_can_do() {
    for work in [FIXED, EXPONENTIAL, BIMODAL] {
        // Forty are not overloaded: what limits the limit is that half of it must be in use.
        for (servers, limit_max) in [(10, 40), (20, 80), (40, 170)] {
            let scenario = Scenario::steady(work, servers, 4 * MINUTE_S);
            assert_good(&scenario.name, &run(&scenario, &mut gradient()), limit_max);
        }
    }
}

#[test]
fn aimd_serves_what_the_servers_can_do_and_keeps_the_latency() {
    for work in [FIXED, EXPONENTIAL, BIMODAL] {
        for servers in [10, 20, 40] {
            let scenario = Scenario::steady(work, servers, 4 * MINUTE_S);
            let run = run(&scenario, &mut aimd_for(work));
            assert_good(&scenario.name, &run, 130);
        }
    }
    let run = run(&Scenario::steady(FIXED, 20, MINUTE_S), &mut aimd(100 * MS));
    assert!(run.p50_ns <= 100 * MS && run.p99_ns <= 110 * MS, "{} {}", run.p50_ns, run.p99_ns);
}

#[test]
fn gradient_does_not_drift_in_25_minutes_of_overload() {
    let scenario = Scenario::steady(EXPONENTIAL, 20, 25 * MINUTE_S);
    let run = run(&scenario, &mut gradient());
    assert_good(&scenario.name, &run, 80);
    let (first, last) = (run.limit_at(MINUTE_S), run.limit_at(24 * MINUTE_S));
    assert!((20.0..45.0).contains(&first) && (20.0..45.0).contains(&last), "{first:.0} {last:.0}");
}

#[test]
fn gradient2_drifts_in_25_minutes_of_overload() {
    let run = run(&Scenario::steady(EXPONENTIAL, 20, 25 * MINUTE_S), &mut Gradient2::new());
    let (first, last) = (run.limit_at(MINUTE_S), run.limit_at(24 * MINUTE_S));
    assert!(first < 60.0 && last > 300.0, "{first:.0} {last:.0}");
}

#[test]
fn vegas_on_each_latency_holds_a_part_of_the_capacity() {
    let run = run(&Scenario::steady(EXPONENTIAL, 20, 5 * MINUTE_S), &mut Vegas::new());
    assert!(run.goodput() < 0.5, "{:.3}", run.goodput());
}

#[test]
fn both_follow_a_capacity_that_changes() {
    for work in [FIXED, EXPONENTIAL] {
        let scenario = Scenario::servers_fail(work, 6 * MINUTE_S);
        for run in [run(&scenario, &mut gradient()), run(&scenario, &mut aimd_for(work))] {
            for third in 0..3 {
                let goodput = run.goodput_between(third * 2 * MINUTE_S, (third + 1) * 2 * MINUTE_S);
                assert!(goodput >= 0.97, "{}, phase {third}: {goodput:.3}", scenario.name);
            }
            assert!(run.limit_max() <= 80, "{}: {}", scenario.name, run.limit_max());
        }
    }
}

#[test]
fn gradient_measures_again_when_the_work_itself_slows_down() {
    let scenario = Scenario::work_slows_down(9 * MINUTE_S);
    let run = run(&scenario, &mut gradient());
    for third in 0..3 {
        let goodput = run.goodput_between(third * 3 * MINUTE_S + MINUTE_S, (third + 1) * 3 * MINUTE_S);
        // Probes at three in flight take ten of sixty seconds from work of 500 ms.
        let at_least = if third == 1 { 0.8 } else { 0.97 };
        assert!(goodput >= at_least, "phase {third}: {goodput:.3}");
    }
    // Until the next probe the limit allows the latency that the slow work had.
    assert!(run.limit_max() <= 400, "{}", run.limit_max());
    assert!(run.limit_at(8 * MINUTE_S) < 45.0, "{}", run.limit_at(8 * MINUTE_S));
}

#[test]
fn limit_stays_near_what_one_server_needs() {
    for work in [FIXED, EXPONENTIAL] {
        let run = run(&Scenario::steady(work, 1, 10 * MINUTE_S), &mut gradient());
        assert!(run.limit_at(9 * MINUTE_S) < 10.0, "{}", run.limit_at(9 * MINUTE_S));
        assert!(run.p99_ns < 2 * SECOND, "{}", run.p99_ns);
    }
}

#[test]
fn light_load_is_not_refused() {
    for work in [FIXED, EXPONENTIAL, Work::Fixed { ms: 1 }] {
        let scenario = Scenario { arrivals_per_s: 10.0, ..Scenario::steady(work, 20, 20 * MINUTE_S) };
        let run = run(&scenario, &mut gradient());
        let later = &run.points[10..];
        let refused: u32 = later.iter().map(|point| point.refused).sum();
        let least = later.iter().map(|point| point.limit).min();
        assert_eq!((refused, least), (0, Some(20)), "{}", scenario.name);
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let time_ns = prop_oneof![0..100 * SECOND, any::<u64>()];
    (time_ns.clone(), time_ns, prop_oneof![0..50_u32, any::<u32>()], any::<bool>()).prop_map(
        |(ended_ns, latency_ns, in_flight, dropped)| Outcome { ended_ns, latency_ns, in_flight, dropped },
    )
}

proptest! {
    /// Also if time jumps, back too, and with numbers that no program gives.
    #[test]
    fn limit_stays_in_its_range_whatever_it_is_told(
        outcomes in prop::collection::vec(outcome(), 0..400),
        (min, more, initial) in (1..50_u32, 0..50_u32, any::<u32>()),
    ) {
        let range = LimitRange::new(min, min + more);
        let mut gradient = Gradient::new(GRADIENT, range, initial);
        let mut aimd = Aimd::new(AIMD, range, initial);
        for outcome in outcomes {
            for limit in [gradient.update(outcome), aimd.update(outcome), gradient.expire(outcome.ended_ns)] {
                prop_assert!((range.min..=range.max).contains(&limit));
            }
        }
    }
}
