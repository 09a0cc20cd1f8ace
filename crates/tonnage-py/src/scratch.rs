//! Scratch: memory of the thread for what is read from a descriptor, before it becomes an object of its size.
//!
//! Memory that nothing is read into is never touched, and so costs nothing.

use std::cell::Cell;
use std::mem::MaybeUninit;

/// As much as asyncio reads in one go.
pub(crate) const SCRATCH_LEN: usize = 256 * 1024;

thread_local! {
    /// `None` until it is used, and while it is lent.
    static SCRATCH: Cell<Option<Box<[MaybeUninit<u8>]>>> = const { Cell::new(None) };
}

/// Lends the first `len` bytes, at most [`SCRATCH_LEN`], to `fill`. Who comes meanwhile gets other memory, which takes
/// a system call.
#[inline]
pub(crate) fn lend<R>(len: usize, fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> R) -> R {
    SCRATCH.with(|scratch| {
        let mut memory = scratch.take().unwrap_or_else(|| Box::new_uninit_slice(SCRATCH_LEN));
        let filled = fill(&mut memory[..len]);
        scratch.set(Some(memory));
        filled
    })
}
