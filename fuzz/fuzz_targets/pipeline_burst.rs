//! The pipeline: any frames by any port, no panic, and every frame and buffer accounted for.
//!
//! Two bridges with gateways: inside, with all kinds of ports, is masqueraded, and has a published port and
//! a service; outside leads to everywhere, and has an endpoint of tunnels. A VLAN of the one inside is a domain of its own, with the same addresses. Most frames become IP packets among a few addresses, with right IPv4
//! checksums, so that they get beyond the first check; the rest stay as they are.
#![no_main]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use flows::nat::{Mappings, Pool as Addresses, Publish, Published, Quota};
use flows::router::{Gateway, GatewayAddress, NextHop, Prefix, Routes, Target};
use flows::vxlan::{Native, Tunnel, Vni, Vtep};
use flows::service::{Backend, Balance, Endurance, Service, Services};
use flows::{
    BridgeDomain, BridgeIndex, Endpoint, Fdb, Filtering, Generation, Home, Horizon, Ledger,
    Masquerade, Nanos, Outboxes, Pipeline, PortConfig, PortIndex, RouterPort, Snapshot, TableSizes,
    Tables, Translation, Tunnelled, Untunnelled, Usage, Vid, VlanOf, VlanPolicy, Zone,
};
use libfuzzer_sys::fuzz_target;
use pktio::wire::MacAddr;
use pktio::wire::checksum::{finish, sum};
use pktio::{Burst, Pool, PoolConfig};

const POOL: PoolConfig = PoolConfig { small: 256, slabs: 4 };
const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);
/// A VLAN of the bridge inside.
const VLAN: BridgeIndex = BridgeIndex(2);
/// An endpoint of tunnels outside.
const ENDPOINT: PortIndex = PortIndex(9);
const TUNNELS: u16 = 0x3131;
const GATEWAYS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(203, 0, 113, 1),
    Ipv4Addr::new(10, 0, 0, 1),
];
const STATIONS: [Ipv4Addr; 8] = [
    Ipv4Addr::new(10, 0, 0, 2),
    Ipv4Addr::new(10, 0, 0, 3),
    GATEWAYS[0],
    GATEWAYS[1],
    Ipv4Addr::new(203, 0, 113, 9),
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(224, 0, 0, 1),
];

fn gateway_mac(bridge: BridgeIndex) -> MacAddr {
    MacAddr([2, 0, 0xff, 0, 0, u8::from(bridge == OUTSIDE)])
}

fn port(bridge: BridgeIndex, vlan: VlanPolicy, isolated: bool) -> Option<PortConfig> {
    let horizon = if isolated { Horizon::Isolated } else { Horizon::Open };
    let plain = PortConfig::new(bridge);
    let is_inspected = isolated;
    Some(PortConfig {
        vlan,
        horizon,
        hairpin: isolated,
        mtu_bytes: 200,
        mac_limit: 4,
        is_inspected,
        ..plain
    })
}

fn routes(bridges: &[BridgeIndex]) -> Option<Routes> {
    let mut routes = Vec::new();
    for bridge in bridges {
        let gateway: IpAddr = GATEWAYS[usize::from(bridge.0)].into();
        routes.push((Prefix::new(gateway, 24)?, Target::Connected { bridge: *bridge }));
        routes.push((Prefix::host(gateway), Target::Local));
    }
    let router = NextHop { bridge: OUTSIDE, ip: STATIONS[4].into() };
    routes.push((
        Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0)?,
        Target::Via { next_hops: [router].into() },
    ));
    Some(routes.into_iter().collect())
}

