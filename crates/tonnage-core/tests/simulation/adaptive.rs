//! An adaptive limit before a service: callers who find no place are refused.

use tonnage_core::limits::aimd::{Aimd, AimdSettings};
use tonnage_core::limits::gradient::{Gradient, GradientSettings};
use tonnage_core::limits::outcome::{LimitRange, Outcome};

use super::chance::Chance;
use super::service::{Service, Work};
use super::{MS, SECOND, percentile};

pub const RANGE: LimitRange = LimitRange { min: 1, max: 1000 };
pub const INITIAL: u32 = 20;

/// The defaults of `tonnage.Gradient`.
pub const GRADIENT: GradientSettings = GradientSettings {
    window_ns: 100 * MS,
    percentile: 0.5,
    tolerance: 0.25,
    probe_every_ns: 60 * SECOND,
    probe_limit: 3,
    probe_samples: 50,
};

/// The defaults of `tonnage.AIMD`, which has none for the target.
pub const AIMD: AimdSettings =
    AimdSettings { target_latency_ns: 100 * MS, window_ns: SECOND, percentile: 0.9, backoff: 0.9 };

/// Whatever says how many may run.
pub trait Algorithm {
    fn limit(&self) -> u32;
    fn update(&mut self, outcome: Outcome);
}

impl Algorithm for Gradient {
    fn limit(&self) -> u32 {
        Self::limit(self)
    }

    fn update(&mut self, outcome: Outcome) {
        Self::update(self, outcome);
    }
}

impl Algorithm for Aimd {
    fn limit(&self) -> u32 {
        Self::limit(self)
    }

    fn update(&mut self, outcome: Outcome) {
        Self::update(self, outcome);
    }
}

pub fn gradient() -> Gradient {
    Gradient::new(GRADIENT, RANGE, INITIAL)
}

pub fn aimd(target_latency_ns: u64) -> Aimd {
    Aimd::new(AimdSettings { target_latency_ns, ..AIMD }, RANGE, INITIAL)
}

/// With a target latency of two or three times what most of the work takes.
pub fn aimd_for(work: Work) -> Aimd {
    aimd(match work {
        Work::Fixed { ms } => 2 * ms * MS,
        Work::Exponential { mean_ms } => 3 * mean_ms * MS,
        Work::Bimodal { long_ms, .. } => long_ms * 3 / 2 * MS,
    })
}

/// From `from_s` on there are so many servers, and the work is so.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    pub from_s: u64,
    pub servers: usize,
    pub work: Work,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub arrivals_per_s: f64,
    pub phases: Vec<Phase>,
    pub seconds: u64,
    /// So long after each phase has begun nothing is counted.
    pub settling_s: u64,
    pub seed: u64,
}

pub const FIXED: Work = Work::Fixed { ms: 50 };
pub const EXPONENTIAL: Work = Work::Exponential { mean_ms: 50 };
/// Fifty on average, too.
pub const BIMODAL: Work = Work::Bimodal { short_ms: 20, long_ms: 320, one_in: 10 };

impl Scenario {
    /// 600 requests a second, all the time.
    pub fn steady(work: Work, servers: usize, seconds: u64) -> Self {
        Self::changing(&format!("{servers} servers, {}", work.name()), seconds, &[(0, servers, work)])
    }

    /// The same, with phases of so many seconds each.
    pub fn changing(name: &str, seconds: u64, phases: &[(u64, usize, Work)]) -> Self {
        let phases = phases.iter().map(|&(from_s, servers, work)| Phase { from_s, servers, work }).collect();
        Self { name: name.to_owned(), arrivals_per_s: 600.0, phases, seconds, settling_s: 5, seed: 1 }
    }

    /// Half of the servers fail, and come back.
    pub fn servers_fail(work: Work, seconds: u64) -> Self {
        let name = format!("20, 10, 20 servers, {}", work.name());
        let third = seconds / 3;
        Self::changing(&name, seconds, &[(0, 20, work), (third, 10, work), (2 * third, 20, work)])
    }

