//! Rules by tables and properties: who gets through, who is told, and what becomes of a packet on its way.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, NetSlice, PacketBuilder, SlicedPacket, TransportSlice, icmpv4,
};
use pktio::wire::field::tcp;

use super::*;
use crate::router::{Gateway, GatewayAddress, Prefix, Routes, Target};
use crate::rules::{
    AddressSet, ConnState, FlagsMatch, Hits, LimitSpec, Meter, Rejection, Rule, RuleAction, RuleId,
    RuleMatch, RuleSet, Scope, Step, Timeouts, Unit, Verdict,
};
use crate::{RouterPort, Tables};

mod exits;
mod states;

const REJECT: Verdict = Verdict::Reject(Rejection::ResetOrIcmp);

/// A rig whose rules can be changed. Station `n` has the address `10.0.0.n` and is behind port `n`.
struct Ruled {
    rig: Rig,
    fdb: Arc<Fdb>,
    ports: Vec<PortConfig>,
    router: Option<Arc<RouterPort>>,
    tables: Arc<Tables>,
    rules: Vec<Rule>,
    generation: u64,
}

fn inspected() -> PortConfig {
    PortConfig { is_inspected: true, ..plain(0) }
}

impl Ruled {
    fn new(rules: Vec<Rule>) -> Self {
        Self::with_ports(vec![inspected(); 4], rules)
    }

    fn with_ports(ports: Vec<PortConfig>, rules: Vec<Rule>) -> Self {
        let tables = Arc::new(Tables::default());
        let pipeline = Pipeline::new(Arc::default(), Arc::clone(&tables));
        let rig = Rig { pipeline, ..Rig::new(ports.clone()) };
        let fdb = Arc::new(Fdb::new(1000, 300, 1));
        let mut ruled =
            Self { rig, fdb, ports, router: None, tables, rules: Vec::new(), generation: 1 };
        ruled.adopt(rules);
        for port in 0..4 {
            let vid = ruled.ports.get(usize::from(port)).map(|port| match port.vlan {
                VlanPolicy::Access(vid) => vid,
                _ => Vid::NONE,
            });
            let vid = vid.unwrap_or(Vid::NONE);
            assert!(ruled.fdb.add_static(station(port), vid, PortIndex(port.into())));
        }
        ruled
    }

    fn adopt(&mut self, rules: Vec<Rule>) {
        self.generation += 1;
        for rule in &rules {
            if self.rules.iter().all(|old| old.id != rule.id) {
                self.tables.rules.begin(rule.id, Nanos::from_secs(1));
            }
        }
        let mut domain = BridgeDomain::new(Arc::clone(&self.fdb), 1000);
        if let Some(router) = &self.router {
            domain.gateway_mac = router.gateway.mac;
            domain.router = Some(Arc::clone(router));
        }
        let ports = self.ports.iter().cloned().map(Some).collect();
        let snapshot = Snapshot::new(Generation(self.generation), ports, vec![Some(domain)]);
        let set = RuleSet::compile(rules.clone()).unwrap();
        self.rules = rules;
        self.rig.pipeline.adopt(Arc::new(snapshot.unwrap().with_rules(Arc::new(set))));
    }

    /// Where a frame goes.
    fn send(&mut self, from: u8, bytes: &[u8]) -> Vec<u16> {
        ports_of(&self.rig.send(from.into(), bytes))
    }

    fn hits(&self, rule: u32) -> Hits {
        self.tables.rules.hits(RuleId(rule))
    }

    fn drops(&self, port: u8, reason: DropReason) -> u64 {
        self.rig.drops(port.into(), reason)
    }
}

fn rule(id: u32, priority: u32, matches: RuleMatch, verdict: Verdict) -> Rule {
    acting(id, priority, matches, &[], verdict)
}

fn acting(id: u32, priority: u32, matches: RuleMatch, steps: &[Step], verdict: Verdict) -> Rule {
    let action = RuleAction { steps: steps.into(), verdict };
    Rule { id: RuleId(id), priority, matches, action, timeouts: Timeouts::default() }
}

/// Everything.
fn any() -> RuleMatch {
    RuleMatch::default()
}

/// Packets to a port of a protocol.
fn to(protocol: u8, port: u16) -> RuleMatch {
    let destination_ports = Some([(port, port)].into_iter().collect());
    RuleMatch { protocol: Some(protocol), destination_ports, ..any() }
}

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

