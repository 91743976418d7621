//! Hashes that nobody can steer who does not know the seed: products of words that are each masked by a secret,
//! folded (after W. Yi, "wyhash", 2019).

use std::hash::{BuildHasher, Hasher, RandomState};

/// For maps that are looked into for every packet: a product for each word of a key, with a secret of the map's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folding(u64);

impl Default for Folding {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Folding {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for bytes in bytes.chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..bytes.len()].copy_from_slice(bytes);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Secrets made of a seed. Any seed will do: the secrets of neighbouring ones, and of 0, have nothing in common.
pub(crate) fn secrets<const N: usize>(seed: u64) -> [u64; N] {
    let mut word = seed;
    std::array::from_fn(|_| {
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        fold(word ^ 0xa076_1d64_78bd_642f, word.rotate_left(32) ^ 0xe703_7ed1_a0b4_28db)
    })
}

/// Both halves of a product, folded: every bit of both factors reaches the result.
#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}
