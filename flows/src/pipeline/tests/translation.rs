//! Masquerading and published ports in the pipeline: who gets which endpoint, who gets in by it, and what
//! is given back.

use std::time::Duration;

use super::network::{
    Expose, Hide, INSIDE, Network, OUTSIDE, Plan, Rename, gateway_mac, ip, station,
};
use super::packets::{Ip, Kind, Packet, fragments, icmp_error};
use crate::nat::Quota;
use crate::router::Prefix;
use crate::rules::{Rule, RuleAction, RuleId, RuleMatch, Timeouts, Verdict};
use crate::session::{State, TcpState};
use crate::{DropReason, Filtering, PortIndex};

const A: &str = "10.0.0.2:5000";
const B: &str = "10.0.0.3:5000";
/// Somewhere behind the router.
const P: &str = "198.51.100.7:53";
const E: &str = "203.0.113.1:5000";
const NOTHING: [String; 0] = [];

fn udp(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Udp, from, to)
}

fn tcp(flags: &'static str, from: &str, to: &str, (seq, ack): (u32, u32)) -> Packet {
    Packet { payload: Vec::new(), ..Packet::new(Kind::Tcp(flags, seq, ack), from, to) }
}

fn ping(from: &str, to: &str) -> Packet {
    Packet::new(Kind::Ping, from, to)
}

/// What the world sees as the source of the only packet that left.
fn external(sent: &[String]) -> String {
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent[0].split(' ').nth(2).unwrap().to_owned()
}

fn transparent() -> Plan {
    Plan::masqueraded().with(|rule| rule.filtering = Filtering::EndpointIndependent)
}

fn publishing(ports: std::ops::RangeInclusive<u16>, internal: &'static str) -> Plan {
    let rule =
        |protocol| Expose { protocol, address: None, ports: ports.clone(), home: INSIDE, internal };
    Plan { published: vec![rule(6), rule(17)], ..Plan::masqueraded() }
}

#[test]
fn an_endpoint_has_one_external_port_its_own_if_that_is_free() {
    let mut network = Network::new(&Plan::masqueraded());
    assert_eq!(network.send(&udp(A, P)), [format!("3: udp {E} > {P}")]);
    assert_eq!(external(&network.send(&udp(A, "198.51.100.8:99"))), E);
    assert_eq!(network.send(&udp(P, E)), [format!("0: udp {P} > {A}")]);
    let others = external(&network.send(&udp(B, P)));
    assert_ne!(others, E);
    assert_eq!(network.send(&udp(P, &others)), [format!("1: udp {P} > {B}")]);
    let (v6, far) = ("[fd00::2]:5000", "[2001:db8:f::7]:53");
    assert_eq!(network.send(&udp(v6, far)), [format!("3: udp [2001:db8::1]:5000 > {far}")]);
    assert_eq!(network.send(&udp(far, "[2001:db8::1]:5000")), [format!("0: udp {far} > {v6}")]);
    assert_eq!(network.mappings(), (3, 4));
}

#[test]
fn strangers_get_in_only_where_filtering_is_endpoint_independent() {
    let strangers = ["198.51.100.7:54", "198.51.100.8:53", "203.0.113.9:1"];
    let mut network = Network::new(&Plan::masqueraded());
    network.send(&udp(A, P));
    for stranger in strangers {
        assert_eq!(network.send(&udp(stranger, E)), NOTHING);
    }
    assert_eq!(network.drops(3, DropReason::NotTranslated), 2);
    let mut network = Network::new(&transparent());
    network.send(&udp(A, P));
    for stranger in strangers {
        assert_eq!(network.send(&udp(stranger, E)), [format!("0: udp {stranger} > {A}")]);
        assert_eq!(external(&network.send(&udp(A, stranger))), E);
    }
    assert_eq!(network.mappings(), (1, 4));
    network.wait(Duration::from_secs(302));
    assert_eq!(network.mappings(), (0, 0));
    assert_eq!(network.send(&udp(strangers[0], E)), NOTHING);
}

