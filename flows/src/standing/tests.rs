//! What a configuration would make of a session, question by question.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use pktio::wire::field::protocol::TCP;

use crate::nat::{Mappings, Nptv6, Pool, Publish, Published, Quota};
use crate::router::{Gateway, NextHop, Prefix, Routes, Target};
use crate::session::{Direction, Key, NewSession, Packet, Session, Sessions, TcpPolicy};
use crate::{
    BridgeDomain, BridgeIndex, Endpoint, Fdb, Filtering, Generation, Home, Masquerade, Nanos,
    PrefixRule, RouterPort, Seconds, Snapshot, Translation, Tuple, Usage, Zone,
};

const INSIDE: BridgeIndex = BridgeIndex(0);
const OUTSIDE: BridgeIndex = BridgeIndex(1);
const NOW: Nanos = Nanos::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::new(address.ip(), address.port())
}

fn tuple(source: &str, destination: &str) -> Tuple {
    Tuple { protocol: TCP, source: endpoint(source), destination: endpoint(destination) }
}

/// A session whose packets come in on one bridge as `begun` and leave on another as `onward`.
fn session(from: BridgeIndex, begun: Tuple, to: BridgeIndex, onward: Tuple) -> Session {
    let sessions = Sessions::new(8, 1);
    let new = NewSession {
        initiator: Key::new(from, begun),
        responder: Key::new(to, onward.reversed()),
        entrance: None,
        packet: Packet { bytes: 60, segment: None, is_equivocal: false },
    };
    sessions.insert(&new, Seconds(1), TcpPolicy::default(), |_| {}).unwrap();
    let found = sessions.lookup(&new.initiator).unwrap();
    assert_eq!(found.direction, Direction::Original);
    sessions.get(found.session, Seconds(1)).unwrap()
}

/// Two bridges, the inside one of which has routes to both if it `reaches` the outside.
fn snapshot(reaches: bool, translation: Translation) -> Snapshot {
    let connected = |text: &str, bits, bridge| {
        (Prefix::new(ip(text), bits).unwrap(), Target::Connected { bridge })
    };
    let inside = [connected("10.0.0.0", 24, INSIDE), connected("fd01::", 64, INSIDE)];
    let next_hops = [NextHop { bridge: OUTSIDE, ip: ip("192.0.2.254") }].into();
    let default = (Prefix::new(ip("0.0.0.0"), 0).unwrap(), Target::Via { next_hops });
    let outside =
        [connected("192.0.2.0", 24, OUTSIDE), connected("2001:db8::", 64, OUTSIDE), default];
    let also = if reaches { outside.to_vec() } else { Vec::new() };
    let bridge = |routes: Routes| {
        let router = Some(Arc::new(RouterPort { gateway: Gateway::default(), routes }));
        let domain = BridgeDomain::new(Arc::new(Fdb::new(16, 300, 1)), 16);
        Some(BridgeDomain { router, ..domain })
    };
    let bridges = vec![
        bridge(inside.into_iter().chain(also).collect()),
        bridge(outside.into_iter().collect()),
    ];
    let snapshot = Snapshot::new(Generation(1), Vec::new(), bridges).unwrap();
    snapshot.with_translation(Arc::new(translation))
}

fn masquerade(filtering: Filtering) -> Translation {
    let world = ip("192.0.2.1");
    let pool = Pool::new(OUTSIDE.into(), world..=world, 1024..=u16::MAX, Quota::default()).unwrap();
    let usage = Arc::new(Usage::of(7));
    let rule = Masquerade { usage, ..Masquerade::new(INSIDE, pool, filtering) };
    Translation {
        mappings: Mappings::new(16, 1).with_addresses([(OUTSIDE.into(), world)]),
        masquerades: [rule].into_iter().collect(),
        owners: [OUTSIDE, INSIDE].map(|from| ((from, world), OUTSIDE)).into_iter().collect(),
        ..Translation::default()
    }
}

/// Claims the port of a masqueraded endpoint, as the pipeline does.
fn claim(translation: &Translation, internal: &str) -> Endpoint {
    let offer = (&translation.masquerades.of(INSIDE).next().unwrap().pool, &translation.published);
    let internal = endpoint(internal);
    translation.mappings.claim(INSIDE.into(), TCP, internal, offer, NOW).unwrap().external
}

fn publish(internal: &str) -> Translation {
    let rule = Publish::new(OUTSIDE.into(), TCP, None, 8080..=8080, endpoint(internal)).unwrap();
    let home = Home { bridge: INSIDE, usage: Arc::new(Usage::of(9)) };
    Translation {
        published: Published::new(vec![rule]).unwrap(),
        homes: HashMap::from([(rule, home)]),
        owners: [((OUTSIDE, ip("192.0.2.1")), OUTSIDE)].into_iter().collect(),
        ..Translation::default()
    }
}

#[test]
fn a_session_between_stations_of_a_bridge_stands_as_long_as_the_bridge_does() {
    let begun = tuple("10.0.0.2:4000", "10.0.0.3:80");
    let here = session(INSIDE, begun, INSIDE, begun);
    assert!(snapshot(false, Translation::default()).still_makes(&here));
    assert!(!Snapshot::default().still_makes(&here));
}

