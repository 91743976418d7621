//! [`Rewrite`]: from one five-tuple to another, in place.
//!
//! Compiled once per flow: the new addresses and ports as they lie in the headers, and by how much each
//! checksum changes. A flow's tuple is exact, so what does not change is written as it was, which is
//! cheaper than asking. Applying is one comparison of the protocol, two or three stores and an addition for
//! each checksum; the payload is not looked at (but for SCTP, whose CRC needs its length).
//!
//! # Checksums
//! Changes add up in one's complement arithmetic (RFC 1624), so that a right checksum stays right, and a
//! wrong one stays wrong for its receiver to see. A change is never the zero 0x0000, always 0xffff: then
//! no sum becomes 0x0000, which gives every checksum one spelling, and translating back restores every
//! byte.
//!
//! | protocol | covers | special |
//! | --- | --- | --- |
//! | IPv4 header | addresses, TTL | |
//! | TCP, UDP, UDP-Lite, DCCP, ICMPv6 | pseudo-header, ports or identifier | UDP 0 means none and stays 0; a computed 0 is sent as 0xffff |
//! | ICMP | identifier | |
//! | SCTP | ports | CRC32c, which is linear: the change of four bytes, moved to their distance from the end |
//!
//! A checksum that the sender left half done ([`Csum::Partial`]) holds the sum of the pseudo-header
//! only: it changes with the addresses and not with the ports. One that is half done elsewhere, within a
//! tunnel's packet, leaves the outer checksum a full one. A half-done SCTP checksum is not there yet, and is not
//! touched.

mod delta;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use pktio::wire::checksum::update;
use pktio::wire::field::{ipv4, ipv6, protocol};
use pktio::wire::{Fragment, Layers, Network};
use pktio::{Csum, PktBuf};

use crate::Tuple;
use delta::Delta;

/// UDP-Lite (RFC 3828) and DCCP (RFC 4340): no ports are translated, but the checksum covers the
/// addresses, at this position of the header.
const PROTOCOLS_BY_ADDRESS: [u8; 2] = [136, 33];
const UDP_LITE_CHECKSUM: usize = 6;

/// Why a rewrite was not applied. The frame is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unapplied {
    /// The frame has no hop left: its sender is owed an ICMP time exceeded.
    #[error("the packet's TTL or hop limit is used up; answer with ICMP time exceeded")]
    HopLimit,
    /// The ports of an SCTP fragment cannot be translated: its CRC covers the other fragments too.
    #[error("the CRC of an SCTP fragment covers what is not there; let SCTP find its path MTU")]
    SctpFragment,
    /// The frame is not of the flow that the rewrite was compiled for.
    #[error("the headers are not those of the flow that the rewrite is for; parse the frame again")]
    OtherFlow,
}

/// What of a transport header is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Nothing.
    None,
    /// A checksum over the pseudo-header: UDP-Lite and DCCP.
    ByAddress,
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Sctp,
}

impl Transport {
    fn of(kind: u8) -> Self {
        match kind {
            protocol::TCP => Self::Tcp,
            protocol::UDP => Self::Udp,
            protocol::ICMP => Self::Icmp,
            protocol::ICMPV6 => Self::Icmpv6,
            protocol::SCTP => Self::Sctp,
            other if PROTOCOLS_BY_ADDRESS.contains(&other) => Self::ByAddress,
            _ => Self::None,
        }
    }
}

/// From one five-tuple to another. See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    /// Source and destination address, one behind the other; of IPv4 the first 8 bytes.
    addresses: [u8; 32],
    /// Source and destination port, or twice the identifier.
    ports: [u8; 4],
    /// How the IPv4 header's sum changes.
    header: Delta,
    /// How the pseudo-header's sum changes.
    pseudo: Delta,
    /// How the sum of all that the transport checksum covers changes.
    whole: Delta,
    network: Network,
    transport: Transport,
    ports_change: bool,
    addresses_change: bool,
    takes_hop: bool,
}

const _: () = assert!(size_of::<Rewrite>() <= 48, "a rewrite is a small part of a flow's entry");

impl Rewrite {
    /// The rewrite of packets with the tuple `old` into packets with the tuple `new`. Of an ICMP query,
    /// the identifier becomes the port of `new` that differs from `old`'s.
    ///
    /// `None` when the two are not of one protocol and one IP version.
    pub fn between(old: &Tuple, new: &Tuple) -> Option<Self> {
        let mut rewrite = Self::of_addresses(
            (old.source.ip, old.destination.ip),
            (new.source.ip, new.destination.ip),
        )?;
        if old.protocol != new.protocol {
            return None;
        }
        rewrite.transport = Transport::of(old.protocol);
        let (before, after) = ports(rewrite.transport, old, new);
        rewrite.ports_change = before != after;
        rewrite.ports = after;
        let ports = match rewrite.transport {
            // One identifier is in the packet, though both ends of the tuple have it.
            Transport::Icmp | Transport::Icmpv6 => Delta::between(&before[..2], &after[..2]),
            _ => Delta::between(&before, &after),
        };
        rewrite.whole = match rewrite.transport {
            Transport::Icmp => ports,
            _ => rewrite.pseudo.and(ports),
        };
        Some(rewrite)
    }

