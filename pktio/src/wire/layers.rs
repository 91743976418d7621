//! The header parser: from a frame to the positions of its headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ethernet::{ETHERNET_BYTES, VLAN_BYTES};
use super::field::{be16, ethertype, ipv4, ipv6, protocol, tcp, udp};

/// IPv6 extension headers beyond this many are not followed (RFC 8504 section 5.3 allows a limit).
const MAX_EXTENSIONS: usize = 8;
/// VLAN tags beyond this many are not followed.
const MAX_TAGS: usize = 2;

/// Where the headers of a packet without tags and options are.
const PLAIN_L3: u16 = 14;
const PLAIN_L4: u16 = PLAIN_L3 + 20;

/// What is wrong with a frame's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than an Ethernet header.
    #[error("the frame is shorter than an Ethernet header")]
    Runt,
    /// A VLAN tag is cut off.
    #[error("a VLAN tag is cut off")]
    TruncatedVlan,
    /// More than two VLAN tags.
    #[error("there are more than two VLAN tags")]
    TooManyTags,
    /// The IP header is cut off, or its header length is impossible.
    #[error("the IP header is cut off or its length field is impossible")]
    BadIpHeader,
    /// The version field does not fit the EtherType.
    #[error("the IP version does not fit the EtherType")]
    BadIpVersion,
    /// The IP length field claims more bytes than there are, or fewer than its header.
    #[error("the IP length field does not fit the frame")]
    LyingIpLength,
    /// Extension headers are cut off or too many.
    #[error("the IPv6 extension headers are cut off or too many")]
    BadExtensions,
    /// The transport header is cut off, or its length field is impossible.
    #[error("the transport header is cut off or its length field is impossible")]
    BadTransport,
}

/// Which IP, with the position of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether an IP packet is a piece of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// A whole datagram.
    Whole,
    /// The first piece: it has the transport header.
    First,
    /// A later piece: it has none.
    Later,
}

/// Positions of an IP packet's headers in its frame. Offsets count from the frame's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// Which IP.
    pub network: Network,
    /// The IP header.
    pub l3: u16,
    /// The transport header, or the data of a later fragment.
    pub l4: u16,
    /// End of the packet as the IP header states it; what follows is Ethernet padding.
    pub end: u32,
    /// The transport protocol.
    pub protocol: u8,
    /// Fragmentation.
    pub fragment: Fragment,
}

impl Layers {
    /// Parses a frame. `Ok(None)` when it carries no IP. The IP length is checked against the frame, and
    /// a super-frame is checked like any other: its IP length covers all of it.
    ///
    /// # Errors
    /// [`Malformed`], which says what is wrong.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Option<Self>, Malformed> {
        match Self::plain(frame) {
            Some(plain) => Ok(Some(plain)),
            None => Self::parse_closely(frame),
        }
    }

    fn parse_closely(frame: &[u8]) -> Result<Option<Self>, Malformed> {
        let (ethertype, l3) = after_tags(frame)?;
        match ethertype {
            ethertype::IPV4 => parse_v4(frame, l3, Extent::Whole).map(Some),
            ethertype::IPV6 => parse_v6(frame, l3, Extent::Whole).map(Some),
            _ => Ok(None),
        }
    }

    /// What [`Layers::parse`] begins with: what nearly every frame is, a whole datagram in IPv4, without tags and options,
    /// of UDP or TCP. All that is asked of it is asked at once. `None` says nothing about the frame: parse it.
    #[inline]
    pub fn plain(frame: &[u8]) -> Option<Self> {
        let header: &[u8; ETHERNET_BYTES + ipv4::MIN_BYTES + udp::BYTES] = frame.first_chunk()?;
        let field = |at| be16(header, ETHERNET_BYTES + at);
        let end = u32::from(PLAIN_L3) + u32::from(field(ipv4::TOTAL_LENGTH)?);
        let protocol = header[ETHERNET_BYTES + ipv4::PROTOCOL];
        let is_plain = be16(header, ETHERNET_BYTES - 2)? == ethertype::IPV4
            && header[ETHERNET_BYTES] == 0x45
            && field(ipv4::FRAGMENT)? & ipv4::FRAGMENTED == 0
            && (header.len()..=frame.len()).contains(&(end as usize))
            && match protocol {
                protocol::UDP => true,
                protocol::TCP => tcp_bytes(&frame[..end as usize], PLAIN_L4.into()).is_some(),
                _ => false,
            };
        let (network, fragment) = (Network::V4, Fragment::Whole);
        is_plain.then_some(Self { network, l3: PLAIN_L3, l4: PLAIN_L4, end, protocol, fragment })
    }

    /// The same, if they are where those of [a plain packet](Layers::plain) are, whatever its protocol: where that is is then
    /// known when this is compiled.
    #[inline(always)]
    pub fn as_plain(&self) -> Option<Self> {
        let Self { end, protocol, .. } = *self;
        let plain = Self {
            network: Network::V4,
            l3: PLAIN_L3,
            l4: PLAIN_L4,
            end,
            protocol,
            fragment: Fragment::Whole,
        };
        (*self == plain).then_some(plain)
    }

    /// Parses the packet that an ICMP error quotes from `l3` to the end of `frame`. It may be cut off
    /// anywhere behind its IP header: [`Layers::end`] is then the cut, and nothing is said about its
    /// transport header.
    ///
    /// # Errors
    /// [`Malformed`], which says what is wrong.
    pub fn parse_quoted(frame: &[u8], l3: usize, network: Network) -> Result<Self, Malformed> {
        match network {
            Network::V4 => parse_v4(frame, l3, Extent::Quoted),
            Network::V6 => parse_v6(frame, l3, Extent::Quoted),
        }
    }

    /// Source and destination address. `None` only for a frame that is not the one parsed.
    pub fn addresses(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let at = usize::from(self.l3);
        match self.network {
            Network::V4 => {
                let [src, dst] = pair::<4>(frame, at + ipv4::ADDRESSES.start)?;
                Some((Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into()))
            }
            Network::V6 => {
                let [src, dst] = pair::<16>(frame, at + ipv6::ADDRESSES.start)?;
                Some((Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into()))
            }
        }
    }

    /// Source and destination port of TCP and UDP; `None` for other protocols and later fragments.
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        let has_ports = matches!(self.protocol, protocol::TCP | protocol::UDP);
        if !has_ports || self.fragment == Fragment::Later {
            return None;
        }
        let at = usize::from(self.l4);
        Some((be16(frame, at)?, be16(frame, at + 2)?))
    }

    /// Length of the transport header in bytes; `None` for protocols other than TCP and UDP, and for
    /// later fragments, which have none.
    pub fn transport_bytes(&self, frame: &[u8]) -> Option<usize> {
        let has_header = self.fragment != Fragment::Later;
        match self.protocol {
            protocol::TCP if has_header => tcp_bytes(frame, usize::from(self.l4)),
            protocol::UDP if has_header => Some(udp::BYTES),
            _ => None,
        }
    }

    /// Position of the checksum field within the transport header; `None` for protocols without one
    /// that covers a pseudo-header.
    pub fn checksum_offset(&self) -> Option<u16> {
        match self.protocol {
            protocol::TCP => Some(16),
            protocol::UDP => Some(6),
            protocol::ICMPV6 if self.network == Network::V6 => Some(2),
            _ => None,
        }
    }
}