fn built(write: impl FnOnce(PacketBuilderStep, &mut Vec<u8>), from: u8, to: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(station(from).0, station(to).0);
    write(builder.ipv4(ip(from).octets(), ip(to).octets(), 64), &mut frame);
    frame
}

type PacketBuilderStep = etherparse::PacketBuilderStep<etherparse::IpHeaders>;

/// A TCP segment with these flags; its numbers are those of a connection in which nobody says anything.
fn segment(from: (u8, u16), to: (u8, u16), flags: u8) -> Vec<u8> {
    let begun = u32::from(flags & tcp::SYN == 0);
    let mut header = etherparse::TcpHeader::new(from.1, to.1, 1000 + begun, 65_000);
    header.syn = flags & tcp::SYN != 0;
    header.fin = flags & tcp::FIN != 0;
    header.rst = flags & tcp::RST != 0;
    header.ack = flags & tcp::ACK_FLAG != 0;
    header.acknowledgment_number = if header.ack { 1001 } else { 0 };
    built(|ip, frame| ip.tcp_header(header).write(frame, &[]).unwrap(), from.0, to.0)
}

fn datagram(from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
    built(|ip, frame| ip.udp(from.1, to.1).write(frame, b"hello").unwrap(), from.0, to.0)
}

fn arp(from: u8) -> Vec<u8> {
    let mut frame = [MacAddr::BROADCAST.0, station(from).0].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(station(from).0);
    frame.extend(ip(from).octets());
    frame.extend([0; 6]);
    frame.extend(ip(9).octets());
    frame.resize(60, 0);
    frame
}

#[test]
fn the_first_rule_by_priority_decides_and_counts() {
    let mut ruled = Ruled::new(vec![
        rule(0, 10, to(17, 53), Verdict::Allow),
        rule(1, 5, RuleMatch { protocol: Some(17), ..any() }, Verdict::Drop),
    ]);
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [2]);
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [2], "from the flow cache");
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 54))), []);
    assert_eq!((ruled.hits(0).frames, ruled.hits(1).frames), (2, 1));
    assert_eq!(ruled.hits(1).bytes, datagram((1, 4000), (2, 54)).len() as u64);
    assert_eq!(ruled.drops(1, DropReason::RuleDenied), 1);
    assert_eq!(ruled.send(1, &segment((1, 4000), (2, 54), tcp::SYN)), [2]);
}

#[test]
fn who_is_rejected_hears_of_it_in_his_own_protocol() {
    let mut ruled = Ruled::new(vec![rule(0, 1, any(), REJECT)]);
    let out = ruled.rig.send(1, &segment((1, 4000), (2, 80), tcp::SYN));
    assert_eq!(ports_of(&out), [1]);
    let reply = SlicedPacket::from_ethernet(&out[0].1).unwrap();
    let Some(TransportSlice::Tcp(reset)) = &reply.transport else { panic!("no TCP: {reply:?}") };
    assert!(reset.rst() && reset.ack());
    assert_eq!((reset.source_port(), reset.destination_port()), (80, 4000));
    assert_eq!(reset.acknowledgment_number(), 1001);
    let out = ruled.rig.send(1, &datagram((1, 4000), (2, 53)));
    assert_eq!((ports_of(&out), prohibited_by(&out[0].1)), (vec![1], ip(2)));
    assert_eq!(ruled.drops(1, DropReason::RuleDenied), 2);
    assert_eq!(ruled.hits(0).frames, 2);
}

/// Who says in an ICMP error that something is administratively prohibited.
fn prohibited_by(frame: &[u8]) -> Ipv4Addr {
    let reply = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = &reply.transport else { panic!("{reply:?}") };
    let prohibited =
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FilterProhibited);
    assert_eq!(icmp.icmp_type(), prohibited);
    let Some(NetSlice::Ipv4(ip)) = &reply.net else { panic!("{reply:?}") };
    ip.header().source_addr()
}

const GATEWAY_MAC: MacAddr = MacAddr([2, 0xff, 0, 0, 0, 1]);

/// A gateway that has a route to 10.9.0.0/16.
fn routed(rules: Vec<Rule>) -> Ruled {
    let own = GatewayAddress::new(ip(254).into(), 24).unwrap();
    let gateway =
        Gateway { mac: GATEWAY_MAC, addresses: [own].into_iter().collect(), ..Gateway::default() };
    let beyond = Prefix::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 0)), 16).unwrap();
    let bridge = BridgeIndex(0);
    let routes: Routes = [
        (own.subnet(), Target::Connected { bridge }),
        (Prefix::host(ip(254).into()), Target::Local),
        (beyond, Target::Connected { bridge }),
    ]
    .into_iter()
    .collect();
    let mut ruled = Ruled::new(Vec::new());
    ruled.router = Some(Arc::new(RouterPort { gateway, routes }));
    ruled.adopt(rules);
    ruled
}