    /// A rewrite of the IP header alone, to which the transport header is of no concern.
    pub(super) fn of_addresses(old: (IpAddr, IpAddr), new: (IpAddr, IpAddr)) -> Option<Self> {
        let (network, before) = octets(old)?;
        let (same, addresses) = octets(new)?;
        let change = Delta::between(&before, &addresses);
        (network == same).then_some(Self {
            addresses,
            ports: [0; 4],
            header: change,
            pseudo: change,
            whole: change,
            network,
            transport: Transport::None,
            ports_change: false,
            addresses_change: before != addresses,
            takes_hop: false,
        })
    }

    /// Whether source or destination is another afterwards.
    #[inline]
    pub fn changes_addresses(&self) -> bool {
        self.addresses_change
    }

    /// The same rewrite, which also takes one from the TTL or hop limit, as a router does.
    #[must_use]
    pub fn taking_a_hop(mut self) -> Self {
        if !self.takes_hop {
            self.takes_hop = true;
            self.header = self.header.and(Delta::ONE_HOP);
        }
        self
    }

    /// Rewrites a frame, whose headers are `layers`, in place. A super-frame is rewritten like any
    /// other, and of a later fragment the addresses.
    ///
    /// # Errors
    /// [`Unapplied`]; the frame is as it was.
    #[inline(always)]
    pub fn apply(&self, frame: &mut PktBuf, layers: &Layers) -> Result<(), Unapplied> {
        let csum = frame.offload.csum;
        let is_partial = matches!(csum, Csum::Partial { start, .. } if start == layers.l4);
        if layers.network != self.network {
            return Err(Unapplied::OtherFlow);
        }
        let (head, tail) =
            frame.data_mut().split_at_mut_checked(layers.l4.into()).ok_or(Unapplied::OtherFlow)?;
        let header = head.get_mut(usize::from(layers.l3)..).ok_or(Unapplied::OtherFlow)?;
        self.check_hop(header)?;
        if layers.fragment != Fragment::Later {
            let bytes = (layers.end as usize).saturating_sub(layers.l4.into());
            let whole = layers.fragment == Fragment::Whole;
            let segment = tail.get_mut(..bytes).ok_or(Unapplied::OtherFlow)?;
            self.edit_transport(segment, is_partial, whole)?;
        }
        self.edit_header(header);
        Ok(())
    }

    /// Rewrites what there is of a packet that an ICMP error quotes: the transport header may be cut off
    /// anywhere (RFC 792 asks for 8 bytes of it).
    pub(super) fn apply_to_quote(&self, frame: &mut [u8], layers: &Layers) {
        let (l3, l4, end) = (usize::from(layers.l3), usize::from(layers.l4), layers.end as usize);
        if let Some(header) = frame.get_mut(l3..l4) {
            self.edit_header(header);
        }
        let Some(transport) = frame.get_mut(l4..end) else { return };
        if layers.fragment != Fragment::Later
            && self.edit_transport(transport, false, false).is_err()
        {
            // The checksum is beyond the cut, or the CRC is of more than is quoted.
            self.put_ports(transport);
        }
    }

    #[inline(always)]
    fn check_hop(&self, header: &[u8]) -> Result<(), Unapplied> {
        let (at, bytes) = match self.network {
            Network::V4 => (ipv4::TTL, ipv4::MIN_BYTES),
            Network::V6 => (ipv6::HOP_LIMIT, ipv6::BYTES),
        };
        let left =
            *header.get(..bytes).and_then(|header| header.get(at)).ok_or(Unapplied::OtherFlow)?;
        if self.takes_hop && left <= 1 { Err(Unapplied::HopLimit) } else { Ok(()) }
    }

    /// Rewrites an IP header, whose length has been checked.
    #[inline(always)]
    fn edit_header(&self, header: &mut [u8]) {
        match self.network {
            Network::V4 => {
                let Some(header) = header.first_chunk_mut::<{ ipv4::MIN_BYTES }>() else { return };
                header[ipv4::ADDRESSES].copy_from_slice(&self.addresses[..8]);
                header[ipv4::TTL] -= u8::from(self.takes_hop);
                let [.., high, low, _, _, _, _, _, _, _, _] = header;
                self.header.apply_to_checksum(high, low);
            }
            Network::V6 => {
                let Some(header) = header.first_chunk_mut::<{ ipv6::BYTES }>() else { return };
                header[ipv6::ADDRESSES].copy_from_slice(&self.addresses);
                header[ipv6::HOP_LIMIT] -= u8::from(self.takes_hop);
            }
        }
    }

