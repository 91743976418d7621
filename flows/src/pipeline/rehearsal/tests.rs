//! What a rehearsal says is what then happens, and nothing happens by it. What a follower hears is the same, and is
//! what happens.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use etherparse::{PacketBuilder, TransportSlice};
use pktio::wire::MacAddr;
use pktio::{Burst, Pool, PoolConfig};
use proptest::prelude::*;

use super::Tracer;
use crate::finding::{Acquaintance, Fate, Finding, Trace};
use crate::nat::{Mappings, Quota};
use crate::router::{Claim, Gateway, GatewayAddress, Prefix, Routes, Target};
use crate::rules::{
    RangeSet, Rejection, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Timeouts, Verdict,
};
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Fdb, Filtering, Followed, Follower, Generation, Ledger,
    Masquerade, Nanos, Outboxes, Pipeline, PortConfig, PortIndex, RouterPort, Selection, Snapshot,
    TableSizes, Tables, Translation, nat,
};

const NOW: Nanos = Nanos::from_secs(100);
const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);

/// What became of a frame, what was sent, and what was heard of it.
type Run = (Fate, Vec<(PortIndex, Vec<u8>)>, Vec<Followed>);

/// What the books say of the only frame that came.
fn fate(ledger: &Ledger, ingress: PortIndex) -> Fate {
    let books = ledger.port(ingress);
    let reason = DropReason::ALL.into_iter().find(|why| books.ingress_drops[*why as usize] > 0);
    match reason {
        Some(reason) => Fate::Dropped(reason),
        None if books.held > 0 => Fate::Held,
        None if books.answered > 0 => Fate::Answered,
        None => Fate::Forwarded,
    }
}

/// What may differ from one network to the next.
#[derive(Debug, Clone, Copy, Default)]
struct Setting {
    /// The inside may reach the outside.
    allowed: bool,
    /// And is hidden there.
    masqueraded: bool,
    /// What rules say of TCP to port 80.
    web: Option<Verdict>,
    /// The outside's station has answered.
    known: bool,
    /// The outside takes only short packets.
    narrow: bool,
}

/// Ports 0 and 1 on the inside, 10.0.0.2 and 10.0.0.3; port 2 on the outside, 10.1.0.2.
struct Network {
    snapshot: Arc<Snapshot>,
    tables: Arc<Tables>,
}

fn station(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn gateway_mac(bridge: BridgeIndex) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, bridge.0.to_be_bytes()[1]])
}

fn ip(bridge: BridgeIndex, last: u8) -> IpAddr {
    Ipv4Addr::new(10, bridge.0.to_be_bytes()[1], 0, last).into()
}

fn connected(bridge: BridgeIndex) -> [(Prefix, Target); 2] {
    let subnet = Prefix::new(ip(bridge, 0), 24).unwrap();
    [(subnet, Target::Connected { bridge }), (Prefix::host(ip(bridge, 1)), Target::Local)]
}

fn domain(bridge: BridgeIndex, reaches: Option<BridgeIndex>) -> BridgeDomain {
    let addresses = vec![GatewayAddress::new(ip(bridge, 1), 24).unwrap()];
    let mac = gateway_mac(bridge);
    let gateway = Gateway { mac, addresses, ..Gateway::default() };
    let routes: Routes = reaches.into_iter().chain([bridge]).flat_map(connected).collect();
    let fdb = Arc::new(Fdb::new(100, 300, 1));
    let router = Some(Arc::new(RouterPort { gateway, routes }));
    BridgeDomain { gateway_mac: mac, router, ..BridgeDomain::new(fdb, 100) }
}

fn rules(web: Option<Verdict>) -> RuleSet {
    let rule = |verdict| Rule {
        id: RuleId(7),
        priority: 1,
        matches: RuleMatch {
            protocol: Some(6),
            destination_ports: Some(RangeSet::from_iter([(80, 80)])),
            ..RuleMatch::default()
        },
        action: RuleAction::only(verdict),
        timeouts: Timeouts::default(),
    };
    RuleSet::compile(web.map(rule).into_iter().collect()).unwrap()
}

