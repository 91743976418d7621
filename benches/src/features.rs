//! What features cost on a hit: the pipeline alone, with routes, rules, address translation and tunnels.
//!
//! UDP packets of 64 bytes from one port of a bridge, to stations behind the gateway of another, in bursts of 64.
//! Their flows are known, and come in an order that is none: what is measured is the flow cache, the session and
//! the rewrite. Of the rules the last one lets them pass, and counts them. A tunnel's packets are wrapped after the
//! pipeline, or unwrapped before it, as a worker does.
//!
//! Each burst is timed by itself, and the median counts: interruptions do not.

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
use pktio::underlay::Outer;
use pktio::wire::field::{ethertype, ipv4, protocol, put_be16};
use pktio::wire::{Layers, MacAddr, checksum};
use pktio::{Burst, Pool, PoolConfig};
use vswitch::sys::cycles;

/// Packets of one measurement.
const PACKETS: usize = 2_000_000;
const BURST: usize = 64;
/// Source ports of a flow set; further flows have other destinations.
const SOURCE_PORTS: usize = 1000;
/// From flow to flow: a prime, so that all are visited, and the next one is nowhere near.
const STEP: usize = 2_654_435_761;

/// Where packets come in and where they leave, and the end of the tunnel that either may lead to.
const PORTS: [PortIndex; 2] = [PortIndex(0), PortIndex(1)];
const ENDPOINT: PortIndex = PortIndex(2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];
const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GATEWAYS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 1, 0]), MacAddr([2, 0, 0, 0, 2, 0])];
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What is switched on.
#[derive(Clone, Copy)]
struct Features {
    name: &'static str,
    flows: usize,
    rules: u32,
    is_routed: bool,
    is_masqueraded: bool,
    /// Packets leave by the tunnel, or come in by it.
    tunnelled: Option<Tunnelled>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tunnelled {
    In,
    Out,
}

impl Features {
    const fn bridged(name: &'static str, flows: usize, rules: u32) -> Self {
        let tunnelled = None;
        Self { name, flows, rules, is_routed: false, is_masqueraded: false, tunnelled }
    }

    const fn routed(name: &'static str, flows: usize, rules: u32) -> Self {
        Self { is_routed: true, ..Self::bridged(name, flows, rules) }
    }

    const fn masqueraded(name: &'static str, flows: usize, rules: u32) -> Self {
        Self { is_masqueraded: true, ..Self::routed(name, flows, rules) }
    }

    const fn tunnelled(name: &'static str, tunnelled: Tunnelled) -> Self {
        Self { tunnelled: Some(tunnelled), ..Self::bridged(name, 1000, 0) }
    }
}

const CASES: [Features; 12] = [
    Features::bridged("bridged", 1000, 0),
    Features::bridged("bridged, rules", 1000, 1),
    Features::bridged("bridged, rules", 1000, 100),
    Features::bridged("bridged, rules", 1000, 10_000),
    Features::bridged("bridged, rules", 1000, 100_000),
    Features::routed("routed", 1000, 0),
    Features::routed("routed, rules", 1000, 10_000),
    Features::masqueraded("masqueraded", 1000, 0),
    Features::masqueraded("masqueraded, rules", 1000, 10_000),
    Features::masqueraded("masqueraded", 1_000_000, 0),
    Features::tunnelled("bridged, VXLAN encap", Tunnelled::Out),
    Features::tunnelled("bridged, VXLAN decap", Tunnelled::In),
];

/// Measures and prints.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    println!("\nFeatures, 64-byte packets in bursts of {BURST}, TSC cycles per packet:\n");
    println!("{:<20} {:>9} {:>8} {:>10}", "", "flows", "rules", "pipeline");
    for case in CASES {
        let cycles = measure(case)?;
        println!("{:<20} {:>9} {:>8} {cycles:>10.1}", case.name, case.flows, case.rules);
    }
    Ok(())
}

