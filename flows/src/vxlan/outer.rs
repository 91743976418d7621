//! Outer headers, where the switch itself writes and reads them: of endpoints whose packets travel over a bridge.
//!
//! What is written is what the kernel writes for the other endpoints ([`pktio::underlay`]): nothing is fragmented (RFC 7348
//! section 4.3), an outer checksum is sent over IPv6 only and taken over both, and the source port, of the ephemeral range
//! below what masquerading uses, tells the flows inside apart (section 5).
//!
//! A super-frame gets its outer headers once; who cuts it up repeats them ([`Gso::Tunnel`]).

use std::net::{IpAddr, SocketAddr};

use pktio::offload::checksum::{complete, verify};
use pktio::underlay::{Mark, Outer, SOURCE_PORTS};
use pktio::wire::field::{be16, ethertype, ipv4, ipv6, protocol, put_be16, udp, vxlan};
use pktio::wire::{ETHERNET_BYTES, EthernetHeader, Layers, MacAddr, Network, checksum};
use pktio::{Csum, Gso, Offload, PktBuf};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr};

use super::Refusal;
use super::ecn::traffic_class;

/// The UDP header, as frames grow and shrink.
const UDP: u16 = 8;
/// Hops of packets whose tunnel names no other number.
const TTL: u8 = 64;
/// How many source ports there are: the sockets of other endpoints have the same.
const SOURCES: u16 = *SOURCE_PORTS.end() - *SOURCE_PORTS.start() + 1;
/// An outer checksum that is to be computed for each segment.
const TO_COME: u16 = 0xffff;

/// From whom to whom tunnel packets go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// The endpoint of this host; all of a network receive at its port.
    pub(crate) local: SocketAddr,
    /// The other one.
    pub(crate) remote: IpAddr,
    /// The station that sends.
    pub(crate) from: MacAddr,
    /// The station that is the next hop.
    pub(crate) to: MacAddr,
}

/// Whether a super-frame has to be cut up before it gets outer headers: one that has some already, one as long as a packet
/// can be, and one with options or extension headers, behind which nobody would look for more headers.
pub(crate) fn must_be_cut(frame: &PktBuf, layers: Option<&Layers>) -> bool {
    if frame.offload.gso == Gso::None {
        return false;
    }
    let is_plain = layers.is_some_and(|layers| {
        let bytes = match layers.network {
            Network::V4 => ipv4::MIN_BYTES,
            Network::V6 => ipv6::BYTES,
        };
        usize::from(layers.l4 - layers.l3) == bytes
    });
    let bytes = frame.len() + super::OVERHEAD_V6_BYTES as usize;
    matches!(frame.offload.gso, Gso::Tunnel { .. }) || !is_plain || bytes > usize::from(u16::MAX)
}

/// Finishes a checksum that an outer one covers, or that nobody finishes behind outer headers. False when it contradicts the
/// frame.
#[must_use]
pub(crate) fn finish_inner(frame: &mut PktBuf, layers: Option<&Layers>, remote: IpAddr) -> bool {
    let is_sctp = layers.is_some_and(|layers| layers.protocol == protocol::SCTP);
    let may_stay = remote.is_ipv4() && !is_sctp;
    frame.offload.gso != Gso::None || may_stay || complete(frame)
}

/// Puts the outer headers in front of a VXLAN header. False when the header room is too short, or the frame too long; it
/// is then as it was.
#[must_use]
pub(crate) fn enclose(frame: &mut PktBuf, way: &Way, mark: Mark) -> bool {
    let Some(header_bytes) = header_bytes(way.local.ip(), way.remote) else { return false };
    let Ok(datagram_bytes) = u16::try_from(frame.len() + udp::BYTES) else { return false };
    let is_long = usize::from(datagram_bytes) + header_bytes > usize::from(u16::MAX);
    let room = ETHERNET_BYTES + header_bytes + udp::BYTES;
    if is_long || !u16::try_from(room).is_ok_and(|room| frame.grow_front(room)) {
        return false;
    }
    let hop_limit = mark.ttl.map_or(TTL, u8::from);
    let data = frame.data_mut();
    let (front, datagram) = data.split_at_mut(ETHERNET_BYTES + header_bytes);
    EthernetHeader::readdress(front, way.to, way.from);
    put_udp(datagram, way.local.port(), mark.entropy, datagram_bytes);
    put_ip(front, way, (usize::from(datagram_bytes), hop_limit, mark.tos));
    frame.offload.gso = match frame.offload.gso.segment_bytes() {
        Some(size) => Gso::Tunnel { size },
        None => Gso::None,
    };
    if way.remote.is_ipv6() {
        seal(frame, ETHERNET_BYTES + header_bytes);
    }
    true
}

