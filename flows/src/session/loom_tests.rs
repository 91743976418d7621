//! The table under every interleaving of a few operations.
//!
//! Readers are spawned, and writers in the thread that spawns them: that goes on first, and `loom`
//! tries other orders where a later access contradicts the last one before. It forgets a reader's
//! access when the writer, too, reads before it writes: then both are spawned.

use std::net::{Ipv4Addr, Ipv6Addr};

use loom::sync::Arc;
use loom::thread;
use pktio::wire::field::{protocol, tcp};

use super::index::Entry;
use super::key::Packed;
use super::traffic::Tag;
use super::{
    Direction, InsertError, Inserted, Key, NewSession, Packet, Segment, SessionRef, Sessions,
    TcpPolicy, Timeouts, Verdict,
};
use crate::{Endpoint, PortIndex, Seconds, Tuple, Zone};

pub(super) const START: Seconds = Seconds(0);
pub(super) const PACKET: Packet = Packet { bytes: 100, segment: None, is_equivocal: false };

/// Interleavings with more preemptions find nothing more in reasonable time.
pub(super) fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(test);
}

fn sessions(capacity: u32) -> Arc<Sessions> {
    Arc::new(Sessions::new(capacity, 7))
}

/// The key of packets from host `a` to host `b`.
pub(super) fn key(a: u8, b: u8) -> Key {
    let endpoint = |host| Endpoint::new(Ipv4Addr::new(10, 0, 0, host), 1000);
    let tuple = Tuple { protocol: protocol::UDP, source: endpoint(a), destination: endpoint(b) };
    Key::new(Zone(0), tuple)
}

/// A key of which every word says who it is about.
fn telling_key(a: u16, b: u16) -> Key {
    let ip = |host| Ipv6Addr::from([0xfd00, host, 0, 0, 0, 0, 0, host]);
    let endpoint = |host| Endpoint::new(ip(host), 2000 + host);
    let tuple = Tuple { protocol: protocol::UDP, source: endpoint(a), destination: endpoint(b) };
    Key::new(Zone(0), tuple)
}

/// A SYN that says how its sender's windows are scaled.
fn syn(scale: u8) -> Packet {
    let segment = Segment {
        sequence: 0,
        acknowledgment: 0,
        flags: tcp::SYN,
        window: 1000,
        length: 0,
        scale: Some(scale),
    };
    Packet { segment: Some(segment), ..PACKET }
}

pub(super) fn new(initiator: Key, responder: Key) -> NewSession {
    NewSession { initiator, responder, entrance: None, packet: PACKET }
}

pub(super) fn insert(sessions: &Sessions, new: NewSession) -> Result<Inserted, InsertError> {
    sessions.insert(&new, START, TcpPolicy::default(), |_| ())
}

pub(super) fn reference(inserted: Result<Inserted, InsertError>) -> SessionRef {
    match inserted.unwrap() {
        Inserted::New(session) => session,
        Inserted::Existing(found) => found.session,
    }
}

/// Ends a session, and inserts one from 3 to 4 in the same record.
pub(super) fn replace(sessions: &Sessions, old: SessionRef) -> SessionRef {
    sessions.end(old, START).unwrap();
    reference(insert(sessions, new(key(3, 4), key(4, 3))))
}

fn track(sessions: &Sessions, session: SessionRef, from: Direction) -> Verdict {
    sessions.track(session, from, &PACKET, Seconds(1), TcpPolicy::default())
}

#[test]
fn loom_two_workers_insert_one_session_once() {
    model(2, || {
        let sessions = sessions(2);
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || reference(insert(&sessions, new(key(1, 2), key(2, 1)))))
        };
        let mine = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        assert_eq!(mine, other.join().unwrap());
        let found = Direction::BOTH.map(|_| sessions.lookup(&key(1, 2)).unwrap().session);
        assert_eq!(found, [mine; 2]);
        assert_eq!((sessions.gauges().used, sessions.iter(START).count()), (1, 1));
    });
}

#[test]
fn loom_a_port_is_noted_in_its_own_session_only() {
    model(2, || {
        let sessions = sessions(1);
        let old = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let late = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                sessions.note_entrance(old, Direction::Reply, PortIndex(5));
            })
        };
        sessions.end(old, START).unwrap();
        let next = NewSession { entrance: Some(PortIndex(9)), ..new(key(3, 4), key(4, 3)) };
        let next = reference(insert(&sessions, next));
        late.join().unwrap();
        let seen = sessions.get(next, START).unwrap();
        // Loom does not know that an exchange comes right after what it replaces, and may show the word of the first
        // session here, with its own port.
        if seen.entrances[0].is_some() {
            assert_eq!(seen.entrances, [Some(PortIndex(9)), None]);
        }
    });
}