/// Length of the TCP header at `at`, if it is possible and there.
pub(crate) fn tcp_bytes(frame: &[u8], at: usize) -> Option<usize> {
    let bytes = usize::from(frame.get(at + tcp::DATA_OFFSET)? >> 4) * 4;
    (bytes >= tcp::MIN_BYTES && at + bytes <= frame.len()).then_some(bytes)
}

/// EtherType and position of what follows the VLAN tags.
///
/// # Errors
/// [`Malformed`] when the frame is cut off before that, or has too many tags.
pub fn after_tags(frame: &[u8]) -> Result<(u16, usize), Malformed> {
    let mut at = ETHERNET_BYTES;
    let mut kind = be16(frame, at - 2).ok_or(Malformed::Runt)?;
    for _ in 0..MAX_TAGS {
        if !matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN) {
            return Ok((kind, at));
        }
        kind = be16(frame, at + 2).ok_or(Malformed::TruncatedVlan)?;
        at += VLAN_BYTES;
    }
    let more = matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN);
    if more { Err(Malformed::TooManyTags) } else { Ok((kind, at)) }
}

/// How much of a packet must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All that its IP header states.
    Whole,
    /// The IP header.
    Quoted,
}

fn parse_v4(frame: &[u8], l3: usize, extent: Extent) -> Result<Layers, Malformed> {
    let first = *frame.get(l3).ok_or(Malformed::BadIpHeader)?;
    if first >> 4 != 4 {
        return Err(Malformed::BadIpVersion);
    }
    let header = usize::from(first & 0x0f) * 4;
    if header < ipv4::MIN_BYTES || l3 + header > frame.len() {
        return Err(Malformed::BadIpHeader);
    }
    let total = be16(frame, l3 + ipv4::TOTAL_LENGTH).ok_or(Malformed::BadIpHeader)?;
    let end = stated_end(frame, l3, usize::from(total), header, extent)?;
    let field = be16(frame, l3 + ipv4::FRAGMENT).ok_or(Malformed::BadIpHeader)?;
    let fragment = match (field & ipv4::FRAGMENTED, field & ipv4::OFFSET) {
        (0, _) => Fragment::Whole,
        (_, 0) => Fragment::First,
        _ => Fragment::Later,
    };
    let protocol = *frame.get(l3 + ipv4::PROTOCOL).ok_or(Malformed::BadIpHeader)?;
    let layers = finish(Network::V4, (l3, l3 + header, end), protocol, fragment)?;
    check_transport(frame, layers, extent)
}

