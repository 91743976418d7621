//! A network in memory: three bridges with gateways, their stations, and the pipeline between them, under
//! a clock that only the test moves. After every step the ledger reconciles, and every buffer is where it
//! should be.
//!
//! ```text
//!   INSIDE      10.0.0.1/24     fd00::1/64       ports 0, 1: .2, .3      (.66 is on port 1, and not known)
//!   OUTSIDE     203.0.113.1/24  2001:db8::1/64   ports 2, 3: .9, and the router .254 to everywhere
//!   UNRELATED   10.0.0.1/24     fd00::1/64       ports 4, 5: .2, .3
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use pktio::wire::MacAddr;
use pktio::{Burst, PktBuf, Pool, PoolConfig};

use super::packets::{Packet, describe, endpoint, stations};
use crate::nat::{Mappings, Nptv6, Pool as Addresses, Publish, Published, Quota};
use crate::router::{Gateway, GatewayAddress, NextHop, Prefix, Routes, Target};
use crate::rules::{Rule, RuleSet};
use crate::service::{Service, Services};
use crate::session::{TcpPolicy, Timeouts};
use crate::{
    BridgeDomain, BridgeIndex, DropReason, Endpoint, Fdb, Filtering, Generation, Home, Ledger,
    Masquerade, Nanos, Outboxes, Pipeline, PortConfig, PortIndex, PrefixRule, RouterPort, Snapshot,
    TableSizes, Tables, Translation, Usage, Vid, Zone,
};

pub const INSIDE: u16 = 0;
pub const OUTSIDE: u16 = 1;
pub const UNRELATED: u16 = 2;
const BRIDGES: [u16; 3] = [INSIDE, OUTSIDE, UNRELATED];
const PORTS: u16 = 6;
/// The gateways' addresses.
const GATEWAYS: [[&str; 2]; 3] =
    [["10.0.0.1", "fd00::1"], ["203.0.113.1", "2001:db8::1"], ["10.0.0.1", "fd00::1"]];
/// Port and address of the stations that everybody knows.
const STATIONS: [(u16, &str); 13] = [
    (0, "10.0.0.2"),
    (0, "fd00::2"),
    (1, "10.0.0.3"),
    (1, "fd00::3"),
    (2, "203.0.113.9"),
    (2, "2001:db8::9"),
    (3, "203.0.113.254"),
    (3, "2001:db8::fe"),
    (3, "203.0.113.253"),
    (4, "10.0.0.2"),
    (4, "fd00::2"),
    (5, "10.0.0.3"),
    (5, "fd00::3"),
];
/// Who leads to everywhere else.
pub const ROUTERS: [&str; 2] = ["203.0.113.254", "2001:db8::fe"];
const POOL: PoolConfig = PoolConfig { small: 512, slabs: 16 };

/// What the switch is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// From which bridge to which packets are routed.
    pub allowed: Vec<(u16, u16)>,
    pub masquerades: Vec<Hide>,
    pub renamed: Vec<Rename>,
    pub published: Vec<Expose>,
    pub rules: Vec<Rule>,
    pub timeouts: Timeouts,
    pub services: Vec<Service>,
    /// The routers to everywhere.
    pub routers: Vec<&'static str>,
    /// Addresses that the gateway outside stands in for.
    pub proxied: Vec<&'static str>,
    /// MTUs that are not 1500 bytes.
    pub mtus: Vec<(u16, u32)>,
    pub sessions: u32,
    /// Ports whose frames are looked into.
    pub inspected: Vec<u16>,
    /// Ports that take shortcuts.
    pub offering: Vec<u16>,
    /// Whether segments may have any numbers.
    pub unchecked: bool,
}

/// A masquerading rule to the bridge outside.
#[derive(Debug, Clone)]
pub struct Hide {
    pub from: u16,
    pub addresses: Vec<RangeInclusive<IpAddr>>,
    pub ports: RangeInclusive<u16>,
    pub quota: Quota,
    pub filtering: Filtering,
    /// Destinations that see the stations as they are.
    pub except: Vec<Prefix>,
}

/// Prefixes of IPv6 of the bridges inside and outside that are translated into each other.
#[derive(Debug, Clone, Copy)]
pub struct Rename {
    pub inside: &'static str,
    pub outside: &'static str,
    pub bits: u8,
}

/// A published port, on the bridge outside.
#[derive(Debug, Clone)]
pub struct Expose {
    pub protocol: u8,
    pub address: Option<&'static str>,
    pub ports: RangeInclusive<u16>,
    pub home: u16,
    pub internal: &'static str,
}