fn bridge(own: BridgeIndex, reachable: &[BridgeIndex]) -> Option<BridgeDomain> {
    let gateway = Gateway {
        mac: gateway_mac(own),
        addresses: vec![GatewayAddress::new(GATEWAYS[usize::from(own.0)].into(), 24)?],
        ..Gateway::default()
    };
    let router = RouterPort { gateway, routes: routes(reachable)? };
    let domain = BridgeDomain::new(Arc::new(Fdb::new(16, 10, 1)), 8);
    let at = SocketAddr::new(GATEWAYS[usize::from(own.0)].into(), TUNNELS);
    let endpoints = if own == OUTSIDE { vec![(at, ENDPOINT)] } else { Vec::new() };
    let (gateway_mac, router) = (gateway_mac(own), Some(Arc::new(router)));
    Some(BridgeDomain { gateway_mac, router, endpoints, ..domain })
}

fn translation() -> Option<Translation> {
    let (outside, external) = (Zone::from(OUTSIDE), IpAddr::from(GATEWAYS[1]));
    let quota = Quota { ports: 3, sessions: 6 };
    let pool = Addresses::new(outside, external..=external, 1024..=1027, quota).ok()?;
    let internal = Endpoint::new(STATIONS[0], 80);
    let rule = Publish::new(outside, 17, None, 0x3030..=0x3030, internal).ok()?;
    let owner = |from| ((from, external), OUTSIDE);
    let own = |from: BridgeIndex| ((from, GATEWAYS[usize::from(from.0)].into()), from);
    Some(Translation {
        mappings: Mappings::new(8, 1).with_addresses([(outside, external)]),
        masquerades: [Masquerade::new(INSIDE, pool, Filtering::EndpointIndependent)]
            .into_iter()
            .collect(),
        published: Published::new(vec![rule]).ok()?,
        homes: HashMap::from([(rule, Home { bridge: INSIDE, usage: Arc::new(Usage::of(0)) })]),
        services: Services::new([service()]).into(),
        owners: [owner(INSIDE), owner(OUTSIDE), own(INSIDE)].into_iter().collect(),
        ..Translation::default()
    })
}

/// A service at an address of nobody's, one of whose backends is on the bridge of its clients.
fn service() -> Service {
    let backend = |(number, bridge): (u16, BridgeIndex)| Backend {
        endpoint: Endpoint::new(STATIONS[usize::from(number)], 80),
        bridge,
        number,
        is_draining: false,
        health: Arc::default(),
    };
    Service {
        usage: Arc::new(Usage::of(1)),
        protocol: 17,
        vip: Endpoint::new(STATIONS[5], 0x3030),
        on: None,
        backends: [(0, INSIDE), (4, OUTSIDE)].map(backend).into(),
        balance: Balance::RoundRobin(Arc::default()),
        affinity_seconds: Some(5),
        endurance: Endurance { failures: 1, rest_seconds: 2 },
        is_checked: false,
    }
}

fn snapshot() -> Option<Snapshot> {
    let allowed = Arc::new([Vid(1), Vid(2)].into_iter().collect());
    let ports = vec![
        port(INSIDE, VlanPolicy::Unaware, false),
        port(INSIDE, VlanPolicy::Unaware, true),
        port(INSIDE, VlanPolicy::Access(Vid(1)), false),
        port(INSIDE, VlanPolicy::Trunk { allowed, native: Some(Vid(2)) }, true),
        port(OUTSIDE, VlanPolicy::Unaware, false),
    ];
    let inside = bridge(INSIDE, &[INSIDE, OUTSIDE])?;
    let vlan = BridgeDomain {
        vlan_of: Some(VlanOf { bridge: INSIDE, vid: Vid(1) }),
        fdb: Arc::clone(&inside.fdb),
        ..bridge(VLAN, &[VLAN, OUTSIDE])?
    };
    let bridges = [inside, bridge(OUTSIDE, &[OUTSIDE])?, vlan].map(Some).to_vec();
    let snapshot = Snapshot::new(Generation(1), ports, bridges).ok()?;
    Some(snapshot.with_translation(Arc::new(translation()?)))
}

