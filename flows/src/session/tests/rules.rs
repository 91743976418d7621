//! The rules of the table, one by one.

use pktio::wire::field::{protocol, tcp};

use super::super::{Direction, Invalid, MAX_TIMEOUT_SECONDS, State, TcpState, Verdict, Volume};
use super::*;

const SYN: u8 = tcp::SYN;
const ACK: u8 = tcp::ACK_FLAG;

fn track(sessions: &Sessions, session: SessionRef, from: Direction, now: u32) -> Verdict {
    sessions.track(session, from, &UDP, Seconds(now), POLICY)
}

/// Tracks a TCP packet.
fn track_tcp(
    sessions: &Sessions,
    session: SessionRef,
    from: Direction,
    packet: Packet,
    now: u32,
) -> Verdict {
    sessions.track(session, from, &packet, Seconds(now), POLICY)
}

#[test]
fn a_query_by_the_identifier_of_another_is_no_answer_and_that_is_foreseen() {
    let sessions = Sessions::new(8, 1);
    let ping = plain(key(protocol::ICMP, 2, 4), Packet { is_equivocal: true, ..UDP });
    let session = begin(&sessions, ping, 0);
    for (from, is_equivocal, expected) in [
        (Direction::Original, true, Verdict::Valid),
        (Direction::Reply, true, Verdict::Invalid(Invalid::Query)),
        (Direction::Reply, false, Verdict::Valid),
    ] {
        let packet = Packet { is_equivocal, ..UDP };
        assert_eq!(sessions.judge(session, from, &packet, POLICY), expected);
        assert_eq!(sessions.track(session, from, &packet, Seconds(1), POLICY), expected);
    }
}

/// A TCP session after its handshake.
fn established(sessions: &Sessions, from: u32, to: u32, now: u32) -> SessionRef {
    let begins = plain(key(protocol::TCP, from, to), tcp_packet(SYN, 100, 0));
    let session = begin(sessions, begins, now);
    let answer = tcp_packet(SYN | ACK, 500, 101);
    assert_eq!(track_tcp(sessions, session, Direction::Reply, answer, now), Verdict::Valid);
    let rest = tcp_packet(ACK, 101, 501);
    assert_eq!(track_tcp(sessions, session, Direction::Original, rest, now), Verdict::Valid);
    session
}

#[test]
fn a_session_is_found_by_both_of_its_keys() {
    let sessions = Sessions::new(100, 1);
    // A translated session: 1 talks to 9, which is really 5, and is known there as 7 in another
    // zone.
    let responder = Key { zone: Zone(3), ..udp(5, 7) };
    let new = NewSession { initiator: udp(1, 9), responder, entrance: port(42), packet: UDP };
    let session = begin(&sessions, new, 10);
    let original = sessions.lookup(&new.initiator).unwrap();
    assert_eq!((original.session, original.direction), (session, Direction::Original));
    let reply = sessions.lookup(&responder).unwrap();
    assert_eq!((reply.session, reply.direction), (session, Direction::Reply));
    for stranger in [udp(9, 1), udp(5, 7), udp(7, 5), Key { zone: Zone(3), ..udp(1, 9) }] {
        assert_eq!(sessions.lookup(&stranger), None, "{stranger:?}");
    }
    let seen = sessions.get(session, Seconds(12)).unwrap();
    assert_eq!(
        (seen.initiator, seen.responder, seen.entrances),
        (new.initiator, responder, [port(42), None])
    );
    assert_eq!((seen.age_seconds, seen.idle_seconds, seen.state_name()), (2, 2, "UNREPLIED"));
}

#[test]
fn what_nobody_tracked_keeps_a_session_alive_and_is_not_counted() {
    let sessions = Sessions::new(100, 1);
    let session = begin(&sessions, plain(udp(1, 2), UDP), 10);
    let seen = |now| {
        let session = sessions.get(session, Seconds(now)).unwrap();
        (session.idle_seconds, session.is_replied, session.is_assured)
    };
    assert!(sessions.hear(session, Direction::Original, Seconds(50)));
    assert_eq!(seen(60), (10, false, false));
    assert!(sessions.hear(session, Direction::Reply, Seconds(55)));
    assert_eq!(seen(60), (5, true, true));
    // A worker may have heard of it later.
    assert!(sessions.hear(session, Direction::Original, Seconds(52)));
    assert_eq!(seen(60), (5, true, true));
    let ended = sessions.end(session, Seconds(60)).unwrap();
    assert_eq!((ended.original.packets, ended.reply.packets), (1, 0));
    assert!(!sessions.hear(session, Direction::Original, Seconds(61)));
}