#[test]
fn a_rejected_routed_packet_is_answered_by_the_gateway() {
    let mut ruled = routed(vec![rule(0, 1, to(17, 53), REJECT)]);
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(station(1).0, GATEWAY_MAC.0);
    let builder = builder.ipv4(ip(1).octets(), [10, 9, 0, 1], 64).udp(4000, 53);
    builder.write(&mut frame, b"hello").unwrap();
    let out = ruled.rig.send(1, &frame);
    assert_eq!((ports_of(&out), prohibited_by(&out[0].1)), (vec![1], ip(254)));
}

#[test]
fn a_denied_question_does_not_reach_the_gateway() {
    let asks = |ruled: &mut Ruled| {
        let mut frame = arp(1);
        frame[38..42].copy_from_slice(&ip(254).octets());
        let out = ruled.rig.send(1, &frame);
        out.iter().any(|(port, bytes)| *port == 1 && bytes[21] == 2)
    };
    assert!(asks(&mut routed(vec![])));
    let denied = RuleMatch { ethertype: Some(0x0806), ..any() };
    assert!(!asks(&mut routed(vec![rule(0, 1, denied, Verdict::Drop)])));
}

#[test]
fn rules_are_for_what_is_no_ip_and_for_groups_as_well() {
    let arps = RuleMatch { ethertype: Some(0x0806), ..any() };
    let group = RuleMatch { destination: Some(addresses("224.0.0.0", 4)), ..any() };
    let mut ruled = Ruled::new(vec![
        rule(0, 2, RuleMatch { ingress: Some(PortIndex(1)), ..arps.clone() }, Verdict::Drop),
        rule(1, 1, arps, Verdict::Forward(PortIndex(3))),
        rule(2, 1, group, Verdict::Drop),
    ]);
    assert_eq!(ruled.send(1, &arp(1)), []);
    assert_eq!(ruled.send(2, &arp(2)), [3]);
    let mut multicast = datagram((1, 4000), (2, 53));
    assert_eq!(ruled.send(1, &multicast), [2]);
    multicast[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 5]);
    multicast[30..34].copy_from_slice(&[224, 0, 0, 5]);
    assert_eq!(ruled.send(1, &multicast), []);
    let [denied, forwarded, groups] = [0, 1, 2].map(|id| ruled.hits(id).frames);
    assert_eq!((denied, forwarded, groups), (1, 1, 1));
}

fn addresses(ip: &str, len: u8) -> AddressSet {
    [(ip.parse::<IpAddr>().unwrap(), len)].into_iter().collect()
}

#[test]
fn copies_go_to_the_mirror_whole_or_cut_and_of_what_is_denied_too() {
    let copy = |snap_bytes| Step::Mirror { port: PortIndex(3), snap_bytes };
    let mut ruled = Ruled::new(vec![
        acting(0, 1, to(17, 1), &[copy(None)], Verdict::Allow),
        acting(1, 1, to(17, 2), &[copy(Some(20))], Verdict::Allow),
        acting(2, 1, to(17, 3), &[copy(None)], Verdict::Drop),
    ]);
    let frame = |port| datagram((1, 4000), (2, port));
    assert_eq!(ruled.rig.send(1, &frame(1)), [(2, frame(1)), (3, frame(1))]);
    assert_eq!(ruled.rig.send(1, &frame(2)), [(2, frame(2)), (3, frame(2)[..20].to_vec())]);
    assert_eq!(ruled.rig.send(1, &frame(3)), [(3, frame(3))]);
    // What answers is mirrored by a rule that it matches.
    let own = RuleMatch { ingress: Some(PortIndex(2)), ..any() };
    ruled.adopt(vec![acting(3, 1, own, &[copy(None)], Verdict::Allow)]);
    assert_eq!(ruled.send(2, &datagram((2, 1), (1, 4000))), [1, 3]);
}

