//! A service: a number of servers, and the line before them, which nobody bounds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::chance::Chance;
use super::{MS, SECOND};

/// How long one request keeps its server.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Fixed {
        ms: u64,
    },
    Exponential {
        mean_ms: u64,
    },
    /// One in `one_in` takes long.
    Bimodal {
        short_ms: u64,
        long_ms: u64,
        one_in: u64,
    },
}

impl Work {
    pub fn mean_ns(self) -> f64 {
        let mean_ms = match self {
            Self::Fixed { ms } => ms as f64,
            Self::Exponential { mean_ms } => mean_ms as f64,
            Self::Bimodal { short_ms, long_ms, one_in } => {
                short_ms as f64 + (long_ms - short_ms) as f64 / one_in as f64
            }
        };
        mean_ms * MS as f64
    }

    pub fn name(self) -> String {
        match self {
            Self::Fixed { ms } => format!("{ms} ms"),
            Self::Exponential { mean_ms } => format!("exponential {mean_ms} ms"),
            Self::Bimodal { short_ms, long_ms, one_in } => {
                format!("{short_ms} ms, one in {one_in} {long_ms} ms")
            }
        }
    }

    pub fn draw_ns(self, chance: &mut Chance) -> u64 {
        match self {
            Self::Fixed { ms } => ms * MS,
            Self::Exponential { mean_ms } => chance.exponential((mean_ms * MS) as f64) as u64,
            Self::Bimodal { short_ms, long_ms, one_in } => {
                if chance.uniform() * (one_in as f64) < 1.0 {
                    long_ms * MS
                } else {
                    short_ms * MS
                }
            }
        }
    }
}

/// Requests are known by the time at which they came to the service.
pub struct Service {
    pub work: Work,
    servers: usize,
    chance: Chance,
    /// When each that is served ends, and when it came.
    served: BinaryHeap<Reverse<(u64, u64)>>,
    line: VecDeque<u64>,
}

impl Service {
    pub fn new(work: Work, servers: usize, seed: u64) -> Self {
        Self { work, servers, chance: Chance::new(seed), served: BinaryHeap::new(), line: VecDeque::new() }
    }

    /// Requests a second.
    pub fn capacity_per_s(&self) -> f64 {
        self.servers as f64 * SECOND as f64 / self.work.mean_ns()
    }

    /// Those who are served or wait here.
    pub fn in_flight(&self) -> usize {
        self.served.len() + self.line.len()
    }

    pub fn has_free_server(&self) -> bool {
        self.served.len() < self.servers
    }

    /// Servers that go finish what they serve.
    pub fn resize(&mut self, now_ns: u64, servers: usize) {
        self.servers = servers;
        self.serve(now_ns);
    }

    pub fn accept(&mut self, now_ns: u64) {
        self.line.push_back(now_ns);
        self.serve(now_ns);
    }

    /// When the next one ends.
    pub fn next_end_ns(&self) -> Option<u64> {
        self.served.peek().map(|Reverse((end_ns, _))| *end_ns)
    }

    /// Ends the next one, and returns when it ended and when it had come.
    pub fn end_next(&mut self) -> Option<(u64, u64)> {
        let Reverse((end_ns, came_ns)) = self.served.pop()?;
        self.serve(end_ns);
        Some((end_ns, came_ns))
    }

    fn serve(&mut self, now_ns: u64) {
        while self.has_free_server()
            && let Some(came_ns) = self.line.pop_front()
        {
            let end_ns = now_ns + self.work.draw_ns(&mut self.chance);
            self.served.push(Reverse((end_ns, came_ns)));
        }
    }
}