#[test]
fn what_belongs_to_no_session_does_not_leave_by_its_own_address() {
    let about = icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &udp(P, A), 60);
    let mut network = Network::new(&Plan::masqueraded());
    assert_eq!(network.send(&about), NOTHING);
    assert_eq!(network.drops(0, DropReason::NotTranslated), 1);
    for stray in [tcp("R", A, P, (1, 0)), tcp("SA", A, P, (1, 1))] {
        assert_eq!(network.send(&stray), NOTHING);
    }
    let drops = network.drops(0, DropReason::NotTranslated);
    let tunnelled = Packet::new(Kind::Other(47), "10.0.0.2", "198.51.100.7");
    assert_eq!(network.send(&tunnelled).len(), 1, "its sender is told");
    assert_eq!(network.drops(0, DropReason::NotTranslated), drops + 1, "it has no ports");
    // Where nothing is hidden it is routed.
    let mut network = Network::new(&Plan::routed());
    assert_eq!(network.send(&about).len(), 1);
    assert_eq!(network.send(&tunnelled).len(), 1);
}

#[test]
fn destinations_that_are_excepted_see_the_stations_as_they_are() {
    let to = Prefix::new(ip("198.51.100.128"), 25).unwrap();
    let plan = Plan::masqueraded().with(|rule| rule.except = vec![to]);
    let mut network = Network::new(&plan);
    let known = "198.51.100.130:53";
    assert_eq!(network.send(&udp(A, known)), [format!("3: udp {A} > {known}")]);
    assert_eq!(network.send(&udp(known, A)), [format!("0: udp {known} > {A}")]);
    assert_eq!(network.mappings(), (0, 0));
    // Also what belongs to no session, and nobody gets in by himself.
    let other = |from, to| Packet::new(Kind::Other(103), from, to);
    assert_eq!(network.send(&other("10.0.0.2", "198.51.100.130")).len(), 1);
    let uncalled = network.send(&udp("198.51.100.131:53", A));
    assert!(!uncalled.iter().any(|line| line.starts_with("0:")), "{uncalled:?}");
    assert_eq!(network.send(&udp(A, P)), [format!("3: udp {E} > {P}")]);
    // What has begun under one configuration ends when it would be another under the next.
    network.adopt(&Plan::masqueraded());
    assert_eq!(network.end_what_changed(), 2);
}

#[test]
fn a_rule_is_not_opened_by_another_rule_with_the_same_address() {
    let open = Hide {
        filtering: Filtering::EndpointIndependent,
        ..Hide::behind("203.0.113.1", "203.0.113.1")
    };
    let open = Hide { from: super::network::UNRELATED, ..open };
    let mut plan = Plan::masqueraded();
    plan.masquerades.insert(0, open);
    let mut network = Network::new(&plan);
    assert_eq!(external(&network.send(&udp(A, P))), E);
    assert_eq!(network.send(&udp("198.51.100.8:53", E)), NOTHING);
}

#[test]
fn neighbours_reach_each_other_by_their_external_endpoints() {
    // Also where a port of one of them is published.
    for plan in [Plan::masqueraded(), transparent(), publishing(8000..=8000, "10.0.0.2:80")] {
        let mut network = Network::new(&plan);
        network.send(&udp(A, P));
        let b = external(&network.send(&udp(B, P)));
        assert_eq!(network.send(&udp(A, &b)), [format!("1: udp {E} > {B}")]);
        assert_eq!(network.send(&udp(B, E)), [format!("0: udp {b} > {A}")]);
        network.wait(Duration::from_secs(302));
        assert_eq!(network.mappings(), (0, 0));
    }
}

#[test]
fn who_has_his_share_is_told_that_he_gets_no_more() {
    let told =
        |port: u16| [format!("0: icmp 3/13 10.0.0.1 > 10.0.0.2 (udp 10.0.0.2:{port} > {P})")];
    let from = |port: u16| udp(&format!("10.0.0.2:{port}"), P);
    let plan = Plan::masqueraded().with(|rule| rule.quota = Quota { ports: 2, sessions: 3 });
    let mut network = Network::new(&plan);
    assert_eq!(network.send(&from(5000)).len(), 1);
    assert_eq!(network.send(&from(5001)).len(), 1);
    assert_eq!(network.send(&from(5002)), told(5002));
    assert_eq!(network.send(&udp(A, "198.51.100.8:53")).len(), 1);
    assert_eq!(network.send(&udp(A, "198.51.100.9:53")).len(), 1);
    assert_eq!(network.drops(0, DropReason::NatExhausted), 2);
    assert_eq!(external(&network.send(&udp(B, P))).split(':').next(), Some("203.0.113.1"));
    assert_eq!(network.mappings(), (3, 4));
}

