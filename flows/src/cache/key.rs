//! [`FlowKey`]: everything about a packet that a decision may depend on.

use pktio::wire::field::{be16, icmp, ipv4, ipv6, protocol, tcp};
use pktio::wire::{ETHERNET_BYTES, Fragment, Layers, Network};

use crate::hash::fold;
use crate::{PortIndex, Vid};

/// Which fields the configuration looks at beyond those that a key always holds. Packets that differ in
/// others only are one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyFields {
    /// The TCP flags that some rule looks at.
    pub tcp_flags: u8,
    /// Whether some rule looks at the differentiated services code point.
    pub dscp: bool,
}

/// The exact key of a flow, one cache line:
///
/// ```text
///   ingress port 16 | VLAN 16 | version 8 | protocol 8 | DSCP 8 | TCP flags 8
///   one port, or ICMP type and code 16 | destination MAC 48
///   the other port, or ICMP identifier 16 | source MAC 48
///   (IPv4) both addresses 64                   (IPv6) source 128, destination 128
/// ```
///
/// What is in the packet is taken in the order of bytes in which it is read fastest: keys are compared, and nobody reads them.
/// The first word is never 0.
#[derive(Debug, Clone, Copy)]
pub struct FlowKey([u64; WORDS]);

/// Bits of a MAC address.
const MAC_BITS: u32 = 48;
/// Words of a key.
const WORDS: usize = 7;
/// What hashes are keyed with.
pub(super) type Secrets = [u64; WORDS];

impl FlowKey {
    /// The key of a packet. `None` for what is decided about anew each time: fragments, ICMP other than
    /// queries, and what is no IP.
    #[inline(always)]
    pub fn of(
        ingress: PortIndex,
        vid: Vid,
        frame: &[u8],
        layers: &Layers,
        fields: KeyFields,
    ) -> Option<Self> {
        if layers.fragment != Fragment::Whole {
            return None;
        }
        let [destination, source] = stations(frame)?;
        let ports = ports(frame, layers)?;
        let flags = tcp_flags(frame, layers, fields)?;
        let (version, dscp, addresses) = network(frame, layers)?;
        let dscp = if fields.dscp { dscp } else { 0 };
        Some(Self([
            u64::from(ingress.0) << 48
                | u64::from(vid.0) << 32
                | version << 24
                | u64::from(layers.protocol) << 16
                | dscp << 8
                | u64::from(flags),
            destination | u64::from(ports >> 16) << MAC_BITS,
            source | u64::from(ports) << MAC_BITS,
            addresses[0],
            addresses[1],
            addresses[2],
            addresses[3],
        ]))
    }

    /// A hash of the key, which nobody can steer who does not know the secrets.
    #[inline]
    pub(super) fn hash(&self, secrets: &Secrets) -> u64 {
        let [a, b, c, d, e, f, g] = self.0;
        let [s, t, u, v, w, x, y] = *secrets;
        let low = fold(fold(a ^ s, b ^ t) ^ w, fold(c ^ u, d ^ v) ^ x);
        if e | f | g == 0 {
            return low;
        }
        fold(low ^ fold(e ^ t, f ^ v), g ^ y)
    }
}

impl PartialEq for FlowKey {
    /// Without a branch: keys that are compared are nearly always equal.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl Eq for FlowKey {}

/// Both MAC addresses, as numbers.
#[inline]
fn stations(frame: &[u8]) -> Option<[u64; 2]> {
    const MAC: u64 = (1 << MAC_BITS) - 1;
    let header: &[u8; ETHERNET_BYTES] = frame.first_chunk()?;
    let (front, back) = (header.first_chunk()?, header.last_chunk()?);
    Some([front, back].map(|word| u64::from_le_bytes(*word) & MAC))
}

/// Both ports, or what stands for them; `None` for ICMP other than queries.
#[inline]
fn ports(frame: &[u8], layers: &Layers) -> Option<u32> {
    let l4 = usize::from(layers.l4);
    let queries: &[u8] = match layers.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            return Some(u32::from_le_bytes(*frame.get(l4..)?.first_chunk()?));
        }
        protocol::ICMP => &icmp::QUERIES,
        protocol::ICMPV6 => &icmp::V6_QUERIES,
        _ => return Some(0),
    };
    let kind = be16(frame, l4)?;
    let is_query = queries.contains(frame.get(l4)?);
    is_query.then_some(u32::from(kind) << 16 | u32::from(be16(frame, l4 + icmp::ID)?))
}

/// The TCP flags that matter.
#[inline]
fn tcp_flags(frame: &[u8], layers: &Layers, fields: KeyFields) -> Option<u8> {
    if fields.tcp_flags == 0 || layers.protocol != protocol::TCP {
        return Some(0);
    }
    Some(frame.get(usize::from(layers.l4) + tcp::FLAGS)? & fields.tcp_flags)
}

/// IP version, code point, and the addresses as words.
#[inline]
fn network(frame: &[u8], layers: &Layers) -> Option<(u64, u64, [u64; 4])> {
    let packet = frame.get(usize::from(layers.l3)..)?;
    let word = |at: usize| Some(u64::from_le_bytes(*packet.get(at..)?.first_chunk()?));
    match layers.network {
        Network::V4 => {
            let dscp = u64::from(*packet.get(1)? >> 2);
            Some((4, dscp, [word(ipv4::ADDRESSES.start)?, 0, 0, 0]))
        }
        Network::V6 => {
            let dscp = u64::from(be16(packet, 0)? >> 6 & 0x3f);
            let at = ipv6::ADDRESSES.start;
            Some((6, dscp, [word(at)?, word(at + 8)?, word(at + 16)?, word(at + 24)?]))
        }
    }
}
