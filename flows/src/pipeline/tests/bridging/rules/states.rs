//! Connections and rules: what passes because of what passed before.

use proptest::sample::select;

use super::*;

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 80);

fn in_state(states: &[ConnState]) -> RuleMatch {
    RuleMatch { states: Some(states.iter().copied().collect()), ..any() }
}

/// Lets a connection come about.
fn shake_hands(ruled: &mut Ruled) {
    assert_eq!(ruled.send(1, &segment(CLIENT, SERVER, tcp::SYN)), [2]);
    assert_eq!(ruled.send(2, &segment(SERVER, CLIENT, tcp::SYN | tcp::ACK_FLAG)), [1]);
    assert_eq!(ruled.send(1, &segment(CLIENT, SERVER, tcp::ACK_FLAG)), [2]);
}

/// Whether either end of a connection is still heard by the other.
fn goes_on(ruled: &mut Ruled) -> [bool; 2] {
    let to = ruled.send(1, &segment(CLIENT, SERVER, tcp::ACK_FLAG));
    let from = ruled.send(2, &segment(SERVER, CLIENT, tcp::ACK_FLAG));
    [to == [2], from == [1]]
}

#[test]
fn replies_to_what_was_allowed_pass_and_nothing_else_does() {
    let mut ruled =
        Ruled::new(vec![rule(0, 2, to(6, 80), Verdict::Allow), rule(1, 1, any(), Verdict::Drop)]);
    assert_eq!(ruled.send(2, &segment(SERVER, CLIENT, tcp::SYN | tcp::ACK_FLAG)), []);
    shake_hands(&mut ruled);
    assert_eq!(ruled.send(2, &segment((2, 81), CLIENT, tcp::SYN)), []);
    assert_eq!(goes_on(&mut ruled), [true; 2]);
    assert_eq!(ruled.send(2, &datagram((2, 53), (1, 53))), []);
}

#[test]
fn a_denial_is_remembered_counted_each_time_and_forgotten_with_the_rules() {
    let deny = || rule(0, 1, to(17, 53), Verdict::Drop);
    let question = datagram((1, 4000), (2, 53));
    let mut ruled = Ruled::new(vec![deny()]);
    for sent in 1..4 {
        assert_eq!(ruled.send(1, &question), []);
        assert_eq!((ruled.hits(0).frames, ruled.drops(1, DropReason::RuleDenied)), (sent, sent));
        assert_eq!(ruled.rig.pipeline.flows.len(), 1);
    }
    ruled.adopt(Vec::new());
    assert_eq!(ruled.send(1, &question), [2]);
    ruled.adopt(vec![deny()]);
    assert_eq!(ruled.send(1, &question), []);
    assert_eq!(ruled.hits(0).frames, 1);
}

#[test]
fn senders_are_told_of_each_packet_whose_denial_is_remembered() {
    let mut ruled = Ruled::new(vec![rule(0, 1, to(6, 80), REJECT)]);
    for _ in 0..3 {
        assert_eq!(ruled.send(1, &segment(CLIENT, SERVER, tcp::SYN)), [1]);
    }
    assert_eq!(ruled.rig.pipeline.flows.len(), 1);
}

#[test]
fn what_was_denied_passes_when_it_answers() {
    let mut ruled =
        Ruled::new(vec![rule(0, 2, to(17, 53), Verdict::Allow), rule(1, 1, any(), Verdict::Drop)]);
    let (question, answer) = (datagram((1, 4000), (2, 53)), datagram((2, 53), (1, 4000)));
    for _ in 0..2 {
        assert_eq!(ruled.send(2, &answer), []);
    }
    assert_eq!(ruled.send(1, &question), [2]);
    assert_eq!(ruled.send(2, &answer), [1]);
}

#[test]
fn a_segment_that_is_denied_as_an_answer_says_nothing_about_one_that_begins() {
    let mut ruled = Ruled::new(vec![rule(0, 1, to(6, 80), Verdict::Drop)]);
    assert_eq!(ruled.send(2, &segment(SERVER, CLIENT, tcp::ACK_FLAG)), []);
    assert_eq!(ruled.send(2, &segment(SERVER, CLIENT, tcp::SYN)), [1]);
}

#[test]
fn a_connection_stops_when_a_rule_denies_it() {
    let mut ruled = Ruled::new(Vec::new());
    shake_hands(&mut ruled);
    assert_eq!(ruled.tables.sessions.gauges().used, 1);
    ruled.adopt(vec![rule(0, 1, to(6, 80), Verdict::Drop)]);
    assert_eq!(goes_on(&mut ruled), [false; 2]);
    assert_eq!(goes_on(&mut ruled), [false; 2], "not even as one that the server began");
    assert_eq!(ruled.tables.sessions.gauges().used, 0);
    // A rule that is less important than one that allows it does not.
    ruled.adopt(vec![rule(0, 1, to(6, 80), Verdict::Drop), rule(1, 2, any(), Verdict::Allow)]);
    shake_hands(&mut ruled);
}

