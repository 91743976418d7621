//! What rules and services cost: nanoseconds and cycles per frame of known flows, and per first packet of a new one, by
//! their number.
//!
//! `cargo bench -p flows --bench flat`
//!
//! As in the pipeline's benchmark, taking buffers and giving them back is measured with the rest. Frames are
//! 64 bytes of UDP among 1000 flows, each of which some rule allows; what no rule allows is denied. That
//! "0 rules" is faster than the others is what sessions cost: without rules nobody is looked into. The flows to
//! services are divided among them, and each service's among two backends on another bridge; that "0 services" is
//! faster is what translation costs: its flows are routed as they are.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use etherparse::PacketBuilder;
use flows::router::{Gateway, GatewayAddress, Prefix, Routes, Target};
use flows::rules::{AddressSet, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Timeouts, Verdict};
use flows::service::{Backend, Balance, Endurance, Service, Services};
use flows::{
    BridgeDomain, BridgeIndex, Endpoint, Fdb, Generation, Ledger, Nanos, Outboxes, Pipeline,
    PortConfig, PortIndex, RouterPort, Snapshot, TableSizes, Tables, Translation, Usage, Vid,
};
use pktio::wire::MacAddr;
use pktio::{Burst, Pool, PoolConfig};

const SIZES: [u32; 5] = [0, 1, 100, 10_000, 100_000];
const SERVICES: [u32; 4] = [0, 1, 100, 10_000];
const FLOWS: usize = 1000;
const BATCH: usize = 32;
/// Frames measured per round, and rounds of which the best counts: others only ever add time.
const FRAMES: usize = 1 << 17;
const ROUNDS: usize = 15;

/// The frequency of the time stamp counter in GHz, as the kernel calibrated it.
fn tsc_ghz() -> Option<f64> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    Some(line.rsplit(':').next()?.trim().parse::<f64>().ok()? / 1000.0)
}

/// Allows the packets to one address, of many.
fn allow(number: u32) -> Rule {
    let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a01_0000 + number));
    let destination: AddressSet = [(ip, 32)].into_iter().collect();
    let matches =
        RuleMatch { destination: Some(destination), protocol: Some(17), ..RuleMatch::default() };
    rule(number, 10, matches, Verdict::Allow)
}

fn rule(number: u32, priority: u32, matches: RuleMatch, verdict: Verdict) -> Rule {
    let (id, action) = (RuleId(number), RuleAction::only(verdict));
    Rule { id, priority, matches, action, timeouts: Timeouts::default() }
}

/// A datagram from the station of port 0 to that of port 1. Its destination is one that a rule allows.
fn datagram(flow: usize, rules: u32) -> Vec<u8> {
    let flow = u32::try_from(flow).expect("few flows");
    let to = Ipv4Addr::from_bits(0x0a01_0000 + flow % rules.saturating_sub(1).max(1));
    let port = u16::try_from(1024 + flow % 60_000).expect("a port");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]);
    let builder = builder.ipv4([10, 0, 0, 1], to.octets(), 64).udp(port, 53);
    builder.write(&mut frame, &[0; 22]).expect("memory");
    frame
}

fn station(port: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port])
}

/// A datagram to a service from a station of its client's bridge; where there are none, to a backend.
fn request(flow: usize, services: u32) -> Vec<u8> {
    let flow = u32::try_from(flow).expect("few flows");
    let to = match services {
        0 => Endpoint::new(Ipv4Addr::new(10, 1, 0, 2), 80),
        all => service(flow % all).vip,
    };
    let IpAddr::V4(ip) = to.ip else { unreachable!("a service of IPv4") };
    let port = u16::try_from(1024 + flow % 60_000).expect("a port");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(station(0).0, GATEWAY.0);
    let builder = builder.ipv4([10, 0, 0, 2], ip.octets(), 64).udp(port, to.port);
    builder.write(&mut frame, &[0; 22]).expect("memory");
    frame
}

/// One of many services, with two backends.
fn service(number: u32) -> Service {
    let port = u16::try_from(1000 + number / 250).expect("a port");
    let octet = u8::try_from(number % 250).expect("an octet");
    let backend = |number: u16| Backend {
        endpoint: Endpoint::new(Ipv4Addr::new(10, 1, 0, if number == 0 { 2 } else { 3 }), 80),
        bridge: BridgeIndex(1),
        number,
        is_draining: false,
        health: Arc::default(),
    };
    Service {
        usage: Arc::new(Usage::of(number)),
        protocol: 17,
        vip: Endpoint::new(Ipv4Addr::new(10, 96, octet, 1), port),
        on: None,
        backends: [0, 1].map(backend).into(),
        balance: Balance::RoundRobin(Arc::default()),
        affinity_seconds: None,
        endurance: Endurance { failures: 3, rest_seconds: 10 },
        is_checked: false,
    }
}

/// The station of both gateways.
const GATEWAY: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);