#[test]
fn an_ipv4_address_is_not_the_ipv6_address_that_contains_it() {
    let sessions = Sessions::new(100, 1);
    begin(&sessions, plain(udp(2, 4), UDP), 0);
    let mapped = |endpoint: Endpoint| {
        let std::net::IpAddr::V4(ip) = endpoint.ip else { panic!("of IPv4") };
        let bare = Ipv6Addr::from(u128::from(ip.to_bits()));
        [ip.to_ipv6_mapped(), bare].map(|ip| Endpoint { ip: ip.into(), ..endpoint })
    };
    let tuple = udp(2, 4).tuple;
    for (source, destination) in mapped(tuple.source).into_iter().zip(mapped(tuple.destination)) {
        let v6 = Key::new(Zone(0), Tuple { source, destination, ..tuple });
        assert_eq!(sessions.lookup(&v6), None);
        let session = begin(&sessions, plain(v6, UDP), 0);
        assert_eq!(sessions.get(session, Seconds(0)).unwrap().initiator, v6);
    }
}

#[test]
fn what_is_there_is_not_inserted_again() {
    let sessions = Sessions::new(100, 1);
    let session = begin(&sessions, plain(udp(2, 4), UDP), 0);
    for (from, to, direction) in [(2, 4, Direction::Original), (4, 2, Direction::Reply)] {
        let again = insert(&sessions, plain(udp(from, to), UDP), 0);
        let Ok(Inserted::Existing(found)) = again else { panic!("{again:?}") };
        assert_eq!((found.session, found.direction), (session, direction));
    }
    let gauges = sessions.gauges();
    assert_eq!((gauges.used, gauges.inserted, gauges.lost_races), (1, 1, 2));
}

#[test]
fn sessions_whose_replies_would_be_anothers_clash_and_leave_nothing() {
    let sessions = Sessions::new(100, 1);
    let first = NewSession { responder: udp(6, 8), ..plain(udp(2, 4), UDP) };
    let session = begin(&sessions, first, 0);
    let second = NewSession { responder: udp(6, 8), ..plain(udp(10, 4), UDP) };
    let clash = InsertError::Clash { responder: udp(6, 8).tuple, other: session };
    assert_eq!(insert(&sessions, second, 0), Err(clash));
    assert_eq!(sessions.lookup(&second.initiator), None);
    assert_eq!((sessions.gauges().used, sessions.gauges().clashed), (1, 1));
    begin(&sessions, NewSession { responder: udp(6, 12), ..second }, 0);
}

#[test]
fn a_session_with_itself_is_a_clash() {
    let sessions = Sessions::new(100, 1);
    let clash = insert(&sessions, plain(udp(2, 2), UDP), 0);
    assert!(matches!(clash, Err(InsertError::Clash { .. })), "{clash:?}");
    assert_eq!((sessions.gauges().used, sessions.lookup(&udp(2, 2))), (0, None));
}

#[test]
fn an_ended_session_is_gone_and_its_reference_stale() {
    let sessions = Sessions::new(1, 1);
    let old = begin(&sessions, plain(udp(2, 4), UDP), 0);
    assert_eq!(sessions.end(old, Seconds(0)).unwrap().initiator, udp(2, 4));
    assert_eq!(sessions.end(old, Seconds(0)), None);
    // The next session takes the same record.
    let new = begin(&sessions, plain(udp(6, 8), UDP), 0);
    assert!(!sessions.is_alive(old) && sessions.is_alive(new));
    assert_eq!(sessions.get(old, Seconds(0)), None);
    assert_eq!(track(&sessions, old, Direction::Reply, 0), Verdict::Ended);
    assert_eq!(sessions.end(old, Seconds(0)), None);
    assert_eq!([udp(2, 4), udp(4, 2)].map(|key| sessions.lookup(&key)), [None, None]);
    assert_eq!(sessions.get(new, Seconds(0)).unwrap().reply, Volume::default());
}

