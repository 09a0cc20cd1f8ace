//! A map whose keys are numbers that nobody outside chooses: descriptors, and addresses of objects.
//!
//! Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4) is one multiplication.
//! The standard hash, which withstands chosen keys, was 5 % of what a connection costs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Hashes one number.
#[derive(Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio.
const FIBONACCI: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        // The map takes places from the low bits. Of the rotations, 26 spread strides of 1 to 4096 best.
        self.0 = (self.0 ^ number).wrapping_mul(FIBONACCI).rotate_left(26);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline]
    fn write_i32(&mut self, number: i32) {
        self.write_u64(u64::from(number.cast_unsigned()));
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;

    fn places(numbers: impl Iterator<Item = impl Hash>) -> usize {
        let hasher = BuildHasherDefault::<NumberHasher>::default();
        numbers.map(|number| hasher.hash_one(number) % 4096).collect::<HashSet<_>>().len()
    }

    #[test]
    fn descriptors_and_addresses_are_spread() {
        // Chance would leave 1 - 1/e of 4096.
        assert!(places(0_i32..4096) > 3400);
        assert!(places((0..4096_usize).map(|index| 0x7f00_0000_0000 + index * 224)) > 3400);
        assert!(places((0..4096_usize).map(|index| 0x5500_0000_0000 + index * 4096)) > 3400);
    }

    #[test]
    fn map_finds_what_it_was_given() {
        let mut map = NumberMap::default();
        for fd in 0..1000_i32 {
            map.insert(fd, fd * 2);
        }
        assert!((0..1000).all(|fd| map.get(&fd) == Some(&(fd * 2))));
        assert_eq!(map.get(&-1), None);
    }
}