/// A bridge with a gateway and one port of the same number, which reaches the other one.
fn routed(number: u8) -> Option<BridgeDomain> {
    let fdb = Fdb::new(64, 300, 0x5eed);
    assert!(fdb.add_static(station(number), Vid::NONE, PortIndex(number.into())));
    let own = GatewayAddress::new(Ipv4Addr::new(10, number, 0, 1).into(), 24)?;
    let connected = |bridge: u8| {
        let prefix = Prefix::new(Ipv4Addr::new(10, bridge, 0, 0).into(), 24)?;
        Some((prefix, Target::Connected { bridge: BridgeIndex(bridge.into()) }))
    };
    let gateway = Gateway { mac: GATEWAY, addresses: vec![own], ..Gateway::default() };
    let routes: Routes = [connected(0)?, connected(1)?].into_iter().collect();
    let router = Some(Arc::new(RouterPort { gateway, routes }));
    Some(BridgeDomain { gateway_mac: GATEWAY, router, ..BridgeDomain::new(Arc::new(fdb), 64) })
}

struct Rig {
    pipeline: Pipeline,
    tables: Arc<Tables>,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    now: u64,
}

impl Rig {
    fn ruled(rules: u32) -> Self {
        let fdb = Fdb::new(64, 300, 0x5eed);
        for port in 0..2 {
            assert!(fdb.add_static(station(port), Vid::NONE, PortIndex(port.into())));
        }
        let port = PortConfig { is_inspected: rules > 0, ..PortConfig::new(BridgeIndex(0)) };
        let bridges = vec![Some(BridgeDomain::new(Arc::new(fdb), 64))];
        let snapshot = Snapshot::new(Generation(1), vec![Some(port.clone()), Some(port)], bridges);
        let rest = RuleMatch::default();
        let verdict = if rules == 1 { Verdict::Allow } else { Verdict::Drop };
        let last = rules.checked_sub(1).map(|number| rule(number, 0, rest, verdict));
        let all = (0..rules.saturating_sub(1)).map(allow).chain(last).collect();
        let set = RuleSet::compile(all).expect("numbers of rules");
        let snapshot = snapshot.expect("a sound configuration").with_rules(Arc::new(set));
        Self::new(snapshot)
    }

    /// A client's bridge, and one on which the backends of so many services are.
    fn serving(services: u32) -> Self {
        let ports = [0, 1].map(|bridge| Some(PortConfig::new(BridgeIndex(bridge))));
        let bridges = [0, 1].map(routed).to_vec();
        let snapshot = Snapshot::new(Generation(1), ports.to_vec(), bridges);
        let services = Arc::new(Services::new((0..services).map(service)));
        let translation = Translation { services, ..Translation::default() };
        let snapshot = snapshot.expect("a sound configuration");
        let rig = Self::new(snapshot.with_translation(Arc::new(translation)));
        for last in [2, 3] {
            let ip = Ipv4Addr::new(10, 1, 0, last).into();
            assert!(rig.tables.neighbors.add_static(BridgeIndex(1), ip, station(1)));
        }
        rig
    }

    fn new(snapshot: Snapshot) -> Self {
        // Without one the hash would be weak: ports are all that many flows differ in.
        let sizes = TableSizes { seed: 0x9e37_79b9_7f4a_7c15, ..TableSizes::default() };
        let tables = Arc::new(Tables::new(sizes));
        Self {
            pipeline: Pipeline::new(Arc::new(snapshot), Arc::clone(&tables)),
            tables,
            pool: Pool::new(PoolConfig::default()).expect("memory for the pool"),
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            now: 1,
        }
    }

    /// Nanoseconds per frame of a round over frames, in order.
    fn round(&mut self, frames: &[Vec<u8>], count: usize) -> f64 {
        let mut burst = Burst::new();
        self.now += 1;
        let mut circle = frames.iter().cycle();
        let start = Instant::now();
        for _ in 0..count / BATCH {
            for bytes in circle.by_ref().take(BATCH) {
                burst.extend(self.pool.frame_from(bytes));
            }
            self.pipeline.run(
                Nanos::from_secs(self.now),
                PortIndex(0),
                &mut burst,
                &mut self.pool,
                &mut self.outboxes,
                &mut self.ledger,
            );
            while let Some(port) = self.outboxes.next_dirty() {
                self.pool.recycle_all(self.outboxes.of(port));
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / count as f64
    }
}

/// Measures with so many rules or services.
fn measure(number: u32, mut rig: Rig, frame: fn(usize, u32) -> Vec<u8>) {
    let known: Vec<_> = (0..FLOWS).map(|flow| frame(flow, number)).collect();
    let new: Vec<_> = (FLOWS..FLOWS * 40).map(|flow| frame(flow, number)).collect();
    let first = rig.round(&new, new.len());
    let hits = (0..ROUNDS).map(|_| rig.round(&known, FRAMES)).fold(f64::INFINITY, f64::min);
    let cycles = hits * tsc_ghz().unwrap_or(f64::NAN);
    println!("{number:>8}{hits:>10.1}{cycles:>10.1}{first:>14.1}");
    assert_eq!(rig.ledger.total().dropped(), 0, "all of it goes on");
}

fn main() {
    println!("{:>8}{:>10}{:>10}{:>14}", "rules", "ns/hit", "cycles", "ns/first");
    SIZES.into_iter().for_each(|rules| measure(rules, Rig::ruled(rules), datagram));
    println!("{:>8}", "services");
    SERVICES.into_iter().for_each(|services| measure(services, Rig::serving(services), request));
}
