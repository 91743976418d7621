//! [`Nptv6`]: prefix translation without state (RFC 6296).
//!
//! Addresses of an internal prefix become addresses of an external one of the same length, one to one, and
//! back. The difference between the prefixes is made up for in another 16 bits of the address (the
//! "adjustment"), so that the sum of the address stays the same: no checksum of any protocol changes, and
//! neither ports nor sessions are needed. Which 16 bits, depends on the prefix:
//!
//! * up to /48: bits 48 to 63, the subnet (section 3.4);
//! * longer: the first of the four words of the interface identifier that is not 0xffff (section 3.5).
//!
//! In one's complement arithmetic 0xffff is 0, so a word 0xffff could not be told from 0 on the way back:
//! such an address is not translated (section 3.7), and a result 0xffff is written as 0. Nor is an
//! address whose identifier is zero on either side of a long prefix: it could not come back.

use std::net::Ipv6Addr;

use pktio::wire::checksum::{fold, sum};

/// The 16-bit words of an address.
type Words = [u16; 8];

/// The word of the subnet.
const SUBNET: usize = 3;
/// The words of the interface identifier.
const IDENTIFIER: std::ops::Range<usize> = 4..8;

/// Why two prefixes cannot be translated into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Nptv6Error {
    /// The prefix length is not from 1 to 64.
    #[error(
        "/{bits} cannot be translated: interface identifiers stay; use a prefix of 1 to 64 bits"
    )]
    Length {
        /// The prefix length.
        bits: u8,
    },
    /// An address has bits beyond its prefix.
    #[error("{address}/{bits} has bits beyond its prefix; write it as a prefix")]
    NotAPrefix {
        /// The address.
        address: Ipv6Addr,
        /// The prefix length.
        bits: u8,
    },
}

/// A translation between two prefixes. See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nptv6 {
    internal: u128,
    external: u128,
    bits: u8,
    /// Added to the word on the way out.
    adjustment: u16,
}

impl Nptv6 {
    /// The translation between an internal and an external prefix, both of `bits` bits.
    ///
    /// # Errors
    /// [`Nptv6Error`], when these are no prefixes.
    pub fn new(internal: Ipv6Addr, external: Ipv6Addr, bits: u8) -> Result<Self, Nptv6Error> {
        if !(1..=64).contains(&bits) {
            return Err(Nptv6Error::Length { bits });
        }
        for address in [internal, external] {
            if u128::from(address) & !mask(bits) != 0 {
                return Err(Nptv6Error::NotAPrefix { address, bits });
            }
        }
        let adjustment = plus(fold(sum(&internal.octets())), !fold(sum(&external.octets())));
        Ok(Self { internal: internal.into(), external: external.into(), bits, adjustment })
    }

    /// The external address of an internal one. `None` when it has none, and is to be dropped.
    pub fn outward(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.translate(address, self.internal, self.external, self.adjustment)
    }

    /// The internal address of an external one. `None` when it has none, and is to be dropped.
    pub fn inward(&self, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.translate(address, self.external, self.internal, !self.adjustment)
    }

    /// Whether an address has the internal prefix.
    pub fn is_internal(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.bits) == self.internal
    }

    /// Whether an address has the external prefix.
    pub fn is_external(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.bits) == self.external
    }

    fn translate(&self, address: Ipv6Addr, from: u128, to: u128, by: u16) -> Option<Ipv6Addr> {
        let mask = mask(self.bits);
        let bits = u128::from(address);
        if bits & mask != from {
            return None;
        }
        let mut words = Ipv6Addr::from(bits & !mask | to).segments();
        let word = self.adjusted_word(&words)?;
        words[word] = match plus(words[word], by) {
            0xffff => 0,
            sum => sum,
        };
        (!self.is_anycast(&words)).then(|| words.into())
    }

    /// Which word makes up for the prefix. The prefix is not in it, so it is the same on both sides.
    fn adjusted_word(&self, words: &Words) -> Option<usize> {
        let mut candidates = if self.bits <= 48 { SUBNET..SUBNET + 1 } else { IDENTIFIER };
        let may_be_adjusted = |word: &usize| words[*word] != 0xffff && !self.is_anycast(words);
        candidates.find(may_be_adjusted)
    }

    /// Whether the identifier that would be adjusted is that of all routers of the subnet (RFC 4291
    /// section 2.6.1), which has no host behind it.
    fn is_anycast(&self, words: &Words) -> bool {
        self.bits > 48 && words[IDENTIFIER] == [0; 4]
    }
}