#[test]
fn packets_are_counted_and_keep_a_session_alive() {
    let sessions = Sessions::new(10, 1);
    let session = begin(&sessions, plain(udp(2, 4), UDP), 0);
    for now in [100, 200, 200, 400] {
        assert_eq!(track(&sessions, session, Direction::Original, now), Verdict::Valid);
    }
    assert_eq!(expire_all(&sessions, 700, &Timeouts::default()), 0);
    let seen = sessions.get(session, Seconds(700)).unwrap();
    assert_eq!(seen.original, Volume { packets: 5, bytes: 500 });
    assert_eq!((seen.idle_seconds, seen.age_seconds, seen.is_replied), (300, 700, false));
    assert_eq!(track(&sessions, session, Direction::Reply, 700), Verdict::Valid);
    let seen = sessions.get(session, Seconds(700)).unwrap();
    assert_eq!((seen.reply, seen.is_replied), (Volume { packets: 1, bytes: 100 }, true));
    assert_eq!(expire_all(&sessions, 1000, &Timeouts::default()), 0);
    assert_eq!(expire_all(&sessions, 1001, &Timeouts::default()), 1);
    assert_eq!((sessions.gauges().used, sessions.gauges().expired), (0, 1));
}

#[test]
fn a_worker_with_a_late_clock_does_not_make_a_session_old() {
    let sessions = Sessions::new(10, 1);
    let session = begin(&sessions, plain(udp(2, 4), UDP), 1000);
    assert_eq!(track(&sessions, session, Direction::Original, 999), Verdict::Valid);
    assert_eq!(expire_all(&sessions, 990, &Timeouts::default()), 0);
    assert_eq!(sessions.get(session, Seconds(1005)).unwrap().idle_seconds, 5);
}

#[test]
fn idle_time_is_right_when_the_clock_is_beyond_what_a_record_holds() {
    let sessions = Sessions::new(10, 1);
    let late = (1 << 24) - 10;
    let session = begin(&sessions, plain(udp(2, 4), UDP), late);
    assert_eq!(expire_all(&sessions, late + 300, &Timeouts::default()), 0);
    assert_eq!(sessions.get(session, Seconds(late + 20)).unwrap().idle_seconds, 20);
    assert_eq!(track(&sessions, session, Direction::Original, late + 20), Verdict::Valid);
    assert_eq!(expire_all(&sessions, late + 321, &Timeouts::default()), 1);
}

#[test]
fn each_protocol_and_state_has_its_own_timeout() {
    let timeouts =
        Timeouts { udp_unreplied_seconds: 150, other_seconds: u32::MAX, ..Timeouts::default() };
    let sessions = Sessions::new(10, 1);
    let open = |protocol, from, to| begin(&sessions, plain(key(protocol, from, to), UDP), 0);
    let replied = open(protocol::UDP, 4, 2);
    track(&sessions, replied, Direction::Reply, 0);
    let tcp_opening = begin(&sessions, plain(key(protocol::TCP, 2, 4), tcp_packet(SYN, 0, 0)), 0);
    let expected = [
        (open(protocol::ICMP, 2, 4), 60),
        (open(protocol::UDP, 6, 8), 150),
        (tcp_opening, 240),
        (replied, 300),
        (established(&sessions, 6, 8, 0), 7440),
        (open(protocol::SCTP, 2, 4), MAX_TIMEOUT_SECONDS),
    ];
    for (session, seconds) in expected {
        assert_eq!(expire_all(&sessions, seconds, &timeouts), 0, "{seconds}");
        assert!(sessions.is_alive(session));
        assert_eq!(expire_all(&sessions, seconds + 1, &timeouts), 1, "{seconds}");
        assert!(!sessions.is_alive(session));
    }
}

#[test]
fn icmp_queries_expire_alike_in_both_families() {
    let sessions = Sessions::new(10, 1);
    begin(&sessions, plain(key(protocol::ICMP, 2, 4), UDP), 0);
    begin(&sessions, plain(key(protocol::ICMPV6, 3, 5), UDP), 0);
    assert_eq!(expire_all(&sessions, 60, &Timeouts::default()), 0);
    assert_eq!(expire_all(&sessions, 61, &Timeouts::default()), 2);
}

