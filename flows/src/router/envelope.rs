//! Frames that the switch itself makes: the headers around what it has to say, and the checksum.

use std::net::IpAddr;

use pktio::wire::checksum::{finish, pseudo_header, sum};
use pktio::wire::field::{ethertype, icmp, protocol, put_be16};
use pktio::wire::{ETHERNET_BYTES, Layers, MacAddr, VLAN_BYTES};
use pktio::{Csum, Gso, Offload, PktBuf, Pool};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr};

/// A MAC address.
const MAC_BYTES: usize = 6;
/// An Ethernet header with as many tags as the parser follows.
const LINK_BYTES: usize = ETHERNET_BYTES + 2 * VLAN_BYTES;

/// The hop limit of what the switch sends farther than one link.
pub(super) const HOP_LIMIT: u8 = 64;

/// The Ethernet header of a frame to be made, tags included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    bytes: [u8; LINK_BYTES],
    len: usize,
}

impl Link {
    /// From `src` to `dst`, untagged.
    pub(super) fn new(dst: MacAddr, src: MacAddr, ethertype: u16) -> Self {
        let mut bytes = [0; LINK_BYTES];
        bytes[..MAC_BYTES].copy_from_slice(&dst.0);
        bytes[MAC_BYTES..2 * MAC_BYTES].copy_from_slice(&src.0);
        put_be16(&mut bytes, 2 * MAC_BYTES, ethertype);
        Self { bytes, len: ETHERNET_BYTES }
    }

    /// From `src` to `dst` by IP of the family of `ip`.
    pub(super) fn for_ip(dst: MacAddr, src: MacAddr, ip: IpAddr) -> Self {
        Self::new(dst, src, if ip.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 })
    }

    /// From `src` back to the sender of `frame`, whose network header is at `l3`, with its tags. `None`
    /// for a frame that has no such header.
    pub(super) fn back(frame: &[u8], l3: usize, src: MacAddr) -> Option<Self> {
        let mut bytes = [0; LINK_BYTES];
        bytes.get_mut(..l3)?.copy_from_slice(frame.get(..l3)?);
        bytes.copy_within(MAC_BYTES..2 * MAC_BYTES, 0);
        bytes[MAC_BYTES..2 * MAC_BYTES].copy_from_slice(&src.0);
        Some(Self { bytes, len: l3 })
    }

    pub(super) fn to(mut self, dst: MacAddr) -> Self {
        self.bytes[..MAC_BYTES].copy_from_slice(&dst.0);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The IP header of a frame to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ip {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    /// IPv4 only.
    pub(super) dscp: u8,
}

/// A new frame with its headers written and `payload_bytes` of zeros behind them, and where these begin.
/// `None` when no buffer is free or the addresses are of two families.
pub(super) fn make(
    pool: &mut Pool,
    link: &Link,
    ip: &Ip,
    payload_bytes: usize,
) -> Option<(PktBuf, usize)> {
    let mut frame = pool.take_for(LINK_BYTES + MAX_IP_BYTES + payload_bytes)?;
    match write(&mut frame, link, ip, payload_bytes) {
        Some(at) => Some((frame, at)),
        None => {
            pool.recycle(frame);
            None
        }
    }
}

const MAX_IP_BYTES: usize = pktio::wire::field::ipv6::BYTES;

/// Makes a frame that is there one with these headers and `payload_bytes` of zeros behind them, and says
/// where these begin. `None`, with the frame's contents lost, when that does not fit.
pub(super) fn write(
    frame: &mut PktBuf,
    link: &Link,
    ip: &Ip,
    payload_bytes: usize,
) -> Option<usize> {
    let next_header = IpProtocol::from(ip.protocol);
    let hop_limit = ip.hop_limit;
    let l3 = link.len;
    let header_bytes =
        if ip.source.is_ipv4() { smoltcp::wire::IPV4_HEADER_LEN } else { MAX_IP_BYTES };
    let l4 = l3 + header_bytes;
    frame.set_len(l4 + payload_bytes);
    frame.offload = Offload::NONE;
    let data = frame.data_mut();
    data.get_mut(l4..l4 + payload_bytes)?.fill(0);
    data[..l3].copy_from_slice(link.bytes());
    match (ip.source, ip.destination) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let repr =
                Ipv4Repr { src_addr, dst_addr, next_header, payload_len: payload_bytes, hop_limit };
            let mut packet = Ipv4Packet::new_unchecked(&mut data[l3..]);
            repr.emit(&mut packet, &ChecksumCapabilities::ignored());
            packet.set_dscp(ip.dscp);
            packet.fill_checksum();
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let repr =
                Ipv6Repr { src_addr, dst_addr, next_header, payload_len: payload_bytes, hop_limit };
            repr.emit(&mut Ipv6Packet::new_unchecked(&mut data[l3..]));
        }
        _ => return None,
    }
    Some(l4)
}

/// Computes the checksum of an ICMP, TCP or UDP packet that is otherwise complete. `None` when it is
/// none of these.
pub(super) fn seal(frame: &mut PktBuf) -> Option<()> {
    let layers = Layers::parse(frame.data()).ok()??;
    let data = frame.data_mut();
    let (start, end) = (usize::from(layers.l4), usize::try_from(layers.end).ok()?);
    let (offset, pseudo) = match layers.protocol {
        protocol::ICMP => (icmp::CHECKSUM, 0),
        _ => {
            let pseudo = pseudo_header(data, &layers, end - start)?;
            (usize::from(layers.checksum_offset()?), pseudo)
        }
    };
    put_be16(data, start + offset, 0);
    let checksum = finish(pseudo + sum(data.get(start..end)?));
    put_be16(data, start + offset, checksum);
    frame.offload = Offload { csum: Csum::Valid, gso: Gso::None };
    Some(())
}