#[test]
fn an_external_port_is_kept_from_others_for_a_while() {
    let plan = Plan::masqueraded().with(|rule| rule.ports = 5000..=5000);
    let mut network = Network::new(&plan);
    assert_eq!(external(&network.send(&udp(A, P))), E);
    let told = [format!("1: icmp 3/13 10.0.0.1 > 10.0.0.3 (udp {B} > {P})")];
    assert_eq!(network.send(&udp(B, P)), told, "all ports are taken");
    network.wait(Duration::from_secs(302));
    assert_eq!(network.mappings(), (0, 0));
    assert_eq!(network.send(&udp(B, P)), told, "the port is in quarantine");
    network.wait(Duration::from_secs(122));
    assert_eq!(external(&network.send(&udp(B, P))), E);
}

#[test]
fn queries_are_told_apart_by_their_identifiers() {
    let plan = transparent().with(|rule| rule.ports = 1..=u16::MAX);
    let mut network = Network::new(&plan);
    assert_eq!(
        network.send(&ping("10.0.0.2:8", "198.51.100.7")),
        ["3: ping#8 203.0.113.1 > 198.51.100.7"]
    );
    let second = network.send(&ping("10.0.0.3:8", "198.51.100.7"));
    let id = second[0].split(['#', ' ']).nth(2).unwrap().to_owned();
    assert_ne!(id, "8");
    let pong = |id: &str| Packet::new(Kind::Pong, "198.51.100.7", &format!("203.0.113.1:{id}"));
    assert_eq!(network.send(&pong("8")), ["0: pong#8 198.51.100.7 > 10.0.0.2"]);
    assert_eq!(network.send(&pong(&id)), ["1: pong#8 198.51.100.7 > 10.0.0.3"]);
    // A query from outside is the gateway's to answer, though its type is an identifier in use.
    assert_eq!(
        network.send(&ping("198.51.100.7:9", "203.0.113.1")),
        ["3: pong#9 203.0.113.1 > 198.51.100.7"]
    );
}

#[test]
fn icmp_errors_are_translated_both_ways_however_short_their_quote() {
    let mut network = Network::new(&Plan::masqueraded());
    network.send(&udp(A, P));
    network.send(&udp(P, E));
    for quoted in [28, 1000] {
        let about = udp(E, P);
        let error = icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), &about, quoted);
        assert_eq!(
            network.send(&error),
            [format!("0: icmp 3/1 198.51.100.99 > 10.0.0.2 (udp {A} > {P})")]
        );
        let error = icmp_error((3, 3, 0), ("10.0.0.2", "198.51.100.7"), &udp(P, A), quoted);
        assert_eq!(
            network.send(&error),
            [format!("3: icmp 3/3 203.0.113.1 > 198.51.100.7 (udp {P} > {E})")]
        );
    }
    // One about nothing that is known is for the gateway, which has nothing to say.
    let stray =
        icmp_error((3, 1, 0), ("198.51.100.99", "203.0.113.1"), &udp("203.0.113.1:1", P), 28);
    assert_eq!(network.send(&stray), NOTHING);
}

