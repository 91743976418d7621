//! The table under every interleaving of a few operations.
//!
//! Readers are spawned, and writers in the thread that spawns them: that goes on first, and `loom`
//! tries other orders where a later access contradicts the last one before. It forgets a reader's
//! access when the writer, too, reads before it writes.

use std::net::Ipv4Addr;

use loom::sync::Arc;
use loom::thread;
use pktio::wire::field::protocol;

use super::index::Entry;
use super::key::Packed;
use super::{
    Direction, InsertError, Inserted, Key, NewSession, Packet, SessionRef, Sessions, TcpPolicy,
    Timeouts, Verdict,
};
use crate::{Endpoint, PortIndex, Seconds, Tuple, Zone};

const START: Seconds = Seconds(0);
const PACKET: Packet = Packet { bytes: 100, segment: None, is_equivocal: false };

/// Interleavings with more preemptions find nothing more in reasonable time.
fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(test);
}

fn sessions(capacity: u32) -> Arc<Sessions> {
    Arc::new(Sessions::new(capacity, 7))
}

/// The key of packets from host `a` to host `b`.
fn key(a: u8, b: u8) -> Key {
    let endpoint = |host| Endpoint::new(Ipv4Addr::new(10, 0, 0, host), 1000);
    let tuple = Tuple { protocol: protocol::UDP, source: endpoint(a), destination: endpoint(b) };
    Key::new(Zone(0), tuple)
}

fn new(initiator: Key, responder: Key) -> NewSession {
    NewSession { initiator, responder, entrance: None, packet: PACKET }
}

fn insert(sessions: &Sessions, new: NewSession) -> Result<Inserted, InsertError> {
    sessions.insert(&new, START, TcpPolicy::default(), |_| ())
}

fn reference(inserted: Result<Inserted, InsertError>) -> SessionRef {
    match inserted.unwrap() {
        Inserted::New(session) => session,
        Inserted::Existing(found) => found.session,
    }
}

/// Ends a session, and inserts one from 3 to 4 in the same record.
fn replace(sessions: &Sessions, old: SessionRef) -> SessionRef {
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
        assert_eq!(seen.entrances, [Some(PortIndex(9)), None]);
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

#[test]
fn loom_a_lookup_never_finds_another_session() {
    model(2, || {
        let sessions = sessions(1);
        let first = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let reader = {
            let sessions = Arc::clone(&sessions);
            let look = move |key| sessions.lookup(&key).map(|found| found.session);
            thread::spawn(move || [look(key(1, 2)), look(key(4, 3))])
        };
        let second = replace(&sessions, first);
        let [old, new] = reader.join().unwrap();
        assert!(old.is_none_or(|old| old == first));
        assert!(new.is_none_or(|new| new == second));
        let found = [key(1, 2), key(2, 1), key(3, 4), key(4, 3)]
            .map(|key| sessions.lookup(&key).map(|found| (found.session, found.direction)));
        let [original, reply] = Direction::BOTH.map(|direction| Some((second, direction)));
        assert_eq!(found, [None, None, original, reply]);
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
        let first = reference(insert(&sessions, new(key(1, 2), key(2, 1))));
        let reader = {
            let sessions = Arc::clone(&sessions);
            thread::spawn(move || sessions.iter(START).next())
        };
        replace(&sessions, first);
        if let Some(session) = reader.join().unwrap() {
            assert_eq!(session.initiator.tuple.reversed(), session.responder.tuple);
            assert_eq!(session.original.packets, 1);
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
