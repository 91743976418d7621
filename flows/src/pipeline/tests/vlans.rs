//! VLANs of a bridge that are domains of their own to the router.
//!
//! ```text
//!   bridge    10.0.0.1/24    port 3, which knows no VLANs: .2
//!   VLAN 10   10.0.10.1/24   port 0, a trunk: .2        port 1: .3      (.66 is on port 1, and not known)
//!   VLAN 20   10.0.20.1/24   port 0, a trunk: .2        port 2: .3
//!   VLAN 30   has no router  port 0, a trunk            port 4
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use pktio::wire::MacAddr;
use pktio::{Burst, Pool, PoolConfig};

use super::network::ip;
use super::packets::{Kind, Packet, arp_reply, arp_request, describe, fragments, icmp_error};
use crate::nat::{Mappings, Pool as Addresses, Quota};
use crate::pipeline::{Saying, Visitor};
use crate::router::{
    Advertising, Gateway, GatewayAddress, Lookup, Prefix, Routes, Services, Target,
};
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Fdb, Filtering, Generation, Ledger, Masquerade, Nanos,
    Outboxes, Pipeline, PortConfig, PortIndex, RouterPort, Snapshot, SnapshotError, TableSizes,
    Tables, Translation, Vid, VlanOf, VlanPolicy, Zone,
};

const WHOLE: u16 = 0;
const TEN: u16 = 1;
const TWENTY: u16 = 2;
/// Of each domain, its VLAN.
const VLANS: [u16; 3] = [0, 10, 20];
const TRUNK: u16 = 0;
const POOL: PoolConfig = PoolConfig { small: 256, slabs: 16 };

/// Port, VLAN and address of the stations that everybody knows.
const STATIONS: [(u16, u16, &str); 5] = [
    (3, WHOLE, "10.0.0.2"),
    (TRUNK, TEN, "10.0.10.2"),
    (1, TEN, "10.0.10.3"),
    (TRUNK, TWENTY, "10.0.20.2"),
    (2, TWENTY, "10.0.20.3"),
];

fn gateway(domain: u16) -> GatewayAddress {
    let address = format!("10.0.{}.1", VLANS[usize::from(domain)]);
    GatewayAddress::new(ip(&address), 24).unwrap()
}

fn gateway_mac(domain: u16) -> MacAddr {
    MacAddr([2, 0, 0xff, 0, 0, u8::try_from(domain).unwrap()])
}

fn station(address: &str) -> MacAddr {
    let IpAddr::V4(ip) = ip(address) else { panic!("{address} is not of IPv4") };
    let [_, _, third, last] = ip.octets();
    MacAddr([2, 0, 0, 0, third, last])
}

fn router(own: u16, reachable: &[u16]) -> RouterPort {
    let advertise = Some(Advertising::default());
    let addresses = vec![gateway(own)];
    let serves = Services { names: true, addresses: false };
    let mac = gateway_mac(own);
    let gateway_of = Gateway { mac, addresses, advertise, serves, ..Gateway::default() };
    let routes: Routes = reachable
        .iter()
        .chain([&own])
        .flat_map(|to| {
            let (bridge, address) = (BridgeIndex(*to), gateway(*to));
            let own = (Prefix::host(address.ip()), Target::Local);
            [(address.subnet(), Target::Connected { bridge }), own]
        })
        .collect();
    RouterPort { gateway: gateway_of, routes }
}

fn port(vlan: VlanPolicy) -> Option<PortConfig> {
    Some(PortConfig { vlan, mac_limit: 100, ..PortConfig::new(BridgeIndex(WHOLE)) })
}

fn ports() -> Vec<Option<PortConfig>> {
    let allowed = Arc::new([10, 20, 30].into_iter().map(Vid).collect());
    let access = |vid| port(VlanPolicy::Access(Vid(vid)));
    let trunk = port(VlanPolicy::Trunk { allowed, native: None });
    vec![trunk, access(10), access(20), port(VlanPolicy::Unaware), access(30)]
}

/// The switch, and everything around it.
struct Rig {
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    tables: Arc<Tables>,
    now: Nanos,
}

