//! The keyed hash of addresses.

use std::net::IpAddr;

use crate::hash::fold;

/// An address as two words; those of IPv4 are the lower half of the second one.
#[inline]
pub(crate) fn words(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [0, u64::from(ip.to_bits())],
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = ip.octets();
            [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
        }
    }
}

/// A hash that depends on a key, or on another hash. Multiply and fold: every bit of key and words reaches
/// the result through both halves of a product.
#[inline]
pub(crate) fn keyed<const N: usize>(key: u64, words: [u64; N]) -> u64 {
    words.into_iter().fold(key, |hash, word| fold(hash ^ word, 0x9e37_79b9_7f4a_7c15))
}
