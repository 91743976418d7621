//! The tables alone: what is found, what is not, and what is new, among more and more entries.
//!
//! Keys come in an order that is none, so that the next entry is nowhere near. Where something is added, what was
//! added is taken away beside the measurement: the table stays as large as it is said to be.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use flows::cache::{FlowCache, FlowKey, KeyFields};
use flows::fdb::Limits;
use flows::nat::{Mappings, Pool as NatPool, Published, Quota};
use flows::router::{Neighbors, NextHop, Prefix, Routes, Target};
use flows::rules::{
    AddressSet, ConnState, Packet as Facts, Rule, RuleAction, RuleId, RuleMatch, RuleSet, Verdict,
};
use flows::session::{Direction, Inserted, Key, NewSession, Packet, Sessions, TcpPolicy};
use flows::{BridgeIndex, Endpoint, Fdb, Nanos, PortIndex, Seconds, Tuple, Vid, Zone};
use pktio::wire::field::{ethertype, protocol};
use pktio::wire::{Fragment, Layers, MacAddr};

use super::frames::{Ends, SHORTEST_BYTES};
use super::{Axis, Case, Made, Stage, Work};

/// Entries of a table.
const SIZES: [usize; 4] = [1, 1000, 100_000, 1_000_000];
/// What is done in one call.
const BATCH: usize = 32;
/// From entry to entry: a prime, so that all are visited, and the next one is nowhere near.
const STEP: usize = 2_654_435_761;
const SEED: u64 = 7;
const NOW: Seconds = Seconds(1);

pub(super) fn cases() -> Vec<Case> {
    let tables: [Stage; 14] = [
        ("stations: found", |count| stations(count, 0)),
        ("stations: not found", |count| stations(count, count)),
        ("stations: heard again", stations_heard),
        ("stations: learned", stations_learned),
        ("flow cache: found", |count| flows(count, 0)),
        ("flow cache: not found", |count| flows(count, count)),
        ("flow cache: put", flows_put),
        ("sessions: found", |count| sessions(count, 0)),
        ("sessions: not found", |count| sessions(count, count)),
        ("sessions: packet noted", sessions_tracked),
        ("sessions: begun", sessions_begun),
        ("NAT mappings: claimed", mappings_claimed),
        ("routes: found", routes),
        ("neighbours: found", neighbors),
    ];
    let of_table = |(stage, make): Stage| {
        SIZES.map(|size| Case::new(stage, (Axis::Entries, size), move || make(size)))
    };
    let rules: [Stage; 2] = [
        ("rules: found", |count| rules(count, 0)),
        ("rules: not found", |count| rules(count, count)),
    ];
    let of_rules = |(stage, make): Stage| {
        [1, 100, 10_000, 100_000]
            .map(|count| Case::new(stage, (Axis::Rules, count), move || make(count)))
    };
    tables.into_iter().flat_map(of_table).chain(rules.into_iter().flat_map(of_rules)).collect()
}

/// Numbers of `count` entries from a first one, each once, in an order that is none; as many as fill some calls.
fn numbers(first: usize, count: usize) -> impl Iterator<Item = usize> {
    let many = count.max(BATCH).next_multiple_of(BATCH);
    (0..many).map(move |at| first + at.wrapping_mul(STEP) % count)
}

/// Does something to keys, a batch in each call, around and around.
fn each<K: 'static>(keys: Vec<K>, mut step: impl FnMut(&[K]) + 'static) -> Work {
    let mut at = 0;
    Box::new(move |meter| {
        let batch = &keys[at..at + BATCH];
        meter.note(BATCH, || step(batch));
        at = (at + BATCH) % keys.len();
    })
}

fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn station(number: usize) -> MacAddr {
    MacAddr::from_bits(0x0200_0000_0000 | u64::from(short(number)))
}

fn known_stations(count: usize) -> Result<Fdb, Box<dyn Error>> {
    let fdb = Fdb::new(short(count + BATCH), 300, SEED);
    let limit = Limits { bridge: u32::MAX, port: u32::MAX };
    for number in 0..count {
        fdb.learn(station(number), Vid::NONE, PortIndex(1), NOW, limit);
    }
    if usize::try_from(fdb.len())? == count { Ok(fdb) } else { Err("no room for a station".into()) }
}

fn stations(count: usize, first: usize) -> Made {
    let fdb = known_stations(count)?;
    let macs = numbers(first, count).map(station).collect();
    Ok(each(macs, move |macs| {
        macs.iter().for_each(|mac| fdb.warm(*mac, Vid::NONE));
        for mac in macs {
            black_box(fdb.lookup(*mac, Vid::NONE, NOW));
        }
    }))
}

fn hear(fdb: &Fdb, macs: &[MacAddr]) {
    let limit = Limits { bridge: u32::MAX, port: u32::MAX };
    macs.iter().for_each(|mac| fdb.warm(*mac, Vid::NONE));
    for mac in macs {
        black_box(fdb.learn(*mac, Vid::NONE, PortIndex(1), NOW, limit));
    }
}