#[test]
fn a_connection_goes_on_when_rules_are_exchanged_that_allow_it() {
    let allow = |id, priority| rule(id, priority, to(6, 80), Verdict::Allow);
    let new = RuleMatch { states: in_state(&[ConnState::New]).states, ..to(6, 80) };
    let drop = |id| rule(id, 0, any(), Verdict::Drop);
    let sets = [
        vec![allow(0, 2), drop(1)],
        vec![allow(2, 9), drop(1)],
        vec![rule(3, 5, new, Verdict::Allow), drop(4)],
        vec![],
    ];
    let mut ruled = Ruled::new(sets[0].clone());
    shake_hands(&mut ruled);
    for set in sets.iter().cycle().take(8) {
        ruled.adopt(set.clone());
        assert_eq!(goes_on(&mut ruled), [true; 2]);
    }
}

#[test]
fn a_connection_that_is_older_than_the_switch_goes_on_where_it_was_allowed() {
    let rules = || vec![rule(0, 2, to(6, 80), Verdict::Allow), rule(1, 1, any(), Verdict::Drop)];
    let mut ruled = Ruled::new(rules());
    assert_eq!(ruled.send(2, &segment(SERVER, CLIENT, tcp::ACK_FLAG)), [], "not known to be one");
    assert_eq!(goes_on(&mut ruled), [true; 2]);
}

#[test]
fn rules_that_name_states_mean_answers_too() {
    let established = in_state(&[ConnState::Established]);
    let mut ruled = Ruled::new(Vec::new());
    shake_hands(&mut ruled);
    ruled.adopt(vec![rule(
        0,
        1,
        RuleMatch { ingress: Some(PortIndex(2)), ..established },
        Verdict::Drop,
    )]);
    assert_eq!(goes_on(&mut ruled), [true, false]);
    let mut ruled = Ruled::new(vec![rule(0, 1, in_state(&[ConnState::New]), Verdict::Drop)]);
    assert_eq!(ruled.send(1, &segment(CLIENT, SERVER, tcp::SYN)), []);
    assert_eq!(ruled.hits(0).frames, 1);
}

#[test]
fn an_answer_is_noticed_by_rules_about_states() {
    let mut ruled = Ruled::new(vec![
        rule(0, 1, in_state(&[ConnState::New]), Verdict::Allow),
        rule(1, 1, in_state(&[ConnState::Established]), Verdict::Allow),
    ]);
    let [to, from] = [datagram((1, 5000), (2, 53)), datagram((2, 53), (1, 5000))];
    for (port, frame, expected) in [
        (1, &to, (1, 0)),
        (1, &to, (2, 0)),
        (2, &from, (2, 1)),
        (1, &to, (2, 2)),
        (2, &from, (2, 3)),
    ] {
        ruled.send(port, frame);
        assert_eq!((ruled.hits(0).frames, ruled.hits(1).frames), expected);
    }
}

/// An ICMP error about a packet, back to its sender.
fn unreachable(about: &[u8], from: u8, to: u8) -> Vec<u8> {
    let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
    let header = Icmpv4Header::new(kind);
    let write = |ip: PacketBuilderStep, frame: &mut Vec<u8>| {
        ip.icmpv4(header.icmp_type).write(frame, &about[14..]).unwrap();
    };
    built(write, from, to)
}

#[test]
fn errors_about_allowed_packets_pass_and_others_are_invalid() {
    let allowed = vec![rule(0, 2, to(17, 53), Verdict::Allow), rule(1, 1, any(), Verdict::Drop)];
    let (known, unknown) = (datagram((1, 5000), (2, 53)), datagram((1, 5001), (2, 53)));
    let mut ruled = Ruled::new(allowed);
    ruled.send(1, &known);
    assert_eq!(ruled.send(2, &unreachable(&known, 2, 1)), [1]);
    assert_eq!(ruled.send(2, &unreachable(&unknown, 2, 1)), []);
    let states = [ConnState::Related, ConnState::Invalid];
    let mut ruled = Ruled::new(vec![
        rule(0, 1, in_state(&states[..1]), Verdict::Drop),
        rule(1, 1, in_state(&states[1..]), Verdict::Forward(PortIndex(3))),
    ]);
    ruled.send(1, &known);
    assert_eq!(ruled.send(2, &unreachable(&known, 2, 1)), []);
    assert_eq!(ruled.send(2, &unreachable(&unknown, 2, 1)), [3]);
}

