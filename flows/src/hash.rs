//! Hashes that nobody can steer who does not know the seed: products of words that are each masked by a secret,
//! folded (after W. Yi, "wyhash", 2019).

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
