//! What is offered of routed flows to whoever can carry them without the pipeline.

use std::sync::Arc;

use pktio::wire::MacAddr;

use super::network::{INSIDE, Network, OUTSIDE, Plan, end, gateway_mac, ip, station};
use super::packets::{Kind, Packet};
use crate::router::Claim;
use crate::rules::{Rule, RuleAction, RuleId, RuleMatch, Timeouts, Verdict};
use crate::session::{Direction, Trails};
use crate::{BridgeIndex, Offer, PortIndex, Routed, Tuple, Vid};

const A: &str = "10.0.0.2:5000";
/// On the bridge outside.
const P: &str = "203.0.113.9:53";
const E: &str = "203.0.113.1:5000";

fn udp(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Udp, from, to)
}

fn offering(plan: Plan) -> Plan {
    Plan { offering: (0..6).collect(), ..plan }
}

/// What is offered when a packet was sent several times, and what each has become.
fn offers(network: &mut Network, packet: &Packet) -> Vec<Offer> {
    for _ in 0..3 {
        assert_eq!(network.send(packet).len(), 1);
    }
    std::iter::from_fn(|| network.pipeline.next_offer()).collect()
}

fn tuple(source: &str, destination: &str) -> Tuple {
    Tuple { protocol: 17, source: end(source), destination: end(destination) }
}

#[test]
fn the_datagrams_of_a_session_are_offered_as_they_come_in_and_as_they_leave() {
    let mut network = Network::new(&offering(Plan::masqueraded()));
    let [there] = offers(&mut network, &udp(A, P))[..] else { panic!("one offer") };
    let [back] = offers(&mut network, &udp(P, E))[..] else { panic!("one offer") };
    let (a, p) = (station(0, ip("10.0.0.2")), station(2, ip("203.0.113.9")));
    let (inside, outside) = (gateway_mac(INSIDE), gateway_mac(OUTSIDE));
    let expected = [
        (there, Direction::Original, (0, a, inside), (2, outside, p), (A, P), (E, P)),
        (back, Direction::Reply, (2, p, outside), (0, inside, a), (P, E), (P, A)),
    ];
    for (offer, direction, (ingress, src, gateway), (egress, from, to), came, left) in expected {
        let Routed { session, neighbor, .. } = offer.routed.unwrap();
        let routed = Routed {
            session,
            direction,
            from: tuple(came.0, came.1),
            to: tuple(left.0, left.1),
            bridge: BridgeIndex(egress / 2),
            src: from,
            dst: to,
            neighbor,
        };
        let same = Offer {
            ingress: PortIndex(ingress),
            egress: PortIndex(egress),
            vid: Vid::NONE,
            tag: Vid::NONE,
            src,
            dst: gateway,
            routed: Some(routed),
            ..offer
        };
        assert_eq!(offer, same);
        assert!(network.tables.sessions.get(session, network.now.seconds()).is_some());
        let (next, _) = network.tables.neighbors.lasts(neighbor, network.now).unwrap();
        assert_eq!((next.bridge, next.ip), (routed.bridge, end(left.1).ip));
    }
}

#[test]
fn only_flows_are_offered_and_only_between_ports_that_take_shortcuts() {
    let mut network = Network::new(&offering(Plan::routed()));
    assert_eq!(offers(&mut network, &udp(A, P)).len(), 1);
    assert_eq!(offers(&mut network, &Packet::new(Kind::Ping, A, P)), []);
    for port in [0, 2] {
        let mut plan = offering(Plan::routed());
        plan.offering.retain(|own| *own != port);
        assert_eq!(offers(&mut Network::new(&plan), &udp(A, P)), []);
    }
}

fn tcp(flags: &'static str, from: &str, to: &str, (seq, ack): (u32, u32)) -> Packet {
    Packet { payload: Vec::new(), ..Packet::new(Kind::Tcp(flags, seq, ack), from, to) }
}

