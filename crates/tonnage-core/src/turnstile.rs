//! A turnstile: threads wait until something has ended, whatever it was.
//!
//! Used where a thread must not go on before a callback of the loop has ended. The waiter notes the
//! generation before it looks whether the thing still runs; whoever ends things counts the generation
//! up afterwards. So an end between the look and the wait is not lost. Ending costs one atomic addition
//! and one load while nobody waits: either the end sees the waiter, or the waiter the new generation,
//! because both are sequentially consistent.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Counts ends, and lets threads wait for the next.
#[derive(Debug, Default)]
pub struct Turnstile {
    generation: AtomicU64,
    waiting: AtomicUsize,
    /// Held while looking at the generation and falling asleep, and while waking.
    gate: Mutex<()>,
    ended: Condvar,
}

impl Turnstile {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            generation: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            ended: Condvar::new(),
        }
    }

    /// The generation to hand to [`Self::wait_after`]; note it before you look whether to wait.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Something has ended: all who wait look again.
    #[inline]
    pub fn end(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.notify_all();
        drop(gate);
    }

    /// Waits until something has ended since `seen`.
    pub fn wait_after(&self, seen: u64) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let same = |_: &mut ()| self.generation.load(Ordering::SeqCst) == seen;
        drop(self.ended.wait_while(gate, same).unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_the_wait_is_not_lost() {
        let turnstile = Turnstile::new();
        let seen = turnstile.generation();
        turnstile.end();
        turnstile.wait_after(seen);
    }
}
