//! Cutting words into fields.

/// The upper and the lower half of a double word.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "each half fits")]
pub(super) fn halves(double: u128) -> [u64; 2] {
    [(double >> 64) as u64, double as u64]
}

/// The double word of an upper and a lower half.
#[inline]
pub(super) fn joined([upper, lower]: [u64; 2]) -> u128 {
    u128::from(upper) << 64 | u128::from(lower)
}

/// The lower 32 bits.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub(super) fn low32(word: u64) -> u32 {
    word as u32
}

/// The upper 32 bits.
#[inline]
pub(super) fn high32(word: u64) -> u32 {
    low32(word >> 32)
}

/// The lower 16 bits.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub(super) fn low16(word: u64) -> u16 {
    word as u16
}

/// The lower 8 bits.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub(super) fn low8(word: u64) -> u8 {
    word as u8
}
