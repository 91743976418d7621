//! The whole pipeline by what it does: bridging, routes, rules, address translation and tunnels, with flows that are known
//! and with flows that are new.
//!
//! UDP packets from one port of a bridge, to stations behind the gateway of another. Their flows come in an order that
//! is none: of known ones what is measured is the flow cache, the session and the rewrite. New ones are new in every packet; where
//! they are masqueraded, a session is begun, for one of 1000 mappings that exist. Of the rules the last one lets them pass, and
//! counts them. Services have two backends each, which take turns, and every packet is for one of them. A tunnel's packets are
//! wrapped after the pipeline, or unwrapped before it, as a worker does. Between null ports what is measured begins with taking
//! the buffers and copying the packets into them, and ends with giving them back.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use flows::nat::{Mappings, Pool as NatPool, Quota};
use flows::router::{Gateway, GatewayAddress, NextHop, Prefix, Routes, Target};
use flows::rules::{AddressSet, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Timeouts, Verdict};
use flows::vxlan::{Segment, Tunnel, Tunnels, Vni, Vtep, encap};
use flows::{
    BridgeDomain, BridgeIndex, Fdb, Filtering, Generation, Ledger, Masquerade, Nanos, Outboxes,
    Pipeline, PortConfig, PortIndex, RouterPort, Snapshot, TableSizes, Tables, Translation, Vid,
};
use pktio::buffer::{BURST_BYTES, BURST_FRAMES};
use pktio::null::NullPort;
use pktio::underlay::Outer;
use pktio::wire::{Layers, MacAddr};
use pktio::{Burst, Csum, Gso, Offload, PktBuf, Pool, PoolConfig, Port};

use super::frames::{Ends, SHORTEST_BYTES};
use super::{Axis, BURSTS, Case, Made, Meter, parts_of, services};

/// Flows, unless their number is what varies.
const FLOWS: usize = 1000;
/// From flow to flow: a prime, so that all are visited, and the next one is nowhere near.
const STEP: usize = 2_654_435_761;
/// What a packet has room for at MTU 1500, beside the headers of Ethernet, IPv4 and UDP.
const SEGMENT_BYTES: u16 = 1472;
const LONGEST_FRAME_BYTES: usize = 1514;

