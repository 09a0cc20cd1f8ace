//! A bounded number of servers, and a line before them, whose callers give up: what the line refuses decides
//! whether what is served still helps somebody.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tonnage_core::limits::codel::Codel;

use super::chance::Chance;
use super::service::Work;
use super::{MS, SECOND, percentile};

/// After this long a caller has gone.
pub const PATIENCE_NS: u64 = 500 * MS;
pub const SERVERS: usize = 20;
/// How long the line may be late: `target_delay=`.
pub const TARGET_NS: u64 = 50 * MS;
pub const OVERLOAD_S: u64 = 180;
pub const AFTER_S: u64 = 60;
const LOAD_AFTER: f64 = 0.5;

/// What stands before the servers.
pub enum Line {
    /// First come first served; whoever has given up is served, too, because nobody tells the line.
    Unbounded,
    /// The same, but who gives up leaves: a semaphore under a timeout.
    Left,
    /// `CapacityLimiter(target_delay=)`.
    CoDel(Codel),
}

impl Line {
    pub fn codel() -> Self {
        Self::CoDel(Codel::new(TARGET_NS))
    }

    fn refuses(&mut self, now_ns: u64, delay_ns: u64) -> bool {
        match self {
            Self::Unbounded => false,
            Self::Left => delay_ns > PATIENCE_NS,
            Self::CoDel(codel) => codel.refuses(now_ns, delay_ns),
        }
    }

    fn saw_no_delay(&mut self) {
        if let Self::CoDel(codel) = self {
            codel.saw_no_delay();
        }
    }
}

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub second: u64,
    /// Served while the caller was there.
    pub good: u32,
    pub served: u32,
    pub refused: u32,
    pub waiting: usize,
    /// What the servers could have done, or all who came if that is less.
    pub possible: f64,
}

#[derive(Debug)]
pub struct Run {
    pub points: Vec<Point>,
    /// Of what was served in the overload, from the call to its end.
    pub p50_ns: u64,
    pub p99_ns: u64,
}

impl Run {
    fn goodput(points: &[Point]) -> f64 {
        let good: f64 = points.iter().map(|point| f64::from(point.good)).sum();
        good / points.iter().map(|point| point.possible).sum::<f64>()
    }

    pub fn goodput_in_overload(&self) -> f64 {
        Self::goodput(&self.points[..OVERLOAD_S as usize])
    }

    /// In the minute of half the load.
    pub fn goodput_after(&self) -> f64 {
        Self::goodput(&self.points[OVERLOAD_S as usize..])
    }

    pub fn waiting_max(&self) -> usize {
        self.points.iter().map(|point| point.waiting).max().unwrap_or(0)
    }
}

struct Servers {
    work: Work,
    chance: Chance,
    /// When each ends, and when its caller came.
    busy: BinaryHeap<Reverse<(u64, u64)>>,
    line: VecDeque<u64>,
}

impl Servers {
    fn serve(&mut self, now_ns: u64, came_ns: u64) {
        self.busy.push(Reverse((now_ns + self.work.draw_ns(&mut self.chance), came_ns)));
    }

    fn arrive(&mut self, now_ns: u64, rule: &mut Line) {
        if self.busy.len() < SERVERS {
            rule.saw_no_delay();
            self.serve(now_ns, now_ns);
        } else {
            self.line.push_back(now_ns);
        }
    }

    /// A server is free; returns how many were refused before one was served.
    fn serve_next(&mut self, now_ns: u64, rule: &mut Line) -> u32 {
        let mut refused = 0;
        while let Some(came_ns) = self.line.pop_front() {
            if !rule.refuses(now_ns, now_ns - came_ns) {
                self.serve(now_ns, came_ns);
                break;
            }
            refused += 1;
        }
        refused
    }
}

/// Some minutes of `load` times what the servers can do, then a minute of half of that.
pub fn run(work: Work, load: f64, mut rule: Line) -> Run {
    let capacity_per_s = SERVERS as f64 * SECOND as f64 / work.mean_ns();
    let mut servers =
        Servers { work, chance: Chance::new(1), busy: BinaryHeap::new(), line: VecDeque::new() };
    let mut chance = Chance::new(2);
    let (mut points, mut latencies) = (vec![], vec![]);
    let mut arrival_ns = 0;
    for second in 0..OVERLOAD_S + AFTER_S {
        let load = if second < OVERLOAD_S { load } else { LOAD_AFTER };
        let mut point = Point { second, good: 0, served: 0, refused: 0, waiting: 0, possible: 0.0 };
        let until_ns = (second + 1) * SECOND;
        loop {
            let ends_ns = servers.busy.peek().map_or(u64::MAX, |Reverse((ends_ns, _))| *ends_ns);
            if ends_ns.min(arrival_ns) >= until_ns {
                break;
            }
            if ends_ns <= arrival_ns {
                let Reverse((now_ns, came_ns)) = servers.busy.pop().expect("one ends now");
                point.served += 1;
                point.good += u32::from(now_ns - came_ns <= PATIENCE_NS);
                if second < OVERLOAD_S {
                    latencies.push(now_ns - came_ns);
                }
                point.refused += servers.serve_next(now_ns, &mut rule);
            } else {
                point.possible = capacity_per_s.min(point.possible + 1.0);
                servers.arrive(arrival_ns, &mut rule);
                arrival_ns += chance.exponential(SECOND as f64 / (capacity_per_s * load)) as u64;
            }
        }
        point.waiting = servers.line.len();
        points.push(point);
    }
    let (p50_ns, p99_ns) = (percentile(&mut latencies, 0.5), percentile(&mut latencies, 0.99));
    Run { points, p50_ns, p99_ns }
}
