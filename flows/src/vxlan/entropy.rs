//! What tells one inner flow from another outside of the tunnel (RFC 7348, section 5: the source port).
//!
//! Routers and receivers spread flows by the outer ports, and keep the order of one. So all packets of a flow
//! have one value: TCP, UDP and SCTP by addresses, protocol and ports, everything else by addresses and
//! protocol. A fragment, the first one too, counts as the latter: else a datagram's fragments would part
//! ways. What is no IP, or is malformed, goes by its MAC addresses and EtherType.

use pktio::wire::field::{be16, be32, ipv4, ipv6, protocol};
use pktio::wire::{ETHERNET_BYTES, Fragment, Layers, Network};

/// A hash of the flow that a frame is of. `layers` are where its headers are, if it has any.
#[inline]
pub fn entropy(frame: &[u8], layers: Option<&Layers>) -> u16 {
    let hash = match layers {
        Some(layers) => flow(frame, layers),
        None => stations(frame),
    };
    let [high, low, ..] = hash.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[inline]
fn flow(frame: &[u8], layers: &Layers) -> u64 {
    let l3 = usize::from(layers.l3);
    let hash = match layers.network {
        Network::V4 => word(frame, l3 + ipv4::ADDRESSES.start),
        Network::V6 => (l3 + ipv6::ADDRESSES.start..l3 + ipv6::ADDRESSES.end)
            .step_by(8)
            .fold(0, |hash, at| mix(hash ^ word(frame, at))),
    };
    let has_ports = matches!(layers.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        && layers.fragment == Fragment::Whole;
    let ports = if has_ports { be32(frame, usize::from(layers.l4)) } else { None };
    let transport = u64::from(layers.protocol) << 32 | u64::from(ports.unwrap_or(0));
    mix(mix(hash) ^ transport)
}

#[inline]
fn stations(frame: &[u8]) -> u64 {
    let ethertype = u64::from(be16(frame, ETHERNET_BYTES - 2).unwrap_or(0));
    mix(mix(word(frame, 0)) ^ word(frame, 4).rotate_left(16) ^ ethertype)
}

/// Eight bytes; 0 beyond the end.
#[inline]
fn word(frame: &[u8], at: usize) -> u64 {
    let bytes = frame.get(at..).and_then(|bytes| bytes.first_chunk());
    u64::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// Spreads a number over all bits: multiply and fold.
#[inline]
fn mix(number: u64) -> u64 {
    let product = u128::from(number ^ 0x2545_f491_4f6c_dd1d) * 0x9e37_79b9_7f4a_7c15;
    let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
    u64::try_from(high ^ low).unwrap_or(0)
}