fn translation(setting: &Setting) -> Translation {
    let own = ip(OUTSIDE, 1);
    let pool = nat::Pool::new(OUTSIDE.into(), own..=own, 1024..=65535, Quota::default()).unwrap();
    let rule = Masquerade::new(INSIDE, pool, Filtering::ByAddress);
    Translation {
        mappings: Mappings::new(100, 1).with_addresses([(OUTSIDE.into(), own)]),
        masquerades: setting.masqueraded.then_some(rule).into_iter().collect(),
        ..Translation::default()
    }
}

impl Network {
    fn new(setting: &Setting) -> Self {
        let port = |bridge| PortConfig {
            is_inspected: setting.web.is_some(),
            mtu_bytes: if setting.narrow && bridge == OUTSIDE { 600 } else { 1500 },
            ..PortConfig::new(bridge)
        };
        let ports = [INSIDE, INSIDE, OUTSIDE].map(|bridge| Some(port(bridge)));
        let reaches = (setting.allowed || setting.masqueraded).then_some(OUTSIDE);
        let bridges = vec![Some(domain(INSIDE, reaches)), Some(domain(OUTSIDE, None))];
        let snapshot = Snapshot::new(Generation(1), ports.into(), bridges).unwrap();
        let snapshot = snapshot
            .with_rules(Arc::new(rules(setting.web)))
            .with_translation(Arc::new(translation(setting)));
        let sizes = TableSizes { sessions: 100, cached_flows: 64, ..TableSizes::default() };
        let network = Self { snapshot: Arc::new(snapshot), tables: Arc::new(Tables::new(sizes)) };
        network.tables.rules.begin(RuleId(7), NOW);
        let claim = Claim::asking(station(2));
        if setting.known {
            let learned = network.tables.neighbors.learn(OUTSIDE, ip(OUTSIDE, 2), &claim, NOW);
            assert_eq!(learned, crate::router::Heard::Learned);
            network.run(2, &frame(&Sent { from: 2, ..Sent::default() }));
        }
        network
    }

    fn tracer(&self) -> Tracer {
        let (snapshot, tables) = (Arc::clone(&self.snapshot), Arc::clone(&self.tables));
        Tracer::new(snapshot, tables, HashMap::new()).unwrap()
    }

    fn trace(&self, ingress: u16, bytes: &[u8]) -> Trace {
        self.tracer().trace(NOW, PortIndex(ingress), bytes).unwrap()
    }

    /// What really becomes of a frame.
    fn run(&self, ingress: u16, bytes: &[u8]) -> (Fate, Vec<(PortIndex, Vec<u8>)>) {
        let (fate, sent, _) = self.run_with(None, ingress, bytes);
        (fate, sent)
    }

    /// The same, and what somebody hears who follows it.
    fn run_with(&self, follower: Option<Follower>, ingress: u16, bytes: &[u8]) -> Run {
        let (mut outboxes, mut ledger) = (Outboxes::new(), Ledger::new());
        let mut pool = Pool::new(PoolConfig { small: 64, slabs: 4 }).unwrap();
        let (snapshot, tables) = (Arc::clone(&self.snapshot), Arc::clone(&self.tables));
        let mut pipeline = Pipeline::new(snapshot, tables);
        pipeline.follow(follower.map(Box::new));
        let mut burst = Burst::new();
        burst.push(pool.frame_from(bytes).unwrap());
        let port = PortIndex(ingress);
        pipeline.run(NOW, port, &mut burst, &mut pool, &mut outboxes, &mut ledger);
        let mut sent = Vec::new();
        while let Some(port) = outboxes.next_dirty() {
            sent.extend(outboxes.of(port).drain(..).map(|frame| (port, frame.data().to_vec())));
        }
        sent.sort_by_key(|(port, _)| *port);
        let followed = pipeline.follower().map(|it| it.take_followed().collect());
        (fate(&ledger, port), sent, followed.unwrap_or_default())
    }

