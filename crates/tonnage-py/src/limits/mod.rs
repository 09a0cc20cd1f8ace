//! Limits: how much may be under way, and what is refused.

mod budget;

pub(crate) use budget::Budget;
