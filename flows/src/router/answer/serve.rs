//! Packets for a service of the gateway: recognised here, and attended to off the packet path.

use std::net::IpAddr;

use pktio::wire::field::protocol;
use pktio::wire::{Fragment, Layers, Network};
use pktio::{Gso, PktBuf};

use super::Gateway;
use super::echo::has_sender;

/// DNS (RFC 1035 section 4.2).
const NAMES: u16 = 53;
/// DHCP servers (RFC 2131 section 4.1).
const ADDRESSES: u16 = 67;

/// Whether a packet is for one of the gateway's services. Who asks for an address has none yet, and asks everybody.
/// Datagrams in fragments are served by nobody: no question is that long.
pub(super) fn is_for_service(gateway: &Gateway, frame: &PktBuf, layers: &Layers) -> bool {
    let is_whole = layers.fragment == Fragment::Whole;
    let data = frame.data();
    let Some(((_, to_port), (_, to))) = layers.ports(data).zip(layers.addresses(data)) else {
        return false;
    };
    is_whole
        && match (layers.protocol, to_port) {
            (protocol::TCP, NAMES) => {
                gateway.serves.names && is_from_one(gateway, frame, layers, to)
            }
            (protocol::UDP, NAMES) => {
                let is_single = frame.offload.gso == Gso::None;
                gateway.serves.names && is_single && is_from_one(gateway, frame, layers, to)
            }
            (protocol::UDP, ADDRESSES) => {
                gateway.serves.addresses
                    && layers.network == Network::V4
                    && (gateway.is_own(to) || gateway.is_broadcast(to))
            }
            _ => false,
        }
}

/// Whether it is from one station to the gateway.
fn is_from_one(gateway: &Gateway, frame: &PktBuf, layers: &Layers, to: IpAddr) -> bool {
    gateway.is_own(to) && has_sender(frame.data(), layers)
}