    fn follower(&self, matches: RuleMatch, count: u32) -> Follower {
        let selection = Selection { ports: Some(vec![PortIndex(0)]), matches: Some(matches) };
        Follower::new(selection, count, Arc::clone(&self.tables))
    }

    /// Everything that others could notice.
    fn state(&self) -> String {
        let fdbs = [INSIDE, OUTSIDE].map(|bridge| {
            let fdb = &self.snapshot.bridge(bridge).unwrap().fdb;
            (fdb.entries(NOW.seconds()), fdb.events())
        });
        let Tables { neighbors, sessions, rules, .. } = &*self.tables;
        let mappings = &self.snapshot.translation().mappings;
        format!(
            "{fdbs:?} {:?} {} {:?} {:?} {:?} {:?} {:?}",
            neighbors.entries(NOW),
            neighbors.revision(),
            sessions.gauges(),
            sessions.iter(NOW.seconds()).collect::<Vec<_>>(),
            rules.hits(RuleId(7)),
            mappings.events(),
            mappings.iter().collect::<Vec<_>>(),
        )
    }
}

/// A packet.
#[derive(Debug, Clone, Copy)]
struct Sent {
    from: u8,
    to: IpAddr,
    to_gateway: bool,
    protocol: u8,
    port: u16,
    ttl: u8,
    payload: usize,
}

impl Default for Sent {
    fn default() -> Self {
        let to = ip(OUTSIDE, 2);
        Self { from: 0, to, to_gateway: true, protocol: 6, port: 80, ttl: 64, payload: 8 }
    }
}

fn frame(sent: &Sent) -> Vec<u8> {
    let bridge = if sent.from == 2 { OUTSIDE } else { INSIDE };
    let address = if sent.from == 2 { 2 } else { sent.from + 2 };
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (ip(bridge, address), sent.to) else {
        unreachable!()
    };
    let to = if sent.to_gateway { gateway_mac(bridge) } else { station(1) };
    let packet = PacketBuilder::ethernet2(station(sent.from).0, to.0).ipv4(
        source.octets(),
        destination.octets(),
        sent.ttl,
    );
    let (mut bytes, payload) = (Vec::new(), vec![0x5a; sent.payload]);
    match sent.protocol {
        6 => packet.tcp(4000, sent.port, 1, 1024).syn().write(&mut bytes, &payload),
        17 => packet.udp(4000, sent.port).write(&mut bytes, &payload),
        _ => packet.icmpv4_echo_request(77, 1).write(&mut bytes, &payload),
    }
    .unwrap();
    bytes
}

#[test]
fn a_route_that_is_not_allowed_is_what_a_trace_ends_at() {
    let network = Network::new(&Setting::default());
    let trace = network.trace(0, &frame(&Sent::default()));
    assert_eq!(trace.fate, Fate::Dropped(DropReason::NoRoute));
    let [route] = &trace.findings[1..] else { panic!("{:?}", trace.findings) };
    let Finding::Route { bridge: INSIDE, prefix: None, next: None, .. } = route else {
        panic!("{route:?}")
    };
    assert_eq!(trace.sent.len(), 1, "the sender is told");
}

#[test]
fn every_stage_of_a_masqueraded_packet_is_told_in_order() {
    let network = Network::new(&Setting {
        masqueraded: true,
        known: true,
        web: Some(Verdict::Allow),
        ..Setting::default()
    });
    let trace = network.trace(0, &frame(&Sent::default()));
    let names: Vec<String> = trace
        .findings
        .iter()
        .map(|finding| format!("{finding:?}").split([' ', '(']).next().unwrap().to_owned())
        .collect();
    let stages = ["Vlan", "Rule", "Route", "Neighbor", "Masquerade", "Begins", "Mtu", "Link"];
    assert_eq!(names, stages);
    assert_eq!(trace.fate, Fate::Forwarded);
    let [(PortIndex(2), bytes)] = &trace.sent[..] else { panic!("{:?}", trace.sent) };
    let parsed = etherparse::SlicedPacket::from_ethernet(bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("{parsed:?}") };
    assert_eq!((&bytes[26..30], tcp.source_port()), (&[10, 1, 0, 1][..], 4000));
}