    /// Rewrites ports and checksum; nothing, when one of them is not there.
    #[inline(always)]
    fn edit_transport(
        &self,
        segment: &mut [u8],
        is_partial: bool,
        is_whole: bool,
    ) -> Result<(), Unapplied> {
        let change = if is_partial { self.pseudo } else { self.whole };
        match self.transport {
            Transport::Tcp => {
                let header = segment.first_chunk_mut::<18>().ok_or(Unapplied::OtherFlow)?;
                let [p0, p1, p2, p3, .., high, low] = header;
                [*p0, *p1, *p2, *p3] = self.ports;
                change.apply_to(is_partial, high, low);
            }
            Transport::Udp => {
                let header = segment.first_chunk_mut::<8>().ok_or(Unapplied::OtherFlow)?;
                let [p0, p1, p2, p3, _, _, high, low] = header;
                [*p0, *p1, *p2, *p3] = self.ports;
                if is_partial {
                    change.apply_to_sum(high, low);
                } else {
                    change.apply_to_udp_checksum(high, low);
                }
            }
            _ => return self.edit_rarer_transport(segment, is_partial, is_whole),
        }
        Ok(())
    }

    #[inline(never)]
    fn edit_rarer_transport(
        &self,
        segment: &mut [u8],
        is_partial: bool,
        is_whole: bool,
    ) -> Result<(), Unapplied> {
        let change = if is_partial { self.pseudo } else { self.whole };
        match self.transport {
            Transport::Icmp | Transport::Icmpv6 => {
                let header = segment.first_chunk_mut::<6>().ok_or(Unapplied::OtherFlow)?;
                let [_, _, high, low, id @ ..] = header;
                if self.ports_change {
                    id.copy_from_slice(&self.ports[..2]);
                }
                // A half-done ICMP checksum has no pseudo-header in it.
                if self.transport == Transport::Icmpv6 || !is_partial {
                    change.apply_to(is_partial, high, low);
                }
            }
            Transport::ByAddress => {
                let field = segment.get_mut(UDP_LITE_CHECKSUM..).and_then(<[u8]>::first_chunk_mut);
                let [high, low] = field.ok_or(Unapplied::OtherFlow)?;
                change.apply_to(is_partial, high, low);
            }
            Transport::Sctp if self.ports_change => {
                if !is_whole {
                    return Err(Unapplied::SctpFragment);
                }
                if !is_partial {
                    delta::crc32c(segment, self.ports).ok_or(Unapplied::OtherFlow)?;
                }
                self.put_ports(segment);
            }
            _ => (),
        }
        Ok(())
    }

    /// Writes ports or identifier, if they are there, and no checksum.
    fn put_ports(&self, segment: &mut [u8]) {
        match self.transport {
            Transport::None | Transport::ByAddress => (),
            Transport::Icmp | Transport::Icmpv6 => {
                if let Some(id) = segment.get_mut(4..6).filter(|_| self.ports_change) {
                    id.copy_from_slice(&self.ports[..2]);
                }
            }
            Transport::Tcp | Transport::Udp | Transport::Sctp => {
                if let Some(ports) = segment.first_chunk_mut() {
                    *ports = self.ports;
                }
            }
        }
    }
}

/// Gives an IPv4 packet another identification.
pub fn renumber(frame: &mut PktBuf, layers: &Layers, id: u16) {
    let header = frame.data_mut().get_mut(layers.l3.into()..);
    let Some(header) = header.and_then(<[u8]>::first_chunk_mut::<{ ipv4::MIN_BYTES }>) else {
        return;
    };
    let [_, _, _, _, id0, id1, _, _, _, _, high, low, ..] = header;
    let (old, checksum) = (u16::from_be_bytes([*id0, *id1]), u16::from_be_bytes([*high, *low]));
    [*id0, *id1] = id.to_be_bytes();
    [*high, *low] = update(checksum, old, id).to_be_bytes();
}

/// Both addresses as they lie in a header. `None` when they are of two IP versions.
fn octets((source, destination): (IpAddr, IpAddr)) -> Option<(Network, [u8; 32])> {
    let mut octets = [0; 32];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            octets[..4].copy_from_slice(&source.octets());
            octets[4..8].copy_from_slice(&destination.octets());
            Some((Network::V4, octets))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            octets[..16].copy_from_slice(&source.octets());
            octets[16..].copy_from_slice(&destination.octets());
            Some((Network::V6, octets))
        }
        _ => None,
    }
}

/// The ports of both tuples as they lie in a header.
fn ports(transport: Transport, old: &Tuple, new: &Tuple) -> ([u8; 4], [u8; 4]) {
    let lay = |source: u16, destination: u16| {
        let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
        [a, b, c, d]
    };
    let both = |tuple: &Tuple| lay(tuple.source.port, tuple.destination.port);
    match transport {
        Transport::Icmp | Transport::Icmpv6 => {
            let by_source = new.source.port != old.source.port;
            let id = |tuple: &Tuple| {
                let id = if by_source { tuple.source.port } else { tuple.destination.port };
                lay(id, id)
            };
            (id(old), id(new))
        }
        _ => (both(old), both(new)),
    }
}