/// Cycles of the pipeline per packet.
fn measure(case: Features) -> Result<f64, Box<dyn Error>> {
    let sizes =
        TableSizes { sessions: 1 << 21, cached_flows: 1 << 21, seed: 7, ..TableSizes::default() };
    let tables = Arc::new(Tables::new(sizes));
    if !tables.neighbors.add_static(OUTSIDE, NEXT_HOP.into(), UPLINK) {
        return Err("no room for the next hop".into());
    }
    (0..case.rules).for_each(|rule| tables.rules.begin(RuleId(rule), Nanos::default()));
    let snapshot = Arc::new(snapshot(case)?);
    let mut pipeline = Pipeline::new(Arc::clone(&snapshot), tables);
    let mut pool = Pool::new(PoolConfig { small: 4096, slabs: 4 })?;
    let (mut outboxes, mut ledger, mut burst) = (Outboxes::new(), Ledger::new(), Burst::new());
    let now = Nanos::from_secs(1);
    let vtep = Vtep { endpoint: ENDPOINT, remote: REMOTE.into(), tunnel: tunnel()? };
    let outer = Outer { remote: REMOTE.into(), tos: 0 };
    let mut pass = |frames: &mut dyn Iterator<Item = &Vec<u8>>| {
        burst.extend(frames.take(BURST).filter_map(|bytes| pool.frame_from(bytes)));
        let begun = cycles();
        if case.tunnelled == Some(Tunnelled::In) {
            for frame in burst.iter_mut() {
                let _ = black_box(snapshot.tunnels().unwrap(ENDPOINT, frame, outer));
            }
        }
        pipeline.run(now, PORTS[0], &mut burst, &mut pool, &mut outboxes, &mut ledger);
        if case.tunnelled == Some(Tunnelled::Out) {
            for frame in outboxes.of(PORTS[1]).iter_mut() {
                let layers = Layers::parse(frame.data()).ok().flatten();
                black_box(encap(frame, layers.as_ref(), &vtep.tunnel));
            }
        }
        let taken = cycles() - begun;
        while let Some(port) = outboxes.next_dirty() {
            pool.recycle_all(outboxes.of(port));
        }
        taken
    };
    let frames: Vec<_> = (0..case.flows).map(|flow| packet(case, flow)).collect();
    for some in frames.chunks(BURST) {
        pass(&mut some.iter());
    }
    let order = |at: usize| &frames[at.wrapping_mul(STEP) % frames.len()];
    let mut endless = (0..).map(order);
    let mut taken: Vec<_> = (0..PACKETS / BURST).map(|_| pass(&mut endless)).collect();
    taken.sort_unstable();
    let books = ledger.port(PORTS[0]);
    if books.forwarded != books.received {
        return Err(format!("{}: {} packets were lost", case.name, books.ingress_dropped()).into());
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(taken[taken.len() / 2] as f64 / BURST as f64)
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
    tunnels.add_vtep(PORTS[0], Vtep { endpoint, remote: REMOTE.into(), tunnel });
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
        masquerades: vec![Masquerade::new(INSIDE, pool, Filtering::ByAddress)],
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
    let mut frame = [0; 60];
    let to = if case.is_routed { GATEWAYS[0] } else { UPLINK };
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&CLIENT);
    put_be16(&mut frame, 12, ethertype::IPV4);
    let [.., a, b] = (flow / SOURCE_PORTS).to_be_bytes();
    frame[14] = 0x45;
    put_be16(&mut frame, 14 + ipv4::TOTAL_LENGTH, 46);
    frame[14 + ipv4::TTL] = 64;
    frame[14 + ipv4::PROTOCOL] = protocol::UDP;
    frame[14 + 12..14 + 20].copy_from_slice(&[10, 0, 0, 2, 198, 51, a, b]);
    let sum = checksum::finish(checksum::sum(&frame[14..34]));
    put_be16(&mut frame, 14 + ipv4::CHECKSUM, sum);
    let port = u16::try_from(20_000 + flow % SOURCE_PORTS).unwrap_or(u16::MAX);
    put_be16(&mut frame, 34, port);
    put_be16(&mut frame, 36, 53);
    put_be16(&mut frame, 38, 26);
    if case.tunnelled == Some(Tunnelled::In) { [&VXLAN[..], &frame].concat() } else { frame.into() }
}