impl Rig {
    /// Between VLANs 10 and 20 packets are routed.
    fn joined() -> Self {
        Self::new(&[(TEN, TWENTY), (TWENTY, TEN)], Translation::default())
    }

    fn new(allowed: &[(u16, u16)], translation: Translation) -> Self {
        let fdb = Arc::new(Fdb::new(100, 300, 1));
        let sizes = TableSizes { neighbors: 64, sessions: 64, cached_flows: 64, seed: 1 };
        let tables = Arc::new(Tables::new(sizes));
        for (port, domain, address) in STATIONS {
            let (mac, vid) = (station(address), Vid(VLANS[usize::from(domain)]));
            assert!(fdb.add_static(mac, vid, PortIndex(port)));
            assert!(tables.neighbors.add_static(BridgeIndex(domain), ip(address), mac));
        }
        let domain = |own: u16| {
            let reached = allowed.iter().filter(|(from, _)| *from == own).map(|(_, to)| *to);
            let vid = Vid(VLANS[usize::from(own)]);
            Some(BridgeDomain {
                vlan_of: (own != WHOLE).then_some(VlanOf { bridge: BridgeIndex(WHOLE), vid }),
                gateway_mac: gateway_mac(own),
                router: Some(Arc::new(router(own, &reached.collect::<Vec<_>>()))),
                ..BridgeDomain::new(Arc::clone(&fdb), 100)
            })
        };
        let domains = [WHOLE, TEN, TWENTY].map(domain).to_vec();
        let snapshot = Snapshot::new(Generation(1), ports(), domains).unwrap();
        let snapshot = snapshot.with_translation(Arc::new(translation));
        Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::clone(&tables)),
            pool: Pool::new(POOL).unwrap(),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            tables,
            now: Nanos::from_secs(1000),
        }
    }

    /// Puts a frame onto a port; returns what left, a line each: the port, the tag, and what it was.
    fn put(&mut self, at: u16, frame: &[u8]) -> Vec<String> {
        let mut burst = Burst::new();
        burst.push(self.pool.frame_from(frame).unwrap());
        let (pool, ledger) = (&mut self.pool, &mut self.ledger);
        self.pipeline.run(self.now, PortIndex(at), &mut burst, pool, &mut self.outboxes, ledger);
        self.turn()
    }

    fn turn(&mut self) -> Vec<String> {
        self.pipeline.housekeep(self.now, &mut self.pool, &mut self.outboxes, &mut self.ledger);
        let mut out = Vec::new();
        for Visitor { port, vid, frame } in self.pipeline.visitors() {
            self.ledger.port_mut(port).answered += 1;
            self.pool.recycle(frame);
            out.push(format!("{} asks in VLAN {}", port.0, vid.0));
        }
        while let Some(port) = self.outboxes.next_dirty() {
            for frame in self.outboxes.of(port).drain(..) {
                self.ledger.port_mut(port).transmitted += 1;
                let (tag, plain) = untagged(frame.data());
                out.push(format!("{}{tag}: {}", port.0, describe(&plain)));
                self.pool.recycle(frame);
            }
        }
        self.ledger.reconcile().unwrap();
        out.sort();
        out
    }

    /// Lets a station send a packet to its gateway.
    fn send(&mut self, packet: &Packet) -> Vec<String> {
        let (at, frame) = framed(packet);
        self.put(at, &frame)
    }

    fn drops(&self, port: u16, reason: DropReason) -> u64 {
        self.ledger.port(PortIndex(port)).ingress_drops[reason as usize]
    }
}

/// The tag of a frame, and the frame without it.
fn untagged(frame: &[u8]) -> (String, Vec<u8>) {
    let mut plain = frame.to_vec();
    if frame[12..14] != [0x81, 0x00] {
        return (String::new(), plain);
    }
    plain.drain(12..16);
    (format!("@{}", u16::from_be_bytes([frame[14], frame[15]])), plain)
}

fn tagged(mut frame: Vec<u8>, vid: u16) -> Vec<u8> {
    frame.splice(12..12, [&[0x81, 0x00], &vid.to_be_bytes()[..]].concat());
    frame
}