fn mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// One's complement addition.
fn plus(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn npt(internal: &str, external: &str, bits: u8) -> Nptv6 {
        Nptv6::new(ip(internal), ip(external), bits).unwrap()
    }

    #[test]
    fn rfc6296_section_3_6_the_example() {
        let npt = npt("fd01:203:405::", "2001:db8:1::", 48);
        assert_eq!(npt.adjustment, 0xd54f);
        let (internal, external) = (ip("fd01:203:405:1::1234"), ip("2001:db8:1:d550::1234"));
        assert_eq!(npt.outward(internal), Some(external));
        assert_eq!(npt.inward(external), Some(internal));
    }

    #[test]
    fn rfc6296_section_3_5_a_long_prefix_is_made_up_for_in_the_identifier() {
        let npt = npt("fd01:203:405:1::", "2001:db8:1:9::", 64);
        let external = npt.outward(ip("fd01:203:405:1:ffff:0:0:1")).unwrap();
        assert_eq!(external.segments()[..5], [0x2001, 0xdb8, 1, 9, 0xffff]);
        assert_ne!(external.segments()[5], 0);
        assert_eq!(external.segments()[6..], [0, 1]);
        assert_eq!(npt.inward(external), Some(ip("fd01:203:405:1:ffff:0:0:1")));
    }

    #[test]
    fn rfc6296_section_3_7_addresses_that_could_not_come_back_are_dropped() {
        let short = npt("fd01:203:405::", "2001:db8:1::", 48);
        assert_eq!(short.outward(ip("fd01:203:405:ffff::1")), None);
        let long = npt("fd01:203:405:1::", "2001:db8:1:9::", 64);
        assert_eq!(long.outward(ip("fd01:203:405:1::")), None);
        assert_eq!(long.outward(ip("fd01:203:405:1:ffff:ffff:ffff:ffff")), None);
        // Its identifier would become zero.
        let [a, b] = (!long.adjustment).to_be_bytes();
        let to_zero =
            u128::from(ip("fd01:203:405:1::")) | u128::from(u16::from_be_bytes([a, b])) << 48;
        assert_eq!(long.outward(to_zero.into()), None);
    }

    #[test]
    fn only_addresses_of_the_prefix_are_translated() {
        let npt = npt("fd01:203:405::", "2001:db8:1::", 48);
        assert_eq!(npt.outward(ip("2001:db8:1::1")), None);
        assert_eq!(npt.inward(ip("fd01:203:405::1")), None);
        assert!(npt.is_internal(ip("fd01:203:405::1")) && !npt.is_internal(ip("fd02::1")));
        assert!(npt.is_external(ip("2001:db8:1::1")) && !npt.is_external(ip("fd01::1")));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        let (a, b) = (ip("fd01::"), ip("2001:db8::1"));
        for bits in [0, 65, 128] {
            assert_eq!(Nptv6::new(a, a, bits), Err(Nptv6Error::Length { bits }));
        }
        assert_eq!(Nptv6::new(a, b, 64), Err(Nptv6Error::NotAPrefix { address: b, bits: 64 }));
    }

    proptest! {
        #[test]
        fn translation_is_neutral_to_checksums_and_can_be_undone(
            internal: u128, external: u128, address: u128, bits in 1u8..=64
        ) {
            let (internal, external) = (internal & mask(bits), external & mask(bits));
            let npt = Nptv6::new(internal.into(), external.into(), bits).unwrap();
            let before = Ipv6Addr::from(internal | address & !mask(bits));
            if let Some(after) = npt.outward(before) {
                prop_assert!(npt.is_external(after));
                let neutral = |sum: u16| sum % 0xffff;
                prop_assert_eq!(
                    neutral(fold(sum(&before.octets()))), neutral(fold(sum(&after.octets())))
                );
                prop_assert_eq!(npt.inward(after), Some(before));
            }
        }
    }
}