#[test]
fn loom_two_ends_that_call_each_other_share_a_session() {
    model(2, || {
        let sessions = sessions(2);
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || reference(insert(&sessions, new(key(2, 1), key(1, 2)))))
        };
        let mine = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        assert_eq!(mine, other.join().unwrap());
        assert_eq!(sessions.gauges().used, 1);
    });
}

#[test]
fn loom_two_sessions_never_share_their_replies() {
    model(2, || {
        let sessions = sessions(2);
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || insert(&sessions, new(key(1, 9), key(5, 5))).is_ok())
        };
        let mine = insert(&sessions, new(key(2, 9), key(5, 5))).is_ok();
        assert!(mine != other.join().unwrap(), "one of them, and one only");
        assert_eq!(sessions.gauges().used, 1);
    });
}

/// Looks for a key while a session from 1 to 2 makes room for one from 3 to 4.
fn look_while_one_follows_another(
    sought: Key,
    judge: impl Fn(Option<SessionRef>, [SessionRef; 2]) + Sync + Send + 'static,
) {
    model(2, move || {
        let sessions = sessions(1);
        let first = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let reader = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.lookup(&sought).map(|found| found.session))
        };
        let second = replace(&sessions, first);
        judge(reader.join().unwrap(), [first, second]);
        let found = [key(1, 2), key(2, 1), key(3, 4), key(4, 3)]
            .map(|key| sessions.lookup(&key).map(|found| (found.session, found.direction)));
        let [original, reply] = Direction::BOTH.map(|direction| Some((second, direction)));
        assert_eq!(found, [None, None, original, reply]);
    });
}

#[test]
fn loom_a_lookup_by_the_last_sessions_key_never_finds_the_next_one() {
    look_while_one_follows_another(key(1, 2), |found, [first, _]| {
        assert!(found.is_none_or(|found| found == first));
    });
}

#[test]
fn loom_a_lookup_by_the_next_sessions_key_never_finds_the_last_one() {
    look_while_one_follows_another(key(4, 3), |found, [_, second]| {
        assert!(found.is_none_or(|found| found == second));
    });
}

#[test]
fn loom_a_record_never_has_halves_of_two_keys() {
    model(2, || {
        let sessions = sessions(1);
        let first = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let reader = {
            let sessions = Arc::clone(&sessions);
            let entry = Entry { slot: 0, direction: Direction::Original };
            thread::spawn(move || sessions.check(entry, &Packed::from(key(1, 4))))
        };
        replace(&sessions, first);
        assert_eq!(reader.join().unwrap(), None);
    });
}

#[test]
fn loom_a_listed_session_is_whole() {
    model(1, || {
        let sessions = sessions(1);
        let old = new(telling_key(1, 2), telling_key(2, 1));
        let entrance = Some(PortIndex(1));
        let new = NewSession { entrance, ..new(telling_key(3, 4), telling_key(4, 3)) };
        let first = reference(insert(&sessions, old));
        track(&sessions, first, Direction::Reply);
        let reader = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.iter(START).next())
        };
        sessions.end(first, START).unwrap();
        reference(insert(&sessions, new));
        if let Some(found) = reader.join().unwrap() {
            let (whose, replies) =
                if found.entrances[0] == new.entrance { (new, 0) } else { (old, 1) };
            assert_eq!((found.initiator, found.responder), (whose.initiator, whose.responder));
            assert_eq!((found.original.packets, found.reply.packets), (1, replies));
        }
    });
}

#[test]
fn loom_a_packet_never_changes_the_next_session_in_the_record() {
    model(3, || {
        let sessions = sessions(1);
        let first = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let worker = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || track(&sessions, first, Direction::Reply))
        };
        let second = replace(&sessions, first);
        worker.join().unwrap();
        let session = sessions.get(second, START).unwrap();
        assert!(!session.is_replied);
        assert_eq!(session.reply.packets, 0);
        assert_eq!(track(&sessions, first, Direction::Reply), Verdict::Ended);
    });
}