/// The frame in which a packet comes to the gateway from where its source is.
fn framed(packet: &Packet) -> (u16, Vec<u8>) {
    let known = STATIONS.iter().find(|(_, _, address)| ip(address) == packet.from.ip());
    let (at, domain, address) = *known.unwrap();
    let frame = packet.frame(station(address), gateway_mac(domain));
    match at {
        TRUNK => (at, tagged(frame, VLANS[usize::from(domain)])),
        _ => (at, frame),
    }
}

fn udp(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Udp, from, to)
}

const A: &str = "10.0.10.2:5000";
const B: &str = "10.0.10.3:5000";
const X: &str = "10.0.20.2:53";
const Y: &str = "10.0.20.3:53";
const QUIET: &str = "10.0.10.66:80";

#[test]
fn each_vlan_has_the_gateway_of_its_own() {
    let mut rig = Rig::joined();
    let ask = |from, whom| arp_request(station(from), from, whom);
    let told = |at: &str, domain: u16| {
        let (address, mac) = (gateway(domain).ip(), gateway_mac(domain));
        vec![format!("{at}: arp {address} is-at {mac}")]
    };
    let from_trunk = |vid, from, whom| tagged(ask(from, whom), vid);
    assert_eq!(rig.put(3, &ask("10.0.0.2", "10.0.0.1")), told("3", WHOLE));
    assert_eq!(rig.put(1, &ask("10.0.10.3", "10.0.10.1")), told("1", TEN));
    assert_eq!(rig.put(TRUNK, &from_trunk(10, "10.0.10.2", "10.0.10.1")), told("0@10", TEN));
    assert_eq!(rig.put(TRUNK, &from_trunk(20, "10.0.20.2", "10.0.20.1")), told("0@20", TWENTY));
    // That of another VLAN is nobody to ask for here; nor is any where no router is.
    for whom in ["10.0.0.1", "10.0.20.1"] {
        let asked = [format!("1: arp who-has {whom} tell 10.0.10.2")];
        assert_eq!(rig.put(TRUNK, &from_trunk(10, "10.0.10.2", whom)), asked);
    }
    let asked = ["4: arp who-has 10.0.0.1 tell 10.0.0.7"];
    assert_eq!(rig.put(TRUNK, &from_trunk(30, "10.0.0.7", "10.0.0.1")), asked);
}

#[test]
fn pings_are_answered_in_the_vlan_that_they_come_from() {
    let mut rig = Rig::joined();
    let ping = |from: &str, to| Packet::new(Kind::Ping, &format!("{from}:7"), to);
    let answers = [
        ("10.0.10.2", "10.0.10.1", "0@10: pong#7 10.0.10.1 > 10.0.10.2"),
        ("10.0.20.3", "10.0.20.1", "2: pong#7 10.0.20.1 > 10.0.20.3"),
        ("10.0.0.2", "10.0.0.1", "3: pong#7 10.0.0.1 > 10.0.0.2"),
    ];
    for (from, to, answer) in answers {
        assert_eq!(rig.send(&ping(from, to)), [answer]);
    }
}

#[test]
fn packets_are_routed_between_vlans_and_leave_as_the_port_wants_them() {
    let mut rig = Rig::joined();
    // The first packet of a flow, and one of a flow that is known.
    for _ in 0..2 {
        assert_eq!(rig.send(&udp(A, Y)), [format!("2: udp {A} > {Y}")]);
        assert_eq!(rig.send(&udp(Y, A)), [format!("0@10: udp {Y} > {A}")]);
        assert_eq!(rig.send(&udp(B, Y)), [format!("2: udp {B} > {Y}")]);
        assert_eq!(rig.send(&udp(A, X)), [format!("0@20: udp {A} > {X}")], "on one trunk");
    }
}