#[test]
fn fragments_are_translated_in_whatever_order_they_come() {
    let mut network = Network::new(&Plan::masqueraded());
    let packet = Packet { may_fragment: true, ..udp(A, P).of_length(2000) };
    let (port, frame) = Network::framed(&packet);
    let pieces = fragments(&frame, 1000);
    let out: Vec<_> =
        [2, 0, 1].iter().flat_map(|at: &usize| network.put(port, &pieces[*at])).collect();
    let part = |at| format!("3: part@{at} 203.0.113.1 > 198.51.100.7");
    assert_eq!(out, [format!("3: first part of udp {E} > {P}"), part(2000), part(1000)]);
    let answer = Packet { may_fragment: true, ..udp(P, E).of_length(1500) };
    let (port, frame) = Network::framed(&answer);
    let pieces = fragments(&frame, 1000);
    let out: Vec<_> =
        [1, 0].iter().flat_map(|at: &usize| network.put(port, &pieces[*at])).collect();
    let later = "0: part@1000 198.51.100.7 > 10.0.0.2".to_owned();
    assert_eq!(out, [format!("0: first part of udp {P} > {A}"), later]);
}

#[test]
fn a_published_port_leads_to_its_station_which_sees_who_calls() {
    let mut network = Network::new(&publishing(8000..=8009, "10.0.0.2:80"));
    let client = "198.51.100.7:4000";
    for step in [0, 9] {
        let (outer, inner) =
            (format!("203.0.113.1:{}", 8000 + step), format!("10.0.0.2:{}", 80 + step));
        let syn = tcp("S", client, &outer, (1, 0));
        assert_eq!(network.send(&syn), [format!("0: tcp[S] {client} > {inner}")]);
        let answer = tcp("SA", &inner, client, (9, 2));
        assert_eq!(network.send(&answer), [format!("3: tcp[SA] {outer} > {client}")]);
    }
    assert_eq!(external(&network.send(&udp("10.0.0.2:80", P))), "203.0.113.1:8000");
    assert_eq!(network.mappings(), (0, 0));
    assert_eq!(network.send(&udp(client, "203.0.113.1:8010")), NOTHING);
}

#[test]
fn a_neighbour_reaches_a_published_port_by_its_external_address_and_is_seen_as_the_gateway() {
    let (published, gateway) = ("203.0.113.1:8000", "10.0.0.1:5000");
    let mut network = Network::new(&publishing(8000..=8000, "10.0.0.2:80"));
    assert_eq!(network.send(&udp(B, published)), [format!("0: udp {gateway} > 10.0.0.2:80")]);
    assert_eq!(network.send(&udp("10.0.0.2:80", gateway)), [format!("1: udp {published} > {B}")]);
    network.wait(Duration::from_secs(302));
    assert_eq!(network.mappings(), (0, 0));
}

#[test]
fn nobody_is_masqueraded_as_a_published_port() {
    let mut network = Network::new(&publishing(5000..=5000, "10.0.0.3:80"));
    assert_ne!(external(&network.send(&udp(A, P))), E);
    assert_eq!(network.send(&udp(P, E)), [format!("1: udp {P} > 10.0.0.3:80")]);
    assert_eq!(network.mappings(), (1, 1));
}

#[test]
fn the_end_of_a_session_of_a_published_port_gives_back_nobody_elses_mapping() {
    let mut network = Network::new(&Plan::masqueraded());
    assert_eq!(external(&network.send(&udp(A, P))), E);
    // Published while somebody has it.
    network.adopt(&publishing(5000..=5000, "10.0.0.3:80"));
    network.send(&udp("198.51.100.8:1", E));
    for _ in 0..4 {
        network.wait(Duration::from_secs(100));
        network.send(&udp(A, P));
    }
    assert_eq!(network.tables.sessions.gauges().used, 1);
    assert_eq!(network.mappings(), (1, 1));
}

