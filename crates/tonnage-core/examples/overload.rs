//! Runs the simulations of overload, prints their tables, and writes the data for plots.
//!
//! ```text
//! cargo run --release -p tonnage-core --example overload -- FOLDER
//! ```
//!
//! FOLDER, which must be there, gets `adaptive.csv` and `shedding.csv`: one line for each second of each run.

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use simulation::MS;
use simulation::adaptive::{
    Algorithm, BIMODAL, EXPONENTIAL, FIXED, Scenario, aimd_for, gradient, run as run_adaptive,
};
use simulation::peers::{Gradient2, Vegas};
use simulation::shedding::{Line, run as run_shedding};

const MINUTE_S: u64 = 60;
const STEADY_S: u64 = 25 * MINUTE_S;

fn scenarios() -> Vec<Scenario> {
    let mut all = vec![];
    for work in [FIXED, EXPONENTIAL, BIMODAL] {
        all.extend([10, 20, 40].map(|servers| Scenario::steady(work, servers, STEADY_S)));
    }
    all.extend([FIXED, EXPONENTIAL].map(|work| Scenario::servers_fail(work, 9 * MINUTE_S)));
    all.push(Scenario::work_slows_down(9 * MINUTE_S));
    all
}

fn algorithms(scenario: &Scenario) -> [(&'static str, Box<dyn Algorithm>); 4] {
    [
        ("Gradient", Box::new(gradient())),
        ("AIMD", Box::new(aimd_for(scenario.phases[0].work))),
        ("Gradient2", Box::new(Gradient2::new())),
        ("Vegas", Box::new(Vegas::new())),
    ]
}

fn adaptive(tables: &mut impl Write, data: &mut impl Write) -> io::Result<()> {
    writeln!(tables, "| service | limit by | goodput | limit, 2nd minute | last minute | p50 ms | p99 ms |")?;
    writeln!(tables, "|---|---|---|---|---|---|---|")?;
    writeln!(data, "service,algorithm,second,limit,served,refused,possible")?;
    for scenario in scenarios() {
        for (name, mut algorithm) in algorithms(&scenario) {
            let run = run_adaptive(&scenario, algorithm.as_mut());
            let (first, last) = (run.limit_at(MINUTE_S), run.limit_at(scenario.seconds - MINUTE_S));
            let (goodput, p50_ms, p99_ms) = (run.goodput() * 100.0, run.p50_ns / MS, run.p99_ns / MS);
            let service = &scenario.name;
            let line = format!("{goodput:.1} % | {first:.0} | {last:.0} | {p50_ms} | {p99_ms}");
            writeln!(tables, "| {service} | {name} | {line} |")?;
            for point in run.points {
                let (second, limit, possible) = (point.second, point.limit, point.possible);
                let (served, refused) = (point.served, point.refused);
                writeln!(data, "\"{service}\",{name},{second},{limit},{served},{refused},{possible:.0}")?;
            }
        }
    }
    Ok(())
}

fn shedding(tables: &mut impl Write, data: &mut impl Write) -> io::Result<()> {
    writeln!(tables, "\n| service | load | line | goodput | after | p50 ms | p99 ms | longest line |")?;
    writeln!(tables, "|---|---|---|---|---|---|---|---|")?;
    writeln!(data, "service,load,line,second,good,served,refused,waiting")?;
    for (work, load) in
        [FIXED, EXPONENTIAL].into_iter().flat_map(|work| [1.5, 3.0, 10.0].map(|load| (work, load)))
    {
        for (name, rule) in [("unbounded", Line::Unbounded), ("left", Line::Left), ("CoDel", Line::codel())] {
            let run = run_shedding(work, load, rule);
            let (during, after) = (run.goodput_in_overload() * 100.0, run.goodput_after() * 100.0);
            let (p50_ms, p99_ms, waiting) = (run.p50_ns / MS, run.p99_ns / MS, run.waiting_max());
            let line = format!("{during:.1} % | {after:.1} % | {p50_ms} | {p99_ms} | {waiting}");
            let work = work.name();
            writeln!(tables, "| {work} | {load} | {name} | {line} |")?;
            for point in run.points {
                let (second, good, served) = (point.second, point.good, point.served);
                let (refused, waiting) = (point.refused, point.waiting);
                writeln!(data, "\"{work}\",{load},{name},{second},{good},{served},{refused},{waiting}")?;
            }
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let file = |name: &str| File::create(Path::new(&folder).join(name)).map(BufWriter::new);
    let mut tables = io::stdout();
    adaptive(&mut tables, &mut file("adaptive.csv")?)?;
    shedding(&mut tables, &mut file("shedding.csv")?)
}
