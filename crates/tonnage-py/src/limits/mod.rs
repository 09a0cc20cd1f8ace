//! Limiters: how much a program does at once, or in a time; and who waits, or is refused, beyond it.
//!
//! `tonnage_core::limits` decides who is served; here that gets asyncio's meaning: `acquire` is a coroutine that
//! waits in the line by a future, what it gives is a `Permit`, and the limiter knows whose it is (`holders`), so
//! that blocks nest and trio's `release()` works. All that is handed out, or refused, after a wait leaves by one
//! function (`serve`), at the moment that something is given back, at a time that was set (`alarm`), or when who
//! stood before gives up. Invariant: who is granted has the tokens from that moment on; a wait that ends otherwise
//! gives them to the next.

mod acquire;
mod adaptive;
mod aimd;
mod alarm;
mod algorithm;
mod ask;
mod borrow;
mod budget;
mod capacity;
mod config;
mod deadline;
mod deadlock;
pub(crate) mod door;
mod gradient;
mod holders;
mod keys;
mod limiter;
mod outcome;
mod permit;
mod rate;
mod refusal;
mod serve;
mod stats;

pub(crate) use acquire::AcquireCoroutine;
pub(crate) use adaptive::AdaptiveLimiter;
pub(crate) use aimd::Aimd;
pub(crate) use budget::Budget;
pub(crate) use capacity::CapacityLimiter;
pub(crate) use door::{Door, Loans};
pub(crate) use gradient::Gradient;
pub(crate) use limiter::Limiter;
pub(crate) use permit::Permit;
pub(crate) use rate::RateLimiter;
pub(crate) use serve::on_time;
pub(crate) use stats::LimiterStats;
