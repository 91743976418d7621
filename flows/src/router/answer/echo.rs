//! Packets to the gateway's own addresses: pings are answered, all else is refused.
//!
//! An answer is the question turned around in its own buffer: same identification, options, data and
//! fragmentation. A fragmented ping is answered fragment by fragment without reassembly: the checksum
//! in the first one covers all of them, and only its type changes, which RFC 1624 allows to correct for
//! without seeing the rest. So a ping of any size costs no memory. The price: stray later
//! fragments of ICMP come back to their sender too, as many and as long as he sent.
//!
//! Pings to groups and broadcast addresses are not answered (RFC 1122 section 3.2.2.6 leaves that open).

use pktio::offload::checksum::verify;
use pktio::wire::checksum::{finish, never_zero, sum, update};
use pktio::wire::field::{be16, icmp, ipv4, ipv6, protocol, put_be16};
use pktio::wire::{EthernetHeader, Fragment, Layers, Network};
use pktio::{Csum, Gso, PktBuf};

use super::super::envelope::{HOP_LIMIT, Link};
use super::super::forward::{is_group, is_martian, set_ttl};
use super::super::icmp::IcmpError;
use super::{Gateway, Outcome};

/// Type and code of an echo request and of its reply, as one word.
const ECHO_V4: (u16, u16) = (8 << 8, 0);
const ECHO_V6: (u16, u16) = (128 << 8, 129 << 8);

/// Attends to a packet for one of the gateway's addresses.
pub(super) fn attend(gateway: &Gateway, frame: &mut PktBuf, layers: &Layers) -> Outcome {
    if !has_sender(frame.data(), layers) {
        return Outcome::Done;
    }
    let is_later = layers.fragment == Fragment::Later;
    match layers.protocol {
        protocol::ICMP | protocol::ICMPV6 if is_ping(frame, layers) => {
            turn_around(gateway, frame, layers).map_or(Outcome::Done, |()| Outcome::Reply)
        }
        protocol::ICMP | protocol::ICMPV6 => Outcome::Done,
        _ if is_later => Outcome::Done,
        protocol::TCP => Outcome::Reset,
        protocol::UDP => Outcome::Refuse(IcmpError::PortUnreachable),
        _ => Outcome::Refuse(IcmpError::ProtocolUnreachable),
    }
}

/// Whether there is one station to answer to, and it meant this one.
pub(super) fn has_sender(frame: &[u8], layers: &Layers) -> bool {
    let to_one = EthernetHeader::read(frame)
        .is_some_and(|link| !link.dst.is_group() && !link.src.is_group());
    let source = layers.addresses(frame).map(|(source, _)| source);
    to_one && source.is_some_and(|source| !is_group(source) && !is_martian(source))
}

/// Whether a packet is an echo request with a sound checksum, or a piece of what can be one.
fn is_ping(frame: &PktBuf, layers: &Layers) -> bool {
    let data = frame.data();
    let is_request = || be16(data, usize::from(layers.l4)) == Some(echo(layers).0);
    match layers.fragment {
        Fragment::Later => true,
        Fragment::First => is_request(),
        Fragment::Whole => is_request() && has_sound_checksum(frame, layers),
    }
}

fn echo(layers: &Layers) -> (u16, u16) {
    if layers.network == Network::V4 { ECHO_V4 } else { ECHO_V6 }
}

fn has_sound_checksum(frame: &PktBuf, layers: &Layers) -> bool {
    if frame.offload.csum != Csum::None {
        return true;
    }
    let message = || {
        let end = usize::try_from(layers.end).ok()?;
        frame.data().get(usize::from(layers.l4)..end)
    };
    match layers.network {
        Network::V4 => message().is_some_and(|message| finish(sum(message)) == 0),
        Network::V6 => verify(frame.data(), layers) == Some(true),
    }
}

/// Makes the reply of a request. `None`, and unchanged, for a frame that is not the one parsed.
fn turn_around(gateway: &Gateway, frame: &mut PktBuf, layers: &Layers) -> Option<()> {
    if frame.offload.gso != Gso::None {
        return None;
    }
    let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
    let link = Link::back(frame.data(), l3, gateway.mac)?;
    let is_partial = matches!(frame.offload.csum, Csum::Partial { .. });
    let data = frame.data_mut();
    data[..l3].copy_from_slice(link.bytes());
    // Neither the header's nor the pseudo-header's sum minds who is source and who destination.
    match layers.network {
        Network::V4 => {
            swap_halves(data.get_mut(l3 + ipv4::ADDRESSES.start..l3 + ipv4::ADDRESSES.end)?);
            set_ttl(data, l3, HOP_LIMIT);
        }
        Network::V6 => {
            swap_halves(data.get_mut(l3 + ipv6::ADDRESSES.start..l3 + ipv6::ADDRESSES.end)?);
            *data.get_mut(l3 + ipv6::HOP_LIMIT)? = HOP_LIMIT;
        }
    }
    if layers.fragment != Fragment::Later {
        let (request, reply) = echo(layers);
        put_be16(data, l4, reply);
        // A checksum that is left half done does not cover the type yet.
        if !is_partial {
            let checksum = update(be16(data, l4 + icmp::CHECKSUM)?, request, reply);
            // The reply may be nothing but zeros.
            put_be16(data, l4 + icmp::CHECKSUM, never_zero(checksum));
        }
    }
    Some(())
}

fn swap_halves(addresses: &mut [u8]) {
    let (source, destination) = addresses.split_at_mut(addresses.len() / 2);
    source.swap_with_slice(destination);
}