#[test]
fn vlans_are_closed_to_each_other_and_to_the_bridge_until_they_are_joined() {
    let mut rig = Rig::new(&[], Translation::default());
    let mut told = Vec::new();
    for (from, to) in [(A, Y), (A, "10.0.0.2:1"), ("10.0.0.2:1", A)] {
        let out = rig.send(&udp(from, to));
        assert_eq!(out.len(), 1, "{out:?}");
        assert!(out[0].contains("icmp 3/0"), "{out:?}");
        told.push(out[0].split(' ').next().unwrap().to_owned());
    }
    assert_eq!(told, ["0@10:", "0@10:", "3:"]);
    // One way is one way.
    let mut rig = Rig::new(&[(TEN, TWENTY)], Translation::default());
    assert_eq!(rig.send(&udp(A, Y)), [format!("2: udp {A} > {Y}")]);
    assert_eq!(rig.send(&udp("10.0.20.3:9", A)).len(), 1);
    assert_eq!(rig.drops(2, DropReason::NoRoute), 1);
}

#[test]
fn the_gateway_of_another_vlan_is_no_way_out() {
    let mut rig = Rig::joined();
    // As somebody would who knows its station address.
    let frame = udp(A, Y).frame(station("10.0.10.2"), gateway_mac(TWENTY));
    assert_eq!(rig.put(TRUNK, &tagged(frame, 10)), [format!("1: udp {A} > {Y}")], "flooded");
    let frame = udp("10.0.0.7:1", A).frame(station("10.0.0.7"), gateway_mac(WHOLE));
    assert_eq!(rig.put(TRUNK, &tagged(frame, 30)), [format!("4: udp 10.0.0.7:1 > {A}")]);
}

#[test]
fn neighbours_are_learned_in_their_vlan() {
    let mut rig = Rig::joined();
    let forged = arp_request(station("10.0.10.66"), "10.0.20.77", "10.0.10.1");
    rig.put(1, &forged);
    rig.put(1, &arp_request(station("10.0.10.66"), "10.0.10.66", "10.0.10.1"));
    let known = |domain, address| {
        let found = rig.tables.neighbors.lookup(BridgeIndex(domain), ip(address), rig.now);
        matches!(found, Lookup::Known(_))
    };
    assert!(known(TEN, "10.0.10.66"));
    assert!(!known(WHOLE, "10.0.10.66") && !known(TWENTY, "10.0.10.66"));
    assert!(!known(TWENTY, "10.0.20.77"));
}

#[test]
fn packets_wait_for_a_neighbour_in_the_vlan_that_they_came_from() {
    let mut rig = Rig::joined();
    let asked = rig.send(&udp(X, QUIET));
    let ask = "arp who-has 10.0.10.66 tell 10.0.10.1";
    assert_eq!(asked, [format!("0@10: {ask}"), format!("1: {ask}")]);
    assert_eq!(rig.ledger.total().held, 1);
    let quiet = station("10.0.10.66");
    let answer = arp_reply(quiet, "10.0.10.66", (gateway_mac(TEN), "10.0.10.1"));
    assert_eq!(rig.put(1, &answer), [format!("1: udp {X} > {QUIET}")]);
    // The answer finds the session of VLAN 20.
    let back = udp(QUIET, X).frame(quiet, gateway_mac(TEN));
    assert_eq!(rig.put(1, &back), [format!("0@20: udp {QUIET} > {X}")]);
}

#[test]
fn the_sender_in_a_vlan_is_told_when_a_neighbour_does_not_answer() {
    let mut rig = Rig::joined();
    rig.send(&udp(X, QUIET));
    let mut out = Vec::new();
    for _ in 0..20 {
        rig.now = Nanos::from_nanos(rig.now.as_nanos() + 250_000_000);
        out.extend(rig.turn());
    }
    let told = format!("0@20: icmp 3/1 10.0.20.1 > 10.0.20.2 (udp {X} > {QUIET})");
    assert!(out.contains(&told), "{out:?}");
}