#[test]
fn what_cannot_begin_a_connection_is_lost_unless_a_rule_for_such_says_otherwise() {
    let stray = segment(CLIENT, SERVER, tcp::FIN | tcp::ACK_FLAG);
    let invalid = || in_state(&[ConnState::Invalid]);
    let table: [(Vec<Rule>, &[u16]); 5] = [
        (vec![], &[]),
        (vec![rule(0, 1, any(), Verdict::Allow)], &[]),
        (vec![rule(0, 1, invalid(), Verdict::Allow)], &[2]),
        (vec![rule(0, 1, invalid(), Verdict::Forward(PortIndex(3)))], &[3]),
        (vec![rule(0, 1, invalid(), REJECT)], &[1]),
    ];
    for (rules, expected) in table {
        let mut ruled = Ruled::new(rules.clone());
        assert_eq!(ruled.send(1, &stray), expected, "{rules:?}");
    }
    // The same of what does not fit the connection that it claims to be of.
    let mut far = segment(CLIENT, SERVER, tcp::ACK_FLAG);
    far[38] = 0x70;
    for (rules, expected) in
        [(vec![], vec![]), (vec![rule(0, 1, invalid(), Verdict::Allow)], vec![2])]
    {
        let mut ruled = Ruled::new(rules);
        shake_hands(&mut ruled);
        assert_eq!(ruled.send(1, &far), expected);
    }
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let port = (0u16..4).prop_map(|port| Verdict::Forward(PortIndex(port)));
    prop_oneof![Just(Verdict::Allow), Just(Verdict::Drop), Just(REJECT), port]
}

/// What some of the packets below are.
fn matches() -> impl Strategy<Value = RuleMatch> {
    let opt = prop::option::of::<BoxedStrategy<u8>>;
    let small = || (0u8..4).boxed();
    let kind = select(vec![6u8, 17]).boxed();
    (opt(small()), opt(small()), opt(small()), opt(kind), opt(small()), opt(small())).prop_map(
        |(ingress, from, to, protocol, port, flags)| RuleMatch {
            ingress: ingress.map(|port| PortIndex(port.into())),
            source_mac: from.map(|number| crate::rules::MacMatch::exact(station(number))),
            destination: to.map(|number| [(IpAddr::V4(ip(number)), 32)].into_iter().collect()),
            protocol,
            destination_ports: port.map(|port| [(0, 50 + u16::from(port))].into_iter().collect()),
            tcp_flags: flags
                .filter(|_| protocol == Some(6))
                .map(|flags| FlagsMatch { value: flags & tcp::SYN, mask: tcp::SYN }),
            ..any()
        },
    )
}

fn rule_sets() -> impl Strategy<Value = Vec<Rule>> {
    let some = (0u32..4, matches(), verdicts());
    prop::collection::vec(some, 0..8).prop_map(|drawn| {
        let numbered = (0..).zip(drawn);
        numbered.map(|(id, (priority, matches, to))| rule(id, priority, matches, to)).collect()
    })
}

/// First packets: nobody has heard of any of their connections.
fn first_packets() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let some = (0u8..4, 0u8..4, 50u16..54, any_bool());
    prop::collection::vec(some, 1..20).prop_map(|drawn| {
        let frames = (1000u16..).zip(drawn).filter(|(_, (from, to, ..))| from != to);
        let frame = |(own, (from, to, port, is_tcp)): (u16, (u8, u8, u16, bool))| match is_tcp {
            true => (from, segment((from, own), (to, port), tcp::SYN)),
            false => (from, datagram((from, own), (to, port))),
        };
        frames.map(frame).collect()
    })
}

fn any_bool() -> impl Strategy<Value = bool> {
    prop::bool::ANY
}

proptest! {
    #[test]
    fn the_verdict_about_a_first_packet_is_that_of_the_rules(
        rules in rule_sets(),
        packets in first_packets(),
    ) {
        let set = RuleSet::compile(rules.clone()).unwrap();
        let mut ruled = Ruled::new(rules);
        for (from, frame) in packets {
            let layers = pktio::wire::Layers::parse(&frame).unwrap();
            let place = (PortIndex(from.into()), BridgeIndex(0), Vid::NONE);
            let packet = crate::rules::Packet::read(&frame, layers.as_ref(), place).unwrap();
            let packet = crate::rules::Packet { state: Some(ConnState::New), ..packet };
            let to = u16::from(frame[5]);
            let expected = match set.lookup(&packet).map(|rule| rule.action.verdict) {
                None | Some(Verdict::Allow) => vec![to],
                Some(Verdict::Forward(port)) if port.0 == u16::from(from) => vec![],
                Some(Verdict::Forward(port)) => vec![port.0],
                Some(Verdict::Reject(_)) => vec![from.into()],
                Some(Verdict::Drop) => vec![],
            };
            let before = set.lookup(&packet).map(|rule| (rule.id, ruled.hits(rule.id.0).frames));
            let out = ruled.send(from, &frame);
            // ICMP errors are limited in number.
            let is_silent = out.is_empty() && expected == [u16::from(from)];
            prop_assert!(out == expected || is_silent, "{out:?} {expected:?}");
            if let Some((id, before)) = before {
                prop_assert_eq!(ruled.hits(id.0).frames, before + 1);
            }
        }
    }
}
