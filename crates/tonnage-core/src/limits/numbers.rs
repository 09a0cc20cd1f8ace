//! Maps whose keys are numbers that the program itself makes: counters and addresses.
//!
//! Nobody from outside chooses such keys, so the hasher needs no secret, and costs one multiplication.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type NumberMap<V> = HashMap<u64, V, BuildHasherDefault<NumberHasher>>;

#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        /// The golden ratio, as a fraction of 64 bits: Knuth, The Art of Computer Programming, 6.4.
        const GOLDEN: u128 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(number) * GOLDEN;
        // The upper half holds what the lower bits of an address, which are all 0, cannot.
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of the product")]
        let folded = (product >> 64) as u64 ^ product as u64;
        self.0 = folded;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