impl Plan {
    /// Routing between the bridges inside and outside.
    pub fn routed() -> Self {
        Self {
            allowed: vec![(INSIDE, OUTSIDE), (OUTSIDE, INSIDE)],
            masquerades: Vec::new(),
            renamed: Vec::new(),
            published: Vec::new(),
            rules: Vec::new(),
            timeouts: Timeouts::default(),
            services: Vec::new(),
            routers: ROUTERS.to_vec(),
            proxied: Vec::new(),
            mtus: Vec::new(),
            sessions: 256,
            inspected: Vec::new(),
            offering: Vec::new(),
            unchecked: false,
        }
    }

    /// The stations inside hide behind the gateway outside.
    pub fn masqueraded() -> Self {
        let hide = |gateway: &str| Hide::behind(gateway, gateway);
        let masquerades = GATEWAYS[usize::from(OUTSIDE)].map(hide).to_vec();
        Self { allowed: Vec::new(), masquerades, ..Self::routed() }
    }

    /// The same with this said about all masquerading.
    pub fn with(mut self, change: impl Fn(&mut Hide)) -> Self {
        self.masquerades.iter_mut().for_each(change);
        self
    }

    fn reachable(&self, from: u16) -> Vec<u16> {
        let allowed = self.allowed.iter().filter(|(of, _)| *of == from).map(|(_, to)| *to);
        let hidden = self.masquerades.iter().filter(|rule| rule.from == from).map(|_| OUTSIDE);
        let renamed = self.renamed.iter().filter(|_| from == INSIDE).map(|_| OUTSIDE);
        allowed.chain(hidden).chain(renamed).collect()
    }

    fn prefix_rule(&self, rename: &Rename) -> PrefixRule {
        let [inside, outside] =
            [rename.inside, rename.outside].map(|text| text.parse::<Ipv6Addr>().unwrap());
        PrefixRule {
            from: BridgeIndex(INSIDE),
            to: BridgeIndex(OUTSIDE),
            prefixes: Nptv6::new(inside, outside, rename.bits).unwrap(),
            is_only_way: !self.allowed.contains(&(INSIDE, OUTSIDE)),
            usage: unused(),
        }
    }

    /// The addresses of the switch on a bridge.
    fn own(&self, bridge: u16) -> Vec<IpAddr> {
        let gateways = GATEWAYS[usize::from(bridge)].map(ip);
        let pools = self.masquerades.iter().filter(|_| bridge == OUTSIDE).map(Hide::pool);
        let lent = pools.flat_map(|pool| pool.addresses().collect::<Vec<_>>());
        gateways.into_iter().chain(lent).collect()
    }

    fn router_port(&self, bridge: u16) -> RouterPort {
        let addresses = GATEWAYS[usize::from(bridge)].map(gateway_address);
        let proxied = self.proxied.iter().filter(|_| bridge == OUTSIDE).map(|text| ip(text));
        let lent = self.own(bridge).into_iter().skip(2).chain(proxied);
        let gateway = Gateway {
            mac: gateway_mac(bridge),
            addresses: addresses.to_vec(),
            proxy: lent.map(Prefix::host).collect(),
            ..Gateway::default()
        };
        let mut routes = Vec::new();
        for lies in self.reachable(bridge).into_iter().chain([bridge]) {
            self.add_routes(&mut routes, lies);
        }
        RouterPort { gateway, routes: routes.into_iter().collect::<Routes>() }
    }

    fn add_routes(&self, routes: &mut Vec<(Prefix, Target)>, lies: u16) {
        let bridge = BridgeIndex(lies);
        for everywhere in ["0.0.0.0", "::"].map(ip).into_iter().filter(|_| lies == OUTSIDE) {
            let routers = self.routers.iter().map(|router| ip(router));
            let routers = routers.filter(|router| router.is_ipv4() == everywhere.is_ipv4());
            let next_hops = routers.map(|ip| NextHop { bridge, ip }).collect();
            routes.push((Prefix::new(everywhere, 0).unwrap(), Target::Via { next_hops }));
        }
        for address in GATEWAYS[usize::from(lies)].map(gateway_address) {
            routes.push((address.subnet(), Target::Connected { bridge }));
            let broadcast = address.broadcast().map(|ip| Prefix::host(ip.into()));
            routes.extend(broadcast.map(|prefix| (prefix, Target::Broadcast)));
        }
        routes.extend(self.own(lies).into_iter().map(|ip| (Prefix::host(ip), Target::Local)));
    }