#[test]
fn loom_a_packet_is_not_lost_to_another_workers_refresh() {
    model(3, || {
        let sessions = sessions(1);
        let session = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || track(&sessions, session, Direction::Reply))
        };
        assert_eq!(track(&sessions, session, Direction::Original), Verdict::Valid);
        assert_eq!(other.join().unwrap(), Verdict::Valid);
        let session = sessions.get(session, Seconds(1)).unwrap();
        assert!(session.is_replied);
        assert_eq!((session.original.packets, session.reply.packets), (2, 1));
        assert_eq!(session.idle_seconds, 0);
    });
}

#[test]
fn loom_a_session_ends_once() {
    model(3, || {
        let sessions = sessions(1);
        let session = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                let mut ended = 0;
                let late = Seconds(1000);
                sessions.expire(late, 0, 10, &Timeouts::default(), |_| ended += 1);
                ended
            })
        };
        let mine = usize::from(sessions.end(session, START).is_some());
        assert_eq!(mine + other.join().unwrap(), 1);
        assert_eq!(sessions.gauges().used, 0);
        assert!(matches!(insert(&sessions, new(key(3, 4), key(4, 3))), Ok(Inserted::New(_))));
    });
}

#[test]
fn loom_a_session_that_is_ended_while_it_begins_leaves_nothing() {
    model(2, || {
        let sessions = sessions(1);
        let other = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                for key in [key(1, 2), key(2, 1)] {
                    if let Some(found) = sessions.lookup(&key) {
                        sessions.end(found.session, START);
                    }
                }
            })
        };
        let inserted = insert(&sessions, new(key(1, 2), key(2, 1)));
        other.join().unwrap();
        if let Ok(Inserted::New(session)) = inserted {
            sessions.end(session, START);
        }
        assert_eq!(sessions.gauges().used, 0);
        assert!(sessions.lookup(&key(1, 2)).is_none());
        assert!(matches!(insert(&sessions, new(key(1, 2), key(2, 1))), Ok(Inserted::New(_))));
    });
}

#[test]
fn loom_a_window_never_becomes_that_of_the_next_session_in_the_record() {
    model(3, || {
        let sessions = sessions(1);
        let begin = |sessions: &Sessions, key: Key, scale| {
            let reversed = Key::new(key.zone, key.tuple.reversed());
            reference(insert(sessions, NewSession { packet: syn(scale), ..new(key, reversed) }))
        };
        let first = begin(&sessions, key(1, 2), 0);
        let worker = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || {
                let policy = TcpPolicy::default();
                sessions.track(first, Direction::Original, &syn(7), START, policy);
            })
        };
        sessions.end(first, START).unwrap();
        let second = begin(&sessions, telling_key(3, 4), 3);
        worker.join().unwrap();
        // Loom does not know that an exchange comes right after what it replaces, and may show the word of the first
        // session here, with its own new window.
        let record = sessions.record(second.slot).unwrap();
        if record.has_key(Direction::Original, &Packed::from(telling_key(3, 4))) {
            assert_eq!(record.side(Direction::Original, Tag::of(second.version)).pack(), 3);
        }
    });
}

#[test]
fn loom_whoever_ends_a_session_takes_all_of_it_out_of_the_index() {
    model(1, || {
        let sessions = sessions(2);
        let inserter = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || insert(&sessions, new(key(1, 2), key(2, 1))))
        };
        let ender = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.flush(START, |_| true, |_| ()))
        };
        let inserted = inserter.join().unwrap();
        ender.join().unwrap();
        sessions.end(reference(inserted), START);
        // The index has room for two sessions, and for no word besides.
        for host in [3, 5] {
            let next = insert(&sessions, new(key(host, 9), key(9, host)));
            assert!(matches!(next, Ok(Inserted::New(_))), "{next:?}");
        }
    });
}

#[test]
fn loom_no_record_is_lost_or_given_twice() {
    model(2, || {
        let sessions = sessions(2);
        let begin = |sessions: &Sessions, host| {
            reference(insert(sessions, new(key(host, 9), key(9, host))))
        };
        let [first, second] = [1, 2].map(|host| begin(&sessions, host));
        sessions.end(second, START).unwrap();
        // One frees a record while another takes one.
        let ender = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.end(first, START).is_some())
        };
        let inserter = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || begin(&sessions, 3))
        };
        assert!(ender.join().unwrap());
        let (third, fourth) = (inserter.join().unwrap(), begin(&sessions, 4));
        assert_ne!(third.slot, fourth.slot);
        assert!(![first, second].contains(&third) && ![first, second].contains(&fourth));
        let gauges = sessions.gauges();
        assert_eq!((gauges.used, gauges.evicted), (2, 0));
    });
}