#[test]
fn forwarded_packets_go_to_the_port_whomever_they_are_addressed_to() {
    let mut ruled = Ruled::new(vec![rule(0, 1, to(17, 53), Verdict::Forward(PortIndex(3)))]);
    for _ in 0..2 {
        assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [3]);
    }
    // One that began without the rule goes there as well.
    ruled.adopt(Vec::new());
    assert_eq!(ruled.send(1, &datagram((1, 4001), (2, 53))), [2]);
    ruled.adopt(vec![rule(0, 1, to(17, 53), Verdict::Forward(PortIndex(3)))]);
    assert_eq!(ruled.send(1, &datagram((1, 4001), (2, 53))), [3]);
}

#[test]
fn stations_and_code_points_are_set_and_checksums_stay_right() {
    let steps =
        [Step::SetSourceMac(station(8)), Step::SetDestinationMac(station(3)), Step::SetDscp(46)];
    let mut ruled = Ruled::new(vec![acting(0, 1, any(), &steps, Verdict::Allow)]);
    let out = ruled.rig.send(1, &datagram((1, 4000), (2, 53)));
    assert_eq!(ports_of(&out), [3]);
    let packet = SlicedPacket::from_ethernet(&out[0].1).unwrap();
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("{packet:?}") };
    assert_eq!(ip.header().dcp().value(), 46);
    assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
    assert_eq!((&out[0].1[..6], &out[0].1[6..12]), (&station(3).0[..], &station(8).0[..]));
}

#[test]
fn a_packet_goes_on_in_another_vlan() {
    let access = |vid| PortConfig { is_inspected: true, ..aware(VlanPolicy::Access(Vid(vid))) };
    let both = PortConfig { is_inspected: true, ..aware(trunk(&[10, 20], None)) };
    let ports = vec![both, access(10), access(20), access(10)];
    let arps = RuleMatch { ethertype: Some(0x0806), ..any() };
    let steps = [Step::SetVid(Vid(20))];
    let mut ruled = Ruled::with_ports(
        ports,
        vec![
            acting(0, 1, to(17, 53), &steps, Verdict::Allow),
            acting(1, 1, arps, &steps, Verdict::Allow),
        ],
    );
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [2]);
    assert_eq!(ruled.send(1, &datagram((1, 4000), (3, 54))), [3]);
    let out = ruled.rig.send(1, &arp(1));
    assert_eq!(ports_of(&out), [0, 2]);
    assert_eq!(out[0].1[12..16], [0x81, 0, 0, 20]);
}

#[test]
fn what_comes_too_fast_is_dropped_by_rule_or_by_source() {
    let limit = |scope| {
        let spec = LimitSpec { rate: 1, burst: 3, unit: Unit::Frames, scope };
        Step::Limit(Arc::new(Meter::new(spec, 1)))
    };
    for (scope, passed) in [(Scope::Rule, 3), (Scope::Source, 6)] {
        let mut ruled = Ruled::new(vec![acting(0, 1, any(), &[limit(scope)], Verdict::Allow)]);
        let count = |ruled: &mut Ruled, from| {
            let send = |_: &usize| !ruled.send(from, &datagram((from, 4000), (3, 53))).is_empty();
            (0..5).filter(send).count()
        };
        let total = count(&mut ruled, 1) + count(&mut ruled, 2);
        assert_eq!(total, passed, "{scope:?}");
        let limited = [1, 2].map(|port| ruled.drops(port, DropReason::RateLimited));
        assert_eq!(limited.iter().sum::<u64>(), 10 - passed as u64);
    }
}

#[test]
fn a_tunnel_is_known_by_its_network() {
    let tunnel = PortConfig { vni: Some(7), ..inspected() };
    let ports = vec![inspected(), tunnel, inspected(), inspected()];
    let own = RuleMatch { vni: Some(7), ..any() };
    let mut ruled = Ruled::with_ports(ports, vec![rule(0, 1, own, Verdict::Drop)]);
    assert_eq!(ruled.send(1, &datagram((1, 4000), (3, 53))), []);
    assert_eq!(ruled.send(2, &datagram((2, 4000), (3, 53))), [3]);
}

/// The pieces of a datagram: those behind the first say nothing of ports.
fn pieces(from: (u8, u16), to: (u8, u16)) -> [Vec<u8>; 2] {
    let whole =
        built(|ip, frame| ip.udp(from.1, to.1).write(frame, &[7; 40]).unwrap(), from.0, to.0);
    let (headers, payload) = (&whole[..34], &whole[34..]);
    [(0x2000u16, &payload[..24]), (0x0003, &payload[24..])].map(|(field, part)| {
        let mut piece = [headers, part].concat();
        piece[16..18].copy_from_slice(&u16::try_from(20 + part.len()).unwrap().to_be_bytes());
        piece[20..22].copy_from_slice(&field.to_be_bytes());
        piece
    })
}

