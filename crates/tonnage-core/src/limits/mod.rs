//! Limits: how much may run at once, and who waits meanwhile, as plain state machines.
//!
//! Time is an argument (`u64` nanoseconds), as everywhere here; nothing waits, wakes or reads a clock.

pub mod aimd;
pub mod gradient;
pub mod outcome;