#[test]
fn when_the_session_table_is_full_unanswered_ones_make_room_and_mappings_with_them() {
    let plan = Plan { sessions: 4, ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    for port in 5000..5010 {
        assert_eq!(network.send(&udp(&format!("10.0.0.2:{port}"), P)).len(), 1);
    }
    assert_eq!(network.mappings(), (4, 4));
    assert_eq!(network.tables.sessions.gauges().evicted, 6);
}

#[test]
fn established_sessions_make_no_room() {
    let plan = Plan { sessions: 2, ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    for port in [5000, 5001] {
        network.send(&udp(&format!("10.0.0.2:{port}"), P));
        assert_eq!(network.send(&udp(P, &format!("203.0.113.1:{port}"))).len(), 1);
    }
    assert_eq!(network.send(&udp("10.0.0.2:5002", P)), NOTHING);
    assert_eq!(network.drops(0, DropReason::SessionsFull), 1);
    assert_eq!(network.mappings(), (2, 2));
}

#[test]
fn a_session_goes_on_under_another_configuration() {
    let mut network = Network::new(&Plan::masqueraded());
    network.send(&udp(A, P));
    network.adopt(&publishing(8000..=8000, "10.0.0.2:80"));
    assert_eq!(network.send(&udp(A, P)), [format!("3: udp {E} > {P}")]);
    assert_eq!(network.send(&udp(P, E)), [format!("0: udp {P} > {A}")]);
    assert_eq!(network.mappings(), (1, 1));
}

#[test]
fn a_mapping_is_given_back_though_its_rule_is_gone() {
    let mut network = Network::new(&Plan::masqueraded());
    let b = external(&network.send(&udp(B, P)));
    network.send(&udp(A, &b));
    network.adopt(&Plan { allowed: Vec::new(), ..Plan::routed() });
    network.wait(Duration::from_secs(302));
    assert_eq!(network.mappings(), (0, 0));
}

#[test]
fn a_flow_whose_session_ended_begins_another() {
    let mut network = Network::new(&Plan::masqueraded());
    network.send(&udp(A, P));
    let (now, translation) = (network.now, network.translation.clone());
    let sessions = &network.tables.sessions;
    sessions.flush(now.seconds(), |_| true, |ended| translation.release(ended, now));
    assert_eq!(network.mappings(), (0, 0));
    assert_eq!(network.send(&udp(P, E)), NOTHING);
    assert_eq!(network.send(&udp(A, P)), [format!("3: udp {E} > {P}")]);
    assert_eq!(network.mappings(), (1, 1));
}

#[test]
fn rules_see_who_a_packet_is_truly_from_whenever_they_are_asked() {
    let from_a = RuleMatch {
        source: Some([(ip("10.0.0.2"), 32)].into_iter().collect()),
        ..RuleMatch::default()
    };
    let rule = |id, priority, matches, verdict| Rule {
        id: RuleId(id),
        priority,
        matches,
        action: RuleAction::only(verdict),
        timeouts: Timeouts::default(),
    };
    let rules = vec![
        rule(1, 10, from_a, Verdict::Allow),
        rule(
            2,
            5,
            RuleMatch { ingress: Some(PortIndex(0)), ..RuleMatch::default() },
            Verdict::Drop,
        ),
    ];
    let plan = Plan { rules, ..Plan::masqueraded() };
    let mut network = Network::new(&plan);
    for _ in 0..2 {
        assert_eq!(external(&network.send(&udp(A, P))), E);
        // The decision is made anew.
        network.adopt(&plan);
    }
}

/// Sends segments, each of which goes through.
fn converse(network: &mut Network, segments: &[(&'static str, &str, &str, (u32, u32))]) {
    for (flags, from, to, numbers) in segments {
        let out = network.send(&tcp(flags, from, to, *numbers));
        assert_eq!(out.len(), 1, "{flags} {from} > {to}: {out:?}");
        assert!(out[0].contains("tcp["), "{out:?}");
    }
}

fn state(network: &Network) -> State {
    network.tables.sessions.iter(network.now.seconds()).next().unwrap().state
}

#[test]
fn a_connection_is_followed_to_its_end_and_its_mapping_given_back() {
    let mut network = Network::new(&Plan::masqueraded());
    converse(
        &mut network,
        &[("S", A, P, (100, 0)), ("SA", P, E, (500, 101)), ("A", A, P, (101, 501))],
    );
    assert_eq!(state(&network), State::Tcp(TcpState::Established));
    // Half closed, it may stay as long as it likes.
    converse(&mut network, &[("FA", A, P, (101, 501)), ("A", P, E, (501, 102))]);
    network.wait(Duration::from_secs(7000));
    converse(&mut network, &[("FA", P, E, (501, 102)), ("A", A, P, (102, 502))]);
    assert_eq!(state(&network), State::Tcp(TcpState::TimeWait));
    network.wait(Duration::from_secs(242));
    assert_eq!(network.mappings(), (0, 0));
    assert_eq!(network.tables.sessions.gauges().used, 0);
}

#[test]
fn a_reset_ends_a_connection_soon_and_a_strangers_one_does_not() {
    let mut network = Network::new(&Plan::masqueraded());
    converse(
        &mut network,
        &[("S", A, P, (100, 0)), ("SA", P, E, (500, 101)), ("A", A, P, (101, 501))],
    );
    assert_eq!(network.send(&tcp("R", P, E, (900_000, 0))), NOTHING);
    assert_eq!(network.drops(3, DropReason::InvalidState), 1);
    converse(&mut network, &[("R", P, E, (501, 0))]);
    assert_eq!(state(&network), State::Tcp(TcpState::Closed));
    network.wait(Duration::from_secs(242));
    assert_eq!(network.mappings(), (0, 0));
}

#[test]
fn both_ends_may_call_each_other_at_once() {
    let mut network = Network::new(&Plan::masqueraded());
    converse(
        &mut network,
        &[
            ("S", A, P, (100, 0)),
            ("S", P, E, (500, 0)),
            ("SA", A, P, (100, 501)),
            ("SA", P, E, (500, 101)),
            ("A", A, P, (101, 501)),
        ],
    );
    assert_eq!(state(&network), State::Tcp(TcpState::Established));
    assert_eq!(network.mappings(), (1, 1));
}

#[test]
fn who_calls_too_early_is_not_sent_away() {
    let mut network = Network::new(&Plan::masqueraded());
    assert_eq!(network.send(&tcp("S", P, E, (500, 0))), NOTHING);
    converse(&mut network, &[("S", A, P, (100, 0)), ("S", P, E, (500, 0))]);
    // Where nobody can be masqueraded, the gateway answers like any host.
    let refused = network.send(&tcp("S", P, "203.0.113.1:22", (500, 0)));
    assert_eq!(refused, [format!("3: tcp[AR] 203.0.113.1:22 > {P}")]);
}

#[test]
fn a_connection_begun_anew_by_its_other_end_begins_at_once() {
    let (a, x) = ("10.0.0.2:5000", "203.0.113.9:80");
    let plan = Plan::routed();
    let mut network = Network::new(&plan);
    converse(
        &mut network,
        &[
            ("S", a, x, (100, 0)),
            ("SA", x, a, (500, 101)),
            ("A", a, x, (101, 501)),
            ("FA", a, x, (101, 501)),
            ("FA", x, a, (501, 102)),
            ("A", a, x, (102, 502)),
        ],
    );
    // Whether its flow is known or, as here, not any more.
    network.adopt(&plan);
    converse(&mut network, &[("S", x, a, (9000, 0)), ("SA", a, x, (8000, 9001))]);
}

#[test]
fn only_addresses_of_a_translated_prefix_leave_by_it() {
    let renamed = vec![Rename { inside: "fd00::", outside: "2001:db8:5::", bits: 64 }];
    let plan = Plan { allowed: Vec::new(), renamed, ..Plan::routed() };
    let mut network = Network::new(&plan);
    let (far, foreign) = ("[2001:db8:f::7]:53", udp("[fd99::2]:5000", "[2001:db8:f::7]:53"));
    let seen = external(&network.send(&udp("[fd00::2]:5000", far)));
    assert!(seen.starts_with("[2001:db8:5:"), "{seen}");
    assert_eq!(network.send(&udp(far, &seen)), [format!("0: udp {far} > [fd00::2]:5000")]);
    // Of another prefix, by the same station.
    let frame = foreign.frame(station(0, ip("fd00::2")), gateway_mac(INSIDE));
    let told = format!("0: icmp 1/5 fd00::1 > fd99::2 (udp [fd99::2]:5000 > {far})");
    assert_eq!(network.put(0, &frame), [told]);
    // Nor what belongs to no session.
    let about = udp(far, "[fd99::2]:5000");
    let stray = icmp_error((1, 4, 0), ("fd99::2", "2001:db8:f::7"), &about, 60);
    let stray = stray.frame(station(0, ip("fd00::2")), gateway_mac(INSIDE));
    assert_eq!(network.put(0, &stray), NOTHING);
    let drops = |network: &Network| {
        [DropReason::NoExternalAddress, DropReason::NotTranslated].map(|why| network.drops(0, why))
    };
    assert_eq!(drops(&network), [1, 1]);
    // Where others may go too they go as they are.
    network.adopt(&Plan { allowed: vec![(INSIDE, OUTSIDE)], ..plan.clone() });
    assert_eq!(network.put(0, &frame), [format!("3: udp [fd99::2]:5000 > {far}")]);
    assert_eq!(external(&network.send(&udp("[fd00::2]:5000", far))), seen);
    // And not any longer than that.
    network.adopt(&plan);
    assert_eq!(network.end_what_changed(), 1);
}

#[test]
fn rfc7857_section_10_translated_datagrams_have_identifications_of_their_own() {
    let mut network = Network::new(&Plan::masqueraded());
    let mut id = |packet: &Packet| {
        let (port, frame) = Network::framed(packet);
        let frame = network.pool.frame_from(&frame).unwrap();
        let sent = network.exchange(port, [frame]);
        assert_eq!(sent.len(), 1);
        Ip::of(&sent[0].bytes).id
    };
    let fragile = |from| Packet { may_fragment: true, ..udp(from, P) };
    // The second packet of a flow, which is known by then, too.
    let ids = [id(&fragile(A)), id(&fragile(B)), id(&fragile(A))];
    assert_eq!(ids.map(|id| id.wrapping_sub(ids[0])), [0, 1, 2]);
    assert_eq!(id(&udp(A, P)), udp(A, P).id, "what stays whole keeps its own");
    // What is not translated has its sender's.
    let mut network = Network::new(&Plan::routed());
    let (port, frame) = Network::framed(&fragile(A));
    let frame = network.pool.frame_from(&frame).unwrap();
    assert_eq!(Ip::of(&network.exchange(port, [frame])[0].bytes).id, fragile(A).id);
}

#[test]
fn all_fragments_of_a_translated_datagram_have_its_identification() {
    let mut network = Network::new(&Plan::masqueraded());
    let packet = Packet { may_fragment: true, ..udp(A, P).of_length(2500) };
    let pieces = fragments(&Network::framed(&packet).1, 1000);
    let mut send = |order: &[usize]| -> Vec<u16> {
        let frames = order.iter().map(|at| network.pool.frame_from(&pieces[*at]).unwrap());
        let frames: Vec<_> = frames.collect();
        let sent = network.exchange(0, frames);
        assert_eq!(sent.len(), order.len());
        sent.iter().map(|sent| Ip::of(&sent.bytes).id).collect()
    };
    let ids = send(&[2, 0, 1]);
    assert!(ids.iter().all(|id| *id == ids[0] && *id != packet.id), "{ids:x?}");
    // One that comes again is of the same datagram.
    assert_eq!(send(&[0]), ids[..1]);
}

#[test]
fn a_session_knows_by_which_ports_its_ends_are_reached() {
    let mut network = Network::new(&Plan::masqueraded());
    network.send(&udp(A, P));
    let entrances = |network: &Network| {
        let sessions = network.tables.sessions.iter(network.now.seconds());
        sessions.map(|session| session.entrances).collect::<Vec<_>>()
    };
    let port = |number| Some(PortIndex(number));
    assert_eq!(entrances(&network), [[port(0), None]]);
    // One that is not of the session says nothing about it.
    network.send(&udp("198.51.100.8:53", E));
    assert_eq!(entrances(&network), [[port(0), None]]);
    network.send(&udp(P, E));
    assert_eq!(entrances(&network), [[port(0), port(3)]]);
    // A station that moves takes its sessions along.
    let (_, frame) = Network::framed(&udp(A, P));
    assert_eq!(network.put(1, &frame), [format!("3: udp {E} > {P}")]);
    assert_eq!(entrances(&network), [[port(1), port(3)]]);
}
