//! Rules and packets from small worlds, so that they meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pktio::wire::{Fragment, MacAddr};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{
    AddressSet, ConnState, FlagsMatch, Icmp, IcmpMatch, MacMatch, Packet, RangeSet, Rule,
    RuleAction, RuleId, RuleMatch, Timeouts, Verdict,
};
use crate::{BridgeIndex, Endpoint, PortIndex, Tuple, Vid};

const STATES: [ConnState; 4] =
    [ConnState::New, ConnState::Established, ConnState::Related, ConnState::Invalid];

fn mac(number: u64) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 | number)
}

/// Addresses that share prefixes of every length.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u32..33, 0u32..3).prop_map(|(bit, low)| {
        IpAddr::from(Ipv4Addr::from_bits((0x0a00_0000 ^ 1u32.checked_shl(bit).unwrap_or(0)) + low))
    });
    let v6 = (0u32..129, 0u128..3).prop_map(|(bit, low)| {
        let base = 0xfd00_u128 << 112;
        IpAddr::from(Ipv6Addr::from_bits((base ^ 1u128.checked_shl(bit).unwrap_or(0)) + low))
    });
    prop_oneof![2 => v4, 1 => v6]
}

fn addresses() -> impl Strategy<Value = AddressSet> {
    let prefix = (address(), 0u8..=128).prop_map(|(address, len)| match address {
        IpAddr::V4(_) => (address, len % 33),
        IpAddr::V6(_) => (address, len),
    });
    vec(prefix, 1..4).prop_map(|prefixes| prefixes.into_iter().collect())
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0u16..20, 1 => any::<u16>()]
}

fn ports() -> impl Strategy<Value = RangeSet<u16>> {
    let range = (port(), prop_oneof![Just(0u16), 0u16..10, any::<u16>()]);
    vec(range, 1..4).prop_map(|ranges| {
        ranges.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect()
    })
}

fn mac_match() -> impl Strategy<Value = MacMatch> {
    (0u64..4, option::of(select(vec![1u64, 3, 0x0100_0000_0000]))).prop_map(|(number, mask)| {
        MacMatch { value: mac(number), mask: mask.map_or(MacAddr::BROADCAST, MacAddr::from_bits) }
    })
}

/// What a rule may be for; most mention little.
pub fn matches() -> impl Strategy<Value = RuleMatch> {
    fn rarely<T: std::fmt::Debug>(
        of: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<T>> {
        option::weighted(0.12, of)
    }
    fn often<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
        option::weighted(0.4, of)
    }
    let link = (
        rarely((0u16..3).prop_map(PortIndex)),
        rarely((0u16..2).prop_map(BridgeIndex)),
        rarely(mac_match()),
        rarely(mac_match()),
        rarely(select(vec![0x0800u16, 0x86dd, 0x0806])),
        rarely((0u16..3).prop_map(Vid)),
        rarely(0u32..2),
    );
    let network = (often(addresses()), often(addresses()), often(select(vec![1u8, 6, 17, 47])));
    let flags = (any::<u8>(), any::<u8>())
        .prop_map(|(value, mask)| FlagsMatch { value: value & mask, mask });
    let icmp = (0u8..3, option::of(0u8..2)).prop_map(|(kind, code)| IcmpMatch { kind, code });
    let transport = (often(ports()), often(ports()), rarely(flags), rarely(icmp));
    let rest = (rarely(0u8..3), rarely(vec(select(STATES.to_vec()), 1..4)));
    (link, network, transport, rest).prop_map(|(link, network, transport, rest)| {
        let (ingress, bridge, source_mac, destination_mac, ethertype, vid, vni) = link;
        let (source, destination, protocol) = network;
        let (source_ports, destination_ports, tcp_flags, icmp) = transport;
        let (dscp, states) = rest;
        let states = states.map(|states| states.into_iter().collect());
        RuleMatch {
            ingress,
            bridge,
            source_mac,
            destination_mac,
            ethertype,
            vid,
            source,
            destination,
            protocol,
            source_ports,
            destination_ports,
            tcp_flags,
            icmp,
            dscp,
            states,
            vni,
        }
    })
}