/// Where packets come in and where they leave, and the end of the tunnel that either may lead to.
const PORTS: [PortIndex; 2] = [PortIndex(0), PortIndex(1)];
const ENDPOINT: PortIndex = PortIndex(2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];
const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const GATEWAYS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 1, 0]), MacAddr([2, 0, 0, 0, 2, 0])];
/// Whom bridged packets are for.
pub(crate) const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What is switched on, and what comes.
#[derive(Clone, Copy)]
struct Features {
    is_routed: bool,
    is_masqueraded: bool,
    /// Packets leave by the tunnel, or come in by it.
    tunnelled: Option<Tunnelled>,
    /// Every packet is of a flow of its own.
    is_new: bool,
    flows: usize,
    rules: u32,
    /// Packets are for these.
    services: u32,
    burst: usize,
    /// Of a frame, without check sequence.
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tunnelled {
    In,
    Out,
}

const BRIDGED: Features = Features {
    is_routed: false,
    is_masqueraded: false,
    tunnelled: None,
    is_new: false,
    flows: FLOWS,
    rules: 0,
    services: 0,
    burst: BURST_FRAMES,
    bytes: SHORTEST_BYTES,
};
const ROUTED: Features = Features { is_routed: true, ..BRIDGED };
const MASQUERADED: Features = Features { is_masqueraded: true, ..ROUTED };

/// What is measured along every axis.
const MAIN: [(&str, Features); 3] =
    [("bridged", BRIDGED), ("routed", ROUTED), ("masqueraded", MASQUERADED)];
const NEW: [(&str, Features); 3] = [
    ("bridged, new flows", Features { is_new: true, ..BRIDGED }),
    ("routed, new flows", Features { is_new: true, ..ROUTED }),
    ("masqueraded, new flows", Features { is_new: true, ..MASQUERADED }),
];
const SERVED: [(&str, Features); 2] =
    [("to a service", ROUTED), ("to a service, new flows", Features { is_new: true, ..ROUTED })];
const TUNNELLED: [(&str, Features); 2] = [
    ("bridged, VXLAN encap", Features { tunnelled: Some(Tunnelled::Out), ..BRIDGED }),
    ("bridged, VXLAN decap", Features { tunnelled: Some(Tunnelled::In), ..BRIDGED }),
];

const BETWEEN_NULL_PORTS: [(&str, Features); 2] =
    [("bridged between null ports", BRIDGED), ("masqueraded between null ports", MASQUERADED)];

const BY_FLOWS: [usize; 5] = [1, 1000, 10_000, 100_000, 1_000_000];
const BY_RULES: [u32; 4] = [1, 100, 10_000, 100_000];
const BY_SERVICES: [u32; 3] = [1, 100, 10_000];
const BY_BYTES: [usize; 8] = [SHORTEST_BYTES, 128, 256, 512, 1024, 1514, 9014, 65_536];

pub(super) fn cases() -> Vec<Case> {
    let of = |(stage, features): (&'static str, Features), axis, at| {
        Case::new(stage, (axis, at), move || bench(features))
    };
    let mut all = Vec::new();
    for (stage, features) in MAIN {
        all.extend(
            BY_FLOWS.map(|flows| of((stage, Features { flows, ..features }), Axis::Flows, flows)),
        );
        all.extend(
            BY_BYTES.map(|bytes| of((stage, Features { bytes, ..features }), Axis::Bytes, bytes)),
        );
        all.extend(
            BURSTS.map(|burst| of((stage, Features { burst, ..features }), Axis::Burst, burst)),
        );
    }
    for (stage, features) in MAIN.into_iter().chain(NEW) {
        all.extend(BY_RULES.map(|rules| {
            let at = usize::try_from(rules).unwrap_or(usize::MAX);
            of((stage, Features { rules, ..features }), Axis::Rules, at)
        }));
    }
    for (stage, features) in SERVED {
        all.extend(BY_SERVICES.map(|services| {
            let at = usize::try_from(services).unwrap_or(usize::MAX);
            of((stage, Features { services, ..features }), Axis::Services, at)
        }));
    }
    for (stage, features) in NEW.into_iter().chain(TUNNELLED) {
        all.push(of((stage, features), Axis::Flows, FLOWS));
    }
    for (stage, features) in BETWEEN_NULL_PORTS {
        all.extend(BY_FLOWS.map(|flows| {
            let make = move || between_null_ports(Features { flows, ..features });
            Case::new(stage, (Axis::Flows, flows), make)
        }));
    }
    all
}

/// What other switches are given too, between null ports of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) flows: usize,
    /// Routed and masqueraded, or bridged.
    pub(crate) is_masqueraded: bool,
}

impl Traffic {
    fn features(self) -> Features {
        Features { flows: self.flows, ..if self.is_masqueraded { MASQUERADED } else { BRIDGED } }
    }

    /// Its packets, one of each flow, in the order in which they come.
    pub(crate) fn packets(self) -> Vec<Vec<u8>> {
        let flow = |at: usize| at.wrapping_mul(STEP) % self.flows;
        (0..self.flows).map(|at| packet(self.features(), flow(at))).collect()
    }

    /// The pipeline between null ports.
    pub(super) fn work(self) -> Made {
        between_null_ports(self.features())
    }
}

/// A switch, and the packets that come.
struct Bench {
    case: Features,
    snapshot: Arc<Snapshot>,
    tunnel: Tunnel,
    pipeline: Pipeline,
    pool: Pool,
    outboxes: Outboxes,
    ledger: Ledger,
    burst: Burst,
    packets: Vec<Vec<u8>>,
    next: usize,
}

fn bench(case: Features) -> Made {
    let mut bench = Bench::new(case)?;
    let parts = parts_of(case.burst.min(BURST_BYTES / case.bytes));
    Ok(Box::new(move |meter| {
        for part in &parts {
            bench.pass(*part, meter, |at| at.wrapping_mul(STEP));
        }
    }))
}

fn between_null_ports(case: Features) -> Made {
    let mut bench = Bench::new(case)?;
    let Features { flows, is_masqueraded, .. } = case;
    let mut source = NullPort::source(Traffic { flows, is_masqueraded }.packets());
    let mut sink = NullPort::sink();
    Ok(Box::new(move |meter| {
        meter.note(BURST_FRAMES, || {
            // A null port has no fault.
            let _ = source.rx_burst(&mut bench.pool, &mut bench.burst);
            bench.decide();
            while let Some(port) = bench.outboxes.next_dirty() {
                let _ = sink.tx_burst(&mut bench.pool, bench.outboxes.of(port));
            }
        });
        bench.check(meter);
    }))
}