    fn translation(&self, mappings: &Mappings) -> Translation {
        let masquerades: Vec<_> = self.masquerades.iter().map(Hide::rule).collect();
        let zone = Zone(OUTSIDE);
        let rules = self.published.iter().map(|rule| {
            let address = rule.address.map(ip);
            Publish::new(zone, rule.protocol, address, rule.ports.clone(), end(rule.internal))
        });
        let rules: Vec<_> = rules.map(Result::unwrap).collect();
        let home = |exposed: &Expose| Home { bridge: BridgeIndex(exposed.home), usage: unused() };
        let homes = rules.iter().copied().zip(self.published.iter().map(home)).collect();
        let published = Published::new(rules).unwrap();
        let served = self.services.iter().flat_map(|service| &service.backends);
        let served = served.map(|backend| backend.bridge.0);
        let homes_of = self.published.iter().map(|rule| rule.home).chain(served);
        let homes_of: BTreeSet<_> = homes_of.collect();
        let hairpins: Vec<_> = homes_of.into_iter().flat_map(hairpins).collect();
        let lent = masquerades.iter().chain(&hairpins);
        let lent = lent.flat_map(|rule| {
            rule.pool.addresses().map(|ip| (rule.pool.zone(), ip)).collect::<Vec<_>>()
        });
        let mut owners = Vec::new();
        for from in BRIDGES {
            for owner in self.reachable(from).into_iter().chain([from]) {
                let found = |ip| ((BridgeIndex(from), ip), BridgeIndex(owner));
                owners.extend(self.own(owner).into_iter().map(found));
            }
        }
        Translation {
            mappings: mappings.with_addresses(lent),
            masquerades: masquerades.into_iter().collect(),
            prefixes: self.renamed.iter().map(|rename| self.prefix_rule(rename)).collect(),
            hairpins: hairpins.into_iter().collect(),
            published,
            homes,
            services: Services::new(self.services.clone()).into(),
            timeouts: self.timeouts,
            owners: owners.into_iter().collect(),
            tcp: TcpPolicy { check_windows: !self.unchecked, ..TcpPolicy::default() },
        }
    }
}

impl Hide {
    /// The stations inside hide behind these addresses.
    pub fn behind(first: &str, last: &str) -> Self {
        Self {
            from: INSIDE,
            addresses: vec![ip(first)..=ip(last)],
            ports: 1024..=u16::MAX,
            quota: Quota::default(),
            filtering: Filtering::ByAddress,
            except: Vec::new(),
        }
    }

    fn pool(&self) -> Addresses {
        let (addresses, ports) = (self.addresses.clone(), self.ports.clone());
        Addresses::of_ranges(Zone(OUTSIDE), addresses, ports, self.quota).unwrap()
    }

    fn rule(&self) -> Masquerade {
        let (from, pool) = (BridgeIndex(self.from), self.pool());
        let except = self.except.iter().copied().collect();
        Masquerade { from, pool, filtering: self.filtering, except, usage: unused() }
    }
}

pub fn unused() -> Arc<Usage> {
    Arc::new(Usage::of(0))
}

fn hairpins(home: u16) -> Vec<Masquerade> {
    let rule = |gateway| {
        let addresses = ip(gateway)..=ip(gateway);
        let pool = Addresses::new(Zone(home), addresses, 1024..=u16::MAX, Quota::default());
        let filtering = Filtering::ByAddress;
        Masquerade::new(BridgeIndex(home), pool.unwrap(), filtering)
    };
    GATEWAYS[usize::from(home)].map(rule).to_vec()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn end(text: &str) -> Endpoint {
    let end = endpoint(text);
    Endpoint { ip: end.ip(), port: end.port() }
}

fn gateway_address(text: &str) -> GatewayAddress {
    let ip = ip(text);
    GatewayAddress::new(ip, if ip.is_ipv4() { 24 } else { 64 }).unwrap()
}

pub fn gateway_mac(bridge: u16) -> MacAddr {
    MacAddr([2, 0, 0xff, 0, 0, u8::try_from(bridge).unwrap()])
}

/// The station with an address on the link of a port.
pub fn station(port: u16, ip: IpAddr) -> MacAddr {
    let last = match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    };
    let kind = if ip.is_ipv4() { 4 } else { 6 };
    MacAddr([2, 0, kind, 0, u8::try_from(bridge_of(port)).unwrap(), last])
}

fn bridge_of(port: u16) -> u16 {
    port / 2
}

