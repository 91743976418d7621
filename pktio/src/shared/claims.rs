//! [`Claims`]: what the switch takes from an interface that it shares.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::wire::field::{be16, ethertype, icmp, ipv4, ipv6, protocol};
use crate::wire::{ETHERNET_BYTES, MacAddr};

/// Bytes of a set of all ports, a bit each.
pub(super) const PORTS_BYTES: usize = 8192;
/// IPv6 extension headers beyond this many are not followed, as in [`crate::wire::Layers`].
pub(super) const MAX_EXTENSIONS: usize = 8;
/// How long a taken first fragment speaks for those that follow.
pub(super) const FRAGMENTS_NS: u64 = 30_000_000_000;
/// Types of replies to ICMP queries, whose identifier is looked at.
pub(super) const REPLIES: [u8; 4] = [0, 14, 16, 18];
/// The same of ICMPv6: the echo reply.
pub(super) const V6_REPLIES: [u8; 1] = [129];

/// An address, and a protocol whose ports, or whose identifiers, are claimed.
pub(super) type Endpoint = (IpAddr, u8);

/// Which destinations are the switch's. The identifiers of ICMP queries count as ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    ports: BTreeMap<Endpoint, Box<[u8]>>,
}

impl Claims {
    /// Claims ports of an address and an IP protocol.
    pub fn add(&mut self, address: IpAddr, protocol: u8, ports: RangeInclusive<u16>) {
        let set = self.ports.entry((address, protocol));
        let set = set.or_insert_with(|| vec![0; PORTS_BYTES].into_boxed_slice());
        for port in ports {
            set[usize::from(port / 8)] |= 1 << (port % 8);
        }
    }

    /// Whether a port is claimed.
    pub fn has(&self, address: IpAddr, protocol: u8, port: u16) -> bool {
        let set = self.ports.get(&(address, protocol));
        set.is_some_and(|set| set[usize::from(port / 8)] & 1 << (port % 8) != 0)
    }

    /// What is claimed by both.
    #[must_use]
    pub fn in_common(&self, other: &Self) -> Self {
        let both = |(endpoint, own): (&Endpoint, &[u8])| {
            let others = other.ports.get(endpoint)?;
            Some((*endpoint, own.iter().zip(others).map(|(one, two)| one & two).collect()))
        };
        Self { ports: self.sets().filter_map(both).collect() }
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = (&Endpoint, &[u8])> {
        self.ports.iter().map(|(endpoint, set)| (endpoint, &**set))
    }

    /// Whether a frame that an interface of this MAC address receives is the switch's: what the programs decide, said
    /// once more. `fragments` is what is remembered of frames before, and `now_ns` any clock.
    pub fn take(&self, mac: MacAddr, frame: &[u8], fragments: &mut Fragments, now_ns: u64) -> bool {
        self.decide(mac, frame, fragments, now_ns).unwrap_or(false)
    }

    fn decide(
        &self,
        mac: MacAddr,
        frame: &[u8],
        fragments: &mut Fragments,
        now_ns: u64,
    ) -> Option<bool> {
        let header = frame.get(..ETHERNET_BYTES)?;
        if header.get(..6)? != mac.0 {
            return None;
        }
        let is_ipv4 = match be16(header, 12)? {
            ethertype::IPV4 => true,
            ethertype::IPV6 => false,
            _ => return None,
        };
        let packet = Packet::parse(frame, ETHERNET_BYTES, is_ipv4)?;
        let datagram = (packet.source, packet.destination, packet.id, packet.protocol);
        if packet.part == Part::Later {
            let since = fragments.taken.get(&datagram)?;
            return Some(now_ns.wrapping_sub(*since) <= FRAGMENTS_NS);
        }
        let is_taken = self.has_packet(frame, &packet, is_ipv4);
        if packet.part == Part::First {
            fragments.taken.remove(&datagram);
            if is_taken {
                fragments.taken.insert(datagram, now_ns);
            }
        }
        Some(is_taken)
    }

    fn has_packet(&self, frame: &[u8], packet: &Packet, is_ipv4: bool) -> bool {
        let port = match packet.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP => port_at(frame, packet.l4, 2),
            own if own == icmp_of(is_ipv4) => return self.has_message(frame, packet, is_ipv4),
            _ => None,
        };
        port.is_some_and(|port| self.has(packet.destination, packet.protocol, port))
    }