impl Bench {
    /// A switch whose flows are known, unless they shall be new.
    fn new(case: Features) -> Result<Self, Box<dyn Error>> {
        let sizes = TableSizes {
            sessions: 1 << 21,
            cached_flows: 1 << 21,
            seed: 7,
            ..TableSizes::default()
        };
        let tables = Arc::new(Tables::new(sizes));
        if !tables.neighbors.add_static(OUTSIDE, NEXT_HOP.into(), UPLINK) {
            return Err("no room for the next hop".into());
        }
        (0..case.rules).for_each(|rule| tables.rules.begin(RuleId(rule), Nanos::default()));
        let snapshot = Arc::new(snapshot(case)?);
        let mut bench = Self {
            case,
            tunnel: tunnel()?,
            pipeline: Pipeline::new(Arc::clone(&snapshot), tables),
            snapshot,
            pool: Pool::new(PoolConfig { small: 4096, slabs: 64 })?,
            outboxes: Outboxes::new(),
            ledger: Ledger::new(),
            burst: Burst::new(),
            packets: (0..case.flows).map(|flow| packet(case, flow)).collect(),
            next: 0,
        };
        bench.fill();
        Ok(bench)
    }

    /// Lets every flow be known: the first packet of each is decided about, and with the second it is found out where it leaves.
    fn fill(&mut self) {
        let Features { flows, bytes, is_new, .. } = self.case;
        let mut filling = Meter::counting();
        while !is_new && filling.items() < 2 * flows {
            self.pass(BURST_FRAMES.min(BURST_BYTES / bytes), &mut filling, |at| at);
        }
        self.next = flows;
    }

    /// Puts a burst of the next packets through the pipeline. They go nowhere; all of them must go on.
    fn pass(&mut self, count: usize, meter: &mut Meter, order: impl Fn(usize) -> usize) {
        for at in self.next..self.next + count {
            let new = self.case.is_new.then(|| packet(self.case, at));
            let bytes = new.as_ref().unwrap_or(&self.packets[order(at) % self.packets.len()]);
            self.burst.extend(self.pool.frame_from(bytes).map(with_offload));
        }
        self.next += count;
        meter.note(count, || self.decide());
        while let Some(port) = self.outboxes.next_dirty() {
            self.pool.recycle_all(self.outboxes.of(port));
        }
        self.check(meter);
    }

    fn check(&self, meter: &mut Meter) {
        let books = self.ledger.port(PORTS[0]);
        if books.forwarded != books.received {
            meter.fault(format!("{} packets were lost", books.ingress_dropped()));
        }
    }

    fn decide(&mut self) {
        if self.case.tunnelled == Some(Tunnelled::In) {
            let outer = Outer { remote: REMOTE.into(), tos: 0 };
            for frame in self.burst.iter_mut() {
                let _ = black_box(self.snapshot.tunnels().unwrap(ENDPOINT, frame, outer));
            }
        }
        let Self { pipeline, pool, outboxes, ledger, burst, .. } = self;
        pipeline.run(Nanos::from_secs(1), PORTS[0], burst, pool, outboxes, ledger);
        if self.case.tunnelled == Some(Tunnelled::Out) {
            for frame in outboxes.of(PORTS[1]).iter_mut() {
                let layers = Layers::parse(frame.data()).ok().flatten();
                black_box(encap(frame, layers.as_ref(), &self.tunnel));
            }
        }
    }
}

/// What is longer than a link takes is a super-frame.
fn with_offload(mut frame: PktBuf) -> PktBuf {
    if frame.len() > LONGEST_FRAME_BYTES {
        let csum = Csum::Partial { start: 34, offset: 6 };
        frame.offload = Offload { csum, gso: Gso::Udp { size: SEGMENT_BYTES } };
    }
    frame
}

fn tunnel() -> Result<Tunnel, Box<dyn Error>> {
    Ok(Tunnel::new(Vni::new(42).ok_or("no such network")?))
}

/// The tunnel that the port leads to by which packets come in.
fn tunnels() -> Result<Tunnels, Box<dyn Error>> {
    let (endpoint, tunnel) = (ENDPOINT, tunnel()?);
    let mut tunnels = Tunnels::default();
    let segment = Segment { endpoint, base: PORTS[0], tunnel, is_learning: false };
    tunnels.add_segment(segment, 1450);
    tunnels.add_vtep(PORTS[0], Vtep { endpoint, remote: REMOTE.into(), tunnel, native: None });
    Ok(tunnels)
}