#[test]
fn a_neighbour_that_was_never_asked_is_waited_for_unless_it_is_presumed() {
    let network = Network::new(&Setting { allowed: true, ..Setting::default() });
    let bytes = frame(&Sent::default());
    assert_eq!(network.trace(0, &bytes).fate, Fate::Held);
    let presumed = HashMap::from([((OUTSIDE, ip(OUTSIDE, 2)), station(2))]);
    let (snapshot, tables) = (Arc::clone(&network.snapshot), Arc::clone(&network.tables));
    let mut tracer = Tracer::new(snapshot, tables, presumed).unwrap();
    let trace = tracer.trace(NOW, PortIndex(0), &bytes).unwrap();
    assert_eq!(trace.fate, Fate::Forwarded);
    let is_presumed = |finding: &Finding| {
        matches!(finding, Finding::Neighbor { known: Acquaintance::Presumed(_), .. })
    };
    assert!(trace.findings.iter().any(is_presumed), "{:?}", trace.findings);
}

#[test]
fn an_answer_finds_the_session_that_a_traced_packet_would_have_begun() {
    let network = Network::new(&Setting { allowed: true, known: true, ..Setting::default() });
    network.tables.neighbors.learn(INSIDE, ip(INSIDE, 2), &Claim::asking(station(0)), NOW);
    let answer = {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(station(2).0, gateway_mac(OUTSIDE).0)
            .ipv4([10, 1, 0, 2], [10, 0, 0, 2], 64)
            .tcp(80, 4000, 1, 1024)
            .syn()
            .ack(2)
            .write(&mut bytes, &[])
            .unwrap();
        bytes
    };
    assert_ne!(network.trace(2, &answer).fate, Fate::Forwarded, "nobody has asked");
    let mut tracer = network.tracer();
    tracer.trace(NOW, PortIndex(0), &frame(&Sent::default())).unwrap();
    let trace = tracer.trace(NOW, PortIndex(2), &answer).unwrap();
    assert_eq!(trace.fate, Fate::Forwarded, "{:?}", trace.findings);
    assert!(trace.findings.iter().any(|found| matches!(found, Finding::Session { .. })));
}

fn settings() -> impl Strategy<Value = Setting> {
    let verdict = prop_oneof![
        Just(None),
        Just(Some(Verdict::Allow)),
        Just(Some(Verdict::Drop)),
        Just(Some(Verdict::Reject(Rejection::ResetOrIcmp))),
        Just(Some(Verdict::Forward(PortIndex(1)))),
    ];
    (any::<[bool; 4]>(), verdict).prop_map(|([allowed, masqueraded, known, narrow], web)| Setting {
        allowed,
        masqueraded,
        web,
        known,
        narrow,
    })
}

fn packets() -> impl Strategy<Value = Sent> {
    let places = [ip(INSIDE, 1), ip(INSIDE, 3), ip(OUTSIDE, 1), ip(OUTSIDE, 2), ip(OUTSIDE, 9)];
    let to = prop::sample::select(places.to_vec());
    let protocol = prop::sample::select(vec![1u8, 6, 17]);
    let port = prop::sample::select(vec![80u16, 443]);
    (0u8..3, to, any::<bool>(), protocol, port, 1u8..4, 0usize..1000).prop_map(
        |(from, to, to_gateway, protocol, port, ttl, payload)| Sent {
            from,
            to,
            to_gateway,
            protocol,
            port,
            ttl,
            payload,
        },
    )
}

