//! [`Key`]: what the packets of one direction of a session are recognised by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bits::{halves, joined, low8, low16, low32};
use crate::hash::fold;
use crate::{Endpoint, Tuple, Zone};

/// A five-tuple and the zone that its packets come in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Where the packets come in.
    pub zone: Zone,
    /// Who talks to whom.
    pub tuple: Tuple,
}

impl Key {
    /// A key.
    pub fn new(zone: impl Into<Zone>, tuple: Tuple) -> Self {
        Self { zone: zone.into(), tuple }
    }
}

/// Words of a key in a record.
pub(super) const KEY_WORDS: usize = 5;
/// The bits of the first word that are no part of the key but describe the sender's TCP window.
pub(super) const WINDOW: u64 = 0x7f << WINDOW_SHIFT;
pub(super) const WINDOW_SHIFT: u32 = 56;
const V6: u64 = 1 << 63;

/// A key as a record holds it: `IPv6 1 | TCP window 7 | protocol 8 | zone 16 | ports 16, 16`, and
/// the two addresses. An IPv4 address is the lower 32 bits of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packed(pub(super) [u64; KEY_WORDS]);

impl From<Key> for Packed {
    #[inline]
    fn from(key: Key) -> Self {
        let Tuple { protocol, source, destination } = key.tuple;
        let family = if source.ip.is_ipv6() { V6 } else { 0 };
        let head = family
            | u64::from(protocol) << 48
            | u64::from(key.zone.0) << 32
            | u64::from(source.port) << 16
            | u64::from(destination.port);
        let [[a, b], [c, d]] = [words(source.ip), words(destination.ip)];
        Self([head, a, b, c, d])
    }
}

impl From<Packed> for Key {
    fn from(Packed([head, a, b, c, d]): Packed) -> Self {
        let endpoint = |ip, port| Endpoint::new(address(head & V6 != 0, ip), low16(port));
        let source = endpoint([a, b], head >> 16);
        let destination = endpoint([c, d], head);
        let protocol = low8(head >> 48);
        Self { zone: Zone(low16(head >> 32)), tuple: Tuple { protocol, source, destination } }
    }
}

impl Packed {
    #[inline]
    pub(super) fn protocol(head: u64) -> u8 {
        low8(head >> 48)
    }

    /// A hash that nobody can steer who does not know the secrets.
    #[inline]
    pub(super) fn hash(&self, seed: &[u64; KEY_WORDS]) -> u64 {
        let [head, a, b, c, d] = self.0;
        let source = fold(a ^ seed[0], b ^ seed[1]);
        let destination = fold(c ^ seed[2], d ^ seed[3]);
        fold(source ^ destination.rotate_left(32), head ^ seed[4])
    }
}

#[inline]
fn words(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [0, u64::from(ip.to_bits())],
        IpAddr::V6(ip) => halves(ip.to_bits()),
    }
}

fn address(is_v6: bool, words: [u64; 2]) -> IpAddr {
    if is_v6 {
        Ipv6Addr::from_bits(joined(words)).into()
    } else {
        Ipv4Addr::from_bits(low32(words[1])).into()
    }
}
