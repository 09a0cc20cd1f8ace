//! The mechanisms under tonnage, without Python.
//!
//! Each module is one mechanism and knows nothing of the others, but that time
//! is `u64` nanoseconds of the loop's clock in all of them. Nothing here drops
//! what its caller stored: a removed payload is handed back, because dropping
//! it may run the user's code, and only the caller knows when that is safe.
//! `tonnage-py` gives these mechanisms asyncio's meaning.

pub mod clock;
pub mod limits;
pub mod number_map;
pub mod reactor;
pub mod slab;
pub mod timers;
pub mod tls_records;
pub mod turnstile;
pub mod waiters;
pub mod write_queue;