fn snapshot(case: Features) -> Result<Snapshot, Box<dyn Error>> {
    let port = |bridge| PortConfig { is_inspected: case.rules > 0, ..PortConfig::new(bridge) };
    let bridges = [INSIDE, OUTSIDE].map(|index| {
        let fdb = Fdb::new(1024, 300, 7);
        let here = if case.is_routed { OUTSIDE } else { INSIDE };
        let learned = index != here || fdb.add_static(UPLINK, Vid::NONE, PORTS[1]);
        let router = case.is_routed.then(|| Arc::new(router(index)));
        let gateway_mac =
            if case.is_routed { GATEWAYS[usize::from(index.0)] } else { MacAddr::default() };
        let plain = BridgeDomain::new(Arc::new(fdb), 1024);
        learned.then_some(BridgeDomain { gateway_mac, router, ..plain })
    });
    let far = if case.is_routed { OUTSIDE } else { INSIDE };
    let ports = vec![Some(port(INSIDE)), Some(port(far))];
    let snapshot = Snapshot::new(Generation(1), ports, bridges.into())?;
    let snapshot = snapshot
        .with_rules(Arc::new(RuleSet::compile(rules(case.rules))?))
        .with_tunnels(Arc::new(tunnels()?));
    if case.services > 0 {
        let services = Arc::new(services::of(case.services, OUTSIDE));
        return Ok(snapshot.with_translation(Arc::new(Translation {
            mappings: Mappings::new(1024, 7),
            services,
            ..Translation::default()
        })));
    }
    if !case.is_masqueraded {
        return Ok(snapshot);
    }
    let address = IpAddr::from([192, 0, 2, 1]);
    let pool = NatPool::new(
        OUTSIDE.into(),
        address..=address,
        1024..=u16::MAX,
        Quota { ports: 1 << 16, sessions: 1 << 22 },
    )?;
    Ok(snapshot.with_translation(Arc::new(Translation {
        mappings: Mappings::new(1024, 7).with_addresses([(OUTSIDE.into(), address)]),
        masquerades: [Masquerade::new(INSIDE, pool, Filtering::ByAddress)].into_iter().collect(),
        ..Translation::default()
    })))
}

/// The gateway of a bridge; everything is behind one next hop.
fn router(index: BridgeIndex) -> RouterPort {
    let ip = if index == INSIDE { [10, 0, 0, 1] } else { [192, 0, 2, 1] };
    let next_hops = [NextHop { bridge: OUTSIDE, ip: NEXT_HOP.into() }].into();
    let everything = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let routes: Routes =
        everything.map(|prefix| (prefix, Target::Via { next_hops })).into_iter().collect();
    let gateway = Gateway {
        mac: GATEWAYS[usize::from(index.0)],
        addresses: GatewayAddress::new(ip.into(), 24).into_iter().collect(),
        ..Gateway::default()
    };
    RouterPort { gateway, routes }
}

/// Rules of which the last one, and none but it, matches the packets.
fn rules(count: u32) -> Vec<Rule> {
    let others = (1..count).map(mismatch);
    let matches = RuleMatch::default();
    let last =
        Rule { priority: 0, matches, action: RuleAction::only(Verdict::Allow), ..mismatch(0) };
    others.chain((count > 0).then_some(last)).collect()
}

/// A rule that matches none of the packets, each in another way.
fn mismatch(number: u32) -> Rule {
    let address = IpAddr::from(Ipv4Addr::from(0xac10_0000 + number));
    let matches = RuleMatch {
        destination: Some(AddressSet::from_iter([(address, 32)])),
        ..RuleMatch::default()
    };
    Rule {
        id: RuleId(number),
        priority: 1,
        matches,
        action: RuleAction::only(Verdict::Drop),
        timeouts: Timeouts::default(),
    }
}

/// The packet of a flow.
fn packet(case: Features, flow: usize) -> Vec<u8> {
    let to = if case.is_routed { GATEWAYS[0] } else { UPLINK };
    let ends =
        if case.services > 0 { services::flow(flow, case.services) } else { Ends::flow(flow) };
    let frame = Ends { stations: [to, CLIENT], ..ends }.udp(case.bytes);
    if case.tunnelled == Some(Tunnelled::In) { [&VXLAN[..], &frame].concat() } else { frame }
}
