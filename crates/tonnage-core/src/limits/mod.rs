//! Limits: how much may be in use at once, or begin in a time, and who waits until it may.
//!
//! `admission` is the one door: it asks its supply (`capacity` or `rate`) whether a request fits, keeps those who
//! wait (`line`), and refuses when they are too many, wait too long, or the line does not drain (`codel`).
//! `gradient` and `aimd` find out how much may be in use, by how it ends (`outcome`).

pub mod admission;
pub mod aimd;
pub mod budget;
pub mod capacity;
pub mod codel;
pub mod gradient;
pub mod histogram;
pub mod line;
pub mod numbers;
pub mod outcome;
pub mod rate;
mod sparse;

pub use admission::{Admission, Bounds, Refused, Served, Supply};
pub use line::{Entry, Key, Request, Ticket};
