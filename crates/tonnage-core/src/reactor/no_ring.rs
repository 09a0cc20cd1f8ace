//! Ring, on processors whose rings nobody has tried: it is refused.

use std::io::{self, IoSlice};

use super::Fd;

/// As in `ring.rs`.
pub const SENDS_MAX: usize = 64;

/// As in `ring.rs`.
pub struct Send<'a> {
    pub fd: Fd,
    pub slices: &'a [IoSlice<'a>],
    pub outcome: Option<io::Result<usize>>,
}

/// Always refused.
pub struct Ring;

impl Ring {
    #[must_use]
    pub const fn unopened() -> Self {
        Self
    }

    #[must_use]
    pub const fn refused() -> Self {
        Self
    }

    #[must_use]
    pub fn is_refused(&self) -> bool {
        true
    }

    #[must_use]
    pub fn close(&mut self) -> Self {
        Self
    }

    pub fn send(&mut self, _sends: &mut [Send<'_>]) {}
}