/// Where a packet comes in, and from which station: that of its source, or the router's.
pub fn entrance(source: IpAddr) -> (u16, MacAddr) {
    let known = STATIONS.iter().find(|(_, address)| ip(address) == source);
    let by_router = || {
        let router =
            ROUTERS.map(ip).into_iter().find(|router| router.is_ipv4() == source.is_ipv4());
        (3, station(3, router.unwrap()))
    };
    known.map_or_else(by_router, |(port, _)| (*port, station(*port, source)))
}

/// A frame that left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub port: u16,
    pub bytes: Vec<u8>,
    /// It is a super-frame.
    pub is_super: bool,
}

/// The switch, and everything around it.
pub struct Network {
    pub pipeline: Pipeline,
    pub pool: Pool,
    pub ledger: Ledger,
    pub tables: Arc<Tables>,
    pub translation: Arc<Translation>,
    pub snapshot: Arc<Snapshot>,
    pub now: Nanos,
    outboxes: Outboxes,
    fdbs: Vec<Arc<Fdb>>,
    generation: u64,
    sweep: u32,
    /// Packets that came for who serves at gateways.
    pub visitors: u32,
}

impl Network {
    pub fn new(plan: &Plan) -> Self {
        let sizes =
            TableSizes { neighbors: 64, sessions: plan.sessions, cached_flows: 64, seed: 1 };
        let tables = Arc::new(Tables::new(sizes));
        let fdbs: Vec<_> = BRIDGES.iter().map(|_| Arc::new(Fdb::new(100, 300, 1))).collect();
        for (port, address) in STATIONS {
            let (bridge, ip) = (bridge_of(port), ip(address));
            let mac = station(port, ip);
            assert!(tables.neighbors.add_static(BridgeIndex(bridge), ip, mac));
            assert!(fdbs[usize::from(bridge)].add_static(mac, Vid::NONE, PortIndex(port)));
        }
        let mut network = Self {
            pipeline: Pipeline::new(Arc::default(), Arc::clone(&tables)),
            pool: Pool::new(POOL).unwrap(),
            ledger: Ledger::new(),
            tables,
            translation: Arc::new(Translation {
                mappings: Mappings::new(64, 1),
                ..Translation::default()
            }),
            snapshot: Arc::default(),
            now: Nanos::from_secs(1000),
            outboxes: Outboxes::new(),
            fdbs,
            generation: 0,
            sweep: 0,
            visitors: 0,
        };
        network.adopt(plan);
        network
    }

    /// Goes on with another configuration.
    pub fn adopt(&mut self, plan: &Plan) {
        let port = |number| {
            let mtu = plan.mtus.iter().find(|(port, _)| *port == number);
            Some(PortConfig {
                mtu_bytes: mtu.map_or(1500, |(_, bytes)| *bytes),
                is_inspected: plan.inspected.contains(&number),
                takes_shortcuts: plan.offering.contains(&number),
                ..PortConfig::new(BridgeIndex(bridge_of(number)))
            })
        };
        let bridge = |number: u16| {
            let fdb = Arc::clone(&self.fdbs[usize::from(number)]);
            Some(BridgeDomain {
                gateway_mac: gateway_mac(number),
                router: Some(Arc::new(plan.router_port(number))),
                ..BridgeDomain::new(fdb, 100)
            })
        };
        self.generation += 1;
        self.translation = Arc::new(plan.translation(&self.translation.mappings));
        let bridges = BRIDGES.map(bridge).to_vec();
        let ports = (0..PORTS).map(port).collect();
        let snapshot = Snapshot::new(Generation(self.generation), ports, bridges).unwrap();
        let rules = RuleSet::compile(plan.rules.clone()).unwrap();
        let snapshot =
            snapshot.with_translation(Arc::clone(&self.translation)).with_rules(Arc::new(rules));
        self.snapshot = Arc::new(snapshot);
        self.pipeline.adopt(Arc::clone(&self.snapshot));
    }

    /// Ends the sessions that the configuration would not begin any more, as the control thread does, and says how many.
    pub fn end_what_changed(&self) -> usize {
        let release = |session: &_| self.translation.release(session, self.now);
        let is_over = |session: &_| !self.snapshot.still_makes(session);
        self.tables.sessions.flush(self.now.seconds(), is_over, release)
    }

    /// Gives frames to the switch, and returns those that left.
    pub fn exchange(&mut self, port: u16, frames: impl IntoIterator<Item = PktBuf>) -> Vec<Sent> {
        let mut burst = Burst::new();
        burst.extend(frames);
        let (port, pool, ledger) = (PortIndex(port), &mut self.pool, &mut self.ledger);
        self.pipeline.run(self.now, port, &mut burst, pool, &mut self.outboxes, ledger);
        self.turn()
    }