#[test]
fn a_closing_connection_expires_after_the_transitory_time() {
    let sessions = Sessions::new(10, 1);
    let session = established(&sessions, 2, 4, 0);
    let fin = tcp_packet(tcp::FIN | ACK, 101, 501);
    assert_eq!(track_tcp(&sessions, session, Direction::Original, fin, 0), Verdict::Valid);
    assert_eq!(expire_all(&sessions, 7440, &Timeouts::default()), 0, "half closed");
    let fin = tcp_packet(tcp::FIN | ACK, 501, 102);
    assert_eq!(track_tcp(&sessions, session, Direction::Reply, fin, 0), Verdict::Valid);
    assert_eq!(expire_all(&sessions, 240, &Timeouts::default()), 0);
    assert_eq!(expire_all(&sessions, 241, &Timeouts::default()), 1);
}

#[test]
fn an_invalid_segment_changes_nothing() {
    let sessions = Sessions::new(10, 1);
    let session = established(&sessions, 2, 4, 0);
    let before = sessions.get(session, Seconds(50));
    let stray = tcp_packet(tcp::RST, 0x8000_0000, 0);
    let verdict = track_tcp(&sessions, session, Direction::Original, stray, 50);
    assert!(matches!(verdict, Verdict::Invalid(_)), "{verdict:?}");
    assert_eq!(sessions.get(session, Seconds(50)), before);
    let data = tcp_packet(ACK, 101, 501);
    assert_eq!(track_tcp(&sessions, session, Direction::Original, data, 50), Verdict::Valid);
}

#[test]
fn a_connection_is_followed_from_its_record_as_from_a_value() {
    let sessions = Sessions::new(10, 1);
    let session = established(&sessions, 2, 4, 0);
    let state = || sessions.get(session, Seconds(0)).map(|seen| (seen.state, seen.is_assured));
    assert_eq!(state(), Some((State::Tcp(TcpState::Established), true)));
    let rst = tcp_packet(tcp::RST, 501, 0);
    assert_eq!(track_tcp(&sessions, session, Direction::Reply, rst, 0), Verdict::Valid);
    assert_eq!(state(), Some((State::Tcp(TcpState::Closed), true)));
    let syn = tcp_packet(SYN, 0x7000_0000, 0);
    let superseding = track_tcp(&sessions, session, Direction::Reply, syn, 0);
    assert_eq!(superseding, Verdict::Superseding);
    assert_eq!(track_tcp(&sessions, session, Direction::Original, syn, 0), Verdict::Valid);
    assert_eq!(state(), Some((State::Tcp(TcpState::SynSent), false)));
    assert!(!sessions.get(session, Seconds(0)).unwrap().is_replied);
    let answer = tcp_packet(SYN | ACK, 0x1000_0000, 0x7000_0001);
    assert_eq!(track_tcp(&sessions, session, Direction::Reply, answer, 0), Verdict::Valid);
    assert_eq!(state(), Some((State::Tcp(TcpState::SynReceived), false)));
}

#[test]
fn a_full_table_lets_go_of_unanswered_sessions_and_then_of_those_that_are_over() {
    let sessions = Sessions::new(4, 1);
    let open = established(&sessions, 2, 4, 0);
    let over = established(&sessions, 6, 4, 0);
    let rst = tcp_packet(tcp::RST, 101, 0);
    assert_eq!(track_tcp(&sessions, over, Direction::Original, rst, 0), Verdict::Valid);
    let unanswered = [10, 12].map(|from| begin(&sessions, plain(udp(from, 4), UDP), from));
    let mut evicted = Vec::new();
    let mut insert = |from| {
        let new = plain(udp(from, 4), UDP);
        let inserted =
            sessions.insert(&new, Seconds(50), POLICY, |session| evicted.push(session.reference));
        let Ok(Inserted::New(session)) = inserted else { return inserted };
        // Answered: it will stay.
        track(&sessions, session, Direction::Reply, 50);
        inserted
    };
    for from in [14, 16, 18] {
        assert!(insert(from).is_ok());
    }
    assert_eq!(insert(20), Err(InsertError::Full { capacity: 4 }));
    assert_eq!(evicted, [unanswered[0], unanswered[1], over]);
    assert!(sessions.is_alive(open));
    let gauges = sessions.gauges();
    assert_eq!((gauges.used, gauges.evicted, gauges.refused), (4, 3, 1));
    assert_eq!(sessions.lookup(&udp(20, 4)), None, "what is refused leaves nothing");
}

