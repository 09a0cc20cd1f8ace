//! Flags: what is true of a loop, in one word, so that who schedules or spawns asks about all of it at once.
//!
//! Nothing of it is true of most loops most of the time.

use std::sync::atomic::{AtomicU16, Ordering};

#[derive(Clone, Copy)]
pub(super) enum Flag {
    /// A scheduling method is overridden: it is to be called by name.
    Overridden = 1,
    Debug = 2,
    Closed = 4,
    Stopping = 8,
    HasTaskFactory = 16,
    /// asyncio is told of each task that runs (`current_task.rs`).
    TellsTask = 32,
    /// The next turn looks at the network, whatever is ready (`run.rs`).
    PollsNext = 64,
    /// No thread runs it.
    Idle = 128,
    /// `time` is overridden: its timers are due by that, and it is `Overridden`.
    OwnTime = 256,
}

pub(super) struct Flags(AtomicU16);

impl Flags {
    pub(super) const fn none() -> Self {
        Self(AtomicU16::new(0))
    }

    #[inline]
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.0.load(Ordering::Relaxed) & flag as u16 != 0
    }

    #[inline]
    pub(super) fn has_any<const N: usize>(&self, flags: [Flag; N]) -> bool {
        let mask = flags.iter().fold(0, |mask, flag| mask | *flag as u16);
        self.0.load(Ordering::Relaxed) & mask != 0
    }

    /// Changed under the interpreter's lock, so that it needs no locked instruction.
    pub(super) fn set(&self, flag: Flag, on: bool) {
        let flags = self.0.load(Ordering::Relaxed);
        let flags = if on { flags | flag as u16 } else { flags & !(flag as u16) };
        self.0.store(flags, Ordering::Relaxed);
    }
}