    /// Lets the switch do what is due, and returns the frames that left.
    fn turn(&mut self) -> Vec<Sent> {
        self.pipeline.housekeep(self.now, &mut self.pool, &mut self.outboxes, &mut self.ledger);
        let mut out = Vec::new();
        while let Some(port) = self.outboxes.next_dirty() {
            for frame in self.outboxes.of(port).drain(..) {
                self.ledger.port_mut(port).transmitted += 1;
                let is_super = frame.offload.gso != pktio::Gso::None;
                out.push(Sent { port: port.0, bytes: frame.data().to_vec(), is_super });
                self.pool.recycle(frame);
            }
        }
        self.receive();
        self.audit();
        out.sort_by_key(|sent| sent.port);
        out
    }

    /// Every frame is accounted for, and every buffer is free or waits.
    fn audit(&mut self) {
        self.ledger.reconcile().unwrap();
        self.pool.reclaim();
        let (free, held) = (self.pool.free(), self.ledger.total().held);
        let count = |pool: PoolConfig| u64::from(pool.small) + u64::from(pool.slabs);
        assert_eq!(count(free) + held, count(POOL), "buffers are lost");
    }

    /// Takes the packets for who serves at gateways, as who serves would.
    fn receive(&mut self) {
        for visitor in self.pipeline.visitors() {
            self.ledger.port_mut(visitor.port).answered += 1;
            self.pool.recycle(visitor.frame);
            self.visitors += 1;
        }
    }

    /// Puts a frame onto a port; returns what left, a line each: the port and what it was.
    pub fn put(&mut self, port: u16, frame: &[u8]) -> Vec<String> {
        let frame = self.pool.frame_from(frame).unwrap();
        lines(&self.exchange(port, [frame]))
    }

    /// The frame in which a packet comes to the gateway from where its source is.
    pub fn framed(packet: &Packet) -> (u16, Vec<u8>) {
        let (port, from) = entrance(packet.from.ip());
        (port, packet.frame(from, gateway_mac(bridge_of(port))))
    }

    /// Lets a station send a packet to its gateway; returns what left.
    pub fn send(&mut self, packet: &Packet) -> Vec<String> {
        let (port, frame) = Self::framed(packet);
        self.put(port, &frame)
    }

    /// Lets time pass; returns what left meanwhile, a line each.
    pub fn wait(&mut self, time: Duration) -> Vec<String> {
        lines(&self.pass(time))
    }

    /// Lets time pass, and returns the frames that left meanwhile.
    pub fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let until = self.now.as_nanos() + u64::try_from(time.as_nanos()).unwrap();
        let mut out = Vec::new();
        while self.now.as_nanos() < until {
            let step = if self.pipeline.is_idle() { 1_000_000_000 } else { 250_000_000 };
            self.now = Nanos::from_nanos((self.now.as_nanos() + step).min(until));
            out.extend(self.turn());
            self.expire();
        }
        out
    }

    /// What the control thread does now and then.
    fn expire(&mut self) {
        let translation = &self.translation;
        let (now, sessions) = (self.now, &self.tables.sessions);
        let release = |session: &_| translation.release(session, now);
        let records = sessions.gauges().capacity;
        self.sweep =
            sessions.expire(now.seconds(), self.sweep, records, &translation.timeouts, release);
    }

    /// Frames of a port that were dropped when they came in.
    pub fn drops(&self, port: u16, reason: DropReason) -> u64 {
        self.ledger.port(PortIndex(port)).ingress_drops[reason as usize]
    }

    /// Mappings that there are, and sessions that use them.
    pub fn mappings(&self) -> (usize, u32) {
        let all = || self.translation.mappings.iter();
        (all().count(), all().map(|mapping| mapping.sessions).sum())
    }
}

/// What left, a line each. A frame for one station goes to the port where that is.
pub fn lines(sent: &[Sent]) -> Vec<String> {
    let line = |sent: &Sent| {
        let (to, _) = stations(&sent.bytes);
        let is_there = |(port, address): &(u16, &str)| station(*port, ip(address)) == to;
        if let Some((port, _)) = STATIONS.iter().find(|known| is_there(known)) {
            assert_eq!(*port, sent.port, "{to} is elsewhere");
        }
        format!("{}: {}", sent.port, describe(&sent.bytes))
    };
    sent.iter().map(line).collect()
}
