//! [`Rewriting`]: what the kernel makes of the packets of a [`Flow`] on their way.
//!
//! Checksums change by what the headers change by, in one's complement arithmetic (RFC 1624), so a right one
//! stays right, and a wrong one wrong for its receiver to see. Everything here is in the order in which a program loads it.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::wire::MacAddr;
use crate::wire::checksum::{fold, sum};
use crate::wire::field::protocol;

/// Bytes of an entry: stations, ports and addresses as they lie in a frame, by how much sums change, the kind.
pub(super) const ENTRY_BYTES: u32 = 68;
/// Where the parts of an entry are.
pub(super) const PORTS: i16 = 12;
pub(super) const ADDRESSES: i16 = 16;
/// The sum of the IP header, which has one hop less; of IPv6, whose header has no checksum, that by which the whole packet
/// changes.
pub(super) const HEADER: i16 = 48;
/// The sum of the pseudo-header; 0 where it stays.
pub(super) const PSEUDO: i16 = 52;
/// The sum of the ports; 0 where they stay.
pub(super) const OWN: i16 = 56;
/// The sum of the pseudo-header that a packet comes with, but for the length of what it carries.
pub(super) const BEFORE: i16 = 60;
pub(super) const IS_IPV6: i16 = 64;
pub(super) const IS_TCP: i16 = 66;

/// What a rewriting is known by to the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(NonZeroU32);

impl Number {
    /// The number `number`.
    pub fn new(number: NonZeroU32) -> Self {
        Self(number)
    }

    pub(super) fn get(self) -> u32 {
        self.0.get()
    }
}

/// Which packets are of a flow: of TCP or UDP, and between whom, as they say so themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub(super) is_tcp: bool,
    pub(super) is_ipv6: bool,
    /// Source and destination; of IPv4 the first 8 bytes.
    pub(super) addresses: [u8; 32],
    /// Source and destination.
    pub(super) ports: [u8; 4],
}

impl Flow {
    /// The datagrams of UDP from one end to the other. `None` when the two are of two IP versions.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        Self::between(protocol::UDP, source, destination)
    }

    /// The packets of that protocol from one end to the other. `None` when that is neither TCP nor UDP, and when the two are of two
    /// IP versions.
    pub fn between(of: u8, source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        let mut addresses = [0; 32];
        let is_ipv6 = match (source, destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                addresses[..4].copy_from_slice(&source.ip().octets());
                addresses[4..8].copy_from_slice(&destination.ip().octets());
                false
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                addresses[..16].copy_from_slice(&source.ip().octets());
                addresses[16..].copy_from_slice(&destination.ip().octets());
                true
            }
            _ => return None,
        };
        let is_tcp = match of {
            protocol::TCP => true,
            protocol::UDP => false,
            _ => return None,
        };
        let ([a, b], [c, d]) = (source.port().to_be_bytes(), destination.port().to_be_bytes());
        Some(Self { is_tcp, is_ipv6, addresses, ports: [a, b, c, d] })
    }

    /// Protocol and IP version, as they are in a key.
    pub(super) fn kind(&self) -> [u8; 2] {
        let protocol = if self.is_tcp { protocol::TCP } else { protocol::UDP };
        [protocol, if self.is_ipv6 { 6 } else { 4 }]
    }
}

/// What becomes of the packets of a flow that is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewriting {
    /// The gateway by which they leave.
    pub src: MacAddr,
    /// The station that they go to.
    pub dst: MacAddr,
    /// Between whom they are as they come in.
    pub from: Flow,
    /// Between whom they are when they leave, in the same protocol and IP version.
    pub to: Flow,
}

impl Rewriting {
    pub(super) fn encode(&self) -> [u8; ENTRY_BYTES as usize] {
        let Self { src, dst, from, to } = self;
        let pseudo = difference(&from.addresses, &to.addresses);
        // In IPv6's header it is the latter byte of its word.
        let hop = if to.is_ipv6 { [0, 1] } else { [1, 0] };
        let header = both(pseudo, difference(&hop, &[0, 0]));
        let [protocol, _] = from.kind();
        let before = both(fold(sum(&from.addresses)), u16::from(protocol));
        let mut entry = [0; ENTRY_BYTES as usize];
        let words = [header, pseudo, difference(&from.ports, &to.ports), before];
        entry[..6].copy_from_slice(&dst.0);
        entry[6..12].copy_from_slice(&src.0);
        entry[12..16].copy_from_slice(&to.ports);
        entry[16..48].copy_from_slice(&to.addresses);
        for (place, sum) in entry[48..64].chunks_exact_mut(4).zip(words) {
            // One's complement sums are the same in any order of bytes, if all are in the same (RFC 1071, section 2B).
            place.copy_from_slice(&u32::from(sum.to_be()).to_ne_bytes());
        }
        entry[64..66].copy_from_slice(&u16::from(to.is_ipv6).to_ne_bytes());
        entry[66..68].copy_from_slice(&u16::from(to.is_tcp).to_ne_bytes());
        entry
    }
}

/// By how much a sum changes from `old` to `new`; 0 where nothing does.
fn difference(old: &[u8], new: &[u8]) -> u16 {
    if old == new { 0 } else { fold(u64::from(!fold(sum(old))) + sum(new)) }
}

/// One change and another.
fn both(one: u16, other: u16) -> u16 {
    fold(u64::from(one) + u64::from(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flow_is_of_one_ip_version_and_of_tcp_or_udp() {
        let (tcp, udp, sctp) = (6, 17, 132);
        for of in [tcp, udp] {
            assert!(Flow::between(of, at("10.0.0.1:1"), at("[fd00::1]:2")).is_none());
            assert!(Flow::between(of, at("[fd00::1]:2"), at("10.0.0.1:1")).is_none());
            let flow = Flow::between(of, at("10.0.0.1:1"), at("10.0.0.2:515")).unwrap();
            assert_eq!((flow.ports, flow.kind()), ([0, 1, 2, 3], [of, 4]));
            assert_eq!(flow.addresses[..9], [10, 0, 0, 1, 10, 0, 0, 2, 0]);
        }
        assert!(Flow::between(sctp, at("10.0.0.1:1"), at("10.0.0.2:515")).is_none());
    }

    /// Of IPv6 nothing in the header makes up for it.
    #[test]
    fn the_sum_of_an_ipv6_header_changes_by_its_hop_and_its_addresses() {
        let flow = |source, destination| Flow::udp(at(source), at(destination)).unwrap();
        let from = flow("[fd00::2]:4000", "[fd00::100]:53");
        let to = flow("[fd01::1]:61000", "[fd01::3]:5353");
        let header = |flow: &Flow, hops| {
            let mut header = [0x60, 0, 0, 0, 0, 8, protocol::UDP, hops].to_vec();
            header.extend(flow.addresses);
            header
        };
        let station = MacAddr([2, 0, 0, 0, 0, 1]);
        let entry = Rewriting { src: station, dst: station, from, to }.encode();
        let [a, b, ..] = entry[usize::try_from(HEADER).unwrap()..] else { panic!("short") };
        let changed = fold(sum(&header(&from, 64)) + u64::from(u16::from_be_bytes([a, b])));
        assert_eq!(changed, fold(sum(&header(&to, 63))));
    }

    #[test]
    fn sums_change_by_what_headers_change_by() {
        let (old, new) = ([10, 0, 0, 1, 0xff, 0xfe], [192, 168, 3, 4, 0, 7]);
        let changed = fold(sum(&old) + u64::from(difference(&old, &new)));
        assert_eq!(changed, fold(sum(&new)));
        assert_eq!(difference(&old, &old), 0);
    }
}
