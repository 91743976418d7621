//! The errors that a router owes to senders (RFC 1812 section 4.3, RFC 4443 section 3), and TCP resets.
//!
//! [`make`] turns the packet that cannot be delivered, the offender, into a whole frame back to its
//! sender. Call it before the packet is rewritten (time to live, NAT): the quote is made of the bytes as
//! they are.
//!
//! What is approximate: the quote of a super-frame has the length field of the super-frame and, like that
//! of any frame whose checksum is left half done, a transport checksum that the sender's kernel never
//! sent. Addresses, ports and sequence number are those of the first segment, and these are what a
//! sender finds its socket by.
//!
//! Rate limits are another matter: [`ErrorLimiter`](super::ErrorLimiter).

use std::net::IpAddr;

use pktio::wire::field::{be16, be32, icmp, ipv4, ipv6, protocol, put_be16, put_be32, tcp};
use pktio::wire::{EthernetHeader, Fragment, Layers, MacAddr, Network};
use pktio::{PktBuf, Pool};

use super::envelope::{self, HOP_LIMIT, Ip, Link};
use super::forward::{is_group, is_martian};

/// An ICMP error over IPv4 is at most this long, IP header included (RFC 1812 section 4.3.2.3).
const V4_BYTES: usize = 576;
/// An ICMPv6 error is at most this long: the minimum MTU (RFC 4443 section 2.4 c).
const V6_BYTES: usize = 1280;
/// The DSCP of an IPv4 error: "internetwork control" (RFC 1812 section 4.3.2.5).
const CONTROL_DSCP: u8 = 48;

/// Why a packet could not be delivered, as its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// The time to live or hop limit is used up (11/0; 3/0).
    TimeExceeded,
    /// There is no route (3/0; 1/0).
    NetUnreachable,
    /// The destination does not answer on its link (3/1; 1/3).
    HostUnreachable,
    /// The destination, which is the switch, does not know the protocol (3/2; 4/1).
    ProtocolUnreachable,
    /// Nobody listens at the port (3/3; 1/4).
    PortUnreachable,
    /// A rule says no, or resources for it are exhausted (3/13; 1/1).
    AdminProhibited,
    /// Its source may not be seen where it is going (3/13; 1/5).
    SourceRefused,
    /// It is longer than the next link takes (3/4 with the next hop's MTU, RFC 1191; 2/0).
    TooBig {
        /// The longest IP packet that the next link takes.
        mtu_bytes: u32,
    },
}

/// Who speaks: mostly the gateway of the bridge that the offender came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Station {
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its IP address.
    pub ip: IpAddr,
}

impl IcmpError {
    /// Type, code, and the second word of the message.
    fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::TimeExceeded => (11, 0, 0),
            Self::NetUnreachable => (3, 0, 0),
            Self::HostUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::PortUnreachable => (3, 3, 0),
            Self::AdminProhibited | Self::SourceRefused => (3, 13, 0),
            // The field has 16 bits; the other half of the word is unused.
            Self::TooBig { mtu_bytes } => (3, 4, mtu_bytes.min(0xffff)),
        }
    }

    fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::TimeExceeded => (3, 0, 0),
            Self::NetUnreachable => (1, 0, 0),
            Self::HostUnreachable => (1, 3, 0),
            // "Unrecognized next header", and where in the packet that is.
            Self::ProtocolUnreachable => (4, 1, 6),
            Self::PortUnreachable => (1, 4, 0),
            Self::AdminProhibited => (1, 1, 0),
            // "Source address failed ingress/egress policy".
            Self::SourceRefused => (1, 5, 0),
            // No link is narrower than the minimum MTU (RFC 8200 section 5).
            Self::TooBig { mtu_bytes } => (2, 0, mtu_bytes.max(1280)),
        }
    }
}

/// Whether a packet may be answered with this error (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 e):
/// never an ICMP error, a packet to or from a group, a later fragment, or one whose source is nobody. The
/// broadcast addresses of subnets are for the caller to recognise
/// ([`Target::Broadcast`](super::Target::Broadcast), [`Gateway::is_broadcast`](super::Gateway::is_broadcast)).
pub fn may_answer(frame: &[u8], layers: &Layers, error: IcmpError) -> bool {
    let Some(link) = EthernetHeader::read(frame) else { return false };
    let Some((source, destination)) = layers.addresses(frame) else { return false };
    let to_many = link.dst.is_group() || is_group(destination);
    // Path MTU discovery works for groups too (RFC 4443 section 2.4 e.3).
    let may_be_to_many = layers.network == Network::V6 && matches!(error, IcmpError::TooBig { .. });
    (!to_many || may_be_to_many)
        && !link.src.is_group()
        && !is_group(source)
        && !is_martian(source)
        && layers.fragment != Fragment::Later
        && !is_icmp_error(frame, layers)
        && (error != IcmpError::ProtocolUnreachable || !has_extensions(layers))
}

