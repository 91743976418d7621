//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A running sum is a `u64` of 16-bit big-endian words, not yet folded. It takes 2^48 words before it
//! could overflow, so sums are simply added.

use super::field::{ipv4, ipv6};
use super::layers::{Layers, Network};

/// The running sum of `bytes`, as if padded to an even length with a zero.
///
/// One's complement addition does not care about byte order (RFC 1071, section 2B), so the words are
/// added as they lie in memory, four at a time, and the result is turned once at the end.
pub fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        // Eight lanes of 32 bits in 64-bit accumulators: the compiler makes vector code of this.
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut total: u64 = lanes.iter().map(|lane| (lane >> 32) + (lane & 0xffff_ffff)).sum();
    let mut words = blocks.remainder().chunks_exact(2);
    for word in &mut words {
        total += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    u64::from(u16::from_be(fold(total)))
}

/// Folds a running sum to 16 bits.
#[inline]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [_, _, _, _, _, _, high, low] = sum.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The value of a checksum field for a running sum.
#[inline]
pub fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// A UDP checksum as it is sent: 0 means "none" on the wire, so a computed 0 goes out as 0xffff (RFC
/// 768).
#[inline]
pub fn udp_finish(sum: u64) -> u16 {
    never_zero(finish(sum))
}

/// A checksum in its other spelling if it is 0: the two zeros of one's complement arithmetic say the same, unless 0
/// means that there is no checksum, or all that is summed up is zero.
#[inline]
pub fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The running sum of the pseudo-header of a parsed packet whose transport part has `bytes` bytes.
/// `None` only for a frame that is not the one parsed.
pub fn pseudo_header(frame: &[u8], layers: &Layers, bytes: usize) -> Option<u64> {
    let range = match layers.network {
        Network::V4 => ipv4::ADDRESSES,
        Network::V6 => ipv6::ADDRESSES,
    };
    let at = usize::from(layers.l3);
    let addresses = frame.get(at + range.start..at + range.end)?;
    Some(sum(addresses) + u64::from(layers.protocol) + bytes as u64)
}

/// The checksum after a 16-bit word that it covers changed (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_defined_sum(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(fold(sum(&bytes)), plain(&bytes));
        }

        #[test]
        fn sums_of_parts_add_up(
            head in prop::collection::vec(any::<u8>(), 0..100), tail in prop::collection::vec(any::<u8>(), 0..100)
        ) {
            let head: Vec<u8> = head.into_iter().chain([0]).collect();
            let head = &head[..head.len() & !1];
            let whole = [head, &tail].concat();
            prop_assert_eq!(fold(sum(head) + sum(&tail)), fold(sum(&whole)));
        }

        #[test]
        fn an_update_equals_a_recomputation(
            mut bytes in prop::collection::vec(any::<u8>(), 20..=20), at in 0usize..10, new: u16
        ) {
            bytes[0] = 0x45; // never all zero: RFC 1624 section 3 on the two zeros
            let at = (at * 2).max(2);
            let before = finish(sum(&bytes));
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), finish(sum(&bytes)));
        }
    }

    #[test]
    fn folding_keeps_what_a_full_accumulator_holds() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(0xffff_ffff_0000_0000), 0xffff);
    }
}