fn stations_heard(count: usize) -> Made {
    let fdb = known_stations(count)?;
    Ok(each(numbers(0, count).map(station).collect(), move |macs| hear(&fdb, macs)))
}

fn stations_learned(count: usize) -> Made {
    let fdb = known_stations(count)?;
    let mut next = count;
    Ok(Box::new(move |meter| {
        let new: Vec<_> = (next..next + BATCH).map(station).collect();
        meter.note(BATCH, || hear(&fdb, &new));
        new.iter().for_each(|mac| _ = fdb.remove(*mac, Vid::NONE));
        next += BATCH;
    }))
}

/// As much as the pipeline remembers of a flow.
type Remembered = [u64; 16];

fn flow_key(number: usize) -> Option<FlowKey> {
    let frame = Ends::flow(number).udp(SHORTEST_BYTES);
    let layers = Layers::parse(&frame).ok()??;
    FlowKey::of(PortIndex(0), Vid::NONE, &frame, &layers, KeyFields { tcp_flags: 0, dscp: false })
}

fn known_flows(count: usize) -> FlowCache<Remembered> {
    let mut cache = FlowCache::new(count.max(1000), SEED);
    for key in (0..count).filter_map(flow_key) {
        let sought = cache.prepare(key);
        cache.put(&sought, [0; 16]);
    }
    cache
}

/// Prepared, approached and found in three passes, as the pipeline does.
fn flows(count: usize, first: usize) -> Made {
    let mut cache = known_flows(count);
    let mut sought = Vec::with_capacity(BATCH);
    Ok(each(numbers(first, count).filter_map(flow_key).collect(), move |keys| {
        sought.extend(keys.iter().map(|key| cache.prepare(*key)));
        sought.iter_mut().for_each(|flow| cache.approach(flow));
        for flow in sought.drain(..) {
            black_box(cache.find(&flow));
        }
    }))
}

/// Into a cache that is full: each one takes the place of another.
fn flows_put(count: usize) -> Made {
    let mut cache = known_flows(count);
    let strangers = numbers(count, count.max(1 << 16)).filter_map(flow_key).collect();
    Ok(each(strangers, move |keys: &[FlowKey]| {
        for key in keys {
            let sought = cache.prepare(*key);
            cache.put(&sought, [1; 16]);
        }
    }))
}

const PACKET: Packet = Packet { bytes: 64, segment: None, is_equivocal: false };

/// A masqueraded session.
fn session(number: usize) -> NewSession {
    let Ends { ips, ports, .. } = Ends::flow(number);
    let [source, destination] = [0, 1].map(|end| Endpoint::new(ips[end], ports[end]));
    let external = Endpoint::new(Ipv4Addr::from(0xcb00_7100 + short(number / 50_000)), 0);
    let port = u16::try_from(1024 + number % 50_000).unwrap_or(u16::MAX);
    let external = Endpoint { port, ..external };
    let tuple = |source, destination| Tuple { protocol: protocol::UDP, source, destination };
    NewSession {
        initiator: Key::new(Zone(1), tuple(source, destination)),
        responder: Key::new(Zone(2), tuple(destination, external)),
        entrance: None,
        packet: PACKET,
    }
}

fn begin(sessions: &Sessions, new: &NewSession) -> Result<Inserted, Box<dyn Error>> {
    Ok(sessions.insert(new, NOW, TcpPolicy::default(), |_| ())?)
}

fn known_sessions(count: usize) -> Result<Sessions, Box<dyn Error>> {
    let sessions = Sessions::new(short(count + BATCH).max(1000), SEED);
    (0..count).try_for_each(|number| begin(&sessions, &session(number)).map(drop))?;
    Ok(sessions)
}

fn sessions(count: usize, first: usize) -> Made {
    let sessions = known_sessions(count)?;
    let keys = numbers(first, count).map(|number| session(number).responder).collect();
    Ok(each(keys, move |keys| {
        for key in keys {
            black_box(sessions.lookup(key));
        }
    }))
}

fn sessions_tracked(count: usize) -> Made {
    let sessions = known_sessions(count)?;
    let find = |number| Some(sessions.lookup(&session(number).initiator)?.session);
    let all: Vec<_> = numbers(0, count).filter_map(find).collect();
    Ok(each(all, move |some| {
        some.iter().for_each(|session| sessions.warm(*session, Direction::Original));
        for session in some {
            let policy = TcpPolicy::default();
            black_box(sessions.track(*session, Direction::Original, &PACKET, NOW, policy));
        }
    }))
}

fn sessions_begun(count: usize) -> Made {
    let sessions = known_sessions(count)?;
    let (mut next, mut begun) = (count, Vec::with_capacity(BATCH));
    Ok(Box::new(move |meter| {
        let new: Vec<_> = (next..next + BATCH).map(|number| session(number % (1 << 24))).collect();
        meter.note(BATCH, || begun.extend(new.iter().map(|new| begin(&sessions, new))));
        for begun in begun.drain(..) {
            if let Ok(Inserted::New(session)) = begun {
                sessions.end(session, NOW);
            }
        }
        next += BATCH;
    }))
}