/// A rule that allows.
pub fn rule(id: u32, priority: u32, matches: RuleMatch) -> Rule {
    Rule {
        id: RuleId(id),
        priority,
        matches,
        action: RuleAction::only(Verdict::Allow),
        timeouts: Timeouts::default(),
    }
}

/// Rules of few priorities, numbered in any order with gaps.
pub fn rules(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Rule>> {
    vec((matches(), 0u32..5), count).prop_map(|rules| {
        let number = |at: usize| u32::try_from(at * 7919 % 500).unwrap();
        rules
            .into_iter()
            .enumerate()
            .map(|(at, (matches, priority))| rule(number(at), priority, matches))
            .collect()
    })
}

/// Rules to remove and to add, several times.
pub fn changes() -> impl Strategy<Value = Vec<(Vec<RuleId>, Vec<Rule>)>> {
    let id = (0u32..500).prop_map(RuleId);
    vec((vec(id, 0..3), rules(0..3)), 1..12)
}

/// Any packet of the small world that could have come by a wire.
pub fn packet() -> impl Strategy<Value = Packet> {
    let link = (0u16..3, 0u16..2, 0u64..4, 0u64..4, 0u16..3, option::of(0u32..2));
    let addresses = (address(), address());
    let fragment = prop_oneof![6 => Just(Fragment::Whole), 1 => Just(Fragment::First), 1 => Just(Fragment::Later)];
    let ip =
        (option::weighted(0.9, addresses), select(vec![1u8, 6, 17, 47]), port(), port(), fragment);
    let rest =
        (any::<u8>(), (0u8..3, 0u8..2), 0u8..3, option::weighted(0.9, select(STATES.to_vec())));
    (link, ip, rest).prop_map(|((ingress, bridge, from, to, vid, vni), ip, rest)| {
        let (addresses, protocol, source_port, destination_port, fragment) = ip;
        let (flags, (kind, code), dscp, state) = rest;
        let family = addresses.filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
        let packet = Packet {
            ingress: PortIndex(ingress),
            bridge: BridgeIndex(bridge),
            source_mac: mac(from),
            destination_mac: mac(to),
            ethertype: match family {
                Some((IpAddr::V4(_), _)) => 0x0800,
                Some(_) => 0x86dd,
                None => 0x0806,
            },
            vid: Vid(vid),
            tuple: family.map(|(source, destination)| Tuple {
                protocol,
                source: Endpoint::new(source, source_port),
                destination: Endpoint::new(destination, destination_port),
            }),
            fragment,
            tcp_flags: Some(flags),
            icmp: Some(Icmp { kind, code }),
            dscp,
            state,
            vni,
        };
        possible(packet)
    })
}

/// The packet without what its protocol does not have.
fn possible(packet: Packet) -> Packet {
    let protocol = packet.tuple.map(|tuple| tuple.protocol);
    let fragment = if protocol.is_some() { packet.fragment } else { Fragment::Whole };
    let has = |number| protocol == Some(number) && fragment != Fragment::Later;
    Packet {
        fragment,
        tcp_flags: packet.tcp_flags.filter(|_| has(6)),
        icmp: packet.icmp.filter(|_| has(1)),
        dscp: if protocol.is_some() { packet.dscp } else { 0 },
        ..packet
    }
}

/// Two packets that differ in some fields only.
pub fn siblings() -> impl Strategy<Value = (Packet, Packet)> {
    (packet(), packet(), any::<u16>()).prop_map(|(one, other, differ)| {
        let differs = |bit: u32| differ >> bit & 1 == 1;
        let tuple = one.tuple.zip(other.tuple).map(|(mut tuple, second)| {
            if differs(5) && tuple.source.ip.is_ipv4() == second.source.ip.is_ipv4() {
                tuple.source.ip = second.source.ip;
            }
            tuple.protocol = if differs(6) { second.protocol } else { tuple.protocol };
            tuple.source.port = if differs(7) { second.source.port } else { tuple.source.port };
            tuple
        });
        let merged = Packet {
            ingress: if differs(0) { other.ingress } else { one.ingress },
            source_mac: if differs(1) { other.source_mac } else { one.source_mac },
            dscp: if differs(2) { other.dscp } else { one.dscp },
            tcp_flags: if differs(3) { other.tcp_flags } else { one.tcp_flags },
            state: if differs(4) { other.state } else { one.state },
            fragment: if differs(8) { other.fragment } else { one.fragment },
            tuple: tuple.or(one.tuple),
            ..one
        };
        (one, possible(merged))
    })
}

/// A TCP packet.
pub fn plain() -> Packet {
    let endpoint = |last: u8, port| Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port);
    Packet {
        ingress: PortIndex(0),
        bridge: BridgeIndex(0),
        source_mac: mac(1),
        destination_mac: mac(2),
        ethertype: 0x0800,
        vid: Vid::NONE,
        tuple: Some(Tuple { protocol: 6, source: endpoint(1, 4000), destination: endpoint(2, 80) }),
        fragment: Fragment::Whole,
        tcp_flags: Some(0x02),
        icmp: None,
        dscp: 0,
        state: Some(ConnState::New),
        vni: None,
    }
}