/// Length of the IP header between two addresses, if they are of one version.
fn header_bytes(local: IpAddr, remote: IpAddr) -> Option<usize> {
    match (local, remote) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Some(ipv4::MIN_BYTES),
        (IpAddr::V6(_), IpAddr::V6(_)) => Some(ipv6::BYTES),
        _ => None,
    }
}

fn put_udp(datagram: &mut [u8], port: u16, entropy: u16, bytes: u16) {
    put_be16(datagram, 0, SOURCE_PORTS.start() + entropy % SOURCES);
    put_be16(datagram, 2, port);
    put_be16(datagram, udp::LENGTH, bytes);
    put_be16(datagram, udp::CHECKSUM, 0);
}

/// Writes the IP header of a datagram of so many bytes into what stands in front of it.
fn put_ip(front: &mut [u8], way: &Way, (payload_len, hop_limit, tos): (usize, u8, u8)) {
    let (link, header) = front.split_at_mut(ETHERNET_BYTES);
    let next_header = IpProtocol::Udp;
    let ethertype = match (way.local.ip(), way.remote) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            let repr = Ipv4Repr { src_addr, dst_addr, next_header, payload_len, hop_limit };
            let mut packet = Ipv4Packet::new_unchecked(header);
            repr.emit(&mut packet, &ChecksumCapabilities::ignored());
            packet.set_dscp(tos >> 2);
            packet.set_ecn(tos & 3);
            packet.set_dont_frag(true);
            packet.fill_checksum();
            ethertype::IPV4
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            let repr = Ipv6Repr { src_addr, dst_addr, next_header, payload_len, hop_limit };
            let mut packet = Ipv6Packet::new_unchecked(header);
            repr.emit(&mut packet);
            packet.set_traffic_class(tos);
            ethertype::IPV6
        }
        // Refused before.
        _ => return,
    };
    put_be16(link, ETHERNET_BYTES - 2, ethertype);
}

/// Computes the outer checksum, or leaves it to whoever cuts the frame up.
fn seal(frame: &mut PktBuf, l4: usize) {
    if frame.offload.gso != Gso::None {
        return put_be16(frame.data_mut(), l4 + udp::CHECKSUM, TO_COME);
    }
    let Ok(Some(layers)) = Layers::parse(frame.data()) else { return };
    let data = frame.data_mut();
    let pseudo = checksum::pseudo_header(data, &layers, data.len() - l4).unwrap_or(0);
    let total = pseudo + checksum::sum(&data[l4..]);
    put_be16(data, l4 + udp::CHECKSUM, checksum::udp_finish(total));
}

/// Takes the outer headers off a packet for an endpoint, down to the VXLAN header, and says what they said.
///
/// # Errors
/// [`Refusal`], when it is no whole datagram, or not what its sender sent.
pub(crate) fn open(frame: &mut PktBuf, layers: &Layers) -> Result<Outer, Refusal> {
    let (remote, _) = layers.addresses(frame.data()).ok_or(Refusal::Broken)?;
    let l4 = usize::from(layers.l4);
    let datagram_bytes = be16(frame.data(), l4 + udp::LENGTH).map_or(0, usize::from);
    let end = usize::try_from(layers.end).unwrap_or(0);
    // That of a fragment is not all there.
    if datagram_bytes < udp::BYTES || l4 + datagram_bytes > end {
        return Err(Refusal::Broken);
    }
    // What is half done, or was found right by the kernel, is not looked at again.
    if frame.offload.csum == Csum::None && verify(frame.data(), layers) == Some(false) {
        return Err(Refusal::BadChecksum);
    }
    let tos = traffic_class(frame.data(), layers);
    frame.offload = inside(frame, layers);
    frame.set_len(l4 + datagram_bytes);
    let front = layers.l4.checked_add(UDP).filter(|front| frame.shrink_front(*front));
    front.map(|_| Outer { remote, tos }).ok_or(Refusal::Broken)
}

/// What is known of the frame inside of a tunnel packet, positions as they are. An outer checksum that is half done goes
/// with its header.
fn inside(frame: &PktBuf, layers: &Layers) -> Offload {
    let front = usize::from(layers.l4) + udp::BYTES + vxlan::BYTES;
    let Csum::Partial { start, .. } = frame.offload.csum else { return Offload::NONE };
    if usize::from(start) < front {
        return Offload::NONE;
    }
    let parse = || Layers::parse(frame.data().get(front..)?).ok()?;
    let is_direct = |inner: &Layers| front + usize::from(inner.l4) == usize::from(start);
    let gso = match (frame.offload.gso, parse().filter(is_direct)) {
        (Gso::Tunnel { size }, Some(inner)) => match (inner.protocol, inner.network) {
            (protocol::TCP, Network::V4) => Gso::Tcp4 { mss: size },
            (protocol::TCP, Network::V6) => Gso::Tcp6 { mss: size },
            _ => Gso::Udp { size },
        },
        (as_it_is, _) => as_it_is,
    };
    Offload { gso, ..frame.offload }
}