/// With as many claimed already, by containers of 1000 mappings each.
fn mappings_claimed(count: usize) -> Made {
    let zone = Zone(2);
    let address = |number: u32| IpAddr::from(Ipv4Addr::from(0xcb00_7100 + number));
    let last = short(count / 40_000);
    let quota = Quota { ports: 1 << 16, sessions: 1 << 22 };
    let pool = NatPool::new(zone, address(0)..=address(last), 1024..=u16::MAX, quota)?;
    let listed = (0..=last).map(|number| (zone, address(number)));
    let mappings = Mappings::new(1 << 13, SEED).with_addresses(listed);
    let internal = |number: usize| {
        let port = u16::try_from(20_000 + number % 1000).unwrap_or(u16::MAX);
        Endpoint::new(Ipv4Addr::from(0x0a00_0000 + short(number / 1000)), port)
    };
    let (published, now) = (Published::default(), Nanos::from_secs(1));
    let claim = move |mappings: &Mappings, number| {
        mappings.claim(Zone(1), protocol::UDP, internal(number), (&pool, &published), now)
    };
    for number in 0..count {
        claim(&mappings, number)?;
    }
    let mut claims = Vec::with_capacity(BATCH);
    Ok(Box::new(move |meter| {
        meter.note(BATCH, || {
            claims.extend((count..count + BATCH).filter_map(|at| claim(&mappings, at).ok()));
        });
        claims.drain(..).for_each(|claim| mappings.release(claim.mapping, now));
    }))
}

fn routes(count: usize) -> Made {
    let address = |number: usize| IpAddr::from(Ipv4Addr::from(short(number) << 8));
    let hop = NextHop { bridge: BridgeIndex(0), ip: address(1) };
    let target = || Target::Via { next_hops: [hop].into() };
    let route = |number| Some((Prefix::new(address(number), 24)?, target()));
    let routes: Routes = (0..count).filter_map(route).collect();
    Ok(each(numbers(0, count).map(address).collect(), move |ips: &[IpAddr]| {
        for ip in ips {
            black_box(routes.lookup(*ip));
        }
    }))
}

fn neighbors(count: usize) -> Made {
    let address = |number: usize| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + short(number)));
    let (bridge, now) = (BridgeIndex(0), Nanos::from_secs(1));
    // A hash table refuses some before it is full.
    let room = short(count + count / 8).max(1000);
    let table = Neighbors::new(room, flows::router::Timers::default(), SEED);
    if !(0..count).all(|number| table.add_static(bridge, address(number), station(number))) {
        return Err("no room for a neighbour".into());
    }
    Ok(each(numbers(0, count).map(address).collect(), move |ips: &[IpAddr]| {
        for ip in ips {
            black_box(table.lookup(bridge, *ip, now));
        }
    }))
}

/// Rules of one shape, each for another pair of containers.
fn rules(count: usize, first: usize) -> Made {
    let rule = |number: usize| {
        let ends = pair(number);
        let set = |ip| Some(AddressSet::from_iter([(IpAddr::from(ip), 32)]));
        let matches = RuleMatch {
            source: set(ends[0]),
            destination: set(ends[1]),
            protocol: Some(protocol::TCP),
            ..RuleMatch::default()
        };
        let (id, action) = (RuleId(short(number)), RuleAction::only(Verdict::Allow));
        Rule { id, priority: 1, matches, action, timeouts: flows::rules::Timeouts::default() }
    };
    let set = RuleSet::compile((0..count).map(rule).collect())?;
    Ok(each(numbers(first, count).map(facts).collect(), move |packets: &[Facts]| {
        for packet in packets {
            black_box(set.lookup(packet));
        }
    }))
}

fn pair(number: usize) -> [Ipv4Addr; 2] {
    [0x0a00_0000, 0x0a80_0000].map(|network| Ipv4Addr::from(network + short(number)))
}

/// What the rules are asked about: the first packet of a connection between a pair of containers.
fn facts(number: usize) -> Facts {
    let [source, destination] = pair(number).map(|ip| Endpoint::new(ip, 80));
    Facts {
        ingress: PortIndex(0),
        bridge: BridgeIndex(0),
        source_mac: station(1),
        destination_mac: station(2),
        ethertype: ethertype::IPV4,
        vid: Vid::NONE,
        tuple: Some(Tuple { protocol: protocol::TCP, source, destination }),
        fragment: Fragment::Whole,
        tcp_flags: Some(2),
        icmp: None,
        dscp: 0,
        state: Some(ConnState::New),
        vni: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_visited_and_they_fill_whole_calls() {
        for count in [1, 31, 1000] {
            let all: Vec<_> = numbers(5, count).collect();
            assert_eq!(all.len() % BATCH, 0);
            let different: std::collections::BTreeSet<_> = all.into_iter().collect();
            assert_eq!(different, (5..5 + count).collect());
        }
    }
}