/// Whether a packet is an ICMP error or a redirect, or so short that it could be.
fn is_icmp_error(frame: &[u8], layers: &Layers) -> bool {
    const V6_REDIRECT: u8 = 137;
    let kind = frame.get(usize::from(layers.l4)).copied();
    match (layers.network, layers.protocol) {
        (Network::V4, protocol::ICMP) => kind.is_none_or(|kind| icmp::ERRORS.contains(&kind)),
        // Unknown errors included: all types below 128 are errors.
        (Network::V6, protocol::ICMPV6) => {
            kind.is_none_or(|kind| kind < 128 || kind == V6_REDIRECT)
        }
        _ => false,
    }
}

/// With extension headers in between, the pointer to the unknown protocol would be elsewhere.
fn has_extensions(layers: &Layers) -> bool {
    layers.network == Network::V6 && usize::from(layers.l4 - layers.l3) != ipv6::BYTES
}

/// The error as a frame back to the sender of `offender`, with its VLAN tags. `None` when the offender may
/// not be answered, `from` has an address of the other family, or no buffer is free.
pub fn make(
    offender: &PktBuf,
    layers: &Layers,
    error: IcmpError,
    from: Station,
    pool: &mut Pool,
) -> Option<PktBuf> {
    let frame = offender.data();
    if !may_answer(frame, layers, error) {
        return None;
    }
    let (longest, header_bytes, protocol, (kind, code, word)) = match layers.network {
        Network::V4 => (V4_BYTES, ipv4::MIN_BYTES, protocol::ICMP, error.v4()),
        Network::V6 => (V6_BYTES, ipv6::BYTES, protocol::ICMPV6, error.v6()),
    };
    let packet = frame.get(usize::from(layers.l3)..usize::try_from(layers.end).ok()?)?;
    let quote = &packet[..packet.len().min(longest - header_bytes - icmp::BYTES)];
    let link = Link::back(frame, usize::from(layers.l3), from.mac)?;
    let destination = layers.addresses(frame)?.0;
    let ip =
        Ip { source: from.ip, destination, protocol, hop_limit: HOP_LIMIT, dscp: CONTROL_DSCP };
    let (mut reply, at) = envelope::make(pool, &link, &ip, icmp::BYTES + quote.len())?;
    let data = reply.data_mut();
    data[at] = kind;
    data[at + 1] = code;
    put_be32(data, at + 4, word);
    data[at + icmp::BYTES..].copy_from_slice(quote);
    seal_or_recycle(reply, pool)
}

/// A TCP reset as a frame back to the sender of `offender` (RFC 9293 section 3.10.7.1): as if its
/// destination had no such connection. `None` when the offender is no TCP segment or a reset itself, may
/// not be answered, or no buffer is free.
pub fn reset(offender: &PktBuf, layers: &Layers, pool: &mut Pool) -> Option<PktBuf> {
    let frame = offender.data();
    let at = usize::from(layers.l4);
    if layers.protocol != protocol::TCP || !may_answer(frame, layers, IcmpError::PortUnreachable) {
        return None;
    }
    let flags = *frame.get(at + tcp::FLAGS)?;
    if flags & tcp::RST != 0 {
        return None;
    }
    let (sequence, ack, reply_flags) = if flags & tcp::ACK_FLAG != 0 {
        (be32(frame, at + tcp::ACK)?, 0, tcp::RST)
    } else {
        let next = be32(frame, at + tcp::SEQUENCE)?.wrapping_add(segment_bytes(frame, layers)?);
        (0, next, tcp::RST | tcp::ACK_FLAG)
    };
    let ports = (be16(frame, at)?, be16(frame, at + 2)?);
    let (destination, source) = layers.addresses(frame)?;
    let link = Link::back(frame, usize::from(layers.l3), EthernetHeader::read(frame)?.dst)?;
    let ip = Ip { source, destination, protocol: protocol::TCP, hop_limit: HOP_LIMIT, dscp: 0 };
    let (mut reply, at) = envelope::make(pool, &link, &ip, tcp::MIN_BYTES)?;
    let data = reply.data_mut();
    put_be16(data, at, ports.1);
    put_be16(data, at + 2, ports.0);
    put_be32(data, at + tcp::SEQUENCE, sequence);
    put_be32(data, at + tcp::ACK, ack);
    data[at + tcp::DATA_OFFSET] = 5 << 4;
    data[at + tcp::FLAGS] = reply_flags;
    seal_or_recycle(reply, pool)
}

/// Sequence numbers that a segment takes: its data, and one each for SYN and FIN.
fn segment_bytes(frame: &[u8], layers: &Layers) -> Option<u32> {
    let headers = u32::from(layers.l4) + u32::try_from(layers.transport_bytes(frame)?).ok()?;
    let flags = *frame.get(usize::from(layers.l4) + tcp::FLAGS)?;
    let controls = [tcp::SYN, tcp::FIN].into_iter().filter(|flag| flags & flag != 0).count();
    Some(layers.end.checked_sub(headers)? + u32::try_from(controls).ok()?)
}

fn seal_or_recycle(mut reply: PktBuf, pool: &mut Pool) -> Option<PktBuf> {
    if envelope::seal(&mut reply).is_some() {
        return Some(reply);
    }
    pool.recycle(reply);
    None
}

#[cfg(test)]
mod tests;