/// Makes an IPv4 packet to a gateway of a frame, unless it is one that stays as it is.
fn finish_frame(selector: u8, frame: &mut [u8]) {
    let length = frame.len();
    if selector & 0x80 != 0 || length < 34 {
        return;
    }
    let station = |byte: u8| STATIONS[usize::from(byte & 7)].octets();
    let (source, destination) = (station(frame[26]), station(frame[30]));
    frame[..6].copy_from_slice(&gateway_mac(if selector & 7 < 4 { INSIDE } else { OUTSIDE }).0);
    frame[6..11].copy_from_slice(&[2, 0, 0, 0, 0]);
    frame[11] &= 7;
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    frame[16..18].copy_from_slice(&u16::try_from(length - 14).unwrap_or(0).to_be_bytes());
    frame[24..26].fill(0);
    frame[26..30].copy_from_slice(&source);
    frame[30..34].copy_from_slice(&destination);
    let checksum = finish(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
}

/// Sends what came by a tunnel to a station outside.
fn send_back(
    pipeline: &mut Pipeline,
    now: Nanos,
    pool: &mut Pool,
    outboxes: &mut Outboxes,
    ledger: &mut Ledger,
) {
    let local = SocketAddr::new(GATEWAYS[1].into(), TUNNELS);
    let native = Native { bridge: OUTSIDE, local };
    let Some(vni) = Vni::new(7) else { return };
    let (remote, tunnel) = (STATIONS[4].into(), Tunnel::new(vni));
    let vtep = Vtep { endpoint: ENDPOINT, remote, tunnel, native: Some(native) };
    let tunnelled: Vec<_> = pipeline.tunnelled().collect();
    for Tunnelled { frame, .. } in tunnelled {
        if let Err(Untunnelled { frame, .. }) =
            pipeline.tunnel(now, (&vtep, native, frame), pool, outboxes, ledger)
        {
            pool.recycle(frame);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(snapshot) = snapshot() else { return };
    let sizes = TableSizes { neighbors: 16, sessions: 8, cached_flows: 16, seed: 1 };
    let tables = Arc::new(Tables::new(sizes));
    for (bridge, ip) in [(INSIDE, STATIONS[0]), (OUTSIDE, STATIONS[4])] {
        // The table is larger than what is entered.
        let _ = tables.neighbors.add_static(
            bridge,
            ip.into(),
            MacAddr([2, 0, 0, 0, 0, ip.octets()[3] & 7]),
        );
    }
    let mut pipeline = Pipeline::new(Arc::new(snapshot), tables);
    let Ok(mut pool) = Pool::new(POOL) else { return };
    let (mut outboxes, mut ledger) = (Outboxes::new(), Ledger::new());
    for (second, chunk) in (0..).zip(data.chunks(64)) {
        let Some((selector, bytes)) = chunk.split_first() else { continue };
        let mut bytes = bytes.to_vec();
        finish_frame(*selector, &mut bytes);
        let mut burst = Burst::new();
        burst.extend(pool.frame_from(&bytes));
        let (now, ingress) = (Nanos::from_secs(second), PortIndex(u16::from(selector & 7)));
        pipeline.run(now, ingress, &mut burst, &mut pool, &mut outboxes, &mut ledger);
        pipeline.housekeep(now, &mut pool, &mut outboxes, &mut ledger);
        send_back(&mut pipeline, now, &mut pool, &mut outboxes, &mut ledger);
        while let Some(to) = outboxes.next_dirty() {
            let mut out = std::mem::take(outboxes.of(to));
            ledger.port_mut(to).transmitted += out.len() as u64;
            pool.recycle_all(&mut out);
        }
        assert_eq!(ledger.reconcile(), Ok(()));
    }
    pool.reclaim();
    let (free, held) = (pool.free(), ledger.total().held);
    let count = |pool: PoolConfig| u64::from(pool.small) + u64::from(pool.slabs);
    assert_eq!(count(free) + held, count(POOL));
});
