//! [`RangeSet`] and [`AddressSet`]: sets of numbers as sorted ranges. A lookup is a binary search, a copy
//! is a reference, and every set is also a list of prefixes, which is what an index can hold.

use std::net::IpAddr;
use std::sync::Arc;

/// A set of numbers. Ranges that touch are one, so equal sets are equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet<T>(Arc<[(T, T)]>);

impl<T: Copy + Ord + Into<u128>> RangeSet<T> {
    /// Whether a number is in the set.
    #[inline]
    pub fn contains(&self, value: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= value);
        after.checked_sub(1).is_some_and(|at| value <= self.0[at].1)
    }

    /// The fewest prefixes that are the set together.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        let mut prefixes = Vec::new();
        for (first, last) in self.0.iter() {
            split((*first).into(), (*last).into(), width::<T>(), &mut prefixes);
        }
        prefixes
    }
}

/// Ranges from a first to a last number, both included, in any order. One that ends before it begins is
/// empty.
impl<T: Copy + Ord + Into<u128>> FromIterator<(T, T)> for RangeSet<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first.into() <= (*end).into().saturating_add(1) => {
                    *end = last.max(*end);
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }
}

/// A set of addresses of both IP versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
}

impl AddressSet {
    /// Whether an address is in the set.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// The prefixes of IPv4 and those of IPv6.
    pub(super) fn prefixes(&self) -> [Vec<Prefix>; 2] {
        [self.v4.prefixes(), self.v6.prefixes()]
    }
}

/// Prefixes: an address and how many bits of it count.
impl FromIterator<(IpAddr, u8)> for AddressSet {
    fn from_iter<I: IntoIterator<Item = (IpAddr, u8)>>(prefixes: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (address, len) in prefixes {
            let len = u32::from(len);
            match address {
                IpAddr::V4(address) => {
                    let host = u32::MAX.checked_shr(len).unwrap_or(0);
                    v4.push((address.to_bits() & !host, address.to_bits() | host));
                }
                IpAddr::V6(address) => {
                    let host = u128::MAX.checked_shr(len).unwrap_or(0);
                    v6.push((address.to_bits() & !host, address.to_bits() | host));
                }
            }
        }
        Self { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() }
    }
}

/// All numbers that begin with the same bits, which are aligned to the left, whatever the numbers' width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    pub bits: u128,
    pub len: u8,
}

/// A mask of the first `len` of 128 bits.
#[inline]
pub(super) fn leading(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

fn width<T>() -> u8 {
    u8::try_from(size_of::<T>() * 8).unwrap_or(128)
}

/// Splits a range of numbers of `width` bits into the largest aligned blocks.
fn split(mut at: u128, last: u128, width: u8, into: &mut Vec<Prefix>) {
    loop {
        let aligned = at.trailing_zeros().min(u32::from(width));
        let fitting = (last - at).checked_add(1).map_or(128, u128::ilog2);
        let block = aligned.min(fitting);
        let len = width - u8::try_from(block).unwrap_or(width);
        into.push(Prefix { bits: at << (128 - u32::from(width)), len });
        let end = at | u128::MAX.checked_shr(128 - block).unwrap_or(0);
        if end >= last {
            return;
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(prefixes: &[Prefix]) -> Vec<u16> {
        let of = |prefix: &Prefix| {
            let first = u16::try_from(prefix.bits >> 112).unwrap();
            first..=first | u16::MAX.checked_shr(prefix.len.into()).unwrap_or(0)
        };
        prefixes.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn a_set_is_its_ranges_and_its_prefixes(
            ranges in prop::collection::vec((any::<u16>(), 0u16..300), 0..5),
            probe in any::<u16>(),
        ) {
            let ranges: Vec<_> =
                ranges.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect();
            let set: RangeSet<u16> = ranges.iter().copied().collect();
            let mut expected: Vec<_> = ranges.iter().flat_map(|(a, b)| *a..=*b).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(members(&set.prefixes()), expected.clone());
            prop_assert_eq!(set.contains(probe), expected.binary_search(&probe).is_ok());
            for (first, last) in ranges {
                prop_assert!(set.contains(first) && set.contains(last));
            }
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let split: RangeSet<u16> = [(4, 7), (0, 3), (6, 15)].into_iter().collect();
        assert_eq!(split, [(0, 15)].into_iter().collect());
        assert_eq!(split.prefixes(), [Prefix { bits: 0, len: 12 }]);
        assert!(!RangeSet::from_iter([(2u16, 1)]).contains(1));
    }

    #[test]
    fn everything_is_one_prefix_of_length_zero() {
        let everything = [Prefix { bits: 0, len: 0 }];
        assert_eq!(RangeSet::from_iter([(0, u16::MAX)]).prefixes(), everything);
        assert_eq!(RangeSet::from_iter([(0, u128::MAX)]).prefixes(), everything);
        let last = RangeSet::from_iter([(u128::MAX, u128::MAX)]);
        assert_eq!(last.prefixes(), [Prefix { bits: u128::MAX, len: 128 }]);
    }

    #[test]
    fn a_set_of_addresses_has_the_addresses_of_its_prefixes_only() {
        let prefixes = [("10.0.0.7", 8), ("192.168.1.1", 32), ("fd00::1", 64)];
        let set: AddressSet =
            prefixes.map(|(address, len)| (address.parse().unwrap(), len)).into_iter().collect();
        let contained = [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("192.168.1.1", true),
            ("192.168.1.2", false),
            ("fd00::ffff:0:0:1", true),
            ("fd00:0:0:1::", false),
            ("::ffff:10.0.0.1", false),
        ];
        for (address, expected) in contained {
            assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
        }
    }
}
