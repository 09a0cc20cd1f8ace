//! Shedding before simulated servers: under overload, who is served is served in time, and it ends with the overload.

mod simulation;

use simulation::adaptive::{EXPONENTIAL, FIXED};
use simulation::shedding::{Line, PATIENCE_NS, run};

const LOADS: [f64; 3] = [1.5, 3.0, 10.0];

#[test]
fn codel_keeps_the_servers_useful_in_overload_and_after_it() {
    for work in [FIXED, EXPONENTIAL] {
        for load in LOADS {
            let run = run(work, load, Line::codel());
            let (during, after) = (run.goodput_in_overload(), run.goodput_after());
            assert!(during >= 0.95 && after >= 0.99, "{work:?} {load}: {during:.3}, then {after:.3}");
            assert!(run.p99_ns < PATIENCE_NS, "{work:?} {load}: {}", run.p99_ns);
        }
    }
}

#[test]
fn unbounded_line_serves_callers_that_have_gone() {
    for load in LOADS {
        let run = run(FIXED, load, Line::Unbounded);
        let (during, after) = (run.goodput_in_overload(), run.goodput_after());
        assert!(during < 0.05 && after < 0.01, "{load}: {during:.3}, then {after:.3}");
        assert!(run.waiting_max() > 30_000, "{load}: {}", run.waiting_max());
    }
}

#[test]
fn leaving_the_line_is_not_enough() {
    for load in LOADS {
        let run = run(FIXED, load, Line::Left);
        assert!(run.goodput_in_overload() < 0.5, "{load}: {:.3}", run.goodput_in_overload());
    }
}
