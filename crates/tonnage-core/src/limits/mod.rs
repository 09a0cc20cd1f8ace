//! Limits: how much may be under way, and what is refused.

pub mod codel;
