//! [`Rule`]: what matches, and what becomes of it.

use std::sync::Arc;

use pktio::wire::MacAddr;

use super::fields::{Field, Fields};
use super::meter::Meter;
use super::{AddressSet, ConnState, Icmp, Packet, RangeSet, Timeouts};
use crate::{BridgeIndex, PortIndex, Vid};

/// A rule's number: the place of its counters, and what decides between rules of equal priority (the
/// lower goes first). Numbers are dense: see [`RuleId::LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

impl RuleId {
    /// Numbers are below this.
    pub const LIMIT: u32 = 1 << 20;

    /// The number as a position.
    #[inline]
    pub(super) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// The higher goes first.
    pub priority: u32,
    /// What it is for.
    pub matches: RuleMatch,
    /// What becomes of that.
    pub action: RuleAction,
    /// How long it lives.
    pub timeouts: Timeouts,
}

impl Rule {
    /// Whether its packets go nowhere.
    #[inline]
    pub fn denies(&self) -> bool {
        matches!(self.action.verdict, Verdict::Drop | Verdict::Reject(_))
    }
}

/// Station addresses: those that are `value` in the bits of `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacMatch {
    /// What they are.
    pub value: MacAddr,
    /// The bits that count.
    pub mask: MacAddr,
}

impl MacMatch {
    /// One station.
    pub fn exact(value: MacAddr) -> Self {
        Self { value, mask: MacAddr::BROADCAST }
    }

    #[inline]
    fn matches(self, mac: MacAddr) -> bool {
        (mac.to_bits() ^ self.value.to_bits()) & self.mask.to_bits() == 0
    }
}

/// TCP flags: those of `mask` are as in `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagsMatch {
    /// Which are set.
    pub value: u8,
    /// Which count.
    pub mask: u8,
}

/// ICMP messages of a type, and perhaps a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// The code, if it counts.
    pub code: Option<u8>,
}

/// A set of connection states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnStates(u8);

impl ConnStates {
    /// Whether a state is in the set.
    #[inline]
    pub fn contains(self, state: ConnState) -> bool {
        self.0 & bit(state) != 0
    }
}

fn bit(state: ConnState) -> u8 {
    1 << state as u8
}

impl FromIterator<ConnState> for ConnStates {
    fn from_iter<I: IntoIterator<Item = ConnState>>(states: I) -> Self {
        Self(states.into_iter().fold(0, |set, state| set | bit(state)))
    }
}

/// What a rule is for: packets that are all that it says. What it does not mention does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleMatch {
    /// The ingress port.
    pub ingress: Option<PortIndex>,
    /// The ingress bridge.
    pub bridge: Option<BridgeIndex>,
    /// Source station.
    pub source_mac: Option<MacMatch>,
    /// Destination station.
    pub destination_mac: Option<MacMatch>,
    /// EtherType.
    pub ethertype: Option<u16>,
    /// VLAN.
    pub vid: Option<Vid>,
    /// Source address.
    pub source: Option<AddressSet>,
    /// Destination address.
    pub destination: Option<AddressSet>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Source port.
    pub source_ports: Option<RangeSet<u16>>,
    /// Destination port.
    pub destination_ports: Option<RangeSet<u16>>,
    /// TCP flags.
    pub tcp_flags: Option<FlagsMatch>,
    /// ICMP or ICMPv6 type and code; `protocol` says of which.
    pub icmp: Option<IcmpMatch>,
    /// Differentiated services code point, of IP packets.
    pub dscp: Option<u8>,
    /// Connection states.
    pub states: Option<ConnStates>,
    /// VXLAN network.
    pub vni: Option<u32>,
}

/// Whether a field is as wanted; one that is not mentioned is.
#[inline]
fn fits<T>(wanted: Option<&T>, found: impl FnOnce(&T) -> bool) -> bool {
    wanted.is_none_or(found)
}

impl RuleMatch {
    /// Whether it is for a packet.
    pub fn matches(&self, packet: &Packet) -> bool {
        self.fits_link(packet) && self.fits_network(packet) && self.fits_transport(packet)
    }

    #[inline]
    fn fits_link(&self, packet: &Packet) -> bool {
        fits(self.ingress.as_ref(), |port| *port == packet.ingress)
            && fits(self.bridge.as_ref(), |bridge| *bridge == packet.bridge)
            && fits(self.vid.as_ref(), |vid| *vid == packet.vid)
            && fits(self.ethertype.as_ref(), |kind| *kind == packet.ethertype)
            && fits(self.source_mac.as_ref(), |mac| mac.matches(packet.source_mac))
            && fits(self.destination_mac.as_ref(), |mac| mac.matches(packet.destination_mac))
            && fits(self.vni.as_ref(), |vni| Some(*vni) == packet.vni)
            && fits(self.states.as_ref(), |states| {
                packet.state.is_some_and(|state| states.contains(state))
            })
    }