#[test]
fn a_routed_session_stands_as_long_as_its_bridge_reaches_the_other() {
    let begun = tuple("10.0.0.2:4000", "192.0.2.9:80");
    let routed = session(INSIDE, begun, OUTSIDE, begun);
    assert!(snapshot(true, Translation::default()).still_makes(&routed));
    assert!(!snapshot(false, Translation::default()).still_makes(&routed));
    let begun = tuple("10.0.0.2:4000", "198.51.100.9:80");
    let by_a_router = session(INSIDE, begun, OUTSIDE, begun);
    assert!(snapshot(true, Translation::default()).still_makes(&by_a_router));
}

#[test]
fn a_masqueraded_session_stands_as_long_as_its_rule_and_its_mapping_do() {
    let translation = masquerade(Filtering::ByAddress);
    claim(&translation, "10.0.0.2:4000");
    let begun = tuple("10.0.0.2:4000", "192.0.2.9:80");
    let hidden = session(INSIDE, begun, OUTSIDE, tuple("192.0.2.1:4000", "192.0.2.9:80"));
    let in_the_open = session(INSIDE, begun, OUTSIDE, begun);
    let other_port = session(INSIDE, begun, OUTSIDE, tuple("192.0.2.1:4001", "192.0.2.9:80"));
    let with_rule = snapshot(true, translation);
    assert!(with_rule.still_makes(&hidden));
    assert_eq!(with_rule.translating(&hidden).map(Usage::rule), Some(7));
    assert!(!with_rule.still_makes(&in_the_open));
    assert!(!with_rule.still_makes(&other_port), "nobody has that port");
    let without = snapshot(true, Translation::default());
    assert!(!without.still_makes(&hidden));
    assert!(without.still_makes(&in_the_open));
}

#[test]
fn a_published_session_stands_as_long_as_its_rule_leads_there() {
    let begun = tuple("198.51.100.9:5000", "192.0.2.1:8080");
    let onward = tuple("198.51.100.9:5000", "10.0.0.2:80");
    let published = session(OUTSIDE, begun, INSIDE, onward);
    let same = snapshot(false, publish("10.0.0.2:80"));
    assert!(same.still_makes(&published));
    assert_eq!(same.translating(&published).map(Usage::rule), Some(9));
    assert!(!snapshot(false, publish("10.0.0.3:80")).still_makes(&published));
    assert!(!snapshot(true, Translation::default()).still_makes(&published));
}

#[test]
fn a_session_that_a_stranger_began_stands_as_long_as_strangers_may() {
    let begun = tuple("198.51.100.9:5000", "192.0.2.1:4000");
    let onward = tuple("198.51.100.9:5000", "10.0.0.2:4000");
    let inward = session(OUTSIDE, begun, INSIDE, onward);
    for (filtering, stands) in
        [(Filtering::EndpointIndependent, true), (Filtering::ByAddress, false)]
    {
        let translation = masquerade(filtering);
        claim(&translation, "10.0.0.2:4000");
        assert_eq!(snapshot(true, translation).still_makes(&inward), stands, "{filtering:?}");
    }
}

#[test]
fn a_session_of_translated_prefixes_stands_as_long_as_these_do() {
    let prefixes = Nptv6::new("fd01::".parse().unwrap(), "2001:db8:1::".parse().unwrap(), 48);
    let prefixes = prefixes.unwrap();
    let usage = Arc::new(Usage::of(3));
    let rule = PrefixRule { from: INSIDE, to: OUTSIDE, prefixes, is_only_way: false, usage };
    let outside = prefixes.outward("fd01::2".parse().unwrap()).unwrap();
    let begun = tuple("[fd01::2]:4000", "[2001:db8::9]:80");
    let source = Endpoint::new(outside, 4000);
    let out = session(INSIDE, begun, OUTSIDE, Tuple { source, ..begun });
    let begun = Tuple { source: endpoint("[2001:db8::9]:99"), destination: source, ..begun };
    let onward = Tuple { destination: endpoint("[fd01::2]:4000"), ..begun };
    let inward = session(OUTSIDE, begun, INSIDE, onward);
    let translation = Translation { prefixes: vec![rule], ..Translation::default() };
    let with_rule = snapshot(true, translation);
    for session in [out, inward] {
        assert!(with_rule.still_makes(&session));
        assert_eq!(with_rule.translating(&session).map(Usage::rule), Some(3));
        assert!(!snapshot(true, Translation::default()).still_makes(&session));
    }
}

#[test]
fn zones_are_told_apart() {
    let translation = masquerade(Filtering::ByAddress);
    claim(&translation, "10.0.0.2:4000");
    let other = Key::new(Zone(5), tuple("10.0.0.2:4000", "192.0.2.9:80"));
    assert!(snapshot(true, translation).hiding(&other, (OUTSIDE, ip("192.0.2.9"))).is_none());
}