/// The packet, changed to be more like what a rule is for.
pub fn fitting(wanted: &RuleMatch, packet: Packet) -> Packet {
    let tuple = packet.tuple.or(plain().tuple).map(|tuple| {
        let v6 =
            [&wanted.source, &wanted.destination].into_iter().flatten().any(|set| !has_v4(set));
        let address = |set: Option<&AddressSet>, address: IpAddr| {
            let other = if v6 { "fd00::5" } else { "10.0.0.5" }.parse().unwrap();
            let default = if address.is_ipv6() == v6 { address } else { other };
            set.and_then(|set| first_address(set, v6)).unwrap_or(default)
        };
        let port = |set: Option<&RangeSet<u16>>, port: u16| {
            set.map_or(port, |set| (0..=u16::MAX).find(|port| set.contains(*port)).unwrap_or(0))
        };
        let source = address(wanted.source.as_ref(), tuple.source.ip);
        let destination = address(wanted.destination.as_ref(), tuple.destination.ip);
        Tuple {
            protocol: wanted.protocol.unwrap_or(tuple.protocol),
            source: Endpoint::new(source, port(wanted.source_ports.as_ref(), tuple.source.port)),
            destination: Endpoint::new(
                destination,
                port(wanted.destination_ports.as_ref(), tuple.destination.port),
            ),
        }
    });
    possible(Packet {
        ingress: wanted.ingress.unwrap_or(packet.ingress),
        bridge: wanted.bridge.unwrap_or(packet.bridge),
        source_mac: wanted.source_mac.map_or(packet.source_mac, |mac| mac.value),
        destination_mac: wanted.destination_mac.map_or(packet.destination_mac, |mac| mac.value),
        ethertype: wanted.ethertype.unwrap_or(packet.ethertype),
        vid: wanted.vid.unwrap_or(packet.vid),
        tuple,
        tcp_flags: wanted.tcp_flags.map(|flags| flags.value).or(packet.tcp_flags),
        icmp: wanted
            .icmp
            .map(|icmp| Icmp { kind: icmp.kind, code: icmp.code.unwrap_or(0) })
            .or(packet.icmp),
        dscp: wanted.dscp.unwrap_or(packet.dscp),
        state: wanted
            .states
            .and_then(|states| STATES.into_iter().find(|state| states.contains(*state)))
            .or(packet.state),
        vni: wanted.vni.or(packet.vni),
        ..packet
    })
}

fn has_v4(set: &AddressSet) -> bool {
    !set.prefixes()[0].is_empty()
}

fn first_address(set: &AddressSet, v6: bool) -> Option<IpAddr> {
    let [v4_prefixes, v6_prefixes] = set.prefixes();
    let of_v4 = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap()).into();
    if v6 {
        v6_prefixes.first().map(|prefix| Ipv6Addr::from_bits(prefix.bits).into())
    } else {
        v4_prefixes.first().map(|prefix| of_v4(prefix.bits))
    }
}

/// The same for another source network, so that many rules are as one was, and yet others.
pub fn moved(kind: &RuleMatch, by: u32) -> RuleMatch {
    let network = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + (by << 8)));
    let len = u8::try_from(by % 9).unwrap() + 24;
    RuleMatch {
        source: Some([(network, len)].into_iter().collect()),
        ethertype: None,
        ..kind.clone()
    }
}