    fn has_message(&self, frame: &[u8], packet: &Packet, is_ipv4: bool) -> bool {
        let (replies, errors): (&[u8], &[u8]) =
            if is_ipv4 { (&REPLIES, &icmp::ERRORS) } else { (&V6_REPLIES, &icmp::V6_ERRORS) };
        let Some(message) = frame.get(packet.l4..packet.l4 + icmp::BYTES) else { return false };
        if replies.contains(&message[0]) {
            let id = be16(message, icmp::ID);
            return id.is_some_and(|id| self.has(packet.destination, packet.protocol, id));
        }
        if !errors.contains(&message[0]) {
            return false;
        }
        let quote = Packet::parse(frame, packet.l4 + icmp::BYTES, is_ipv4);
        quote.is_some_and(|quote| {
            let port = match quote.protocol {
                protocol::TCP | protocol::UDP | protocol::SCTP => port_at(frame, quote.l4, 0),
                own if own == icmp_of(is_ipv4) => port_at(frame, quote.l4, icmp::ID),
                _ => None,
            };
            quote.part != Part::Later
                && port.is_some_and(|port| self.has(quote.source, quote.protocol, port))
        })
    }
}

fn icmp_of(is_ipv4: bool) -> u8 {
    if is_ipv4 { protocol::ICMP } else { protocol::ICMPV6 }
}

/// A port or an identifier, of a transport header of which 8 bytes are there: as many as an ICMP error quotes at least.
fn port_at(frame: &[u8], l4: usize, at: usize) -> Option<u16> {
    be16(frame.get(l4..l4 + 8)?, at)
}

/// What fragments are told by: addresses, identification and protocol.
type Datagram = (IpAddr, IpAddr, u32, u8);

/// The datagrams whose first fragment was taken, and when.
#[derive(Debug, Clone, Default)]
pub struct Fragments {
    taken: HashMap<Datagram, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    First,
    Later,
}

/// What is looked at in an IP header. Lengths are not: what is wrong with a packet is its taker's to find out.
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
    part: Part,
    l4: usize,
}

impl Packet {
    fn parse(frame: &[u8], l3: usize, is_ipv4: bool) -> Option<Self> {
        if is_ipv4 { Self::parse_v4(frame, l3) } else { Self::parse_v6(frame, l3) }
    }

    fn parse_v4(frame: &[u8], l3: usize) -> Option<Self> {
        let header: &[u8; ipv4::MIN_BYTES] = frame.get(l3..)?.first_chunk()?;
        let bytes = usize::from(header[0] & 0x0f) * 4;
        if header[0] >> 4 != 4 || bytes < ipv4::MIN_BYTES {
            return None;
        }
        let field = be16(header, ipv4::FRAGMENT)? & ipv4::FRAGMENTED;
        let address = |at: usize| -> Option<IpAddr> {
            Some(IpAddr::from(*header.get(at..)?.first_chunk::<4>()?))
        };
        Some(Self {
            source: address(ipv4::ADDRESSES.start)?,
            destination: address(ipv4::ADDRESSES.start + 4)?,
            protocol: header[ipv4::PROTOCOL],
            id: be16(header, ipv4::ID)?.into(),
            part: part(field & ipv4::OFFSET, field != 0),
            l4: l3 + bytes,
        })
    }

    fn parse_v6(frame: &[u8], l3: usize) -> Option<Self> {
        let header: &[u8; ipv6::BYTES] = frame.get(l3..)?.first_chunk()?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let address = |at: usize| -> Option<IpAddr> {
            Some(Ipv6Addr::from(*header.get(at..)?.first_chunk::<16>()?).into())
        };
        let mut packet = Self {
            source: address(ipv6::ADDRESSES.start)?,
            destination: address(ipv6::ADDRESSES.start + 16)?,
            protocol: header[ipv6::NEXT_HEADER],
            id: 0,
            part: Part::Whole,
            l4: l3 + ipv6::BYTES,
        };
        for _ in 0..MAX_EXTENSIONS {
            let extension: Option<&[u8; 8]> = frame.get(packet.l4..).and_then(<[u8]>::first_chunk);
            match packet.protocol {
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                    let extension = extension?;
                    packet.protocol = extension[0];
                    packet.l4 += (usize::from(extension[1]) + 1) * 8;
                }
                protocol::FRAGMENT => {
                    let extension = extension?;
                    let field = be16(extension, 2)?;
                    packet.protocol = extension[0];
                    packet.id = u32::from_be_bytes(*extension.last_chunk()?);
                    packet.part = part(field >> 3, field & !6 != 0);
                    packet.l4 += 8;
                    if packet.part == Part::Later {
                        return Some(packet);
                    }
                }
                _ => return Some(packet),
            }
        }
        Some(packet)
    }
}

fn part(offset: u16, is_fragment: bool) -> Part {
    match (offset, is_fragment) {
        (0, false) => Part::Whole,
        (0, true) => Part::First,
        _ => Part::Later,
    }
}
