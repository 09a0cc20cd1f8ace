//! Simulations of a service under load, on virtual time: what the limits of `tonnage_core::limits` are for.
//!
//! Everything is deterministic: time is a number, and chance comes from a seed. The tests and the example
//! `overload`, which prints the tables and writes the data for plots, run the same scenarios.

#![allow(dead_code, unreachable_pub, reason = "a part of several programs, each of which uses some of it")]

pub mod adaptive;
pub mod chance;
pub mod peers;
pub mod service;
pub mod shedding;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// The value that `share` of all do not exceed.
pub fn percentile(values: &mut [u64], share: f64) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let rank = (share * values.len() as f64).ceil() as usize;
    *values.select_nth_unstable(rank.saturating_sub(1).min(values.len() - 1)).1
}
