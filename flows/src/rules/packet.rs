//! [`Packet`]: everything about a packet that a rule can look at.

use pktio::wire::field::{be16, ethertype, protocol, tcp};
use pktio::wire::{ETHERNET_BYTES, EthernetHeader, Fragment, Layers, MacAddr, Network, VLAN_BYTES};

use crate::{BridgeIndex, Endpoint, PortIndex, Tuple, Vid};

/// What the session table knows of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConnState {
    /// It begins one.
    New,
    /// It belongs to one.
    Established,
    /// It belongs to no connection, but to an error about one, or is expected by one.
    Related,
    /// It belongs to none, and cannot begin one.
    Invalid,
}

/// Type and code of an ICMP or ICMPv6 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
}

/// A packet as the rules see it. Addresses and ports are the true ones: those after the destination was
/// translated, and before the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The port that it came in by.
    pub ingress: PortIndex,
    /// The bridge of that port.
    pub bridge: BridgeIndex,
    /// Source station.
    pub source_mac: MacAddr,
    /// Destination station.
    pub destination_mac: MacAddr,
    /// The EtherType of what the frame carries, behind its VLAN tags.
    pub ethertype: u16,
    /// The VLAN that the bridge put it into.
    pub vid: Vid,
    /// Addresses, protocol and ports of an IP packet. Ports count only where [`Packet::ports`] says so:
    /// what has none has zeros or an identifier in their place. Both addresses are of one IP version.
    pub tuple: Option<Tuple>,
    /// Whether it is a piece of a datagram. A later piece has no ports, TCP flags or ICMP type: no rule
    /// that looks at these matches it.
    pub fragment: Fragment,
    /// TCP flags.
    pub tcp_flags: Option<u8>,
    /// ICMP type and code.
    pub icmp: Option<Icmp>,
    /// Differentiated services code point; 0 for what is not IP.
    pub dscp: u8,
    /// The state of its connection; `None` for what has none, as ARP.
    pub state: Option<ConnState>,
    /// The number of the VXLAN network that it came in by.
    pub vni: Option<u32>,
}

impl Packet {
    /// What the frame itself says. `layers` are those of the frame. The connection and the tunnel are
    /// left to the caller, who knows them. `None` for a runt.
    pub fn read(
        frame: &[u8],
        layers: Option<&Layers>,
        (ingress, bridge, vid): (PortIndex, BridgeIndex, Vid),
    ) -> Option<Self> {
        let EthernetHeader { dst: destination_mac, src: source_mac, .. } =
            EthernetHeader::read(frame)?;
        let transport = layers.filter(|layers| layers.fragment != Fragment::Later);
        let of = |number: &[u8]| transport.filter(|layers| number.contains(&layers.protocol));
        Some(Self {
            ingress,
            bridge,
            source_mac,
            destination_mac,
            ethertype: inner_ethertype(frame, layers)?,
            vid,
            tuple: layers.and_then(|layers| tuple(frame, layers)),
            fragment: layers.map_or(Fragment::Whole, |layers| layers.fragment),
            tcp_flags: of(&[protocol::TCP])
                .and_then(|layers| frame.get(usize::from(layers.l4) + tcp::FLAGS).copied()),
            icmp: of(&[protocol::ICMP, protocol::ICMPV6]).and_then(|layers| {
                let [kind, code] = *frame.get(usize::from(layers.l4)..)?.first_chunk()?;
                Some(Icmp { kind, code })
            }),
            dscp: layers.and_then(|layers| dscp(frame, layers)).unwrap_or(0),
            state: None,
            vni: None,
        })
    }

    /// Source and destination port, where there are any.
    #[inline]
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = |tuple: &Tuple| {
            matches!(tuple.protocol, protocol::TCP | protocol::UDP | protocol::SCTP)
        };
        let tuple = self.tuple.filter(|_| self.fragment != Fragment::Later).filter(has_ports)?;
        Some((tuple.source.port, tuple.destination.port))
    }
}

/// The tuple, or addresses and protocol of what has none.
fn tuple(frame: &[u8], layers: &Layers) -> Option<Tuple> {
    let portless = || {
        let (source, destination) = layers.addresses(frame)?;
        Some(Tuple {
            protocol: layers.protocol,
            source: Endpoint::new(source, 0),
            destination: Endpoint::new(destination, 0),
        })
    };
    Tuple::of(frame, layers).or_else(portless)
}

/// The EtherType behind at most two VLAN tags, as in [`Layers::parse`].
fn inner_ethertype(frame: &[u8], layers: Option<&Layers>) -> Option<u16> {
    match layers.map(|layers| layers.network) {
        Some(Network::V4) => return Some(ethertype::IPV4),
        Some(Network::V6) => return Some(ethertype::IPV6),
        None => {}
    }
    let first = ETHERNET_BYTES - 2;
    let kind = |tags: usize| be16(frame, first + tags * VLAN_BYTES);
    let is_tag = |kind: u16| matches!(kind, ethertype::VLAN | ethertype::SERVICE_VLAN);
    let behind = (0..2).take_while(|tags| kind(*tags).is_some_and(is_tag)).count();
    kind(behind).or_else(|| kind(0))
}

/// The upper six bits of the TOS byte or traffic class (RFC 2474).
fn dscp(frame: &[u8], layers: &Layers) -> Option<u8> {
    let at = usize::from(layers.l3);
    match layers.network {
        Network::V4 => Some(frame.get(at + 1)? >> 2),
        Network::V6 => Some(u8::try_from(be16(frame, at)? >> 6 & 0x3f).unwrap_or(0)),
    }
}