proptest! {
    #[test]
    fn a_trace_changes_nothing_and_says_what_then_happens(
        setting in settings(),
        packets in prop::collection::vec(packets(), 1..6),
    ) {
        let network = Network::new(&setting);
        for sent in packets {
            // What comes from its own destination tells a bridge where that is, just in time.
            prop_assume!(sent.to_gateway || sent.from != 1);
            let bytes = frame(&sent);
            let before = network.state();
            let trace = network.trace(sent.from.into(), &bytes);
            prop_assert_eq!(before, network.state());
            let (fate, out) = network.run(sent.from.into(), &bytes);
            prop_assert_eq!(trace.fate, fate, "{:?} {:?}", sent, trace.findings);
            prop_assert_eq!(trace.sent, out, "{:?}", sent);
        }
    }

    #[test]
    fn a_followed_packet_is_told_as_it_was_foreseen_and_goes_as_if_nobody_looked(
        setting in settings(),
        packets in prop::collection::vec(packets(), 1..6),
    ) {
        let (network, watched) = (Network::new(&setting), Network::new(&setting));
        for sent in packets {
            prop_assume!(sent.to_gateway || sent.from != 1);
            let bytes = frame(&sent);
            let foreseen = network.trace(sent.from.into(), &bytes);
            let (fate, out) = network.run(sent.from.into(), &bytes);
            let follower = watched.follower(RuleMatch::default(), 1);
            let (same, sent_on, followed) = watched.run_with(Some(follower), sent.from.into(), &bytes);
            prop_assert_eq!((fate, &out), (same, &sent_on));
            prop_assert_eq!(network.state(), watched.state());
            if sent.from != 0 {
                prop_assert!(followed.is_empty());
                continue;
            }
            let [Followed { frame, trace }] = &followed[..] else {
                return Err(TestCaseError::fail(format!("{followed:?}")));
            };
            prop_assert_eq!(frame, &bytes);
            prop_assert_eq!((trace.fate, &trace.sent), (foreseen.fate, &foreseen.sent));
            prop_assert_eq!(stages(trace), stages(&foreseen));
        }
    }
}

/// What was decided, in short: a session that really begins has a number.
fn stages(trace: &Trace) -> Vec<String> {
    trace
        .findings
        .iter()
        .map(|finding| match finding {
            Finding::Session { session, direction } => {
                format!("{:?} {direction:?}", session.initiator)
            }
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_follower_hears_every_packet_of_a_known_flow_until_it_has_enough_and_no_other() {
    let network = Network::new(&Setting { allowed: true, known: true, ..Setting::default() });
    let web = RuleMatch { protocol: Some(6), ..RuleMatch::default() };
    let (mut outboxes, mut ledger) = (Outboxes::new(), Ledger::new());
    let mut pool = Pool::new(PoolConfig { small: 64, slabs: 4 }).unwrap();
    let (snapshot, tables) = (Arc::clone(&network.snapshot), Arc::clone(&network.tables));
    let mut pipeline = Pipeline::new(snapshot, tables);
    pipeline.follow(Some(Box::new(network.follower(web, 3))));
    let mut heard = Vec::new();
    for _ in 0..5 {
        let udp = Sent { protocol: 17, ..Sent::default() };
        let mut burst = Burst::new();
        for sent in [Sent::default(), udp] {
            burst.push(pool.frame_from(&frame(&sent)).unwrap());
        }
        pipeline.run(NOW, PortIndex(0), &mut burst, &mut pool, &mut outboxes, &mut ledger);
        heard.extend(pipeline.follower().unwrap().take_followed());
    }
    assert_eq!(outboxes.of(PortIndex(2)).len(), 10, "all of them went on");
    let stages: Vec<_> = heard
        .iter()
        .map(|followed| {
            assert_eq!(followed.frame, frame(&Sent::default()));
            followed.trace.findings.iter().any(|found| matches!(found, Finding::Session { .. }))
        })
        .collect();
    assert_eq!(stages, [false, true, true], "the first one begins the session");
}