    /// The work takes ten times as long, and then as long as before.
    pub fn work_slows_down(seconds: u64) -> Self {
        let (third, slow) = (seconds / 3, Work::Fixed { ms: 500 });
        let phases = [(0, 20, FIXED), (third, 20, slow), (2 * third, 20, FIXED)];
        Self::changing("20 servers, 50, 500, 50 ms", seconds, &phases)
    }
}

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub second: u64,
    pub limit: u32,
    pub served: u32,
    pub refused: u32,
    /// What the servers could have done, or all who came if that is less.
    pub possible: f64,
    pub is_counted: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    pub points: Vec<Point>,
    pub p50_ns: u64,
    pub p99_ns: u64,
}

impl Run {
    /// The served as a part of the possible, from one second to another.
    pub fn goodput_between(&self, from_s: u64, to_s: u64) -> f64 {
        let counted = |point: &&Point| (from_s..to_s).contains(&point.second) && point.is_counted;
        let (mut served, mut possible) = (0.0, 0.0);
        for point in self.points.iter().filter(counted) {
            served += f64::from(point.served);
            possible += point.possible;
        }
        served / possible
    }

    pub fn goodput(&self) -> f64 {
        self.goodput_between(0, u64::MAX)
    }

    /// The mean limit of the minute that begins at a second.
    pub fn limit_at(&self, from_s: u64) -> f64 {
        let minute = self.points.iter().filter(|point| (from_s..from_s + 60).contains(&point.second));
        let limits: Vec<_> = minute.map(|point| f64::from(point.limit)).collect();
        limits.iter().sum::<f64>() / limits.len() as f64
    }

    pub fn limit_max(&self) -> u32 {
        self.points.iter().map(|point| point.limit).max().unwrap_or(0)
    }
}

pub fn run(scenario: &Scenario, algorithm: &mut dyn Algorithm) -> Run {
    let first = scenario.phases[0];
    let mut service = Service::new(first.work, first.servers, scenario.seed);
    let mut chance = Chance::new(scenario.seed + 1000);
    let mut phases = scenario.phases[1..].iter();
    let mut next_phase = phases.next();
    let mut phase_s = 0;
    let mut latencies = vec![];
    let mut points = vec![];
    let mut arrival_ns = 0;
    for second in 0..scenario.seconds {
        if let Some(phase) = next_phase.filter(|phase| phase.from_s == second) {
            service.work = phase.work;
            service.resize(second * SECOND, phase.servers);
            phase_s = second;
            next_phase = phases.next();
        }
        let possible = service.capacity_per_s().min(scenario.arrivals_per_s);
        let is_counted = second >= phase_s + scenario.settling_s;
        let (mut served, mut refused) = (0, 0);
        let end_ns = (second + 1) * SECOND;
        loop {
            let ends_ns = service.next_end_ns().unwrap_or(u64::MAX);
            if ends_ns.min(arrival_ns) >= end_ns {
                break;
            }
            if ends_ns <= arrival_ns {
                let in_flight = u32::try_from(service.in_flight()).expect("bounded by the limit");
                let (ended_ns, came_ns) = service.end_next().expect("there is a next end");
                let latency_ns = ended_ns - came_ns;
                algorithm.update(Outcome { ended_ns, latency_ns, in_flight, dropped: false });
                served += 1;
                if is_counted {
                    latencies.push(latency_ns);
                }
            } else {
                if service.in_flight() < algorithm.limit() as usize {
                    service.accept(arrival_ns);
                } else {
                    refused += 1;
                }
                arrival_ns += chance.exponential(SECOND as f64 / scenario.arrivals_per_s) as u64;
            }
        }
        points.push(Point { second, limit: algorithm.limit(), served, refused, possible, is_counted });
    }
    let (p50_ns, p99_ns) = (percentile(&mut latencies, 0.5), percentile(&mut latencies, 0.99));
    Run { points, p50_ns, p99_ns }
}