/// A network that can lend connections, where one has begun between A and P.
fn connected(plan: Plan) -> Network {
    let mut network = Network::new(&offering(plan));
    let trails = Trails::own(256).unwrap();
    network.tables.sessions.set_trails(Arc::new(trails));
    assert_eq!(offers(&mut network, &tcp("S", A, P, (1, 0))), []);
    assert_eq!(offers(&mut network, &tcp("SA", P, E, (8, 2))), []);
    network
}

#[test]
fn the_segments_of_a_connection_are_offered_while_it_is_established() {
    let mut network = connected(Plan::masqueraded());
    // Three packets of each direction there were.
    for packet in [tcp("A", A, P, (2, 9)), tcp("A", P, E, (9, 2))] {
        for _ in 0..4 {
            assert_eq!(network.send(&packet).len(), 1);
            assert_eq!(network.pipeline.next_offer(), None);
        }
    }
    let [there] = offers(&mut network, &tcp("A", A, P, (2, 9)))[..] else { panic!("one offer") };
    let [back] = offers(&mut network, &tcp("A", P, E, (9, 2)))[..] else { panic!("one offer") };
    let [there, back] = [there, back].map(|offer| offer.routed.unwrap());
    assert_eq!((there.session, there.direction), (back.session, Direction::Original));
    assert_eq!((there.from.protocol, there.from.source), (6, end(A)));
    assert_eq!((there.to.source, back.to.destination), (end(E), end(A)));
    assert!(network.tables.sessions.lend(there.session));
    // Whatever one end says when it is closed, the session has to see.
    network.now = network.now.after(std::time::Duration::from_secs(1));
    assert_eq!(offers(&mut network, &tcp("FA", A, P, (2, 9))), []);
    assert_eq!(offers(&mut network, &tcp("A", P, E, (9, 3))), []);
}

#[test]
fn a_connection_whose_numbers_nobody_keeps_is_not_offered() {
    // Where there is nobody to lend it to, and where its numbers are not checked.
    let mut alone = Network::new(&offering(Plan::masqueraded()));
    for packet in [tcp("S", A, P, (1, 0)), tcp("SA", P, E, (8, 2)), tcp("A", A, P, (2, 9))] {
        assert_eq!(offers(&mut alone, &packet), []);
    }
    let mut unchecked = connected(Plan { unchecked: true, ..Plan::masqueraded() });
    assert_eq!(offers(&mut unchecked, &tcp("A", A, P, (2, 9))), []);
}

#[test]
fn what_a_rule_counts_is_not_offered() {
    let rule = Rule {
        id: RuleId(1),
        priority: 1,
        matches: RuleMatch::default(),
        action: RuleAction { verdict: Verdict::Allow, steps: Arc::default() },
        timeouts: Timeouts::default(),
    };
    let plan = Plan { rules: vec![rule], ..offering(Plan::routed()) };
    assert_eq!(offers(&mut Network::new(&plan), &udp(A, P)), []);
}

#[test]
fn a_session_that_makes_room_for_another_is_told_of() {
    let mut network = Network::new(&Plan { sessions: 1, ..offering(Plan::routed()) });
    assert_eq!(offers(&mut network, &udp(A, P)).len(), 1);
    network.pipeline.take_move();
    network.send(&udp(A, P));
    assert!(!network.pipeline.take_move());
    network.send(&udp("10.0.0.3:1", P));
    assert!(network.pipeline.take_move());
    // Of which there was one packet, and no offer.
    network.send(&udp("10.0.0.3:2", P));
    assert!(!network.pipeline.take_move());
}

#[test]
fn a_neighbour_that_is_another_is_told_of() {
    let mut network = Network::new(&offering(Plan::routed()));
    network.send(&udp(A, P));
    network.pipeline.take_move();
    let told = [2, 2, 4].map(|mac| {
        let claim = Claim::asking(MacAddr([mac; 6]));
        network.tables.neighbors.learn(
            BridgeIndex(OUTSIDE),
            ip("203.0.113.77"),
            &claim,
            network.now,
        );
        [(); 2].map(|()| network.pipeline.take_move())
    });
    assert_eq!(told, [[false; 2], [false; 2], [true, false]]);
}
