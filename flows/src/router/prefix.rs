//! [`Prefix`], and maps from prefixes to values that answer with the longest match.
//!
//! # Structure
//! Prefixes are nested or disjoint, so they cut the line of addresses into at most twice as many ranges,
//! each with one longest match. A lookup is a binary search among the starts of the ranges: no
//! allocation, no pointers to follow, and as many steps as the number of prefixes has bits, however they
//! are nested. After B. Lampson, V. Srinivasan and G. Varghese, "IP Lookups using Multiway and
//! Multicolumn Search", 1998.
//!
//! Maps are built whole, by the control thread, and are immutable then.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address prefix, with all bits behind it zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    ip: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The prefix of so many bits that an address is in. `None` when the address has fewer bits.
    pub fn new(ip: IpAddr, bits: u8) -> Option<Self> {
        let network: IpAddr = match ip {
            IpAddr::V4(ip) if bits <= 32 => {
                Ipv4Addr::from_bits(ip.to_bits() & !below_v4(bits)).into()
            }
            IpAddr::V6(ip) if bits <= 128 => {
                Ipv6Addr::from_bits(ip.to_bits() & !below_v6(bits)).into()
            }
            _ => return None,
        };
        Some(Self { ip: network, bits })
    }

    /// The prefix that only this address is in.
    pub fn host(ip: IpAddr) -> Self {
        Self { ip, bits: if ip.is_ipv4() { 32 } else { 128 } }
    }

    /// The first address.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// The prefix length.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        match self.ip {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | below_v4(self.bits)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | below_v6(self.bits)).into(),
        }
    }

    /// Whether an address is in it.
    #[inline]
    pub fn contains(self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && self.ip <= ip && ip <= self.last()
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// The bits behind a prefix.
fn below_v4(bits: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0)
}

fn below_v6(bits: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0)
}

/// A map from prefixes of both families to values: the longest match wins, and of equal prefixes the one
/// that was given last.
#[derive(Debug, Clone)]
pub(super) struct PrefixMap<V> {
    v4: Ranges<u32, V>,
    v6: Ranges<u128, V>,
}

impl<V: Copy> PrefixMap<V> {
    /// The value of the longest prefix that an address is in.
    #[inline]
    pub(super) fn get(&self, ip: IpAddr) -> Option<V> {
        match ip {
            IpAddr::V4(ip) => self.v4.get(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.get(ip.to_bits()),
        }
    }
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { v4: Ranges::default(), v6: Ranges::default() }
    }
}

impl<V: Copy> FromIterator<(Prefix, V)> for PrefixMap<V> {
    fn from_iter<I: IntoIterator<Item = (Prefix, V)>>(entries: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in entries {
            match (prefix.ip, prefix.last()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    v4.push(Span::new(a.to_bits(), b.to_bits(), value))
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    v6.push(Span::new(a.to_bits(), b.to_bits(), value))
                }
                _ => {}
            }
        }
        Self { v4: Ranges::of(v4), v6: Ranges::of(v6) }
    }
}

/// A set of prefixes, immutable.
#[derive(Debug, Clone, Default)]
pub struct PrefixSet(PrefixMap<()>);

impl PrefixSet {
    /// Whether an address is in one of the prefixes.
    #[inline]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.get(ip).is_some()
    }
}

impl FromIterator<Prefix> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        Self(prefixes.into_iter().map(|prefix| (prefix, ())).collect())
    }
}

