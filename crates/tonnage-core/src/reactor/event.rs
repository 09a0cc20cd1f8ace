//! What is waited for, and what came of it.

use std::ops::BitOr;

use super::Fd;

/// What to wait for on a descriptor: reading, writing, both or nothing; and how it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const READ_WRITE: Self = Self(3);
    /// It is told once each time that the descriptor becomes ready, and not as long as it is.
    pub const EDGE: Self = Self(4);

    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        let left = Self(self.0 & !other.0);
        if left.0 & Self::READ_WRITE.0 == 0 { Self::NONE } else { left }
    }

    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    /// The interest that [`Self::bits`] came from; other bits are ignored.
    #[inline]
    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::READ_WRITE.0 | Self::EDGE.0))
    }
}

impl BitOr for Interest {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// What one descriptor is ready for.
///
/// As in Python's `selectors`, a descriptor that failed or hung up is ready
/// for all that it was waited for: the call that follows tells the reason.
#[expect(clippy::struct_excessive_bools, reason = "any of these facts may hold without the others")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub fd: Fd,
    pub readable: bool,
    pub writable: bool,
    /// The descriptor has an error pending, or its peer is gone in both directions.
    pub failed: bool,
    /// Nobody is told of it once more.
    pub edge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interests_add_and_subtract() {
        assert_eq!(Interest::READ | Interest::WRITE, Interest::READ_WRITE);
        assert_eq!(Interest::READ_WRITE.without(Interest::READ), Interest::WRITE);
        assert!(Interest::READ.without(Interest::READ).is_none());
        assert!((Interest::READ | Interest::EDGE).without(Interest::READ).is_none());
        assert!(Interest::READ_WRITE.contains(Interest::WRITE) && !Interest::READ.contains(Interest::WRITE));
    }
}