fn parse_v6(frame: &[u8], l3: usize, extent: Extent) -> Result<Layers, Malformed> {
    let first = *frame.get(l3).ok_or(Malformed::BadIpHeader)?;
    if first >> 4 != 6 {
        return Err(Malformed::BadIpVersion);
    }
    let payload = be16(frame, l3 + ipv6::PAYLOAD_LENGTH).ok_or(Malformed::BadIpHeader)?;
    let end = stated_end(frame, l3, usize::from(payload) + ipv6::BYTES, ipv6::BYTES, extent)?;
    let next = *frame.get(l3 + ipv6::NEXT_HEADER).ok_or(Malformed::BadIpHeader)?;
    let (protocol, l4, fragment) = after_extensions(&frame[..end], l3 + ipv6::BYTES, next)?;
    let layers = finish(Network::V6, (l3, l4, end), protocol, fragment)?;
    check_transport(frame, layers, extent)
}

/// Follows the extension headers up to the transport header or the data of a later fragment.
fn after_extensions(
    packet: &[u8],
    mut at: usize,
    mut next: u8,
) -> Result<(u8, usize, Fragment), Malformed> {
    let mut fragment = Fragment::Whole;
    for _ in 0..MAX_EXTENSIONS {
        let bytes = match next {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let words = packet.get(at + 1).ok_or(Malformed::BadExtensions)?;
                (usize::from(*words) + 1) * 8
            }
            protocol::FRAGMENT => {
                let field = be16(packet, at + 2).ok_or(Malformed::BadExtensions)?;
                fragment = match (field & 0xfff9, field >> 3) {
                    (0, _) => Fragment::Whole,
                    (_, 0) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            _ => return Ok((next, at, fragment)),
        };
        next = *packet.get(at).ok_or(Malformed::BadExtensions)?;
        at += bytes;
        if at > packet.len() {
            return Err(Malformed::BadExtensions);
        }
        if fragment == Fragment::Later {
            return Ok((next, at, fragment));
        }
    }
    Err(Malformed::BadExtensions)
}

fn stated_end(
    frame: &[u8],
    l3: usize,
    stated: usize,
    header: usize,
    extent: Extent,
) -> Result<usize, Malformed> {
    let end = match extent {
        Extent::Whole => l3 + stated,
        Extent::Quoted => frame.len().min(l3 + stated),
    };
    if end < l3 + header || end > frame.len() { Err(Malformed::LyingIpLength) } else { Ok(end) }
}

fn finish(
    network: Network,
    (l3, l4, end): (usize, usize, usize),
    protocol: u8,
    fragment: Fragment,
) -> Result<Layers, Malformed> {
    let offset = |at| u16::try_from(at).map_err(|_| Malformed::BadTransport);
    let end = u32::try_from(end).map_err(|_| Malformed::LyingIpLength)?;
    Ok(Layers { network, l3: offset(l3)?, l4: offset(l4)?, end, protocol, fragment })
}

/// The layers, if the transport header is there that they promise.
fn check_transport(frame: &[u8], layers: Layers, extent: Extent) -> Result<Layers, Malformed> {
    let (l4, end) = (usize::from(layers.l4), layers.end as usize);
    let there = match layers.protocol {
        _ if layers.fragment == Fragment::Later || extent == Extent::Quoted => true,
        protocol::TCP => tcp_bytes(&frame[..end], l4).is_some(),
        protocol::UDP => end >= l4 + udp::BYTES,
        protocol::ICMP | protocol::ICMPV6 => end >= l4 + 4,
        _ => true,
    };
    if there { Ok(layers) } else { Err(Malformed::BadTransport) }
}

fn pair<const N: usize>(frame: &[u8], at: usize) -> Option<[[u8; N]; 2]> {
    let src = *frame.get(at..)?.first_chunk()?;
    let dst = *frame.get(at + N..)?.first_chunk()?;
    Some([src, dst])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// UDP or TCP over IPv4, without options.
    fn packet(is_tcp: bool, bytes: usize) -> Vec<u8> {
        let protocol = if is_tcp { protocol::TCP } else { protocol::UDP };
        let length = u16::try_from(bytes - ETHERNET_BYTES).unwrap();
        let mut frame = vec![0x50; bytes];
        frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        frame[20..24].copy_from_slice(&[0x40, 0, 64, protocol]);
        frame
    }

    proptest! {
        #[test]
        fn a_glance_sees_what_a_closer_look_does(
            is_tcp: bool, bytes in 54usize..120, padding in 0usize..20, end in 0usize..140,
            changes in prop::collection::vec((12usize..48, any::<u8>()), 0..3),
        ) {
            let mut frame = packet(is_tcp, bytes);
            frame.resize(bytes + padding, 0);
            prop_assert!(Layers::plain(&frame).is_some());
            for (at, byte) in changes {
                frame[at] = byte;
            }
            frame.truncate(end.max(40));
            if let Some(layers) = Layers::plain(&frame) {
                prop_assert_eq!(Layers::parse_closely(&frame), Ok(Some(layers)));
            }
        }
    }
}