#[test]
fn fragments_go_the_way_of_their_first_in_any_order() {
    let rules = || vec![rule(0, 2, to(17, 53), Verdict::Allow), rule(1, 1, any(), Verdict::Drop)];
    let mut ruled = Ruled::new(rules());
    let [first, later] = pieces((1, 4000), (2, 53));
    assert_eq!((ruled.send(1, &first), ruled.send(1, &later)), (vec![2], vec![2]));
    let mut ruled = Ruled::new(rules());
    assert_eq!((ruled.send(1, &later), ruled.send(1, &first)), (vec![], vec![2, 2]));
    let mut ruled = Ruled::new(rules());
    let [first, later] = pieces((1, 4000), (2, 54));
    assert_eq!((ruled.send(1, &first), ruled.send(1, &later)), (vec![], vec![]));
}

#[test]
fn a_guarded_port_neither_sends_nor_is_learned_as_somebody_else() {
    let guard = crate::Guard { mac: station(1), addresses: vec![ip(1).into()] };
    let guarded = PortConfig { guard: Some(Arc::new(guard)), ..plain(0) };
    let ports = vec![plain(0), guarded, plain(0), plain(0)];
    let mut ruled = Ruled::with_ports(ports, Vec::new());
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [2]);
    let mut other_ip = datagram((3, 4000), (2, 53));
    assert_eq!(ruled.send(1, &other_ip), [], "another station");
    other_ip[6..12].copy_from_slice(&station(1).0);
    assert_eq!(ruled.send(1, &other_ip), [], "another address");
    assert_eq!(ruled.send(1, &arp(1)), [0, 2, 3]);
    let stranger = frame(station(2), station(77), None);
    assert_eq!(ruled.send(1, &stranger), []);
    assert_eq!(ruled.drops(1, DropReason::SpoofGuard), 3);
    let seconds = Nanos::from_secs(1).seconds();
    assert_eq!(ruled.fdb.lookup(station(77), Vid::NONE, seconds), None);
}

#[test]
fn what_comes_in_faster_than_its_port_may_is_dropped_and_its_neighbours_are_not() {
    let bytes = datagram((1, 4000), (2, 53)).len() as u64;
    // Three frames at once and not a fourth, and one in ten seconds.
    let (rate, burst) = (bytes * 8 / 10, bytes * 8 * 3 + 8);
    let spec = LimitSpec { rate, burst, unit: Unit::Bits, scope: Scope::Rule };
    let policed = PortConfig { meter: Some(Arc::new(Meter::new(spec, 0))), ..plain(0) };
    let ports = vec![plain(0), policed, plain(0), plain(0)];
    let mut ruled = Ruled::with_ports(ports, Vec::new());
    let (own, other) = (datagram((1, 4000), (2, 53)), datagram((2, 53), (1, 4000)));
    let passed = (0..5).filter(|_| ruled.send(1, &own) == [2]).count();
    assert_eq!((passed, ruled.drops(1, DropReason::Policed)), (3, 2));
    assert!((0..5).all(|_| ruled.send(2, &other) == [1]), "to the port there is no limit");
    let seconds = Nanos::from_secs(1).seconds();
    assert!(ruled.fdb.lookup(station(1), Vid::NONE, seconds).is_some());
}

#[test]
fn an_unknown_station_is_not_looked_for_behind_a_port_whose_own_is_known() {
    let guard = |number| crate::Guard { mac: station(number), addresses: Vec::new() };
    let guarded = |number| PortConfig { guard: Some(Arc::new(guard(number))), ..plain(0) };
    let mut rig = Rig::new(vec![plain(0), guarded(21), guarded(22), plain(0)]);
    let towards = |to| frame(to, station(0), None);
    assert_eq!(ports_of(&rig.send(0, &towards(station(77)))), [3]);
    assert_eq!(ports_of(&rig.send(0, &towards(station(21)))), [1, 3], "it has said nothing yet");
    assert_eq!(ports_of(&rig.send(0, &towards(MacAddr::BROADCAST))), [1, 2, 3]);
}

#[test]
fn an_uninspected_port_passes_everything() {
    let mut ruled = Ruled::with_ports(vec![plain(0); 4], vec![rule(0, 1, any(), Verdict::Drop)]);
    assert_eq!(ruled.send(1, &datagram((1, 4000), (2, 53))), [2]);
    assert_eq!(ruled.hits(0), Hits::default());
}