#[test]
fn a_session_knows_the_ports_that_its_ends_were_heard_at_last() {
    let sessions = Sessions::new(2, 1);
    let first = NewSession { entrance: port(0), ..plain(udp(1, 9), UDP) };
    let session = begin(&sessions, first, 10);
    let entrances = |of| sessions.get(of, Seconds(12)).map(|seen| seen.entrances);
    assert_eq!(entrances(session), Some([port(0), None]));
    sessions.note_entrance(session, Direction::Reply, PortIndex(7));
    sessions.note_entrance(session, Direction::Original, PortIndex(65_533));
    assert_eq!(entrances(session), Some([port(65_533), port(7)]));
    assert_eq!(sessions.get(session, Seconds(12)).unwrap().age_seconds, 2);
    // One that has ended hears nothing, nor does the next one in its place.
    sessions.end(session, Seconds(12)).unwrap();
    sessions.note_entrance(session, Direction::Reply, PortIndex(3));
    let next = begin(&sessions, plain(udp(2, 9), UDP), 10);
    assert_eq!((next.slot, entrances(next)), (session.slot, Some([None, None])));
    sessions.note_entrance(session, Direction::Reply, PortIndex(3));
    assert_eq!(entrances(next), Some([None, None]));
    sessions.note_entrance(next, Direction::Original, PortIndex(3));
    assert_eq!(entrances(next), Some([port(3), None]));
}

#[test]
fn sessions_are_flushed_by_what_they_are() {
    let sessions = Sessions::new(100, 1);
    for number in 0..20 {
        let new = NewSession { entrance: port(number % 2), ..plain(udp(number * 2, 100), UDP) };
        begin(&sessions, new, 0);
    }
    let mut ended = Vec::new();
    let flushed =
        sessions.flush(Seconds(0), |session| session.entrances[0] == port(1), |s| ended.push(*s));
    assert_eq!((flushed, ended.len()), (10, 10));
    assert!(sessions.iter(Seconds(0)).all(|session| session.entrances[0] == port(0)));
    assert_eq!((sessions.iter(Seconds(0)).count(), sessions.gauges().ended), (10, 10));
}

#[test]
fn a_table_holds_as_many_sessions_as_it_has_room_for() {
    let sessions = Sessions::new(20_000, 1);
    let pairs: Vec<_> = (0..20_000).map(|number| udp(number * 2, 100_000)).collect();
    let references: Vec<_> =
        pairs.iter().map(|initiator| begin(&sessions, plain(*initiator, UDP), 0)).collect();
    for (initiator, reference) in pairs.iter().zip(&references) {
        assert_eq!(sessions.lookup(initiator).unwrap().session, *reference);
    }
    assert_eq!(sessions.gauges().used, 20_000);
    assert_eq!(sessions.flush(Seconds(0), |_| true, |_| ()), 20_000);
    assert!(pairs.iter().all(|initiator| sessions.lookup(initiator).is_none()));
    // And once more, in the same records.
    for initiator in &pairs {
        begin(&sessions, plain(*initiator, UDP), 0);
    }
}

#[test]
fn a_segment_that_begins_nothing_is_refused() {
    let sessions = Sessions::new(10, 1);
    let new = plain(key(protocol::TCP, 2, 4), tcp_packet(tcp::RST, 0, 0));
    assert!(matches!(insert(&sessions, new, 0), Err(InsertError::Invalid(_))));
    assert_eq!(sessions.gauges().used, 0);
}

#[test]
fn every_state_has_a_number_and_a_name() {
    for (number, state) in (1..).zip(State::NUMBERED) {
        assert_eq!((state.number(), State::from_number(number)), (number, Some(state)));
    }
    assert_eq!([0, 14, 15].map(State::from_number), [None; 3]);
}

#[test]
fn a_record_is_two_cache_lines() {
    assert_eq!(super::super::record::WORDS * size_of::<u64>(), 128);
}