#[test]
fn fragments_in_a_vlan_wait_for_the_first_one() {
    let mut rig = Rig::joined();
    let whole = udp(X, B).of_length(1000);
    let pieces = fragments(&whole.frame(station("10.0.20.2"), gateway_mac(TWENTY)), 600);
    let [first, later] = &pieces[..] else { panic!("{} pieces", pieces.len()) };
    assert_eq!(rig.put(TRUNK, &tagged(later.clone(), 20)), Vec::<String>::new());
    let out = rig.put(TRUNK, &tagged(first.clone(), 20));
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(out.iter().all(|line| line.starts_with("1: ")), "{out:?}");
}

#[test]
fn errors_about_a_session_find_it_in_their_vlan() {
    let mut rig = Rig::joined();
    rig.send(&udp(A, Y));
    let error = icmp_error((3, 3, 0), ("10.0.20.3", "10.0.10.2"), &udp(A, Y), 28);
    let out = rig.send(&error);
    assert_eq!(out, [format!("0@10: icmp 3/3 10.0.20.3 > 10.0.10.2 (udp {A} > {Y})")]);
}

#[test]
fn a_vlan_is_masqueraded_as_the_gateway_of_another() {
    let external = gateway(TWENTY).ip();
    let zone = Zone(TWENTY);
    let pool = Addresses::new(zone, external..=external, 1024..=u16::MAX, Quota::default());
    let translation = Translation {
        mappings: Mappings::new(64, 1).with_addresses([(zone, external)]),
        masquerades: [Masquerade::new(BridgeIndex(TEN), pool.unwrap(), Filtering::ByAddress)]
            .into_iter()
            .collect(),
        owners: [((BridgeIndex(TWENTY), external), BridgeIndex(TWENTY))].into_iter().collect(),
        ..Translation::default()
    };
    let mut rig = Rig::new(&[(TEN, TWENTY)], translation);
    assert_eq!(rig.send(&udp(A, X)), [format!("0@20: udp 10.0.20.1:5000 > {X}")]);
    assert_eq!(rig.send(&udp(X, "10.0.20.1:5000")), [format!("0@10: udp {X} > {A}")]);
}

#[test]
fn what_a_gateway_says_by_itself_stays_in_its_vlan() {
    let mut rig = Rig::joined();
    for (domain, ends) in [(WHOLE, vec!["3:"]), (TEN, vec!["0@10:", "1:"])] {
        let said = (BridgeIndex(domain), Saying::Announcement);
        let (pool, ledger) = (&mut rig.pool, &mut rig.ledger);
        rig.pipeline.say(rig.now, said, pool, &mut rig.outboxes, ledger);
        let out = rig.turn();
        let heard: Vec<_> = out.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(heard, ends);
    }
}

#[test]
fn a_port_that_asks_the_gateway_all_the_time_leaves_its_neighbours_theirs() {
    let mut rig = Rig::joined();
    let ask = |from| udp(from, "10.0.10.1:53");
    let asked = (0..3000).filter(|_| !rig.send(&ask(B)).is_empty()).count();
    assert_eq!(asked, 2000);
    assert_eq!(rig.drops(1, DropReason::ServiceBusy), 1000);
    assert_eq!(rig.send(&ask(A)), ["0 asks in VLAN 10"]);
    rig.now = Nanos::from_nanos(rig.now.as_nanos() + 1_000_000);
    assert_eq!(rig.send(&ask(B)), ["1 asks in VLAN 10"]);
}

#[test]
fn a_vlan_is_of_a_bridge_and_not_of_a_vlan() {
    let fdb = Arc::new(Fdb::new(16, 300, 1));
    let domain = |of: Option<u16>| {
        let vlan_of = of.map(|bridge| VlanOf { bridge: BridgeIndex(bridge), vid: Vid(10) });
        Some(BridgeDomain { vlan_of, ..BridgeDomain::new(Arc::clone(&fdb), 16) })
    };
    let made = |domains| Snapshot::new(Generation(1), Vec::new(), domains).map(|_| ());
    assert_eq!(made(vec![domain(None), domain(Some(0))]), Ok(()));
    for bad in [vec![domain(Some(1))], vec![domain(None), domain(Some(0)), domain(Some(1))]] {
        assert!(matches!(made(bad), Err(SnapshotError::NoSuchVlan { .. })));
    }
}