    #[inline]
    fn fits_network(&self, packet: &Packet) -> bool {
        let Some(tuple) = packet.tuple else { return !self.is_for_ip() };
        fits(self.protocol.as_ref(), |protocol| *protocol == tuple.protocol)
            && fits(self.source.as_ref(), |set| set.contains(tuple.source.ip))
            && fits(self.destination.as_ref(), |set| set.contains(tuple.destination.ip))
            && fits(self.dscp.as_ref(), |dscp| *dscp == packet.dscp)
    }

    #[inline]
    fn fits_transport(&self, packet: &Packet) -> bool {
        let ports = packet.ports();
        fits(self.source_ports.as_ref(), |set| ports.is_some_and(|(from, _)| set.contains(from)))
            && fits(self.destination_ports.as_ref(), |set| {
                ports.is_some_and(|(_, to)| set.contains(to))
            })
            && fits(self.tcp_flags.as_ref(), |wanted| {
                packet.tcp_flags.is_some_and(|flags| (flags ^ wanted.value) & wanted.mask == 0)
            })
            && fits(self.icmp.as_ref(), |wanted| {
                packet.icmp.is_some_and(|Icmp { kind, code }| {
                    kind == wanted.kind && wanted.code.is_none_or(|wanted| wanted == code)
                })
            })
    }

    /// Whether it looks at what only IP packets have.
    fn is_for_ip(&self) -> bool {
        self.source.is_some()
            || self.destination.is_some()
            || self.protocol.is_some()
            || self.dscp.is_some()
    }

    /// What it looks at.
    pub fn fields(&self) -> Fields {
        let looks = [
            (Field::Ingress, self.ingress.is_some()),
            (Field::Bridge, self.bridge.is_some()),
            (Field::SourceMac, self.source_mac.is_some()),
            (Field::DestinationMac, self.destination_mac.is_some()),
            (Field::Ethertype, self.ethertype.is_some()),
            (Field::Vid, self.vid.is_some()),
            (Field::Source, self.source.is_some()),
            (Field::Destination, self.destination.is_some()),
            // Flags are TCP's alone, even if none of them counts.
            (Field::Protocol, self.protocol.is_some() || self.tcp_flags.is_some()),
            (Field::SourcePort, self.source_ports.is_some()),
            (Field::DestinationPort, self.destination_ports.is_some()),
            (Field::Icmp, self.icmp.is_some()),
            (Field::Dscp, self.dscp.is_some()),
            (Field::State, self.states.is_some()),
            (Field::Vni, self.vni.is_some()),
        ];
        let fields = looks.into_iter().filter(|(_, looks)| *looks).map(|(field, _)| field);
        Fields::new(fields, self.tcp_flags.map_or(0, |flags| flags.mask))
    }
}

/// What becomes of a packet: steps in order, and where it goes at last.
#[derive(Debug, Clone)]
pub struct RuleAction {
    /// What is done to it on the way.
    pub steps: Arc<[Step]>,
    /// Where it goes.
    pub verdict: Verdict,
}

impl RuleAction {
    /// Nothing on the way.
    pub fn only(verdict: Verdict) -> Self {
        Self { steps: Arc::default(), verdict }
    }
}

/// Something that is done to a packet on its way.
#[derive(Debug, Clone)]
pub enum Step {
    /// Send a copy to a port.
    Mirror {
        /// The port.
        port: PortIndex,
        /// How much of the frame the copy has at most.
        snap_bytes: Option<u32>,
    },
    /// Put it into another VLAN.
    SetVid(Vid),
    /// Another source station.
    SetSourceMac(MacAddr),
    /// Another destination station.
    SetDestinationMac(MacAddr),
    /// Another differentiated services code point.
    SetDscp(u8),
    /// Drop it when it comes too fast.
    Limit(Arc<Meter>),
}

/// Where a packet goes at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Where it would go without rules.
    Allow,
    /// Nowhere.
    Drop,
    /// Nowhere, and its sender is told.
    Reject(Rejection),
    /// To this port.
    Forward(PortIndex),
}

/// How a sender is told that its packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// TCP by a reset, everything else by ICMP "administratively prohibited".
    ResetOrIcmp,
    /// Always by ICMP "administratively prohibited".
    Icmp,
}
