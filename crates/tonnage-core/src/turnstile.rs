//! A turnstile: threads wait until something has ended, whatever it was.
//!
//! Used where a thread must not go on before a callback of the loop has ended. The waiter notes the
//! generation before it looks whether the thing still runs; whoever ends things counts the generation
//! up afterwards. So an end between the look and the wait is not lost.

use std::sync::{Condvar, Mutex, PoisonError};

/// Counts ends, and lets threads wait for the next.
#[derive(Debug, Default)]
pub struct Turnstile {
    generation: Mutex<u64>,
    ended: Condvar,
}

impl Turnstile {
    #[must_use]
    pub const fn new() -> Self {
        Self { generation: Mutex::new(0), ended: Condvar::new() }
    }

    /// The generation to hand to [`Self::wait_after`]; note it before you look whether to wait.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has ended: all who wait look again.
    pub fn end(&self) {
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        *generation = generation.wrapping_add(1);
        self.ended.notify_all();
    }

    /// Waits until something has ended since `seen`.
    pub fn wait_after(&self, seen: u64) {
        let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.ended
                .wait_while(generation, |generation| *generation == seen)
                .unwrap_or_else(PoisonError::into_inner),
        );
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
