//! [`Fields`]: what a set of rules looks at.
//!
//! A flow cache remembers what the rules said about one packet and applies it to others. That is right
//! for those, and only those, that the rules cannot tell apart. **Two packets whose
//! [`Fields::project`]ions are equal get the same rule**: so a cache key must determine the projection,
//! and need hold nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pktio::wire::{Fragment, MacAddr};

use super::Packet;
use crate::{BridgeIndex, Endpoint, PortIndex, Tuple, Vid};

/// Something about a packet that a rule can look at. TCP flags are looked at one by one:
/// [`Fields::tcp_flags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// [`Packet::ingress`].
    Ingress,
    /// [`Packet::bridge`].
    Bridge,
    /// [`Packet::source_mac`].
    SourceMac,
    /// [`Packet::destination_mac`].
    DestinationMac,
    /// [`Packet::ethertype`].
    Ethertype,
    /// [`Packet::vid`].
    Vid,
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// The IP protocol.
    Protocol,
    /// The source port, or that there is none.
    SourcePort,
    /// The destination port, or that there is none.
    DestinationPort,
    /// [`Packet::icmp`].
    Icmp,
    /// [`Packet::dscp`].
    Dscp,
    /// [`Packet::state`].
    State,
    /// [`Packet::vni`].
    Vni,
}

impl Field {
    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// How many rules look at each field and TCP flag: what a set looks at follows when one comes or goes, without a look at
/// the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookers {
    fields: [u32; u16::BITS as usize],
    tcp_flags: [u32; u8::BITS as usize],
}

impl Lookers {
    /// One more rule looks at these.
    pub fn add(&mut self, of: Fields) {
        self.change(of, |count| *count += 1);
    }

    /// One rule less does.
    pub fn remove(&mut self, of: Fields) {
        self.change(of, |count| *count -= 1);
    }

    /// What any of them looks at.
    pub fn fields(&self) -> Fields {
        let looked_at = |count: &u32| *count > 0;
        let fields = (0..).zip(&self.fields).filter(|(_, count)| looked_at(count));
        let tcp_flags = (0..).zip(&self.tcp_flags).filter(|(_, count)| looked_at(count));
        Fields {
            fields: fields.fold(0, |set, (bit, _)| set | 1 << bit),
            tcp_flags: tcp_flags.fold(0, |set, (bit, _)| set | 1 << bit),
        }
    }

    fn change(&mut self, Fields { fields, tcp_flags }: Fields, change: fn(&mut u32)) {
        let fields = self.fields.iter_mut().enumerate().filter(|(bit, _)| fields >> bit & 1 == 1);
        fields.for_each(|(_, count)| change(count));
        let flags = self.tcp_flags.iter_mut().enumerate();
        let flags = flags.filter(|(bit, _)| tcp_flags >> bit & 1 == 1);
        flags.for_each(|(_, count)| change(count));
    }
}

/// What a rule, or any of a set of rules, looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields {
    fields: u16,
    tcp_flags: u8,
}

impl Fields {
    /// These fields, and the TCP flags of the mask.
    pub(super) fn new(fields: impl IntoIterator<Item = Field>, tcp_flags: u8) -> Self {
        Self { fields: fields.into_iter().fold(0, |set, field| set | field.bit()), tcp_flags }
    }

    /// What either looks at.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { fields: self.fields | other.fields, tcp_flags: self.tcp_flags | other.tcp_flags }
    }

    /// Whether a field is looked at.
    pub fn contains(self, field: Field) -> bool {
        self.fields & field.bit() != 0
    }

    /// The TCP flags that are looked at.
    pub fn tcp_flags(self) -> u8 {
        self.tcp_flags
    }

    /// The packet with everything blank that is not looked at.
    #[must_use]
    pub fn project(self, packet: &Packet) -> Packet {
        Packet {
            ingress: self.kept(Field::Ingress, packet.ingress, PortIndex(0)),
            bridge: self.kept(Field::Bridge, packet.bridge, BridgeIndex(0)),
            source_mac: self.kept(Field::SourceMac, packet.source_mac, MacAddr::default()),
            destination_mac: self.kept(
                Field::DestinationMac,
                packet.destination_mac,
                MacAddr::default(),
            ),
            ethertype: self.kept(Field::Ethertype, packet.ethertype, 0),
            vid: self.kept(Field::Vid, packet.vid, Vid::NONE),
            tuple: packet.tuple.and_then(|tuple| self.project_tuple(packet, tuple)),
            fragment: self.project_fragment(packet),
            tcp_flags: packet
                .tcp_flags
                .filter(|_| self.tcp_flags != 0 || self.contains(Field::Protocol))
                .map(|flags| flags & self.tcp_flags),
            icmp: self.kept(Field::Icmp, packet.icmp, None),
            dscp: self.kept(Field::Dscp, packet.dscp, 0),
            state: self.kept(Field::State, packet.state, None),
            vni: self.kept(Field::Vni, packet.vni, None),
        }
    }

    fn kept<T>(self, field: Field, value: T, blank: T) -> T {
        if self.contains(field) { value } else { blank }
    }

    /// Whether ports are looked at, on either side.
    fn ports(self) -> bool {
        self.contains(Field::SourcePort) || self.contains(Field::DestinationPort)
    }

    fn project_tuple(self, packet: &Packet, tuple: Tuple) -> Option<Tuple> {
        let addresses = self.contains(Field::Source) || self.contains(Field::Destination);
        let others = self.contains(Field::Protocol) || self.contains(Field::Dscp);
        if !addresses && !others && !self.ports() {
            return None;
        }
        // The address that is not looked at is of the other one's IP version still.
        let blank: IpAddr = match tuple.source.ip {
            IpAddr::V6(_) if addresses => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let (from, to) = packet.ports().unwrap_or_default();
        // Whether there are ports to look at is for the protocol to say.
        let protocol = if self.ports() { tuple.protocol } else { 0 };
        Some(Tuple {
            protocol: self.kept(Field::Protocol, tuple.protocol, protocol),
            source: Endpoint::new(
                self.kept(Field::Source, tuple.source.ip, blank),
                self.kept(Field::SourcePort, from, 0),
            ),
            destination: Endpoint::new(
                self.kept(Field::Destination, tuple.destination.ip, blank),
                self.kept(Field::DestinationPort, to, 0),
            ),
        })
    }

    /// Fragments matter to rules only because later ones have no ports.
    fn project_fragment(self, packet: &Packet) -> Fragment {
        match packet.fragment {
            Fragment::Later if self.ports() => Fragment::Later,
            _ => Fragment::Whole,
        }
    }
}