/// Addresses as numbers.
trait Number: Copy + Ord {
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A prefix as the numbers of its addresses.
struct Span<K, V> {
    first: K,
    last: K,
    value: V,
}

impl<K, V> Span<K, V> {
    fn new(first: K, last: K, value: V) -> Self {
        Self { first, last, value }
    }
}

/// Disjoint ranges in ascending order: each reaches to the next one's start.
#[derive(Debug, Clone)]
struct Ranges<K, V> {
    starts: Vec<K>,
    values: Vec<Option<V>>,
}

impl<K, V> Default for Ranges<K, V> {
    fn default() -> Self {
        Self { starts: Vec::new(), values: Vec::new() }
    }
}

impl<K: Number, V: Copy> Ranges<K, V> {
    /// Cuts nested spans into ranges: a span's value holds until a span inside of it begins, and again
    /// from where that ends.
    fn of(mut spans: Vec<Span<K, V>>) -> Self {
        // Outer spans before the inner ones; the sort is stable, so of equals the last comes last.
        spans.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
        let mut ranges = Self::default();
        let mut open: Vec<Span<K, V>> = Vec::new();
        for span in spans {
            while let Some(ended) = open.pop_if(|outer| outer.last < span.first) {
                ranges.end(&ended, open.last());
            }
            ranges.begin(span.first, Some(span.value));
            open.push(span);
        }
        while let Some(ended) = open.pop() {
            ranges.end(&ended, open.last());
        }
        ranges
    }

    /// Goes back to the value of the span around the one that ended.
    fn end(&mut self, ended: &Span<K, V>, outer: Option<&Span<K, V>>) {
        if let Some(next) = ended.last.next() {
            self.begin(next, outer.map(|span| span.value));
        }
    }

    /// Begins a range, in place of an empty one that would begin there too.
    fn begin(&mut self, start: K, value: Option<V>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        self.starts.push(start);
        self.values.push(value);
    }

    #[inline]
    fn get(&self, number: K) -> Option<V> {
        let begun = self.starts.partition_point(|start| *start <= number);
        *self.values.get(begun.checked_sub(1)?)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        let (ip, bits) = text.split_once('/').unwrap();
        Prefix::new(ip.parse().unwrap(), bits.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_prefix_has_no_host_bits() {
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(prefix("fd00::1:2/64").to_string(), "fd00::/64");
        assert_eq!(prefix("1.2.3.4/0").to_string(), "0.0.0.0/0");
        assert_eq!(Prefix::new([10, 0, 0, 1].into(), 33), None);
    }

    #[test]
    fn a_prefix_contains_addresses_of_its_own_family_only() {
        assert!(prefix("0.0.0.0/0").contains([255; 4].into()));
        assert!(!prefix("::/0").contains([1, 2, 3, 4].into()));
        assert!(prefix("10.0.0.0/31").contains([10, 0, 0, 1].into()));
        assert!(!prefix("10.0.0.0/31").contains([10, 0, 0, 2].into()));
    }

    #[test]
    fn a_set_holds_what_its_prefixes_hold() {
        let set: PrefixSet = [prefix("10.0.0.4/32"), prefix("fd00::4/128")].into_iter().collect();
        assert!(set.contains([10, 0, 0, 4].into()));
        assert!(!set.contains([10, 0, 0, 5].into()));
        assert!(set.contains("fd00::4".parse().unwrap()));
        assert!(!PrefixSet::default().contains([10, 0, 0, 4].into()));
    }

    /// Few addresses, so that prefixes nest, repeat and touch the ends of the line.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let byte = || prop_oneof![Just(0u8), Just(1), Just(0x80), Just(0xff)];
        prop_oneof![
            prop::array::uniform4(byte()).prop_map(IpAddr::from),
            prop::array::uniform16(byte()).prop_map(IpAddr::from),
        ]
    }

    fn prefixes() -> impl Strategy<Value = Prefix> {
        (addresses(), 0u8..=128).prop_map(|(ip, bits)| {
            Prefix::new(ip, if ip.is_ipv4() { bits.min(32) } else { bits }).unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_linear_scan_finds(
            entries in prop::collection::vec((prefixes(), any::<u16>()), 0..60),
            asked in prop::collection::vec(addresses(), 1..40),
        ) {
            let map: PrefixMap<u16> = entries.iter().copied().collect();
            let edges = entries.iter().flat_map(|(prefix, _)| [prefix.ip(), prefix.last()]);
            for ip in asked.into_iter().chain(edges) {
                let matching = entries.iter().filter(|(prefix, _)| prefix.contains(ip));
                let expected = matching.max_by_key(|(prefix, _)| prefix.bits()).map(|entry| entry.1);
                prop_assert_eq!(map.get(ip), expected, "{}", ip);
            }
        }
    }
}
